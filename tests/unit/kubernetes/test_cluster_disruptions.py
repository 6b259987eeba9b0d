"""What is done to stores and pods of a cluster: not to those of somebody else, and never without its undo on disk."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.chaos.guarding import own_namespaces
from harness.faults.journal import Journal, UndoFails, left, rollback
from harness.faults.victim import HarnessTrouble
from harness.platforms.edge_emulator import EdgeEmulator
from harness.platforms.edges.access import Access
from harness.platforms.edges.client import ApiClient
from harness.platforms.kind.node import Exit
from harness.platforms.kubernetes.disruptions import KubernetesDisruptions
from harness.platforms.kubernetes.install import Release
from harness.platforms.kubernetes.pods import Pod
from harness.platforms.kubernetes.undo import DISRUPTION_UNDOERS, PAUSE_UNDO, SCALE_UNDO, DisruptionUndo
from harness.platforms.kubernetes.wiring import Wiring
from tests.unit.kubernetes.test_splice import INSTALLED, make

STATEFUL = "/apis/apps/v1/namespaces/emco/statefulsets"
Undone = list[tuple[str, list[str]]]


class Node:
    """A node that notes what it is asked to do, and which undos were on disk by then."""

    def __init__(self, journal: Path) -> None:
        self.asked: Undone = []
        self.fails = ""
        self._journal = journal

    def _note(self, what: str) -> None:
        self.asked.append((what, sorted(one.kind for one in left(self._journal))))
        if what == self.fails:
            raise HarnessTrouble(f"{what} went wrong")

    async def pause(self, _: str) -> None:
        self._note("pause")

    async def resume(self, _: str) -> None:
        self._note("resume")

    async def kill(self, container: str) -> Exit:
        self._note("kill")
        return Exit(container, 7, 137)

    async def remove(self, _: str) -> None:
        self._note("remove")


class Pods:
    def of(self, app: str) -> tuple[Pod, ...]:
        return (Pod(f"{app}-0", "/x", "u", app, "10.0.0.1", "abc", "", 0),)

    async def running(self, app: str, **_: Any) -> Pod:
        return self.of(app)[0]

    async def delete(self, _: Pod) -> dict[str, int]:
        return {"abc": 137}


class Bench:
    """Disruptions over a node and an API server of the test's own."""

    def __init__(self, folder: Path, *, is_foreign: bool) -> None:
        self.path, self.kubeconfig = folder / "1-1.undo", folder / "kubeconfig"
        self.node = Node(self.path)
        self._is_foreign = is_foreign

    def run(self, work: Callable[[KubernetesDisruptions, ApiClient], Awaitable[None]]) -> None:
        async def scenario() -> None:
            emulator = EdgeEmulator("hub")
            await emulator.start("127.0.0.1", 0)
            self.kubeconfig.write_text(emulator.kubeconfig("http://{}:{}".format(*emulator.address)))
            api = ApiClient("hub", Access(emulator.address, None))
            try:
                await make(api, INSTALLED[0])
                labels, containers = {"app": "mongo"}, [{"name": "mongo", "image": "i"}]
                template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
                selector = {"matchLabels": labels}
                spec = {"replicas": 1, "serviceName": "m", "selector": selector, "template": template}
                stateful = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "mongo"}, "spec": spec}
                await api.ask("POST", STATEFUL, stateful)
                with contextlib.closing(Journal(self.path, undoers=DISRUPTION_UNDOERS)) as journal:
                    await work(self._disruptions(api, journal), api)
            finally:
                await api.close()
                await emulator.stop()

        asyncio.run(scenario())

    def _disruptions(self, api: ApiClient, journal: Journal) -> KubernetesDisruptions:
        async def count_unaccepted(_: object, *, counted: bool) -> None:
            assert not counted

        relay = SimpleNamespace(links=lambda: (), count_unaccepted=count_unaccepted)
        lab = SimpleNamespace(
            relay=relay, services=("clm",), running={"clm"}, at=lambda _: "", edges={}, overlapping=()
        )
        undo = DisruptionUndo(journal, "hub-control-plane", (self.kubeconfig, "hub"))
        release = Release(Wiring(("clm",), ()), "i", "p", "faithful", is_foreign=self._is_foreign)
        streams = SimpleNamespace(log=None)  # nobody tries out policies here
        parts = SimpleNamespace(
            node=self.node,
            pods=Pods(),
            undo=undo,
            machines={},
            wiring=release.wiring,
            streams=streams,
            kubeconfig=(self.kubeconfig, "hub"),
        )
        return KubernetesDisruptions(cast(Any, lab), cast(Any, parts), api, release, "t")


async def replicas(api: ApiClient) -> int:
    return int((await api.ask("GET", f"{STATEFUL}/mongo"))["spec"]["replicas"])


async def test_a_store_as_emcos_chart_makes_it_is_not_the_harnesss_to_kill_or_to_wipe(tmp_path: Path) -> None:
    """Its names are the chart's, and so is its volume."""
    bench = Bench(tmp_path, is_foreign=False)
    with contextlib.closing(Journal(bench.path, undoers=DISRUPTION_UNDOERS)) as journal:
        made = bench._disruptions(cast(Any, SimpleNamespace()), journal)
        made._release = replace(made._release, stores=cast(Any, SimpleNamespace(workloads=("m", "e"))))
        for work in (made.crash("mongo"), made.pause("etcd"), made.wipe(), made.retain_volumes()):
            with pytest.raises(HarnessTrouble, match="a store that EMCO's own chart has made"):
                await work
    assert bench.node.asked == []


