"""Create, replace, read, list and delete for EMCO's resources; hooks for those that need more than that."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from reference.defects import Defects
from reference.errors import ApiError, StoreError
from reference.records import Key, Records
from reference.resources import Resource
from reference.web import Rest, read_json, reply


class Crud:
    """The five plain calls of one resource."""

    def __init__(self, resource: Resource, *, records: Records, defects: Defects) -> None:
        self.resource = resource
        self.records = records
        self.defects = defects

    def mount(self, rest: Rest, *, without: tuple[str, ...] = ()) -> None:
        """Serve the calls, except the methods `without`."""
        resource = self.resource
        switches = (resource.switch,) if resource.switch else ()
        if "POST" not in without:
            rest.add("POST", resource.path, self.post, switches=switches)
        if "PUT" not in without:
            rest.add("PUT", resource.item_path, self.put, switches=switches)
        if "DELETE" not in without:
            rest.add("DELETE", resource.item_path, self.delete)
        if "GET" not in without:
            rest.add("GET", resource.item_path, self.get)
        if "LIST" not in without:
            rest.add("GET", resource.path, self.list)

    def path_key(self, request: web.Request) -> dict[str, str]:
        """The key fields that the path names."""
        return {**request.match_info, **self.resource.constant}

    def read(self, request: web.Request, body: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """Key and data of a body. Raises ApiError 400 for a name that is missing, 422 for a member of a wrong type."""
        stored = self.resource.shape.to_stored(body)
        names = self.resource.names(stored)
        if not all(names):
            raise ApiError(400, f"Missing name for the {self.resource.name}")
        for name in names:
            if "/" in name or len(name) > 128:
                raise ApiError(400, f"Invalid name {name!r} for the {self.resource.name}")
        return {**self.path_key(request), **dict(zip(self.resource.own, names, strict=True))}, stored

    async def post(self, request: web.Request) -> web.Response:
        key, data = self.read(request, await read_json(request))
        await self.refuse_existing(key)
        await self.store(key, data)
        return reply(201, self.resource.shape.to_json(data))

    async def put(self, request: web.Request) -> web.Response:
        key, data = self.read(request, await read_json(request))
        self.check_same_name(request, key)
        found = await self.records.exists(key)
        await self.store(key, data)
        return reply(self.resource.replaced if found else 201, self.resource.shape.to_json(data))

    async def get(self, request: web.Request) -> web.Response:
        return reply(200, self.resource.shape.to_json(await self.data(self.path_key(request))))

    async def list(self, request: web.Request) -> web.Response:
        found = await self.records.find_all(self.path_key(request), self.resource.tag, names=self.resource.own)
        return reply(200, [self.resource.shape.to_json(data or {}) for data in found])

    async def delete(self, request: web.Request) -> web.Response:
        await self.records.remove(self.path_key(request))
        return reply(204)

    async def data(self, key: Key) -> dict[str, Any]:
        """The data of one record. Raises ApiError 404."""
        found: dict[str, Any] | None = await self.records.find(key, self.resource.tag)
        if found is None:
            raise ApiError(404, f"{self.resource.name} not found: {key[self.resource.name]}")
        return found

    async def refuse_existing(self, key: Key) -> None:
        """Raises ApiError 409 when the record is there already."""
        try:
            there = await self.records.exists(key)
        except StoreError:
            if "S2" not in self.defects:
                raise
            there = False
        if there:
            raise ApiError(409, f"{self.resource.name} already exists: {key[self.resource.name]}")

    def check_same_name(self, request: web.Request, key: Key) -> None:
        """Raises ApiError 400 when the body's name is not the path's."""
        for name in self.resource.own:
            if request.match_info[name] != key[name]:
                raise ApiError(400, f"The name in the body, {key[name]}, is not the one in the path")

    async def store(self, key: Key, data: Any, *, tags: Mapping[str, Any] | None = None, switch: str = "") -> None:
        """Write a record: in EMCO's several writes when the resource's defect is on, else in one."""
        resource = self.resource
        if resource.tag != "data":
            await self.records.set_tag(key, resource.tag, data)
            return
        parent, references, fields = resource.parent(key), resource.references(key, data), resource.fields(data)
        switch = switch or resource.switch
        if not switch or switch not in self.defects:
            extra = {**fields, **(tags or {})}
            await self.records.insert(key, data, parent=parent, references=references, extra=extra)
            return
        await self.records.insert(key, data, parent=parent, references=references)
        if fields:
            await self.records.update_fields(key, fields)
        for tag, value in (tags or {}).items():
            await self.records.set_tag(key, tag, value)
            if fields:
                await self.records.update_fields(key, fields)
