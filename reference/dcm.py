"""dcm: logical clouds, their cluster references, permissions and quotas.

Level 0 lives fully. Level 1 is made, kept and deleted; its instantiation is refused (501): it needs certificates that
the reference's edges do not sign. Its private key is random text of a real one's size, since nothing uses it and making
a real one takes seconds.
"""

import base64
import logging
import secrets
from typing import Any

from aiohttp import web

from reference import state as states
from reference.contexts import Contexts, meta, new_id
from reference.crud import Crud
from reference.defects import Defects
from reference.errors import ApiError, RpcError, StoreError
from reference.journal import CarryOut, Intention, Journal
from reference.records import Key, Records
from reference.resources import CLUSTER_REFERENCE, GROUP, LOGICAL_CLOUD, PLAIN
from reference.rpc import Rsync
from reference.state import Action, StateInfo, now, read_state
from reference.status import context_status
from reference.web import Rest, read_json, reply

_PEM_BYTES = 2376
_SWITCHES = {"instantiate": "C3", "terminate": "C6", "stop": "C7", "delete": "C9"}


class ClusterReferences(Crud):
    """The calls on cluster references."""

    def __init__(self, *, records: Records, defects: Defects, contexts: Contexts) -> None:
        super().__init__(CLUSTER_REFERENCE, records=records, defects=defects)
        self._contexts = contexts

    async def delete(self, request: web.Request) -> web.Response:
        """D1: refused where etcd has lost the context of the logical cloud (measured)."""
        key = self.path_key(request)
        if "D1" in self.defects:
            cloud = {name: key[name] for name in LOGICAL_CLOUD.key_fields}
            stored = await self.records.find(cloud, "stateInfo")
            context = read_state(stored, what=f"logical cloud {key['logicalCloud']}").last.context if stored else ""
            if context and await self._contexts.status(context) is None:
                raise ApiError(500, "Error getting app context status")
        return await super().delete(request)


