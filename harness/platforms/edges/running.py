"""Clusters that were there before the run: what the harness may touch on them, and what it takes back."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from harness.faults.journal import Journal, UndoFails
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edge_emulator import LoggedRequest
from harness.platforms.edge_emulator.kinds import CRD_GROUP, CRD_PLURAL, bundle_state_definition
from harness.platforms.edge_emulator.monitor import LABEL
from harness.platforms.edge_emulator.storage import Key
from harness.platforms.edges.access import read_kubeconfig
from harness.platforms.edges.api_edge import ApiEdge, Json, Ways
from harness.platforms.edges.authority import Authority
from harness.platforms.edges.client import ApiClient
from harness.platforms.edges.controllers import Controllers
from harness.platforms.edges.objects import Collection

ALLOWED = "emco-chaos/allowed"
"""Label by which a user opens a namespace to the harness; its value is `true`."""

UNDO = "cluster"
_NEVER = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_DEFINITION = f"{Collection(f'{CRD_GROUP}/v1', CRD_PLURAL).path}/{bundle_state_definition()['metadata']['name']}"


class Rules:
    """The guard of a running cluster.

    allowed: namespaces that were open to the harness when the run began
    """

    def __init__(self, name: str, allowed: frozenset[str]) -> None:
        self._name = name
        self._allowed = allowed - _NEVER

    def check(self, found: Iterable[tuple[Key, Json]]) -> None:
        """Raises HarnessTrouble for an object of EMCO's in a namespace that is neither open nor EMCO's own."""
        things = list(found)
        made = {key.name for key, _ in things if (key.group, key.plural) == ("", "namespaces")}
        for key, _ in things:
            if key.namespace and (key.namespace in _NEVER or key.namespace not in self._allowed | made):
                raise HarnessTrouble(
                    f"edge {self._name}: EMCO applied {key.plural} {key.namespace}/{key.name}, but the namespace does "
                    f"not carry the label {ALLOWED}=true; the harness leaves it alone. Remove the object and open the "
                    "namespace, or let the workload deploy elsewhere"
                )


async def open_running(name: str, file: Path, context: str, authority: Authority, journal: Journal) -> ApiEdge:
    """The edge on a running cluster. Raises UsageError when the cluster is not as the harness needs it."""
    ways = Ways(read_kubeconfig(file, context), read_kubeconfig(file, context), authority)
    client = ApiClient(name, ways.harness)
    edge: ApiEdge | None = None
    try:
        allowed = await _allowed(name, client)
        there = (await client.ask("GET", _DEFINITION, accept=(404,))).get("kind") == "CustomResourceDefinition"
        guard = _Running(Rules(name, allowed), client, made=not there)
        controllers = Controllers(client, own=False, reports=not there, now=time.time)
        edge = ApiEdge(name, ways, client=client, controllers=controllers, guard=guard, log=lambda: _no_log(name))
        if found := await edge.leftovers():
            key = found[0][0]
            raise UsageError(
                f"edge {name}: {len(found)} objects on it carry the label {LABEL}, as {key.plural} "
                f"{key.namespace}/{key.name}: another EMCO is at work there, or a killed run left them "
                "(`emco-chaos rollback`)"
            )
        definition = "" if there else "made"
        undo = journal.record(UNDO, name=name, file=str(file), context=context, definition=definition)
        guard.edge, guard.taken_back = edge, partial(journal.done, undo)
        await edge.install()
    except HarnessTrouble as trouble:
        await _let_go(edge, client)
        raise UsageError(f"{file}: the cluster cannot be used: {trouble}") from trouble
    except BaseException:
        await _let_go(edge, client)
        raise
    return edge


async def _let_go(edge: ApiEdge | None, client: ApiClient) -> None:
    await (edge.stop() if edge is not None else client.close())


async def check_open(api: ApiClient, namespace: str) -> None:
    """Raises HarnessTrouble for a namespace that is not open to the harness, or is there for the cluster itself."""
    found = await api.ask("GET", f"/api/v1/namespaces/{namespace}", accept=(404,))
    labels = (found.get("metadata") or {}).get("labels") or {}
    if namespace in _NEVER or found.get("kind") != "Namespace" or labels.get(ALLOWED) != "true":
        raise HarnessTrouble(
            f"the namespace {namespace} of {api.name} is not open to the harness: nothing is touched in it. Open it by "
            f"kubectl label namespace {namespace} {ALLOWED}=true"
        )


async def _allowed(name: str, client: ApiClient) -> frozenset[str]:
    answer = await client.ask("GET", "/api/v1/namespaces", query=f"labelSelector={ALLOWED.replace('/', '%2F')}%3Dtrue")
    found = frozenset(item["metadata"]["name"] for item in answer.get("items") or ())
    if bad := sorted(found & _NEVER):
        raise UsageError(
            f"edge {name}: the namespace {bad[0]} carries the label {ALLOWED}; the harness never touches it"
        )
    if not found:
        raise UsageError(
            f"edge {name}: no namespace is open to the harness. Open those that the workload deploys to: "
            f"kubectl label namespace NAME {ALLOWED}=true"
        )
    return found


class _Running:
    """The guard with what has to be taken back: EMCO's objects, and the definition if it was made for the run."""

    def __init__(self, rules: Rules, client: ApiClient, *, made: bool) -> None:
        self.check = rules.check
        self.edge: ApiEdge | None = None  # once anything may have to be taken back
        self.taken_back: Callable[[], None] = lambda: None
        self._client = client
        self._made = made

    async def leave(self) -> None:
        """Remove what EMCO applied. What cannot be removed stays in the undo journal."""
        if self.edge is None:
            return
        await self.edge.clear()
        if self._made:
            await self._client.ask("DELETE", _DEFINITION, accept=(404,))
        self.taken_back()


def _no_log(name: str) -> tuple[LoggedRequest, ...]:
    raise HarnessTrouble(f"edge {name}: a running cluster shows nobody what it was asked; use the emulator for that")


def _clean_up(arguments: Mapping[str, str]) -> str:
    """Remove what a killed run left on a cluster; a sentence."""
    return asyncio.run(
        _left_by_killed(arguments["name"], Path(arguments["file"]), arguments["context"], arguments["definition"])
    )


async def _left_by_killed(name: str, file: Path, context: str, definition: str) -> str:
    try:
        ways = Ways(read_kubeconfig(file, context), read_kubeconfig(file, context), Authority.passing())
        client = ApiClient(name, ways.harness)
        try:
            guard = _Running(Rules(name, await _allowed(name, client)), client, made=bool(definition))
            edge = ApiEdge(
                name,
                ways,
                client=client,
                controllers=Controllers(client, own=False, reports=False, now=time.time),
                guard=guard,
                log=lambda: _no_log(name),
            )
            guard.edge = edge
            count = len(await edge.leftovers())
        except BaseException:
            await client.close()
            raise
        await edge.stop()
    except (UsageError, HarnessTrouble) as error:
        raise UndoFails(f"edge {name} ({file}): could not be cleaned: {error}") from error
    return f"edge {name}: {count} objects of EMCO's removed"


CLUSTER_UNDOERS: Mapping[str, Callable[[Mapping[str, str]], str]] = {UNDO: _clean_up}
"""For journals that hold clusters: what plays their undo."""
