"""Partitions by NetworkPolicy, where the cluster's network does what policies say: many do not, and say nothing.

So it is tried out first, with two pods of the harness's own and a policy of the very form that partitions: a connection
that is there, and new ones, have to break within a limit, those to another port to go on, and all to come back with the
policy's end. Where they do not, nothing is partitioned, and a sentence says what was seen.
"""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.client import ApiClient, gone
from harness.platforms.kubernetes import policy_pod
from harness.platforms.kubernetes.install import render
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE, HARNESS_NAMESPACE, Wiring

Json = dict[str, Any]
NAME = "emco-chaos-partition"
UNENFORCED = "NetworkPolicies are not enforced"
"""How the sentence begins that says so."""

DENIED, OTHER = 24000, 24001  # ports of the pod that is asked: policies name those, not the Service's
_VICTIM = "rsync"  # who reaches edges
_READY_LIMIT, _BREAK_LIMIT, _GONE_LIMIT, _PAUSE = 60.0, 15.0, 60.0, 0.3
_PROBE = (("pods", "policy-client"), ("pods", "policy-server"), ("services", "policy-server"))
Seen = tuple[bool, bool, bool]
"""Of one round: whether the connection that was there, a new one, and one to another port carried something."""


class Undo(Protocol):
    """Where it is written down that policies are to be removed."""

    def denied(self) -> int:
        """Before one is made; the number for `done`."""

    def done(self, number: int) -> None:
        """None is there any more."""


def policies(namespace: str) -> str:
    """Path of a namespace's policies."""
    return f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"


