"""The orchestrator's deployment intent groups: create, replace, delete, and their life cycle.

The life cycle is written once, in `_carry_out`: the effects of a call in EMCO's order. With a call's defect on it runs
as it is, so that a crash leaves what EMCO leaves; with the defect off the journal stands around it.
"""

import logging

from aiohttp import web

from reference import state as states
from reference.contexts import Contexts, new_id
from reference.crud import Crud
from reference.defects import Defects
from reference.errors import ApiError, RpcError
from reference.journal import CarryOut, Intention, Journal
from reference.placement import Planner
from reference.records import Key, Records
from reference.resources import GROUP
from reference.rpc import Rsync
from reference.state import Action, StateInfo, now, read_state
from reference.status import group_status
from reference.web import Rest, read_json, reply

_SWITCHES = {
    "instantiate": ("A6a", "A6b"),
    "terminate": ("A7",),
    "stop": ("A8",),
    "update": ("A9",),
    "migrate": ("A10",),
    "rollback": ("A11",),
    "delete": ("A12", "A12u"),
}


class Groups(Crud):
    """The calls on deployment intent groups."""

    def __init__(
        self, *, records: Records, defects: Defects, contexts: Contexts, rsync: Rsync, log: logging.Logger
    ) -> None:
        super().__init__(GROUP, records=records, defects=defects)
        self._contexts = contexts
        self._rsync = rsync
        self._planner = Planner(records=records, contexts=contexts)
        self.journal = Journal(
            records=records,
            fields=GROUP.key_fields,
            carry_out=self._carry_out,
            roll_back=self._roll_back,
            log=log,
        )

    def mount(self, rest: Rest, *, without: tuple[str, ...] = ()) -> None:
        super().mount(rest, without=("DELETE", *without))
        item = GROUP.item_path
        rest.add("DELETE", item, self.delete, switches=_SWITCHES["delete"])
        rest.add("POST", item + "/approve", self.approve)
        for name in ("instantiate", "terminate", "stop", "update", "migrate", "rollback"):
            rest.add("POST", f"{item}/{name}", getattr(self, name), switches=_SWITCHES[name])
        rest.add("GET", item + "/status", self.status)

    async def post(self, request: web.Request) -> web.Response:
        key, data = self.read(request, await read_json(request))
        await self.refuse_existing(key)
        await self.store(key, data, tags={"stateInfo": states.created(now()).to_stored()})
        return reply(201, self.resource.shape.to_json(data))

    async def put(self, request: web.Request) -> web.Response:
        key, data = self.read(request, await read_json(request))
        self.check_same_name(request, key)
        if not await self.records.exists(key):
            await self.store(key, data, tags={"stateInfo": states.created(now()).to_stored()})
            return reply(201, self.resource.shape.to_json(data))
        last = (await self._state(key)).last.state
        if last not in (states.CREATED, states.APPROVED):
            raise ApiError(409, f"The deployment intent group is {last}: it can be replaced only before it runs")
        references = self.resource.references(key, data)
        await self.records.insert(key, data, parent=self.resource.parent(key), references=references)
        return reply(200, self.resource.shape.to_json(data))

    async def delete(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        journaled = "A12" not in self.defects
        async with self.journal.turn(key, wanted=journaled):
            stored = await self.records.find(key, "stateInfo")
            stale: tuple[str, ...] = ()
            if stored is not None:
                stale = await self._contexts_to_delete(read_state(stored, what="the deployment intent group"))
            if "A12u" not in self.defects:
                await self.records.check_removable(key)
            await self._perform(Intention("delete", key, stale=stale, journaled=journaled and bool(stale)))
        return reply(204)

    async def _contexts_to_delete(self, state: StateInfo) -> tuple[str, ...]:
        if state.last.state in states.RUNNING:
            if "D1" not in self.defects and not await self._contexts.exists(state.last.context):
                return tuple(state.contexts())
            raise ApiError(500, "The deployment intent group must be terminated before it can be deleted")
        if state.last.state not in (states.TERMINATED, states.TERMINATE_STOPPED):
            return ()
        status = await self._contexts.status(state.last.context)
        if status not in ("Terminated", "TerminateFailed", None):
            raise ApiError(409, f"The deployment intent group is not terminated yet: its status is {status}")
        return tuple(state.contexts())

    async def approve(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        state = await self._state(key)
        last = state.last.state
        if last == states.APPROVED:
            return reply(202)
        if last not in (states.CREATED, states.TERMINATED, states.UPDATED):
            raise ApiError(500, f"The deployment intent group is {last}: it cannot be approved")
        approved = state.then(Action(states.APPROVED, "", now(), state.last.revision))
        await self.records.set_tag(key, "stateInfo", approved.to_stored())
        return reply(202)

    async def instantiate(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        mended = [name not in self.defects for name in _SWITCHES["instantiate"]]
        async with self.journal.turn(key, wanted=any(mended)):
            state = await self._state(key)
            if state.last.state not in (states.APPROVED, states.TERMINATED, states.TERMINATE_STOPPED):
                raise ApiError(500, f"The deployment intent group is {state.last.state}: it cannot be instantiated")
            await self._planner.plan(key)
            intention = Intention(
                "instantiate", key, context=new_id(), revision=state.last.revision + 1, journaled=mended[0]
            )
            await self._perform(intention)
        return reply(202)

    async def terminate(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        journaled = "A7" not in self.defects
        async with self.journal.turn(key, wanted=journaled):
            state = await self._state(key)
            if state.last.state not in states.RUNNING and not await self._half_terminated(state):
                raise ApiError(500, f"The deployment intent group is {state.last.state}, not instantiated")
            if not await self._contexts.exists(state.last.context):
                # etcd has lost it: nobody knows any more what it applied, and nothing would be taken away.
                raise ApiError(500, f"Error getting AppContext with Id: {state.last.context}")
            await self._perform(Intention("terminate", key, context=state.last.context, journaled=journaled))
        return reply(202)

    async def _half_terminated(self, state: StateInfo) -> bool:
        """Whether a terminate was stopped, or failed; EMCO leaves what it has not removed for good (A7f)."""
        if "A7f" in self.defects or state.last.state not in (states.TERMINATED, states.TERMINATE_STOPPED):
            return False
        return await self._contexts.status(state.last.context) == "TerminateFailed"

    async def stop(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        journaled = "A8" not in self.defects
        async with self.journal.turn(key, wanted=journaled):
            state = await self._state(key)
            status = await self._contexts.status(state.last.context) if state.last.context else None
            if status not in ("Instantiating", "Terminating"):
                raise ApiError(500, f"Nothing to stop: the status is {status or state.last.state}")
            await self._perform(Intention("stop", key, context=state.last.context, journaled=journaled))
        return reply(202)

    async def update(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        journaled = "A9" not in self.defects
        async with self.journal.turn(key, wanted=journaled):
            state = await self._instantiated(key)
            await self._planner.plan(key)
            revision = state.last.revision + 1
            await self._perform(
                Intention(
                    "update", key, context=new_id(), old=state.last.context, revision=revision, journaled=journaled
                )
            )
        return reply(202, revision)

    async def rollback(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        body = await read_json(request)
        wanted = str(((body or {}).get("spec") or {}).get("revision", ""))
        journaled = "A11" not in self.defects
        async with self.journal.turn(key, wanted=journaled):
            state = await self._state(key)
            found = [
                action.context
                for action in state.actions
                if str(action.revision) == wanted and action.context and action.state == states.INSTANTIATED
            ]
            if not found:
                raise ApiError(500, f"Revision {wanted!r} was never instantiated")
            if found[-1] == state.last.context:
                raise ApiError(500, f"Revision {wanted} is the one that runs")
            await self._perform(
                Intention(
                    "rollback",
                    key,
                    context=found[-1],
                    old=state.last.context,
                    revision=state.last.revision + 1,
                    journaled=journaled,
                )
            )
        return reply(202)

    async def migrate(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        spec = (await read_json(request) or {}).get("spec") or {}
        target = {
            **key,
            "compositeAppVersion": str(spec.get("targetCompositeAppVersion", "")),
            "deploymentIntentGroup": str(spec.get("targetDeploymentIntentGroup", "")),
        }
        journaled = "A10" not in self.defects
        async with self.journal.turn(key, wanted=journaled):
            state = await self._instantiated(key)
            goal = await self._state(target)
            if goal.last.state != states.APPROVED:
                raise ApiError(500, f"The target is {goal.last.state}: it must be approved and not running")
            await self._planner.plan(target)
            await self._perform(
                Intention(
                    "migrate",
                    key,
                    context=new_id(),
                    old=state.last.context,
                    target=target,
                    journaled=journaled,
                )
            )
        return reply(202)

    async def status(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        try:
            data = await self.data(key)
            state = await self._state(key)
            return reply(200, await group_status(key, data, state, query=request.query, contexts=self._contexts))
        except ApiError as error:
            # EMCO answers 400 to whatever goes wrong here.
            raise ApiError(400, error.message) from error

    async def _state(self, key: Key) -> StateInfo:
        if not await self.records.exists(key):
            raise ApiError(500, f"deploymentIntentGroup not found: {key['deploymentIntentGroup']}")
        stored = await self.records.find(key, "stateInfo")
        return read_state(stored, what=f"deploymentIntentGroup {key['deploymentIntentGroup']}")

    async def _instantiated(self, key: Key) -> StateInfo:
        state = await self._state(key)
        if state.last.state != states.INSTANTIATED:
            raise ApiError(500, f"The deployment intent group is {state.last.state}, not instantiated")
        return state

    async def _perform(self, intention: Intention) -> None:
        if intention.journaled:
            await self.journal.perform(intention)
        else:
            await self._carry_out(intention)

    async def _carry_out(self, intention: Intention) -> None:
        """Make the effects of a call, for a journaled one those that are not there yet."""
        steps: dict[str, CarryOut] = {
            "instantiate": self._do_instantiate,
            "terminate": self._do_terminate,
            "stop": self._do_stop,
            "update": self._do_update,
            "migrate": self._do_update,
            "rollback": self._do_rollback,
            "delete": self._do_delete,
        }
        await steps[intention.op](intention)

    async def _do_instantiate(self, intention: Intention) -> None:
        context, owned = intention.context, "A6b" not in self.defects
        if not (intention.journaled and await self._contexts.accepted(context, event="Instantiate")):
            about, plans = await self._planner.plan(intention.key)
            await self._contexts.build(context, about, plans)
        if owned and not intention.journaled:
            await self.journal.begin(intention)
        elif intention.journaled and not owned:
            await self.journal.end(intention, {})
        try:
            await self._rsync.install(context, patient=owned)
        except RpcError:
            if owned and not intention.journaled:
                await self._roll_back(intention)
            elif not intention.journaled:
                await self._contexts.delete(context)
            raise
        state = await self._state(intention.key)
        action = Action(states.INSTANTIATED, context, now(), intention.revision)
        await self._record(intention, state.then(action, status_context=context), journaled=owned)

    async def _do_terminate(self, intention: Intention) -> None:
        state = await self._state(intention.key)
        if state.last.state in (states.INSTANTIATE_STOPPED, states.TERMINATE_STOPPED):
            await self._contexts.put(intention.context, "stopflag/", False)
        await self._rsync.uninstall(intention.context, patient=intention.journaled)
        action = Action(states.TERMINATED, intention.context, now(), 0)  # revisions begin anew after a terminate
        await self._record(intention, state.then(action))

    async def _do_stop(self, intention: Intention) -> None:
        state = await self._state(intention.key)
        await self._contexts.put(intention.context, "stopflag/", True)
        stopped = states.INSTANTIATE_STOPPED if state.last.state != states.TERMINATED else states.TERMINATE_STOPPED
        action = Action(stopped, intention.context, now(), state.last.revision)
        await self._record(intention, state.then(action))

    async def _do_update(self, intention: Intention) -> None:
        """Update within one group, or migrate to another one."""
        context = intention.context
        key = intention.target or intention.key
        done = intention.journaled and await self._contexts.accepted(context, event="Update", other=intention.old)
        source = await self._state(intention.key)
        if not done:
            about, plans = await self._planner.plan(key)
            await self._contexts.build(context, about, plans)
            await self._contexts.put(context, "statusappctxid/", source.status_context)
        await self._rsync.update(old=intention.old, new=context, patient=intention.journaled)
        if intention.target:
            await self._record_migration(intention, source)
        else:
            await self._record_update(intention, source)

    async def _record_update(self, intention: Intention, state: StateInfo) -> None:
        updated = Action(states.UPDATED, intention.old, now(), state.last.revision)
        running = Action(states.INSTANTIATED, intention.context, now(), intention.revision)
        if not intention.journaled:
            await self._record(intention, state.then(updated))
        await self._record(intention, state.then(updated, running))

    async def _record_migration(self, intention: Intention, source: StateInfo) -> None:
        left = source.then(Action(states.UPDATED, intention.old, now(), 0))
        target = await self._state(intention.target)
        running = Action(states.INSTANTIATED, intention.context, now(), intention.revision)
        arrived = target.then(running, status_context=source.status_context)
        if not intention.journaled:
            await self._record(intention, left)
        if target.last.context != intention.context:
            await self.records.set_tag(intention.target, "stateInfo", arrived.to_stored())
        if intention.journaled:
            await self._record(intention, left)

    async def _do_rollback(self, intention: Intention) -> None:
        await self._rsync.update(old=intention.old, new=intention.context, patient=intention.journaled)
        await self._record_update(intention, await self._state(intention.key))

    async def _do_delete(self, intention: Intention) -> None:
        for context in intention.stale:
            if not intention.journaled and not await self._contexts.exists(context):
                raise ApiError(500, f"Error getting AppContext with Id: {context}")
            await self._contexts.delete(context)
        if intention.journaled and "A12u" not in self.defects:
            await self.records.discard(intention.key)
        else:
            await self.records.remove(intention.key)

    async def _record(self, intention: Intention, state: StateInfo, *, journaled: bool | None = None) -> None:
        if intention.journaled if journaled is None else journaled:
            await self.journal.end(intention, {"stateInfo": state.to_stored()})
        else:
            await self.records.set_tag(intention.key, "stateInfo", state.to_stored())

    async def _roll_back(self, intention: Intention) -> None:
        """Make a refused call undone: rsync has not accepted, and will not."""
        if intention.op in ("instantiate", "update", "migrate"):
            await self._contexts.forget(intention.context)
        if intention.op == "terminate":
            state = await self._state(intention.key)
            if state.last.state in (states.INSTANTIATE_STOPPED, states.TERMINATE_STOPPED):
                await self._contexts.put(intention.context, "stopflag/", True)
        await self.journal.end(intention, {})
