"""Services in pods: whoever was let in is replaced before anybody counts as fresh, whatever went wrong in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.faults.victim import HarnessTrouble, ServiceDown
from harness.platforms.kind.node import Exit
from harness.platforms.kubernetes.lab import KubernetesLab
from harness.stores.snapshot import Snapshot
from tests.unit.kubernetes.small_cluster import SmallCluster, exited, open_cluster, running, until, waiting


@asynccontextmanager
async def at_work(folder: Path) -> AsyncIterator[tuple[SmallCluster, KubernetesLab]]:
    """A cluster with all services started."""
    async with open_cluster(folder) as cluster:
        lab = cluster.lab()
        await lab.start_services()
        await until(lambda: len(cluster.streams.followed) == len(lab.services))
        yield cluster, lab


async def test_a_started_service_is_the_one_that_was_let_in(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (cluster, lab):
        assert lab.running == {"clm", "dcm"}
        assert {lab.at(name) for name in lab.services} == set(cluster.relay.let_in)


async def test_a_crash_kills_the_container_at_work_and_replaces_its_pod(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (cluster, lab):
        pod = cluster.pod_at_work("dcm")["metadata"]["name"]
        death = await lab.crash("dcm")
        assert (death.signal, cluster.node.killed) == (9, [f"c{pod.removeprefix('dcm-')}"])
        assert (cluster.api.deleted, set(lab.running)) == ([pod], {"clm"})


@pytest.mark.parametrize("fails", ["the kill", "the replacement"])
async def test_after_a_crash_that_failed_halfway_the_next_start_lets_another_instance_in(
    tmp_path: Path, fails: str
) -> None:
    async with at_work(tmp_path) as (cluster, lab):
        pod, address = cluster.pod_at_work("dcm")["metadata"]["name"], lab.at("dcm")
        await _fail(cluster, lab, fails)
        await lab.let_in("dcm")
        assert lab.at("dcm") != address
        assert cluster.api.deleted == [pod]


@pytest.mark.parametrize("fails", ["the kill", "the replacement"])
async def test_after_a_crash_that_failed_halfway_the_next_clean_slate_replaces_the_instance(
    tmp_path: Path, fails: str
) -> None:
    async with at_work(tmp_path) as (cluster, lab):
        both = {cluster.pod_at_work(name)["metadata"]["name"] for name in lab.services}
        await _fail(cluster, lab, fails)
        await lab.kill_services()
        assert set(cluster.api.deleted) == both
        assert set(cluster.relay.instances.values()) == {""}


async def _fail(cluster: SmallCluster, lab: KubernetesLab, fails: str) -> None:
    if fails == "the kill":
        cluster.node.trouble = "its end was not seen"
    else:
        cluster.api.refuses = "DELETE"
    with pytest.raises(HarnessTrouble):
        await lab.crash("dcm")
    assert lab.running == {"clm"}
    cluster.api.refuses = ""


async def test_a_service_that_exits_during_its_start_is_replaced_and_the_next_one_let_in(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        lab = cluster.lab()
        cluster.relay.deaf = {"10.0.0.3"}
        start = asyncio.ensure_future(lab.let_in("dcm"))
        await until(lambda: cluster.relay.instances["dcm"] == "10.0.0.3")
        cluster.api.change(cluster.pod_at_work("dcm"), exited(3))
        await start
        assert (lab.at("dcm"), cluster.api.deleted) == ("10.0.0.4", ["dcm-3"])


async def test_a_pod_that_comes_back_while_it_is_replaced_is_not_let_in(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, pods=1, status=exited(2)) as cluster:
        lab = cluster.lab()
        cluster.api.next_status = running(9)
        cluster.api.deleting = lambda: cluster.relay.come("dcm", "10.0.0.2", lambda: True)
        await lab.let_in("dcm")
        assert (lab.at("dcm"), cluster.relay.let_in) == ("10.0.0.9", ["10.0.0.9"])


async def test_an_instance_whose_pod_somebody_else_deletes_during_its_start_gives_way(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        lab = cluster.lab()
        cluster.relay.deaf = {"10.0.0.3"}
        start = asyncio.ensure_future(lab.let_in("dcm"))
        await until(lambda: cluster.relay.instances["dcm"] == "10.0.0.3")
        cluster.api.remove("dcm-3")
        await start
        assert lab.at("dcm") == "10.0.0.4"


async def test_a_service_that_is_restarted_in_place_during_its_start_is_not_taken_for_fresh(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        lab = cluster.lab()
        cluster.relay.deaf = {"10.0.0.3"}
        start = asyncio.ensure_future(lab.let_in("dcm"))
        await until(lambda: cluster.relay.instances["dcm"] == "10.0.0.3")
        lab.ended(Exit("c3", 1, 1))
        cluster.api.change(cluster.pod_at_work("dcm"), running(3, "again", before="c3"))
        await start
        assert (lab.at("dcm"), cluster.api.deleted) == ("10.0.0.4", ["dcm-3"])


async def test_the_end_of_a_pod_that_only_waits_means_nothing(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        lab = cluster.lab()
        cluster.relay.deaf = {"10.0.0.3"}
        start = asyncio.ensure_future(lab.let_in("dcm"))
        await until(lambda: cluster.relay.instances["dcm"] == "10.0.0.3")
        lab.ended(Exit("c4", 1, 1))
        cluster.api.change(cluster.api.pods["dcm-4"], running(4, "again", before="c4"))
        await asyncio.sleep(0.05)  # nothing may come of it
        cluster.relay.deaf = set()
        await start
        assert (lab.at("dcm"), set(lab.running), cluster.api.deleted) == ("10.0.0.3", {"dcm"}, [])


async def test_a_pod_that_ended_before_it_was_let_in_is_fresh_once_it_runs_again(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, pods=1, status=waiting("ContainerCreating")) as cluster:
        lab = cluster.lab()
        start = asyncio.ensure_future(lab.let_in("dcm"))
        pod = cluster.api.pods["dcm-2"]
        cluster.api.change(pod, running(2))
        await until(lambda: cluster.pods.only("dcm").container == "c2")
        lab.ended(Exit("c2", 1, 1))
        cluster.api.change(pod, running(2, "again", before="c2"))
        await until(lambda: cluster.pods.only("dcm").container == "again")
        cluster.relay.come("dcm", "10.0.0.2", lambda: True)
        await start
        await until(lambda: cluster.streams.followed == ["dcm-2"])
        assert (set(lab.running), cluster.api.deleted) == ({"dcm"}, [])


async def test_an_instance_that_comes_too_late_is_not_let_in_and_the_next_start_has_another(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        lab = cluster.lab()
        cluster.relay.deaf = {"10.0.0.3"}
        with pytest.raises(ServiceDown):
            await lab.let_in("dcm")
        assert (cluster.relay.instances["dcm"], set(lab.running)) == ("", set())
        await lab.let_in("dcm")
        assert (lab.at("dcm"), cluster.api.deleted) == ("10.0.0.4", ["dcm-3"])


async def test_a_clean_slate_replaces_also_what_never_answered(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        lab = cluster.lab()
        cluster.relay.deaf = {"10.0.0.3"}
        with pytest.raises(ServiceDown):
            await lab.let_in("dcm")
        await lab.kill_services()
        assert cluster.api.deleted == ["dcm-3"]


async def test_a_service_that_has_given_up_the_schema_on_a_clean_slate_is_trouble(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        lab = cluster.lab()
        taken = Snapshot(lab.environment, {"emco.resources": ()}, {}, {})
        await lab.clean_slate(taken)
        cluster.streams.of_schema = "failed to retrieve schema segments from db"
        with pytest.raises(HarnessTrouble, match="gave up the referential schema although stores and links were whole"):
            await lab.clean_slate(taken)
        assert lab.clean_slates == 1


async def test_whoever_was_let_in_by_somebody_else_is_replaced_by_the_first_clean_slate(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        cluster.relay.want("dcm")
        lab = cluster.lab()
        assert lab.running == {"dcm"}
        await lab.kill_services()
        assert (set(lab.running), cluster.api.deleted) == (set(), ["dcm-3"])


async def test_a_service_that_ends_by_itself_counts_as_ended_and_may_not_go_on_after_its_restart(
    tmp_path: Path,
) -> None:
    async with at_work(tmp_path) as (cluster, lab):
        lab.ended(Exit("c3", 1, 1))
        assert (set(lab.running), cluster.relay.instances["dcm"]) == ({"clm"}, "")


async def test_an_exit_counts_also_where_the_watch_tells_only_later_whose_container_it_was(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        cluster.api.change(cluster.api.pods["dcm-3"], running(3, "first"))
        cluster.api.silent = True
        lab = cluster.lab()
        await lab.let_in("dcm")
        lab.ended(Exit("second", 1, 1))
        assert lab.running == {"dcm"}
        cluster.api.silent = False
        cluster.api.change(cluster.api.pods["dcm-3"], running(3, "third", before="second"))
        await until(lambda: lab.running == frozenset())
        assert cluster.relay.instances["dcm"] == ""


async def test_an_exit_counts_also_where_its_pod_is_gone_by_then(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (cluster, lab):
        cluster.api.remove("dcm-3")
        await until(lambda: [pod.name for pod in cluster.pods.of("dcm")] == ["dcm-4", "dcm-5"])
        lab.ended(Exit("c3", 1, 137))
        assert lab.running == {"clm"}
        await asyncio.wait_for(lab.let_in("dcm"), 2)  # without waiting for a pod that is gone
        assert lab.at("dcm") == "10.0.0.4"


async def test_an_exit_of_somebody_else_means_nothing(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (_, lab):
        lab.ended(Exit("stranger", 1, 1))
        assert lab.running == {"clm", "dcm"}


async def test_what_was_missed_on_the_node_is_trouble_until_the_next_clean_slate(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (_, lab):
        lab.missed("the events of node n came to an end")
        with pytest.raises(HarnessTrouble, match="the events of node n came to an end"):
            await lab.snapshot()
        await lab.kill_services()
        assert (await lab.snapshot()).environment == lab.environment


async def test_a_pod_that_cannot_be_made_is_the_clusters_fault_and_its_word_is_said(tmp_path: Path) -> None:
    status = waiting("ImagePullBackOff", 'Back-off pulling image "no/such:1"')
    async with open_cluster(tmp_path, status=status) as cluster:
        event = {"reason": "Failed", "message": "no such image", "involvedObject": {"name": "dcm-3"}}
        cluster.api.events = [event]
        with pytest.raises(HarnessTrouble) as caught:
            await cluster.lab().let_in("dcm")
    said = str(caught.value)
    assert "no instance of dcm came" in said
    assert 'pod dcm-3: ImagePullBackOff Back-off pulling image "no/such:1"' in said
    assert "Failed: no such image" in said
    assert "no program of it was started" in said


async def test_a_service_that_ends_again_and_again_is_down_by_its_own_fault_and_its_own_log_is_shown(
    tmp_path: Path,
) -> None:
    async with at_work(tmp_path) as (cluster, lab):
        (tmp_path / "dcm.log").write_text("log of the one before\n", encoding="utf-8")
        await lab.crash("dcm")
        cluster.relay.drop("dcm")
        cluster.api.next_status = waiting("ContainerCreating")
        cluster.api.remove("dcm-5")
        start = asyncio.ensure_future(lab.let_in("dcm"))
        cluster.relay.deaf = {"10.0.0.4"}
        await until(lambda: cluster.relay.instances["dcm"] == "10.0.0.4")
        cluster.api.change(cluster.pod_at_work("dcm"), exited(4))
        with pytest.raises(ServiceDown) as caught:
            await start
        assert caught.value.log.endswith("log of dcm-4")
        assert lab.log_tail("dcm").endswith("log of dcm-4")
        assert "ContainerCreating" in str(caught.value)


async def test_a_start_whose_pods_could_not_be_looked_after_blames_nobody(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        lab = cluster.lab()
        cluster.relay.deaf = {"10.0.0.3"}
        cluster.api.change(cluster.api.pods["dcm-4"], exited(4))
        cluster.api.refuses = "DELETE"
        with pytest.raises(HarnessTrouble, match="its pods could not be looked after: no answer to DELETE"):
            await lab.let_in("dcm")
        cluster.api.refuses = ""
        await lab.let_in("dcm")
        assert lab.at("dcm") not in ("10.0.0.3", "10.0.0.4")


async def test_the_log_of_the_instance_that_was_let_in_goes_before_that_of_a_newer_pod(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        cluster.relay.deaf = {"10.0.0.3"}
        with pytest.raises(ServiceDown) as caught:
            await cluster.lab().let_in("dcm")
        assert caught.value.log.endswith("log of dcm-3")
        assert "dcm does not answer on its ports" in str(caught.value)


async def test_when_one_start_fails_the_others_are_over_too_before_that_is_said(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        lab = cluster.lab()
        cluster.relay.lost, cluster.relay.deaf = "clm", {"10.0.0.3"}
        start = asyncio.ensure_future(lab.start_services())
        await until(lambda: cluster.relay.instances["dcm"] == "10.0.0.3")
        await asyncio.sleep(0.02)  # clm has failed by now
        cluster.relay.deaf = set()
        with pytest.raises(HarnessTrouble, match="nobody can tell whether clm answers"):
            await start
        assert lab.running == {"dcm"}