def denying(name: str, namespace: str, app: str, ports: Sequence[int]) -> Json:
    """A policy that lets pods with this label reach everything but these ports, wherever they are.

    Policies only allow, and what one of them allows is allowed: so all ports that are denied have to be in one.
    """
    listed: list[Json] = [{"protocol": "UDP", "port": 1, "endPort": 65535}]
    first = 1
    for port in (*sorted(set(ports)), 65536):
        if first < port:
            listed.append({"protocol": "TCP", "port": first, "endPort": port - 1})
        first = port + 1
    spec = {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Egress"], "egress": [{"ports": listed}]}
    metadata = {"name": name, "namespace": namespace, "labels": {"emco-chaos/part": "partition"}}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


class Policies:
    """Those of one cluster. log: what a pod has printed;  image: a stock Python"""

    def __init__(
        self,
        api: ApiClient,
        wiring: Wiring,
        undo: Undo,
        log: Callable[[str], Awaitable[bytes]],
        image: str,
        *,
        limit: float = _BREAK_LIMIT,
    ) -> None:
        self._api = api
        self._wiring = wiring
        self._undo = undo
        self._log = log
        self._image = image
        self._limit = limit
        self._unenforced: str | None = None
        self._denied: dict[str, int] = {}
        self._number: int | None = None

    @property
    def denied(self) -> tuple[str, ...]:
        """The edges that rsync is kept from."""
        return tuple(self._denied)

    async def unenforced(self) -> str:
        """Why policies cannot partition anything here, tried out once; empty where they can. Raises HarnessTrouble."""
        if self._unenforced is None:
            self._unenforced = await self._tried_out()
        return self._unenforced

    async def deny(self, edge: str) -> str:
        """Keep rsync from an edge; by what it was proven that this works. Raises HarnessTrouble where it does not."""
        if edge in self._denied:
            raise HarnessTrouble(f"{edge} is denied already")
        if edge not in self._wiring.edges:
            raise HarnessTrouble(f"there is no edge {edge!r}; there are {', '.join(self._wiring.edges) or 'none'}")
        if why := await self.unenforced():
            raise HarnessTrouble(why)
        await self._no_others()
        if self._number is None:
            self._number = self._undo.denied()
        self._denied[edge] = self._wiring.edge_port(edge)
        await self._put(denying(NAME, EMCO_NAMESPACE, _VICTIM, tuple(self._denied.values())))
        return f"{_VICTIM} may not reach {edge} any more, by a policy of a form that was seen to break connections"

    async def allow(self, edge: str) -> None:
        """Let rsync reach it again."""
        if edge not in self._denied:
            raise HarnessTrouble(f"{edge} is not denied")
        del self._denied[edge]
        if self._denied:
            await self._put(denying(NAME, EMCO_NAMESPACE, _VICTIM, tuple(self._denied.values())))
            return
        await self._api.ask("DELETE", f"{policies(EMCO_NAMESPACE)}/{NAME}", accept=(404,))
        self._over()

    def _over(self) -> None:
        if self._number is not None:
            self._undo.done(self._number)
            self._number = None

    async def _put(self, policy: Json) -> None:
        path = policies(policy["metadata"]["namespace"])
        answer = await self._api.ask("POST", path, policy, accept=(409,))
        if answer.get("kind") == "Status":
            name = policy["metadata"]["name"]
            now = await self._api.ask("GET", f"{path}/{name}")
            await self._api.ask("PUT", f"{path}/{name}", {**now, "spec": policy["spec"]})

    async def _no_others(self) -> None:
        """Raises HarnessTrouble where somebody else has policies: what ours denies one of them may allow."""
        listed = (await self._api.ask("GET", policies(EMCO_NAMESPACE))).get("items") or ()
        others = sorted(one["metadata"]["name"] for one in listed if one["metadata"]["name"] != NAME)
        if others:
            raise HarnessTrouble(
                f"the namespace {EMCO_NAMESPACE} has NetworkPolicies of its own ({', '.join(others)}): what ours "
                "denies one of them may allow, so that no partition could be proven"
            )

    # -- trying it out ----------------------------------------------------------------------------------------------

    async def _tried_out(self) -> str:
        number = self._undo.denied()
        try:
            return await self._try()
        finally:
            await remove_probe(self._api)
            self._undo.done(number)

    async def _try(self) -> str:
        await remove_probe(self._api)  # of a run that was killed
        code = inspect.getsource(policy_pod)
        server = [str(DENIED), str(OTHER)]
        values = {"image": self._image, "code": code, "server": server, "denied": DENIED, "other": OTHER}
        for one in render("policy-probe", values):
            path = f"/api/v1/namespaces/{HARNESS_NAMESPACE}/{one['kind'].lower()}s"
            await self._api.ask("POST", path, one)
        if (seen := await self._until((True, True, True), _READY_LIMIT)) != (True, True, True):
            raise HarnessTrouble(
                f"whether NetworkPolicies are enforced cannot be tried out: {_said(seen)} within {_READY_LIMIT:g} s, "
                "before any policy was there"
            )
        await self._put(denying("policy-probe", HARNESS_NAMESPACE, "policy-client", (DENIED,)))
        seen = await self._until((False, False, True), self._limit)
        if seen != (False, False, True):
            return f"{UNENFORCED} here: {self._limit:g} s after a policy denied a connection, {_said(seen)}"
        await self._api.ask("DELETE", f"{policies(HARNESS_NAMESPACE)}/policy-probe")
        seen = await self._until((True, True, True), self._limit)
        if seen != (True, True, True):
            return f"{UNENFORCED} here as they should be: {self._limit:g} s after a policy's end, {_said(seen)}"
        return ""

    async def _until(self, wanted: Seen, limit: float) -> Seen | None:
        """The last round that was seen: the wanted one, or whatever there was at the limit."""
        begun = len(await self._rounds())
        deadline = asyncio.get_running_loop().time() + limit
        while True:
            rounds = await self._rounds()
            if len(rounds) > begun and rounds[-1] == wanted:
                return wanted
            if asyncio.get_running_loop().time() > deadline:
                return rounds[-1] if rounds else None
            await asyncio.sleep(_PAUSE)  # a pod's log, which is asked for; bounded by the limit

    async def _rounds(self) -> list[Seen]:
        text = await self._log(f"/api/v1/namespaces/{HARNESS_NAMESPACE}/pods/policy-client")
        rounds: list[Seen] = []
        for line in text.decode("utf-8", "backslashreplace").splitlines():
            try:
                read = json.loads(line)
                rounds.append((bool(read["held"]), bool(read["new"]), bool(read["other"])))
            except (ValueError, KeyError, TypeError):  # half a line, or what Python says at its start
                continue
        return rounds


def _said(seen: Seen | None) -> str:
    if seen is None:
        return "the pod that tries has said nothing"
    held, new, other = seen
    words = (
        f"one that was there {'went on' if held else 'was broken'}",
        f"new ones {'were made' if new else 'were not made'}",
        f"those to another port {'went on' if other else 'were broken, too'}",
    )
    return ", ".join(words)


async def remove_probe(api: ApiClient) -> None:
    """Remove what tries policies out, and the policy that is tried."""
    await api.ask("DELETE", f"{policies(HARNESS_NAMESPACE)}/policy-probe", accept=(404,))
    for plural, name in _PROBE:
        path = f"/api/v1/namespaces/{HARNESS_NAMESPACE}/{plural}/{name}"
        await api.ask("DELETE", path, {"gracePeriodSeconds": 0}, accept=(404,))
    for plural, name in _PROBE:
        await gone(api, f"/api/v1/namespaces/{HARNESS_NAMESPACE}/{plural}/{name}", limit=_GONE_LIMIT)


async def remove_policies(api: ApiClient) -> None:
    """Remove every policy that the harness may have made, for `emco-chaos rollback`."""
    await api.ask("DELETE", f"{policies(EMCO_NAMESPACE)}/{NAME}", accept=(404,))
    await remove_probe(api)
