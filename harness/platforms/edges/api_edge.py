"""An edge with a real API server: what EMCO applied there is read, put back, and brought to rest."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.faults.victim import HarnessTrouble
from harness.platforms.edge_emulator import LoggedRequest
from harness.platforms.edge_emulator.kinds import CRD_GROUP, CRD_PLURAL, bundle_state_definition
from harness.platforms.edge_emulator.monitor import GROUP, PLURAL
from harness.platforms.edge_emulator.storage import Key
from harness.platforms.edges.access import Access, write_kubeconfig
from harness.platforms.edges.authority import Authority
from harness.platforms.edges.client import ApiClient, Refused
from harness.platforms.edges.controllers import Controllers
from harness.platforms.edges.objects import SELECTOR, Collection, collection_of, creation_order, intent, kept, listed
from harness.wire.bell import Bell
from harness.wire.control import RelayControl
from harness.wire.links import Address, Tls

Json = dict[str, Any]
Found = list[tuple[Key, Json]]

_MOST_PASSES = 30
_GONE_LIMIT = 90.0  # seconds until everything that was deleted is gone: pods get their grace period
_SERVED_LIMIT = 30.0
_AGAIN = 0.2
_LONG = 3600.0
_INVALID, _CONFLICT, _MISSING, _BUSY = 422, 409, 404, 429
_AT_ONCE = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}


class Guard(Protocol):
    """Decides what on a cluster may be touched."""

    def check(self, found: Iterable[tuple[Key, Json]]) -> None:
        """Raises HarnessTrouble for an object of EMCO's where the harness may touch nothing."""

    async def leave(self) -> None:
        """The edge is let go of: take back what was done to the cluster as a whole."""


@dataclass(frozen=True, slots=True)
class Ways:
    """How an API server is reached.

    harness: by the harness, directly;  relay: by EMCO, whose TLS the relay ends with a certificate of the authority
    """

    harness: Access
    relay: Access
    authority: Authority


