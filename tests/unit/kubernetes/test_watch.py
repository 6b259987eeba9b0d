"""The view of the pods keeps up with what is there; and who started before the relay did is replaced."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.client import ApiClient
from harness.platforms.kubernetes.install import why_not_ready
from harness.platforms.kubernetes.pods import Pod, replace_older
from tests.unit.kubernetes.small_cluster import open_cluster, running, until, waiting


async def test_a_pod_that_was_deleted_while_the_watch_was_broken_is_gone_from_the_view(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, pods=1) as cluster:
        cluster.api.silent = True
        cluster.api.remove("dcm-2")
        assert cluster.pods.only("dcm").name == "dcm-2"
        cluster.api.break_watch()
        await until(lambda: [pod.name for pod in cluster.pods.of("dcm")] == ["dcm-3"])
        assert cluster.pods.only("dcm").name == "dcm-3"


async def test_the_view_is_kept_up_to_date_once_the_api_server_answers_again(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, pods=1) as cluster:
        cluster.api.silent, cluster.api.refuses = True, "GET"
        cluster.api.break_watch()
        await asyncio.sleep(0.3)  # longer than the pause before it asks again
        cluster.api.make("dcm")
        cluster.api.refuses = ""
        await until(lambda: len(cluster.pods.of("dcm")) == 2)


async def test_an_event_that_cannot_be_read_ends_no_watch_for_good(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, pods=1) as cluster:
        cluster.api._told.put_nowait({})  # as a torn line is read
        cluster.api.make("dcm")
        await until(lambda: len(cluster.pods.of("dcm")) == 2)


async def test_a_pod_whose_deletion_failed_is_still_there(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, pods=1) as cluster:
        cluster.api.refuses = "DELETE"
        (pod,) = cluster.pods.of("dcm")
        with pytest.raises(HarnessTrouble):
            await cluster.pods.delete(pod)
        assert cluster.pods.of("dcm") == (pod,)


async def test_pods_at_work_before_the_relay_was_are_replaced_and_banned(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        for name, second in (("clm-1", 10), ("clm-2", 20), ("dcm-3", 19), ("dcm-4", 21)):
            pod = cluster.api.pods[name]
            cluster.api.change(pod, _started(int(name[-1]), second))
        await until(lambda: all(pod.started for name in ("clm", "dcm") for pod in cluster.pods.of(name)))
        await replace_older(_relay(_time(20)), ("clm", "dcm"), cluster.pods, cluster.relay)
        assert sorted(cluster.api.deleted) == ["clm-1", "clm-2", "dcm-3"]
        assert sorted(cluster.relay.banned) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


async def test_a_pod_at_work_that_is_older_than_the_relay_counts_as_none(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, pods=1) as cluster:
        cluster.relay.want("dcm")
        cluster.api.change(cluster.api.pods["dcm-2"], _started(2, 10))
        await until(lambda: cluster.pods.only("dcm").started != "")
        await replace_older(_relay(_time(20)), ("dcm",), cluster.pods, cluster.relay)
        assert (cluster.relay.instances["dcm"], cluster.lab().running) == ("", frozenset())


async def test_all_pods_are_replaced_where_nobody_knows_since_when_the_relay_runs(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, pods=1) as cluster:
        cluster.api.change(cluster.api.pods["dcm-2"], _started(2, 30))
        await until(lambda: cluster.pods.only("dcm").started != "")
        await replace_older(_relay(""), ("dcm",), cluster.pods, cluster.relay)
        assert cluster.api.deleted == ["dcm-2"]


async def test_a_pod_that_has_not_begun_is_left_alone(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, pods=1, status=waiting("ContainerCreating")) as cluster:
        await replace_older(_relay(_time(20)), ("dcm",), cluster.pods, cluster.relay)
        assert cluster.api.deleted == []


def _relay(started: str) -> Pod:
    return Pod("relay-1", "", "u", "relay", "10.0.1.1", "c", "", 0, started=started)


def _time(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}Z"


def _started(number: int, second: int) -> dict[str, Any]:
    status = running(number)
    status["containerStatuses"][0]["state"] = {"running": {"startedAt": _time(second)}}
    return status


async def test_why_a_pod_is_not_ready_is_said_with_the_latest_warnings(tmp_path: Path) -> None:
    status = waiting("ErrImagePull", "no such host")
    async with open_cluster(tmp_path, pods=1, status=status) as cluster:
        cluster.api.events = [
            _event("Newest", "2026-01-01T00:03:00Z"),
            _event("Oldest", "2026-01-01T00:01:00Z"),
            _event("Newer", "2026-01-01T00:02:00Z"),
            _event("Strange", "2026-01-01T00:04:00Z", "clm-1"),
        ]
        api = cast("ApiClient", cluster.api)
        told = await why_not_ready(api, "emco", "dcm")
        assert told == "pod dcm-2: ErrImagePull no such host; Newer: as it is; Newest: as it is"


async def test_why_a_pod_was_put_on_no_node_is_said(tmp_path: Path) -> None:
    unmet = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no memory"}
    async with open_cluster(tmp_path, pods=1, status={"phase": "Pending", "conditions": [unmet]}) as cluster:
        told = await why_not_ready(cast("ApiClient", cluster.api), "emco", "dcm")
        assert told == "pod dcm-2: Pending Unschedulable 0/1 nodes: no memory"


async def test_a_pod_that_waits_after_its_end_says_so_and_one_that_was_never_made_too(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, pods=1, status=waiting("CrashLoopBackOff", "back-off 10s")) as cluster:
        api = cast("ApiClient", cluster.api)
        assert await why_not_ready(api, "emco", "dcm") == "pod dcm-2: CrashLoopBackOff back-off 10s"
        assert await why_not_ready(api, "emco", "rsync") == "there is no pod"


def _event(reason: str, at: str, name: str = "dcm-2") -> dict[str, Any]:
    return {"reason": reason, "message": "as it is", "lastTimestamp": at, "involvedObject": {"name": name}}
