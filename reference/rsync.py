"""rsync: accepts events for AppContexts, keeps them in a queue in etcd, and works them off on the edges.

An accepted event is in etcd before the caller gets its answer. Each context is worked on by one task at a time, event
after event; what is unfinished at a crash is found by its record under /activecontext/ and done again from its
beginning. Where EMCO's defects are off, what belongs together is written as one (transactions), an event that is there
already is accepted without a second entry, and a restart finds everything.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reference import events
from reference.config import Config
from reference.contexts import ACTIVE, Contexts, QueueItem, go_json, holds, resource_path, root
from reference.defects import Defects
from reference.deploying import Deployer, Job, Notes
from reference.edge import EdgeError
from reference.errors import StoreError
from reference.records import Records
from reference.status import clusters_of

_QUEUE = "rsync/AppContextEventQueue/"
_CURRENT = "rsync/state/CurrentState/"
_DESIRED = "rsync/state/DesiredState/"
_PENDING_TERMINATE = "rsync/state/PendingTerminateFlag/"
_STOP_POLL = 1.0


class Stopped(Exception):
    """The context's stopflag was set while an event was worked on."""


class Superseded(Exception):
    """Another rsync is through with the event that is in hand here: it must not be gone on with."""


@dataclass(slots=True)
class Worker:
    """What this process knows of one context: whether it works on it, on which event of its queue, and the work that a
    Terminate interrupts."""

    running: bool = False
    number: int | None = None
    work: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class RsyncService:
    """The service, apart from its gRPC server."""

    def __init__(
        self, *, config: Config, records: Records, contexts: Contexts, defects: Defects, log: logging.Logger
    ) -> None:
        self._contexts = contexts
        self._defects = defects
        self._log = log
        self._workers: dict[str, Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._notes = Notes(contexts, defects, log)
        self._deployer = Deployer(
            config=config, records=records, contexts=contexts, notes=self._notes, spawn=self._spawn, check=self._check
        )

    # -- accepting ---------------------------------------------------------------------------------------------------

    async def accept(self, context: str, event: str, *, other: str = "", start: bool = True) -> None:
        """Queue an event durably and see that it is worked on. Raises StoreError."""
        worker = self._workers.setdefault(context, Worker())
        async with worker.lock:
            queue = await self._read_queue(context)
            if "R9" not in self._defects and holds(queue, event=event, other=other):
                if not worker.running and queue[-1].status == events.PENDING:
                    self._start(context, worker)
                return
            await self._enqueue(context, [*queue, QueueItem(event, other, events.PENDING)])
            if not start:
                return
            if worker.running:
                if event == events.TERMINATE:
                    await self._contexts.put(context, _PENDING_TERMINATE, True)
                    if worker.work is not None:
                        worker.work.cancel()
                return
            await self._initialise(context)
            self._start(context, worker)

    async def _read_queue(self, context: str) -> list[QueueItem]:
        try:
            return await self._contexts.queue(context)
        except StoreError:
            if "R8" not in self._defects:
                raise
            return []

    async def _enqueue(self, context: str, queue: list[QueueItem]) -> None:
        active = f"{ACTIVE}{context}/"
        if "R4" in self._defects:
            # EMCO does not look whether its two writes succeed: a store that fails loses the event as a crash does.
            with contextlib.suppress(StoreError):
                if await self._contexts.etcd.get(active) is None:
                    await self._contexts.etcd.put(active, go_json(context))
            with contextlib.suppress(StoreError):
                await self._write_queue(context, queue)
            return
        values = {active: go_json(context), root(context) + _QUEUE: _queue_json(queue)}
        if await self._contexts.get(context, _CURRENT) is None:
            values.update({root(context) + path: go_json(value) for path, value in _INITIAL.items()})
        if not await self._contexts.etcd.put_all(values, if_exists=[root(context)]):
            raise StoreError(f"AppContext {context} is not there")

    async def _initialise(self, context: str) -> None:
        if await self._contexts.get(context, _CURRENT) is None:
            for path, value in _INITIAL.items():
                await self._contexts.put(context, path, value)

    async def _write_queue(self, context: str, queue: list[QueueItem]) -> None:
        await self._contexts.etcd.put(root(context) + _QUEUE, _queue_json(queue))

    def _start(self, context: str, worker: Worker) -> None:
        worker.running = True
        self._spawn(self._run(context, worker))

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Future[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._log.error("work ended by a mistake of this program", exc_info=error)

    # -- one of several ----------------------------------------------------------------------------------------------

    async def _check(self, context: str) -> None:
        """Raises Superseded when the event in hand is not pending any more. Who cannot find out goes on."""
        number = self._workers.setdefault(context, Worker()).number
        if "R25" in self._defects or number is None:
            return
        try:
            queue = await self._contexts.queue(context)
        except StoreError as error:
            self._log.info("queue of %s: %s", context, error)
            return
        _must_be_pending(context, queue, number)

    # -- restarting --------------------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """Go on with what a former process left unfinished; where EMCO gives up (R1, R2), wait for etcd instead."""
        pause = 0.05
        while True:
            try:
                active = await self._contexts.etcd.list(ACTIVE)
            except StoreError as error:
                self._log.warning("restoring: %s", error)
                if "R1" in self._defects:
                    return
            else:
                if await self._restore_all([key.removeprefix(ACTIVE).rstrip("/") for key in active]):
                    return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _restore_all(self, active: list[str]) -> bool:
        """Start on every context; returns whether there is nothing more to try."""
        complete = True
        for context in active:
            try:
                await self._restore_context(context)
            except StoreError as error:
                self._log.warning("restoring context %s: %s", context, error)
                if "R2" in self._defects:
                    return True
                complete = False
        try:
            if "R10" not in self._defects:
                await self._watch_again()
        except StoreError as error:
            self._log.warning("watching again: %s", error)
            complete = False
        return complete

    async def _restore_context(self, context: str) -> None:
        worker = self._workers.setdefault(context, Worker())
        if worker.running or "X5" in self._defects:
            return
        if not await self._contexts.exists(context):
            if "R2" in self._defects:
                raise StoreError(f"AppContext {context} is gone")
            await self._contexts.etcd.delete(f"{ACTIVE}{context}/")
            return
        if "R3" in self._defects:
            # EMCO starts the thread and does not note that it runs.
            self._spawn(self._run(context, Worker()))
            return
        self._start(context, worker)

    async def _watch_again(self) -> None:
        found = await self._contexts.etcd.list("/context/")
        for key, value in found.items():
            parts = key.split("/")
            if key.endswith("/resourcesready/") and len(parts) == 9 and value:
                self._deployer.watch(parts[6])

    # -- working -----------------------------------------------------------------------------------------------------

    async def _run(self, context: str, worker: Worker) -> None:
        """Work off the queue of one context; where EMCO gives up (R17), wait for etcd and go on instead."""
        pause = 0.05
        try:
            while True:
                try:
                    await self._work_off(context, worker)
                except StoreError as error:
                    self._log.warning("work on context %s: %s", context, error)
                    if "R17" in self._defects:
                        return
                except (Stopped, Superseded) as error:
                    self._log.warning("work on context %s ended: %r", context, error)
                    return
                else:
                    return
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
        finally:
            worker.running = False

    async def _work_off(self, context: str, worker: Worker) -> None:
        if not await self._contexts.exists(context):
            self._log.warning("context %s is gone", context)
            return
        await self._initialise(context)
        while await self._next_event(context, worker):
            pass
        await self._contexts.put(context, _PENDING_TERMINATE, False)
        await self._contexts.etcd.delete(f"{ACTIVE}{context}/")

    async def _next_event(self, context: str, worker: Worker) -> bool:
        queue = await self._contexts.queue(context)
        number = next((index for index, item in enumerate(queue) if item.status == events.PENDING), None)
        if number is None:
            return False
        item = queue[number]
        transition = events.TRANSITIONS[item.event]
        status = (await self._contexts.get(context, _CURRENT) or {"Status": "Created"})["Status"]
        stopped = bool(await self._contexts.get(context, "stopflag/"))
        if stopped or not events.allowed(item.event, status, resume="R15" not in self._defects):
            await self._skip(context, number, item, shown=stopped or item.event == events.TERMINATE)
            return True
        if not await self._begin(context, number, item):
            return True
        worker.work, worker.number = asyncio.ensure_future(self._work(context, item)), number
        try:
            failed = await self._outcome(context, worker.work)
        finally:
            worker.work = worker.number = None
        reached = transition.failure if failed else await self._desired(context, transition.success)
        await self._finish(context, number, status=reached, failed=failed)
        return True

    async def _desired(self, context: str, success: str) -> str:
        """What an event that went well has led to. EMCO looks up what is desired by then, whoever has written that."""
        if "R25" in self._defects:
            with contextlib.suppress(StoreError):
                return str((await self._contexts.get(context, _DESIRED))["Status"])
        return success

    async def _begin(self, context: str, number: int, item: QueueItem) -> bool:
        """Note that an event is begun; where that fails EMCO gives the event up (R24)."""
        transition = events.TRANSITIONS[item.event]
        try:
            await self._contexts.put(context, _DESIRED, {"Status": transition.success})
            await self._contexts.put(context, _CURRENT, {"Status": transition.busy})
            early = item.event == events.TERMINATE and "X2" in self._defects
            await self._contexts.put(context, "status/", {"Status": transition.success if early else transition.busy})
        except StoreError as error:
            if "R24" not in self._defects:
                raise
            self._log.warning("%s of context %s is skipped: %s", item.event, context, error)
            await self._skip(context, number, item, shown=True)
            return False
        return True

    async def _outcome(self, context: str, work: "asyncio.Task[None]") -> bool:
        try:
            await work
        except asyncio.CancelledError:
            # A Terminate that came meanwhile: it is the next event.
            return True
        except (EdgeError, StoreError, Stopped) as error:
            if isinstance(error, Stopped) and "R22" in self._defects:
                # EMCO's stop also ends what would write down that it has stopped: the event stays pending.
                raise
            self._log.warning("context %s: %s", context, error)
            return True
        return False

    async def _skip(self, context: str, number: int, item: QueueItem, *, shown: bool) -> None:
        await self._change_item(context, number, events.SKIP)
        if shown and "R9" in self._defects:
            failure = events.TRANSITIONS[item.event].failure
            await self._contexts.put(context, "status/", {"Status": failure})
            await self._contexts.put(context, _CURRENT, {"Status": failure})

    async def _finish(self, context: str, number: int, *, status: str, failed: bool) -> None:
        outcome = events.ERROR if failed else events.DONE
        value = {"Status": status}
        if "R5" in self._defects:
            await self._change_item(context, number, outcome)
            await self._notes.write(context, "status/", value)
            await self._notes.write(context, _CURRENT, value)
            return
        async with self._workers.setdefault(context, Worker()).lock:
            queue = await self._contexts.queue(context)
            if "R25" not in self._defects:
                _must_be_pending(context, queue, number)
            queue = _with_status(queue, number, outcome)
            prefix = root(context)
            values = {
                prefix + _QUEUE: _queue_json(queue),
                prefix + "status/": go_json(value),
                prefix + _CURRENT: go_json(value),
            }
            if not await self._contexts.etcd.put_all(values, if_exists=[prefix]):
                raise StoreError(f"AppContext {context} is gone")

    async def _change_item(self, context: str, number: int, status: str) -> None:
        async with self._workers.setdefault(context, Worker()).lock:
            await self._write_queue(context, _with_status(await self._contexts.queue(context), number, status))

    async def _work(self, context: str, item: QueueItem) -> None:
        """Do one event on all apps and clusters. Raises EdgeError, StoreError, Stopped."""
        tree = await self._contexts.tree(context)
        if "app/instruction/order/" not in tree:
            raise EdgeError("the context has no order of apps")
        other = await self._contexts.tree(item.other) if item.other else {}
        namespace = (tree.get("meta/") or {}).get("Namespace") or "default"
        jobs = [self._job(context, item, tree, other, place, namespace) for place in clusters_of(tree)]
        watch_stop = asyncio.ensure_future(self._watch_stop(context))
        follow_up = None
        if item.event == events.UPDATE and "R16" in self._defects:
            # EMCO does this from the side, in the name of the Update: when that has nothing to apply, it is over first.
            start = any(job.resources for job in jobs if job is not None)
            follow_up = asyncio.ensure_future(self.accept(item.other, events.UPDATE_DELETE, other=context, start=start))
        group = asyncio.ensure_future(self._deployer.run([job for job in jobs if job is not None]))
        try:
            await asyncio.wait({watch_stop, group}, return_when=asyncio.FIRST_COMPLETED)
            if watch_stop.done():
                watch_stop.result()
            await group
            if follow_up is not None:
                await follow_up
        finally:
            watch_stop.cancel()
            group.cancel()
        if item.event == events.UPDATE and "R16" not in self._defects:
            await self.accept(item.other, events.UPDATE_DELETE, other=context)

    def _job(
        self,
        context: str,
        item: QueueItem,
        tree: Mapping[str, Any],
        other: Mapping[str, Any],
        place: tuple[str, str, list[str]],
        namespace: str,
    ) -> Job | None:
        app, cluster, names = place
        manifests = {name: tree[resource_path(app, cluster, name)] for name in names}
        changed = list(names)
        if item.event == events.UPDATE:
            changed = [name for name in names if other.get(resource_path(app, cluster, name)) != manifests[name]]
        elif item.event == events.UPDATE_DELETE:
            changed = [name for name in names if resource_path(app, cluster, name) not in other]
        if not names:
            return None
        collects = tree.get("statusappctxid/") or context
        return Job(context, item.event, item.other, app, cluster, tuple(changed), manifests, namespace, collects)

    async def _watch_stop(self, context: str) -> None:
        """Raises Stopped when the context's stopflag is set; it is looked at once a second, as nothing announces it."""
        while True:
            await asyncio.sleep(_STOP_POLL)
            try:
                if "X4" not in self._defects and await self._contexts.get(context, "stopflag/"):
                    raise Stopped("stopped on request")
            except StoreError as error:
                self._log.info("stopflag of %s: %s", context, error)


_INITIAL: Mapping[str, Any] = {
    _CURRENT: {"Status": "Created"},
    "stopflag/": False,
    _PENDING_TERMINATE: False,
    "status/": {"Status": "Created"},
}
"""What rsync writes into a context when it first sees it, in this order."""


def _must_be_pending(context: str, queue: list[QueueItem], number: int) -> None:
    if number < len(queue) and queue[number].status != events.PENDING:
        raise Superseded(context)


def _queue_json(queue: list[QueueItem]) -> bytes:
    return go_json({"AcQueue": [item.to_json() for item in queue]})


def _with_status(queue: list[QueueItem], number: int, status: str) -> list[QueueItem]:
    return [replace(item, status=status) if index == number else item for index, item in enumerate(queue)]
