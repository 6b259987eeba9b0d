"""Disruptions of services in pods: what failed halfway is no end, and no edge stays off the network."""

import asyncio
import signal
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from harness.faults.journal import Journal
from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.access import Access
from harness.platforms.kind.machine import MACHINE_UNDOERS, Machine
from harness.platforms.kubernetes.disruptions import KubernetesDisruptions
from harness.platforms.kubernetes.install import Release
from harness.platforms.kubernetes.wiring import Wiring
from harness.wire.conditions import Refuse
from tests.unit.kubernetes.small_cluster import SERVICES, SmallCluster, open_cluster, until


def disruptions(cluster: SmallCluster, hub: Any = None, **machines: Machine) -> KubernetesDisruptions:
    """Of a lab with these machines, of the hub and of edges."""
    release = Release(Wiring(SERVICES, ()), "reference", "python", "fixed")
    parts = cluster.parts(machines, hub)
    lab = cluster.lab()
    return KubernetesDisruptions(lab, parts, cast("Any", cluster.api), release, "token")


async def test_a_service_whose_kill_failed_is_started_as_another_instance(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        made = disruptions(cluster)
        await made.start("dcm")
        before = cluster.relay.instances["dcm"]
        cluster.node.trouble = "its end was not seen"
        with pytest.raises(HarnessTrouble):
            await made.crash("dcm")
        assert await made.down() == ("clm", "dcm")
        await made.start("dcm")
        assert cluster.relay.instances["dcm"] not in ("", before)
        assert await made.down() == ("clm",)


async def test_of_two_instances_the_older_one_is_killed_and_the_newer_one_goes_on(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        made = disruptions(cluster)
        await made.start("dcm")
        older = cluster.relay.instances["dcm"]
        told = await made.begin_overlap("dcm")
        newer = cluster.relay.instances["dcm"]
        assert newer not in ("", older)
        assert older in told
        assert newer in told
        with pytest.raises(HarnessTrouble, match="at work already"):
            await made.begin_overlap("dcm")
        before = set(cluster.api.pods)
        assert (await made.end_overlap("dcm")).signal == signal.SIGKILL
        assert len(before - set(cluster.api.pods)) == 1
        assert (cluster.relay.instances["dcm"], await made.down()) == (newer, ("clm",))
        with pytest.raises(HarnessTrouble, match="no older instance"):
            await made.end_overlap("dcm")


async def test_what_is_made_whole_has_one_instance_and_a_restart_lets_in_neither_of_two(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        made = disruptions(cluster)
        await made.start("dcm")
        await made.begin_overlap("dcm")
        assert await made.make_whole("dcm") == ("the older dcm is ended",)
        await made.begin_overlap("dcm")
        two = {pod for pod in cluster.api.pods if pod.startswith("dcm")}
        await made.crash("dcm")
        await made.start("dcm")
        assert not two & {cluster.pod_at_work("dcm")["metadata"]["name"]}
        assert await made.make_whole("dcm") == ()


async def test_a_second_instance_takes_one_that_runs_and_nodes_within_reach(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        made = disruptions(cluster)
        with pytest.raises(HarnessTrouble, match="dcm does not run"):
            await made.begin_overlap("dcm")
        await made.start("dcm")
        cluster.node.missing = "the nodes are out of reach"
        with pytest.raises(HarnessTrouble, match="could not be proven: the nodes are out of reach"):
            await made.begin_overlap("dcm")


async def test_an_edge_that_is_off_the_network_at_the_end_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    async def command(*arguments: str, limit: float) -> str:
        assert limit > 0
        asked.append(arguments)
        return "172.18.0.3\n" if arguments[1] == "inspect" else ""

    monkeypatch.setattr("harness.platforms.kind.machine.command", command)
    with closing(Journal(tmp_path / "1-1.undo", undoers=MACHINE_UNDOERS)) as undo:
        machines = {name: Machine(name, Access(("127.0.0.1", 1), None), undo) for name in ("e1", "e2")}
        async with open_cluster(tmp_path) as cluster:
            made = disruptions(cluster, **machines)
            await made.disconnect("e1")
            await asyncio.wait_for(made.close(), 5)
    assert [one[1:] for one in asked if one[1] == "network"] == [
        ("network", "disconnect", "kind", "e1"),
        ("network", "connect", "kind", "e1"),
    ]
    assert not undo.path.exists()


class Switch:
    """The hub's machine. fails: whether it does not come on; late: whether the API server tells of the pods later."""

    def __init__(self, cluster: SmallCluster) -> None:
        self.fails = False
        self.late = 0.0
        self._cluster = cluster

    async def restart(self) -> None:
        self._cluster.node.asked.append("restart")
        if self.fails:
            raise HarnessTrouble("it is not there again")
        if self.late:
            asyncio.get_running_loop().call_later(self.late, self._cluster.restart)
        else:
            self._cluster.restart()


@pytest.mark.parametrize("late", [0.0, 0.2])
async def test_what_ran_on_the_hub_runs_again_once_its_machine_was_off_and_nothing_else_does(
    tmp_path: Path, late: float
) -> None:
    async with open_cluster(tmp_path) as cluster:
        switch = Switch(cluster)
        switch.late = late
        made = disruptions(cluster, switch)
        await made.start("dcm")
        before, pods = cluster.relay.instances["dcm"], set(cluster.api.pods)
        told = await made.restart_hub()
        assert "no pod had the container of before, and 4 of 4 pods had been kept" in told
        assert cluster.node.asked == ["close", "restart", "begin"]
        assert cluster.store.claimed == 2
        assert cluster.relay.instances["dcm"] not in ("", before)
        assert cluster.relay.instances["clm"] == ""
        assert await made.down() == ("clm",)
        assert (set(cluster.api.pods), await made.make_whole("dcm")) == (pods, ())


async def test_addresses_of_pods_that_were_deleted_before_say_nothing_after_the_machine_was_off(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        made = disruptions(cluster, Switch(cluster))
        await made.start("dcm")
        was = cluster.relay.instances["dcm"]
        await made.crash("dcm")
        await until(lambda: all(pod.address != was for pod in cluster.pods.there))
        assert cluster.pods.is_gone(was)
        await made.restart_hub()
        assert not cluster.pods.is_gone(was)  # somebody else may be there now, who must not be replaced


async def test_a_hub_that_comes_back_late_is_made_whole_at_the_end(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        switch = Switch(cluster)
        made = disruptions(cluster, switch)
        await made.start("dcm")
        switch.fails = True
        with pytest.raises(HarnessTrouble, match="it is not there again"):
            await made.restart_hub()
        assert cluster.node.asked == ["close", "restart", "begin"]  # the node is followed again all the same
        cluster.restart()
        assert (await made.make_whole())[0] == "the hub is reached again"
        assert await made.down() == ()


async def test_a_machine_is_not_switched_off_under_what_is_broken_already_nor_one_of_somebody_else(
    tmp_path: Path,
) -> None:
    async with open_cluster(tmp_path) as cluster:
        with pytest.raises(HarnessTrouble, match="that takes --platform kind, whose clusters are the harness's"):
            await disruptions(cluster).restart_hub()
        made = disruptions(cluster, Switch(cluster))
        cluster.relay.broken = Refuse()
        with pytest.raises(HarnessTrouble, match=r"dcm -> mongo.* make it whole before the node is switched off"):
            await made.restart_hub()
        assert cluster.node.asked == []
