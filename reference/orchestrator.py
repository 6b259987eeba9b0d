"""The orchestrator: projects, controllers, composite apps with their apps and profiles, groups and their intents."""

import base64
import logging
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from reference.charts import ChartError, check_archive
from reference.contexts import Contexts
from reference.crud import Crud
from reference.defects import Defects
from reference.errors import ApiError
from reference.groups import Groups
from reference.records import Key, Records
from reference.resources import APP, APP_PROFILE, PLAIN, Resource
from reference.rpc import Rsync
from reference.web import Rest, read_multipart, reply


class Archives(Crud):
    """A resource that comes with a tar.gz, kept in a tag of its own: apps and app profiles."""

    def __init__(
        self,
        resource: Resource,
        *,
        records: Records,
        defects: Defects,
        what: str,
        tag: str,
        member: str,
        check: Callable[[Key, Mapping[str, Any]], Any] | None = None,
    ) -> None:
        super().__init__(resource, records=records, defects=defects)
        self._what = what
        self._tag = tag
        self._member = member
        self._check = check

    async def post(self, request: web.Request) -> web.Response:
        key, data, content = await self._read(request)
        await self.refuse_existing(key)
        if self._check is not None:
            await self._check(key, data)
        await self.store(key, data, tags={self._tag: content})
        return reply(201, self.resource.shape.to_json(data))

    async def put(self, request: web.Request) -> web.Response:
        key, data, content = await self._read(request)
        self.check_same_name(request, key)
        found = await self.records.exists(key)
        await self.store(key, data, tags={self._tag: content})
        return reply(self.resource.replaced if found else 201, self.resource.shape.to_json(data))

    async def get(self, request: web.Request) -> web.Response:
        if not request.headers.get("Accept", "").startswith("application/octet-stream"):
            return await super().get(request)
        content = await self.records.find(self.path_key(request), self._tag)
        if content is None:
            raise ApiError(404, f"The {self._what} has no content")
        return web.Response(body=base64.b64decode(content[self._member]))

    async def _read(self, request: web.Request) -> tuple[dict[str, str], dict[str, Any], dict[str, str]]:
        body, file = await read_multipart(request)
        key, data = self.read(request, body)
        if not file:
            raise ApiError(422, f"The {self._what} is missing: field file")
        try:
            check_archive(file, what=self._what)
        except ChartError as error:
            raise ApiError(422, f"The file is unusable: {error}") from error
        return key, data, {self._member: base64.b64encode(file).decode()}


class Orchestrator:
    """The service."""

    def __init__(
        self, *, records: Records, contexts: Contexts, rsync: Rsync, defects: Defects, log: logging.Logger
    ) -> None:
        self._records = records
        self._defects = defects
        self._groups = Groups(records=records, defects=defects, contexts=contexts, rsync=rsync, log=log)

    def mount(self, rest: Rest) -> None:
        for resource in PLAIN["orchestrator"]:
            Crud(resource, records=self._records, defects=self._defects).mount(rest)
        common: dict[str, Any] = {"records": self._records, "defects": self._defects}
        Archives(APP, what="chart", tag="appcontent", member="filecontent", **common).mount(rest)
        Archives(
            APP_PROFILE,
            what="profile",
            tag="profilecontent",
            member="profile",
            check=self._one_profile_per_app,
            **common,
        ).mount(rest)
        self._groups.mount(rest)

    async def _one_profile_per_app(self, key: Key, data: Mapping[str, Any]) -> None:
        """Raises ApiError 409 when the app has a profile already; found by the separately written field `app`."""
        parent = APP_PROFILE.parent(key) or {}
        ident = "{appProfile,compositeApp,compositeAppVersion,compositeProfile,project}"
        app = data["spec"]["appname"]
        if await self._records.query({**parent, "keyId": ident, "app": app}, {"_id": 1}):
            raise ApiError(409, f"App {app} has a profile in this composite profile already")

    async def recover(self) -> None:
        """Finish what a crash interrupted."""
        await self._groups.journal.recover()