class ApiEdge:
    """Implements Edge. EMCO's objects are those that carry its label and belong to no controller.

    client:   of its own for it, closed with it;  log: what was asked of the server, by others than the harness
    """

    def __init__(
        self,
        name: str,
        ways: Ways,
        *,
        client: ApiClient,
        controllers: Controllers,
        guard: Guard,
        log: Callable[[], tuple[LoggedRequest, ...]],
    ) -> None:
        self.name = name
        self.identity = f"{ways.authority.identity}{ways.relay.identity}"
        self.requests = log
        self._ways = ways
        self._client = client
        self._controllers = controllers
        self._guard = guard
        self._relay: RelayControl | None = None
        self._read_to = 0
        self._bell = Bell()
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        self._watches: dict[Collection, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._trouble = ""

    @property
    def upstream(self) -> Address:
        return self._ways.relay.address

    def tls(self, listen: Address) -> Tls | None:
        return Tls(server=self._ways.authority.server(listen[0]), client=self._ways.relay.tls)

    def kubeconfig(self, listen: Address) -> str:
        url = "https://{}:{}".format(*listen)
        return write_kubeconfig(self.name, url, authority=self._ways.authority.pem, token=self._ways.relay.token)

    def follow(self, relay: RelayControl) -> None:
        self._relay, self._read_to = relay, relay.seq()
        self._tasks = [asyncio.ensure_future(self._follow(relay)), asyncio.ensure_future(self._care())]

    async def objects(self) -> list[Json]:
        async with self._lock:
            found = await self._at_rest(
                lambda found: self._controllers.own or not _ending(found), "end what is deleted"
            )
        self._guard.check(found)
        return [kept(thing) for _, thing in sorted(found, key=lambda pair: pair[0])]

    async def restore(self, objects: Sequence[Json]) -> None:
        async with self._lock:
            wanted = {await self._place(thing): thing for thing in creation_order(objects)}
            have = dict(await self._settled())
            self._guard.check(have.items())
            doomed = {key for key in have if key not in wanted or "deletionTimestamp" in have[key]["metadata"]}
            for key in sorted(doomed, key=lambda key: key.plural == "namespaces"):
                await self._delete(key, have[key])
            if doomed:
                await self._at_rest(lambda found: doomed.isdisjoint(key for key, _ in found), "remove what was deleted")
            for key, thing in wanted.items():
                await self._put(key, thing, None if key in doomed else have.get(key))
            await self._settled()

    @property
    def runs(self) -> bool:
        return self._controllers.runs

    async def let_run(self, *, runs: bool) -> None:
        if not self._controllers.own:
            raise HarnessTrouble(f"edge {self.name}: the cluster itself decides what runs there, not the harness")
        async with self._lock:
            self._controllers.runs = runs
            await self._settled()

    async def delete(self, thing: Json) -> None:
        async with self._lock:
            key = await self._place(thing)
            self._guard.check([(key, thing)])
            path = Collection(thing["apiVersion"], key.plural).object_path(key.namespace, key.name)
            await self._client.ask("DELETE", path)
            await self._at_rest(lambda found: key not in dict(found), "remove what was deleted")

    async def install(self) -> bool:
        """Make the cluster know ResourceBundleStates; False when it does already. Raises HarnessTrouble."""
        definitions = Collection(f"{CRD_GROUP}/v1", CRD_PLURAL).path
        made = await self._client.ask("POST", definitions, bundle_state_definition(), accept=(_CONFLICT,))
        deadline = asyncio.get_running_loop().time() + _SERVED_LIMIT
        while not await self._serves_reports():
            if asyncio.get_running_loop().time() > deadline:
                raise HarnessTrouble(
                    f"edge {self.name}: {PLURAL} are not served {_SERVED_LIMIT:g} s after they were defined"
                )
            await asyncio.sleep(0.05)  # discovery cannot be watched; bounded by the limit
        return made.get("kind") == "CustomResourceDefinition"

    async def _serves_reports(self) -> bool:
        """Whether ResourceBundleStates can be listed: discovery names them before their storage is ready."""
        if all(entry["name"] != PLURAL for entry in await self._client.resources(f"{GROUP}/v1alpha1")):
            return False
        listed = await self._client.ask("GET", Collection(f"{GROUP}/v1alpha1", PLURAL).path, accept=(_BUSY, _MISSING))
        return listed.get("kind") != "Status"

    async def leftovers(self) -> list[tuple[Key, Json]]:
        """Everything on the cluster that carries EMCO's label, of whatever kind."""
        return await self._list(
            Collection(version, entry["name"])
            for version, entry in await self._client.all_resources()
            if {"list", "watch", "delete"} <= set(entry["verbs"])
        )

    async def clear(self) -> None:
        """Remove everything of EMCO's, of whatever kind."""
        for _, thing in await self.leftovers():
            await self._place(thing)
        await self.restore(())

    def recovered(self) -> None:
        """The cluster was away on purpose, and is back: what could not be done meanwhile is nobody's trouble."""
        self._trouble = ""

    async def stop(self) -> None:
        try:
            await self._guard.leave()
        finally:
            tasks = [*self._tasks, *self._watches.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._client.close()

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read_history(self) -> None:
        """Learn of which kinds EMCO wrote anything: its writes pass the relay, and only those kinds are asked for."""
        if self._relay is None:
            return
        observations = self._relay.since(self._read_to)
        self._read_to += len(observations)
        for one in observations:
            if one.target == self.name and one.effect.store == "edge":
                collection = collection_of(dict(one.effect.key).get("path", ""))
                if collection is not None:
                    self._know(collection)

    def _know(self, collection: Collection) -> None:
        if collection not in self._watches:
            self._watches[collection] = asyncio.ensure_future(self._watch(collection))

    async def _list(self, collections: Iterable[Collection]) -> Found:
        asked = list(collections)
        answers = await asyncio.gather(
            *(self._client.ask("GET", one.path, query=SELECTOR, accept=(_MISSING,)) for one in asked)
        )
        found: dict[Key, Json] = {}
        for collection, answer in zip(asked, answers, strict=True):
            for key, thing in listed(collection, answer):
                found.setdefault(key, thing)  # the same in another version
        return list(found.items())

    async def _settled(self) -> Found:
        """What there is, once the stand-ins for controllers have nothing more to do."""
        if self._trouble:
            trouble, self._trouble = self._trouble, ""
            raise HarnessTrouble(trouble)
        for _ in range(_MOST_PASSES):
            self._read_history()
            found = await self._list(self._watches)
            if not await self._controllers.act(found):
                return found
        raise HarnessTrouble(f"edge {self.name}: its objects change in each of {_MOST_PASSES} passes")

    async def _at_rest(self, enough: Callable[[Found], bool], what: str) -> Found:
        """What there is, once it is enough; told of changes by the watches."""
        deadline = asyncio.get_running_loop().time() + _GONE_LIMIT
        while not enough(found := await self._settled()):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                names = ", ".join(f"{key.plural} {key.namespace}/{key.name}" for key in _ending(found)[:5])
                raise HarnessTrouble(f"edge {self.name}: the cluster does not {what} within {_GONE_LIMIT:g} s: {names}")
            await self._bell.wait(min(left, 1.0))  # a change between list and wait is seen a second later at worst
        return found

    async def _watch(self, collection: Collection) -> None:
        """Ring for each change of EMCO's objects of one kind."""
        while True:
            try:
                answer = await self._client.ask("GET", collection.path, query=f"{SELECTOR}&limit=1")
                self._ring()
                async for _ in self._client.watch(
                    collection.path, query=SELECTOR, since=answer["metadata"]["resourceVersion"]
                ):
                    self._ring()
            except HarnessTrouble:  # whoever needs an answer asks the same server, and hears of it
                await asyncio.sleep(_AGAIN)  # until it is back; a watch is no event's end

    def _ring(self) -> None:
        self._changed.set()
        self._bell.ring()

    async def _follow(self, relay: RelayControl) -> None:
        """Begin to watch a kind when EMCO first writes one of it."""
        while True:
            await relay.moved(self._read_to, limit=_LONG)
            self._read_history()

    async def _care(self) -> None:
        """Let the stand-ins act whenever something has changed."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            async with self._lock:
                try:
                    await self._settled()
                except HarnessTrouble as trouble:
                    self._trouble = str(trouble)  # for who asks next

    # -- writing -----------------------------------------------------------------------------------------------------

    async def _place(self, thing: Json) -> Key:
        """Where an object belongs. Raises HarnessTrouble when the cluster does not know its kind."""
        version, kind, metadata = thing["apiVersion"], thing["kind"], thing["metadata"]
        for entry in await self._client.resources(version):
            if entry["kind"] == kind:
                collection = Collection(version, entry["name"])
                self._know(collection)
                return Key(collection.group, collection.plural, metadata.get("namespace", ""), metadata["name"])
        raise HarnessTrouble(f"edge {self.name}: it does not know {kind} in {version}, of which the snapshot has one")

    async def _delete(self, key: Key, thing: Json) -> None:
        path = Collection(thing["apiVersion"], key.plural).object_path(key.namespace, key.name)
        await self._client.ask("DELETE", path, _AT_ONCE, accept=(_MISSING, _CONFLICT))

    async def _put(self, key: Key, thing: Json, have: Json | None) -> None:
        """Create the object, or change what is there into it; what cannot be changed is made anew."""
        collection, wanted = Collection(thing["apiVersion"], key.plural), intent(thing)
        path = collection.object_path(key.namespace, key.name)
        if have is not None:
            if intent(have) == wanted:
                return
            version = {"resourceVersion": have["metadata"]["resourceVersion"]}
            try:
                await self._client.ask("PUT", path, {**wanted, "metadata": {**wanted["metadata"], **version}})
            except Refused as refused:
                if refused.status != _INVALID:
                    raise
                await self._delete(key, have)
                await self._at_rest(lambda found: key not in dict(found), "remove what was deleted")
            else:
                return
        await self._client.ask("POST", collection.object_path(key.namespace), wanted)


def _ending(found: Found) -> list[Key]:
    return [key for key, thing in found if "deletionTimestamp" in thing["metadata"]]
