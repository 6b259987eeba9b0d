"""Disruptions of services in pods: what failed halfway is no end, and no edge stays off the network."""

import asyncio
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
from tests.unit.kubernetes.small_cluster import SERVICES, SmallCluster, open_cluster


def disruptions(cluster: SmallCluster, **machines: Machine) -> KubernetesDisruptions:
    """Of a lab with these edges' machines."""
    lab = cluster.lab()
    release = Release(Wiring(SERVICES, ()), "reference", "python", "fixed")
    parts = cluster.parts(machines)
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