@pytest.mark.parametrize("store", ["mongo", "etcd"])
@pytest.mark.parametrize("what", ["crash", "pause", "start", "selector"])
def test_a_store_of_somebody_else_is_neither_killed_nor_frozen_nor_given_away(
    tmp_path: Path, store: str, what: str
) -> None:
    bench = Bench(tmp_path, is_foreign=True)

    async def work(disruptions: KubernetesDisruptions, api: ApiClient) -> None:
        async def do() -> None:
            await getattr(disruptions, what)(store)

        with pytest.raises(HarnessTrouble, match=f"{store} is a store of the installed EMCO, somebody else's"):
            await do()
        assert await disruptions.make_whole() == ()
        assert await replicas(api) == 1

    bench.run(work)
    assert bench.node.asked == []


def test_what_runs_is_not_started_once_more(tmp_path: Path) -> None:
    async def work(disruptions: KubernetesDisruptions, _: ApiClient) -> None:
        with pytest.raises(HarnessTrouble, match="clm was to be started, but it runs already"):
            await disruptions.start("clm")

    Bench(tmp_path, is_foreign=False).run(work)


@pytest.mark.parametrize("is_foreign", [False, True])
def test_experiments_act_in_the_namespace_of_an_emco_also_where_its_stores_are_somebody_elses(
    tmp_path: Path, is_foreign: bool
) -> None:
    async def work(disruptions: KubernetesDisruptions, _: ApiClient) -> None:
        campaign = cast(Any, SimpleNamespace(disruptions=disruptions))
        stage = cast(Any, SimpleNamespace(act=lambda what: what(campaign)))
        assert await cast(Any, own_namespaces(stage)) == ("emco",)

    Bench(tmp_path, is_foreign=is_foreign).run(work)


def test_a_service_of_somebody_elses_emco_can_be_paused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, is_foreign=True)

    async def work(disruptions: KubernetesDisruptions, _: ApiClient) -> None:
        await disruptions.pause("clm")

    bench.run(work)
    assert bench.node.asked == [("pause", [PAUSE_UNDO])]


def test_a_store_is_frozen_and_stopped_with_the_undo_on_disk_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path, is_foreign=False)

    async def work(disruptions: KubernetesDisruptions, api: ApiClient) -> None:
        death = await disruptions.crash("mongo")
        assert (death.signal, await replicas(api)) == (9, 0)
        assert await disruptions.down() == ("mongo",)
        assert [one.kind for one in left(bench.path)] == [SCALE_UNDO]

    bench.run(work)
    assert bench.node.asked == [("pause", [PAUSE_UNDO]), ("kill", sorted((PAUSE_UNDO, SCALE_UNDO)))]


def test_what_is_resumed_is_owed_no_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path, is_foreign=False)

    async def work(disruptions: KubernetesDisruptions, _: ApiClient) -> None:
        await disruptions.pause("mongo")
        with pytest.raises(HarnessTrouble, match="mongo is paused already"):
            await disruptions.pause("mongo")
        await disruptions.resume("mongo")
        assert left(bench.path) == ()

    bench.run(work)


def test_a_store_that_is_frozen_when_something_goes_wrong_is_made_whole_with_the_rest(tmp_path: Path) -> None:
    """As with a StatefulSet of another name: it was frozen, and nobody knew."""
    bench = Bench(tmp_path, is_foreign=False)

    async def work(disruptions: KubernetesDisruptions, api: ApiClient) -> None:
        await api.ask("DELETE", f"{STATEFUL}/mongo")
        with pytest.raises(HarnessTrouble, match="404"):
            await disruptions.crash("mongo")
        assert await disruptions.make_whole("clm") == ()
        await disruptions.resume("mongo")

    bench.run(work)
    assert [what for what, _ in bench.node.asked] == ["pause", "resume"]


def test_rollback_lets_a_store_have_its_pod_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, is_foreign=False)

    async def work(disruptions: KubernetesDisruptions, api: ApiClient) -> None:
        await disruptions.crash("mongo")
        told = await asyncio.to_thread(rollback, bench.path, undoers=DISRUPTION_UNDOERS)
        assert told.told == ("mongo (hub) is to run again",)
        assert await replicas(api) == 1

    bench.run(work)


RUNNING, PAUSED = "abc 7 RUNNING", "abc 7 PAUSED"


@pytest.mark.parametrize(
    "listed,resumes,said",
    [
        (PAUSED, True, "container abc on n runs again"),
        (RUNNING, True, "container abc on n is not paused: running"),
        ("", True, "container abc on n is not paused: gone"),
    ],
)
def test_rollback_resumes_what_is_paused_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, resumes: bool, said: str
) -> None:
    assert resumed(tmp_path, monkeypatch, listed, resumes=resumes) == said


def test_what_cannot_be_resumed_now_stays_to_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UndoFails, match="container abc on n could not be resumed: no way"):
        resumed(tmp_path, monkeypatch, PAUSED, resumes=False)


def resumed(folder: Path, monkeypatch: pytest.MonkeyPatch, listed: str, *, resumes: bool) -> str:
    """What the undo says where `docker exec NODE ctr` lists this, and resumes or does not."""
    docker = folder / "docker"
    says = "exit 0" if resumes else "echo no way >&2; exit 1"
    docker.write_text(f'#!/bin/sh\ncase "$*" in *ls) echo "{listed}";; *) {says};; esac\n', encoding="utf-8")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    return DISRUPTION_UNDOERS[PAUSE_UNDO]({"node": "n", "container": "abc"})
