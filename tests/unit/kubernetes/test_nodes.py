"""Clusters whose nodes are out of reach: what proves that a deleted pod's process is dead, and what tells of ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from harness.faults.victim import Death, HarnessTrouble
from harness.platforms.kind.node import Exit, KindNode
from harness.platforms.kubernetes.lab import KubernetesLab
from harness.platforms.kubernetes.nodes import NodeAccess, NoNode
from tests.unit.kubernetes.small_cluster import SmallCluster, exited, open_cluster, running, until

LIMIT = 0.3


class Freezer:
    """A relay that holds services still.

    connections: of a frozen one, and how many of them its node ends
    last_word:   what the API server says of its pod when it is gone, if anything new
    """

    def __init__(self, cluster: SmallCluster, connections: tuple[int, int] = (3, 3)) -> None:
        self.cluster = cluster
        self.connections = connections
        self.last_word: dict[str, Any] = {}
        self.done: list[str] = []

    @property
    def instances(self) -> dict[str, str]:
        return self.cluster.relay.instances

    def freeze(self, source: str) -> None:
        self.done.append(f"{source} frozen, deleted: {self.cluster.api.deleted}")
        pod = self.cluster.pod_at_work(source)
        pod["status"] = self.last_word or pod["status"]

    async def synced(self) -> None:
        self.done.append("in effect")

    async def ended(self, source: str, *, limit: float) -> tuple[int, int]:
        total, gone = self.connections
        await asyncio.sleep(0.1 if gone == total else limit)
        self.done.append(f"{source} ended, deleted: {len(self.cluster.api.deleted)}")
        return total, gone


class Nodeless:
    """A lab in a cluster without nodes within reach, and what it is told of."""

    def __init__(self, cluster: SmallCluster, connections: tuple[int, int]) -> None:
        self.cluster = cluster
        self.freezer = Freezer(cluster, connections)
        self.told: list[Exit] = []
        self.labs: list[KubernetesLab] = []
        self.node = NoNode(cluster.pods, self.freezer, ended=self._ended, limit=LIMIT)

    def _ended(self, one: Exit) -> None:
        self.told.append(one)
        for lab in self.labs:
            lab.ended(one)


@asynccontextmanager
async def nodeless(
    folder: Path, connections: tuple[int, int] = (3, 3)
) -> AsyncIterator[tuple[Nodeless, KubernetesLab]]:
    """With all services started."""
    async with open_cluster(folder) as cluster:
        one = Nodeless(cluster, connections)
        await one.node.begin()
        cluster.node = cast("Any", one.node)
        lab = cluster.lab()
        one.labs.append(lab)
        await lab.start_services()
        await until(lambda: len(cluster.streams.followed) == len(lab.services))
        yield one, lab
        await one.node.close()


async def test_a_crash_deletes_the_pod_of_the_held_service_and_says_how_long_the_old_process_lived(
    tmp_path: Path,
) -> None:
    async with nodeless(tmp_path) as (one, lab):
        pod = one.cluster.pod_at_work("dcm")["metadata"]["name"]
        death = await lab.crash("dcm")
        assert one.freezer.done == ["dcm frozen, deleted: []", "in effect", "dcm ended, deleted: 1"]
        assert (one.cluster.api.deleted, set(lab.running)) == ([pod], {"clm"})
        assert death == Death("dcm", 0, 0, 0, death.unreaped, death.overlap)
        assert 0.1 <= death.overlap < 1
        assert death.was_killed
        assert death.describe() == (
            f"pod {pod} deleted with grace period 0, its connections ended after 0.1 s, until when a replacement may "
            "have run beside it, held at the relay; exit status unknown"
        )


@pytest.mark.parametrize(
    "connections,said",
    [((3, 2), "only 2 of its 3 connections ended within 0.3 s"), ((0, 0), "no connection of it ended within 0.3 s")],
)
async def test_without_the_end_of_all_connections_nothing_is_proven(
    tmp_path: Path, connections: tuple[int, int], said: str
) -> None:
    async with nodeless(tmp_path, connections) as (one, lab):
        address = lab.at("dcm")
        with pytest.raises(HarnessTrouble, match=f"{said}: nothing proves that its process is dead"):
            await lab.crash("dcm")
        assert set(lab.running) == {"clm"}
        await lab.let_in("dcm")
        assert lab.at("dcm") != address
        assert one.cluster.relay.let_in.count(address) == 1


async def test_a_pod_that_stays_there_proves_nothing(tmp_path: Path) -> None:
    async with nodeless(tmp_path) as (one, lab):
        one.cluster.api.silent = True  # as far as the watch tells
        with pytest.raises(HarnessTrouble, match="but is there still: a finalizer"):
            await lab.crash("dcm")


async def test_the_exit_status_is_told_where_the_last_word_on_the_pod_has_it(tmp_path: Path) -> None:
    async with nodeless(tmp_path) as (one, lab):
        one.freezer.last_word = exited(int(one.cluster.pod_at_work("dcm")["metadata"]["name"].removeprefix("dcm-")))
        one.freezer.last_word["containerStatuses"][0]["state"]["terminated"]["exitCode"] = 137
        death = await lab.crash("dcm")
        assert death.describe().endswith("exit status 137")
        assert death.signal == 9


async def test_only_a_service_that_was_let_in_is_killed_without_its_node(tmp_path: Path) -> None:
    async with nodeless(tmp_path) as (one, lab):
        spare = next(pod for pod in one.cluster.pods.of("dcm") if pod.address != lab.at("dcm"))
        for container, name in ((spare.container, f"the pod {spare.name}"), ("none", "the container none")):
            with pytest.raises(HarnessTrouble, match=rf"{name} is no service's .*--node-access auto"):
                await one.node.kill(container)
        assert one.cluster.api.deleted == []


async def test_what_needs_the_node_is_refused_and_says_what_is_missing(tmp_path: Path) -> None:
    async with nodeless(tmp_path) as (one, _):
        for refused in (one.node.pause("c1"), one.node.resume("c1"), one.node.remove("/data")):
            with pytest.raises(HarnessTrouble, match=r"cannot be .*: the cluster's nodes are out of reach"):
                await refused
        assert one.node.missing


def test_a_node_within_reach_lacks_nothing() -> None:
    node: NodeAccess = KindNode("n", ended=lambda _: None, missed=lambda _: None)
    assert node.missing == ""


async def test_a_container_that_ended_and_runs_again_is_told_of(tmp_path: Path) -> None:
    async with nodeless(tmp_path) as (one, lab):
        pod = one.cluster.pod_at_work("dcm")
        one.cluster.api.change(pod, running(3, "again", before="c3"))
        await until(lambda: one.told != [])
        assert one.told == [Exit("c3", 0, 1)]
        assert set(lab.running) == {"clm"}


async def test_a_container_that_came_and_went_between_two_looks_is_told_of(tmp_path: Path) -> None:
    async with nodeless(tmp_path) as (one, _):
        pod = one.cluster.pod_at_work("dcm")
        one.cluster.api.change(pod, running(3, "third", before="second"))
        await until(lambda: len(one.told) > 1)
        assert {exit_.container for exit_ in one.told} == {"c3", "second"}


async def test_a_pod_that_somebody_else_deleted_has_ended(tmp_path: Path) -> None:
    async with nodeless(tmp_path) as (one, lab):
        one.cluster.api.remove(one.cluster.pod_at_work("dcm")["metadata"]["name"])
        await until(lambda: one.told != [])
        assert set(lab.running) == {"clm"}


async def test_a_container_that_starts_has_not_ended(tmp_path: Path) -> None:
    async with nodeless(tmp_path) as (one, lab):
        one.cluster.api.make("dcm")
        pod = one.cluster.api.pods["clm-1"]
        one.cluster.api.change(pod, pod["status"])
        await until(lambda: len(one.cluster.pods.of("dcm")) == 3)
        assert (one.told, set(lab.running)) == ([], {"clm", "dcm"})
