"""Partitions by NetworkPolicy: never without having seen one break a connection, and nothing of it stays."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from harness.faults.journal import Journal
from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.client import ApiClient
from harness.platforms.kubernetes import policy_pod
from harness.platforms.kubernetes.policies import NAME, UNENFORCED, Policies, denying, remove_policies
from harness.platforms.kubernetes.undo import DISRUPTION_UNDOERS, DisruptionUndo
from harness.platforms.kubernetes.wiring import Wiring

WIRING = Wiring(("clm", "rsync"), ("p1+c1", "p1+c2"))
Json = dict[str, Any]
ALL, NONE_BUT_OTHER = (True, True, True), (False, False, True)


class Cluster:
    """The API as far as it is asked, and the pod that tries: what it prints follows from the policies there are."""

    def __init__(
        self, denied: tuple[bool, bool, bool] = NONE_BUT_OTHER, *, heals: bool = True, begins: bool = True
    ) -> None:
        self.objects: dict[str, Json] = {}
        self.undone_first: list[bool] = []
        self.undos: list[int] = []
        self._begins = begins
        self._denied = denied
        self._heals = heals
        self._was_denied = False
        self._lines: list[str] = []

    async def ask(
        self, method: str, path: str, body: Any = None, *, query: str = "", accept: tuple[int, ...] = ()
    ) -> Json:
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return {"kind": "Status"}
            self.undone_first.append(bool(self.undos))
        if method in ("POST", "PUT"):
            self.objects[path] = body
        if method == "DELETE":
            self.objects.pop(path, None)
        if path.endswith("s") and method == "GET":
            return {"items": [thing for name, thing in self.objects.items() if name.startswith(path)]}
        return self.objects.get(path, {"kind": "Status"})

    def policies(self, namespace: str) -> list[Json]:
        return [one for name, one in self.objects.items() if f"/{namespace}/networkpolicies/" in name]

    async def log(self, pod: str) -> bytes:
        """One more round each time it is asked for."""
        if not any(name.endswith("/pods/policy-client") for name in self.objects) or not self._begins:
            return b""
        denied = bool(self.policies("emco-chaos"))
        seen = self._denied if denied or (self._was_denied and not self._heals) else ALL
        self._was_denied = self._was_denied or denied
        self._lines.append(json.dumps(dict(zip(("held", "new", "other"), seen, strict=True))))
        return ("\n".join(self._lines) + '\n{"held": tr').encode()

    def denied(self) -> int:
        self.undos.append(len(self.undos) + 1)
        return self.undos[-1]

    def done(self, number: int) -> None:
        self.undos.remove(number)

    def made(self, *, limit: float = 0.05) -> Policies:
        return Policies(cast("ApiClient", self), WIRING, self, self.log, "python:3", limit=limit)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.platforms.kubernetes.policies._PAUSE", 0.001)
    monkeypatch.setattr("harness.platforms.kubernetes.policies._READY_LIMIT", 0.05)


def egress(policy: Json) -> list[tuple[str, int, int]]:
    (rule,) = policy["spec"]["egress"]
    assert "to" not in rule
    return [(one["protocol"], one["port"], one["endPort"]) for one in rule["ports"]]


def allowed(policy: Json, port: int) -> bool:
    return any(first <= port <= last for protocol, first, last in egress(policy) if protocol == "TCP")


@pytest.mark.parametrize("ports", [(24000,), (24000, 24001), (1,), (65535,), (24000, 24002, 24000)])
def test_a_policy_denies_these_ports_and_no_others(ports: tuple[int, ...]) -> None:
    policy = denying("n", "emco", "rsync", ports)
    assert [port for port in range(1, 65536) if not allowed(policy, port)] == sorted(set(ports))
    assert ("UDP", 1, 65535) in egress(policy)  # names are asked for by UDP
    assert policy["spec"]["podSelector"] == {"matchLabels": {"app": "rsync"}}
    assert policy["spec"]["policyTypes"] == ["Egress"]


async def test_where_the_network_does_what_policies_say_an_edge_is_denied_and_allowed_again() -> None:
    cluster = Cluster()
    policies = cluster.made()
    assert await policies.unenforced() == ""
    assert (cluster.objects, cluster.undos) == ({}, [])
    assert all(cluster.undone_first)

    assert "a form that was seen to break connections" in await policies.deny("p1+c2")
    (policy,) = cluster.policies("emco")
    assert (policy["metadata"]["name"], allowed(policy, 24001), allowed(policy, 24000)) == (NAME, False, True)
    assert len(cluster.undos) == 1
    await policies.deny("p1+c1")
    (policy,) = cluster.policies("emco")
    assert (allowed(policy, 24001), allowed(policy, 24000)) == (False, False)
    assert policies.denied == ("p1+c2", "p1+c1")
    await policies.allow("p1+c2")
    (policy,) = cluster.policies("emco")
    assert (allowed(policy, 24001), allowed(policy, 24000)) == (True, False)
    await policies.allow("p1+c1")
    assert (cluster.objects, cluster.undos) == ({}, [])
    assert not policies.denied


@pytest.mark.parametrize(
    "seen, said",
    [
        ((True, True, True), "one that was there went on, new ones were made, those to another port went on"),
        ((True, False, True), "one that was there went on, new ones were not made"),
        ((False, True, True), "one that was there was broken, new ones were made"),
        ((False, False, False), "those to another port were broken, too"),
    ],
)
async def test_where_it_does_not_nothing_is_denied_and_it_is_said_what_was_seen(
    seen: tuple[bool, bool, bool], said: str
) -> None:
    cluster = Cluster(seen)
    policies = cluster.made()
    with pytest.raises(HarnessTrouble) as refused:
        await policies.deny("p1+c1")
    assert str(refused.value).startswith(f"{UNENFORCED} here: 0.05 s after a policy denied a connection, ")
    assert said in str(refused.value)
    assert (cluster.objects, cluster.undos, policies.denied) == ({}, [], ())


async def test_it_is_tried_out_once() -> None:
    cluster = Cluster(ALL)
    policies = cluster.made()
    first = await policies.unenforced()
    made = len(cluster.undone_first)
    assert await policies.unenforced() == first != ""
    assert len(cluster.undone_first) == made


async def test_a_network_that_does_not_heal_is_not_used() -> None:
    policies = Cluster(heals=False).made()
    assert "after a policy's end, one that was there was broken" in await policies.unenforced()


async def test_pods_that_do_not_come_up_are_trouble_and_no_verdict_of_the_network() -> None:
    cluster = Cluster(begins=False)
    with pytest.raises(HarnessTrouble, match="cannot be tried out: the pod that tries has said nothing"):
        await cluster.made().unenforced()
    assert (cluster.objects, cluster.undos) == ({}, [])


async def test_policies_of_somebody_else_make_it_unprovable() -> None:
    cluster = Cluster()
    theirs = denying("theirs", "emco", "rsync", (1,))
    await cluster.ask("POST", "/apis/networking.k8s.io/v1/namespaces/emco/networkpolicies", theirs)
    cluster.undos = []
    policies = cluster.made()
    with pytest.raises(HarnessTrouble, match=r"has NetworkPolicies of its own \(theirs\)"):
        await policies.deny("p1+c1")
    assert (list(cluster.policies("emco")), cluster.undos) == ([theirs], [])


@pytest.mark.parametrize("edge, what", [("p1+c1", "deny"), ("p1+c9", "deny"), ("p1+c2", "allow")])
async def test_what_hits_nothing_is_refused(edge: str, what: str) -> None:
    policies = Cluster().made()
    await policies.deny("p1+c1")
    with pytest.raises(HarnessTrouble, match=r"is denied already|there is no edge 'p1\+c9'|is not denied"):
        await cast("Callable[[str], Awaitable[object]]", getattr(policies, what))(edge)


async def test_rollback_removes_whatever_may_be_there() -> None:
    cluster = Cluster()
    await cluster.made().deny("p1+c1")
    for name in ("pods/policy-client", "pods/policy-server", "services/policy-server"):
        cluster.objects[f"/api/v1/namespaces/emco-chaos/{name}"] = {"kind": "x"}
    await remove_policies(cast("ApiClient", cluster))
    assert cluster.objects == {}


def test_a_policy_is_in_the_undo_journal_and_gone_with_its_cluster(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "1-1.undo", undoers=DISRUPTION_UNDOERS)
    DisruptionUndo(journal, "", (tmp_path / "kubeconfig", "hub")).denied()
    journal.close()
    (line,) = [json.loads(text) for text in (tmp_path / "1-1.undo").read_text().splitlines()]
    assert "network-policy" in json.dumps(line)
    arguments = {"file": str(tmp_path / "kubeconfig"), "context": "hub"}
    assert DISRUPTION_UNDOERS["network-policy"](arguments) == "NetworkPolicies (hub) are gone with their cluster"


async def rounds(reader: asyncio.StreamReader, wanted: Json) -> Json:
    while True:
        seen: Json = json.loads(await asyncio.wait_for(reader.readline(), 20))
        if seen == wanted:
            return seen


async def test_the_pod_that_tries_sees_a_way_break_and_come_back() -> None:
    """The program itself, on loopback: what is between its two ends is here a listener of the test's own."""
    passed: list[asyncio.StreamWriter] = []
    open_ = True

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed.append(writer)
        while (data := await reader.read(10)) and open_:
            writer.write(data)
        writer.close()

    denied = await asyncio.start_server(echo, "127.0.0.1", 0)
    other = await asyncio.start_server(_forever, "127.0.0.1", 0)
    ports = [str(server.sockets[0].getsockname()[1]) for server in (denied, other)]
    program = ("-u", policy_pod.__file__, "ask", "127.0.0.1", *ports)
    process = await asyncio.create_subprocess_exec(sys.executable, *program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        await rounds(process.stdout, {"held": True, "new": True, "other": True})
        open_ = False
        await rounds(process.stdout, {"held": False, "new": False, "other": True})
        open_ = True
        await rounds(process.stdout, {"held": True, "new": True, "other": True})
    finally:
        process.kill()
        await process.wait()
        denied.close()
        other.close()


async def _forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(10):
        writer.write(data)
    writer.close()