class LogicalClouds(Crud):
    """The calls on logical clouds."""

    def __init__(
        self, *, records: Records, defects: Defects, contexts: Contexts, rsync: Rsync, log: logging.Logger
    ) -> None:
        super().__init__(LOGICAL_CLOUD, records=records, defects=defects)
        self._contexts = contexts
        self._rsync = rsync
        self.journal = Journal(
            records=records,
            fields=LOGICAL_CLOUD.key_fields,
            carry_out=self._carry_out,
            roll_back=self._roll_back,
            log=log,
        )

    def mount(self, rest: Rest, *, without: tuple[str, ...] = ()) -> None:
        super().mount(rest, without=("POST", "DELETE", *without))
        item = LOGICAL_CLOUD.item_path
        rest.add("POST", LOGICAL_CLOUD.path, self.post, switches=("C1", "C2"))
        rest.add("DELETE", item, self.delete, switches=("C9",))
        for name in ("instantiate", "terminate", "stop"):
            rest.add("POST", f"{item}/{name}", getattr(self, name), switches=(_SWITCHES[name],))
        rest.add("POST", item + "/update", self.update)
        rest.add("GET", item + "/status", self.status)

    def read(self, request: web.Request, body: Any) -> tuple[dict[str, str], dict[str, Any]]:
        key, data = super().read(request, body)
        level = data["specification"]["level"]
        if level not in ("", "0", "1"):
            raise ApiError(400, f"A logical cloud's level is 0 or 1, not {level}")
        return key, data

    async def post(self, request: web.Request) -> web.Response:
        key, data = self.read(request, await read_json(request))
        await self.refuse_existing(key)
        tags: dict[str, Any] = {}
        # Only a create fills the level in: a replace without one stores none (recorded).
        level = data["specification"]["level"] = data["specification"]["level"] or "1"
        if level == "1":
            tags["privatekey"] = {"keyvalue": self.records.sealed(_placeholder_key())}
        tags["stateInfo"] = states.created(now()).to_stored()
        await self.store(key, data, tags=tags, switch="C1" if level == "1" else "C2")
        return reply(201, self.resource.shape.to_json(data))

    async def put(self, request: web.Request) -> web.Response:
        key, data = self.read(request, await read_json(request))
        self.check_same_name(request, key)
        # EMCO replaces the data and brings back nothing else that may be missing.
        await self.records.insert(key, data, parent=self.resource.parent(key))
        return reply(201, self.resource.shape.to_json(data))

    async def delete(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        journaled = "C9" not in self.defects
        async with self.journal.turn(key, wanted=journaled):
            await self.data(key)
            state = await self._state(key, missing_is=500)
            stale = tuple(state.contexts())
            if state.last.context:
                status = await self._contexts.status(state.last.context)
                if status is None and not journaled:
                    raise ApiError(500, f"Error getting AppContext with Id: {state.last.context}")
                if status not in ("Terminated", "TerminateFailed", None):
                    raise ApiError(409, f"The logical cloud is not terminated: its status is {status}")
            if journaled:
                await self.records.check_removable(key)
            await self._perform(Intention("delete", key, stale=stale, journaled=journaled and bool(stale)))
        return reply(204)

    async def instantiate(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        journaled = "C3" not in self.defects
        async with self.journal.turn(key, wanted=journaled):
            data = await self.data(key)
            if data["specification"]["level"] != "0":
                raise ApiError(501, "The reference EMCO does not instantiate logical clouds of level 1")
            state = await self._state(key)
            if not await self._clusters(key):
                raise ApiError(400, "The logical cloud has no cluster references")
            stale: tuple[str, ...] = ()
            if state.last.context:
                status = await self._contexts.status(state.last.context)
                if status is None and "D1" in self.defects:
                    raise ApiError(500, f"Error getting AppContext with Id: {state.last.context}")
                if status not in ("Terminated", "TerminateFailed", None):
                    raise ApiError(409, f"The logical cloud is already instantiated: its status is {status}")
                stale = (state.last.context,)
            await self._perform(
                Intention(
                    "instantiate",
                    key,
                    context=new_id(),
                    revision=state.last.revision + 1,
                    stale=stale,
                    journaled=journaled,
                )
            )
        return reply(202)

    async def terminate(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        journaled = "C6" not in self.defects
        async with self.journal.turn(key, wanted=journaled):
            await self.data(key)
            await self._refuse_used(key)
            state = await self._state(key)
            if not state.last.context:
                # EMCO accepts it and does nothing.
                return reply(202)
            status = await self._contexts.status(state.last.context)
            if status is None and "D1" in self.defects:
                raise ApiError(500, f"Error getting AppContext with Id: {state.last.context}")
            if status in ("Terminated", "Terminating"):
                raise ApiError(409, f"The logical cloud is already terminated: its status is {status}")
            await self._perform(Intention("terminate", key, context=state.last.context, journaled=journaled))
        return reply(202)

    async def _refuse_used(self, key: Key) -> None:
        """EMCO refuses for every group that names the cloud, whatever its state, before it looks at the cloud's context
        (measured)."""
        groups = tuple(name for name in GROUP.key_fields if name != "project")
        for group in await self.records.find_all({"project": key["project"]}, GROUP.tag, names=groups):
            if ((group or {}).get("spec") or {}).get("logicalcloud") == key["logicalCloud"]:
                raise ApiError(400, "Found a deployment intent group that uses the logical cloud to be terminated")

    async def stop(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        journaled = "C7" not in self.defects
        async with self.journal.turn(key, wanted=journaled):
            await self.data(key)
            state = await self._state(key)
            status = await self._contexts.status(state.last.context) if state.last.context else None
            if status is None or status in ("Terminated", "TerminateFailed"):
                raise ApiError(409, f"Nothing to stop: the status is {status or state.last.state}")
            await self._perform(Intention("stop", key, context=state.last.context, journaled=journaled))
        return reply(200)

    async def update(self, _: web.Request) -> web.Response:
        raise ApiError(501, "The reference EMCO does not update logical clouds")

    async def status(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        data = await self.data(key)
        state = await self._state(key)
        head = {"project": key["project"], "logicalCloud": data["metadata"]["name"], "states": state.to_json()}
        if not state.last.context:
            return reply(200, head)
        body = await context_status(
            state.last.context, state.status_context, query=request.query, contexts=self._contexts
        )
        clusters = [cluster for app in body.pop("apps", []) for cluster in app["clusters"]]
        return reply(200, {**head, **body, "clusters": clusters})

    async def _state(self, key: Key, *, missing_is: int = 500) -> StateInfo:
        stored = await self.records.find(key, "stateInfo")
        try:
            return read_state(stored, what=f"logical cloud {key['logicalCloud']}")
        except ApiError as error:
            raise ApiError(missing_is, error.message) from error

    async def _clusters(self, key: Key) -> list[str]:
        found = await self.records.find_all(key, "data", names=("clusterReference",))
        return [f"{item['specification']['clusterprovider']}+{item['specification']['clustername']}" for item in found]

    async def _perform(self, intention: Intention) -> None:
        if intention.journaled:
            await self.journal.perform(intention)
        else:
            await self._carry_out(intention)

    async def _carry_out(self, intention: Intention) -> None:
        """Make the effects of a call, for a journaled one those that are not there yet."""
        steps: dict[str, CarryOut] = {
            "instantiate": self._do_instantiate,
            "clean": self._do_clean,
            "terminate": self._do_terminate,
            "stop": self._do_stop,
            "delete": self._do_delete,
        }
        await steps[intention.op](intention)

    async def _do_instantiate(self, intention: Intention) -> None:
        key, context = intention.key, intention.context
        data = await self.data(key)
        data["specification"]["namespace"] = "default"
        if not intention.journaled:
            for old in intention.stale:
                await self._contexts.delete(old)
            await self.records.insert(key, data, parent=LOGICAL_CLOUD.parent(key))
        try:
            if not (intention.journaled and await self._contexts.accepted(context, event="Instantiate")):
                about = meta(project=key["project"], logical_cloud=key["logicalCloud"])
                await self._contexts.build_logical_cloud(context, about, await self._clusters(key))
            await self._rsync.install(context, patient=intention.journaled)
        except (StoreError, RpcError):
            if not intention.journaled:
                await self._contexts.delete(context)
            raise
        state = await self._state(key)
        done = state.then(Action(states.INSTANTIATED, context, now(), intention.revision), status_context=context)
        if not intention.journaled:
            await self._record_instantiated(key, done)
            return
        members = {"data": data, "stateInfo": done.to_stored()}
        if not intention.stale:
            await self.journal.end(intention, members)
            return
        # The old context goes last: until the new one is recorded it may be needed again.
        rest = Intention("clean", key, stale=intention.stale, journaled=True)
        await self.records.set_members(key, {**members, "pending": rest.to_stored()})
        await self._do_clean(rest)

    async def _record_instantiated(self, key: Key, state: StateInfo) -> None:
        try:
            await self.records.set_tag(key, "stateInfo", state.to_stored())
        except StoreError:
            if "C3s" in self.defects:
                await self._contexts.delete(state.last.context)
            raise

    async def _do_clean(self, intention: Intention) -> None:
        for context in intention.stale:
            await self._contexts.delete(context)
        await self.journal.end(intention, {})

    async def _do_terminate(self, intention: Intention) -> None:
        state = await self._state(intention.key)
        if state.last.state == states.INSTANTIATE_STOPPED:
            await self._contexts.put(intention.context, "stopflag/", False)
        if await self._contexts.exists(intention.context):
            await self._rsync.uninstall(intention.context, patient=intention.journaled)
        await self._record(
            intention, Action(states.TERMINATED, intention.context, now(), state.last.revision + 1), state
        )

    async def _do_stop(self, intention: Intention) -> None:
        state = await self._state(intention.key)
        await self._contexts.put(intention.context, "stopflag/", True)
        stopped = states.TERMINATE_STOPPED if state.last.state == states.TERMINATED else states.INSTANTIATE_STOPPED
        await self._record(intention, Action(stopped, intention.context, now(), state.last.revision + 1), state)

    async def _do_delete(self, intention: Intention) -> None:
        for context in intention.stale:
            # An old context is gone since the next instantiation.
            if await self._contexts.exists(context):
                await self._contexts.delete(context)
        if intention.journaled:
            await self.records.discard(intention.key)
        else:
            await self.records.remove(intention.key)

    async def _record(self, intention: Intention, action: Action, state: StateInfo) -> None:
        stored = state.then(action).to_stored()
        if intention.journaled:
            await self.journal.end(intention, {"stateInfo": stored})
        else:
            await self.records.set_tag(intention.key, "stateInfo", stored)

    async def _roll_back(self, intention: Intention) -> None:
        """Make a refused call undone: rsync has not accepted, and will not."""
        if intention.op == "instantiate":
            await self._contexts.forget(intention.context)
        if intention.op == "terminate":
            state = await self._state(intention.key)
            if state.last.state == states.INSTANTIATE_STOPPED:
                await self._contexts.put(intention.context, "stopflag/", True)
        await self.journal.end(intention, {})


def _placeholder_key() -> str:
    text = base64.encodebytes(secrets.token_bytes(_PEM_BYTES)).decode()
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{text}-----END RSA PRIVATE KEY-----\n"
    return base64.b64encode(pem.encode()).decode()


class Dcm:
    """The service."""

    def __init__(
        self, *, records: Records, contexts: Contexts, rsync: Rsync, defects: Defects, log: logging.Logger
    ) -> None:
        self._records = records
        self._defects = defects
        self._references = ClusterReferences(records=records, defects=defects, contexts=contexts)
        self._clouds = LogicalClouds(records=records, defects=defects, contexts=contexts, rsync=rsync, log=log)

    def mount(self, rest: Rest) -> None:
        for resource in PLAIN["dcm"]:
            Crud(resource, records=self._records, defects=self._defects).mount(rest)
        self._references.mount(rest)
        self._clouds.mount(rest)

    async def recover(self) -> None:
        """Finish what a crash interrupted."""
        await self._clouds.journal.recover()
