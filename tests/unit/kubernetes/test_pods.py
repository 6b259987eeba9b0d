"""Pods as they are read from the API."""

import asyncio
from typing import Any

import pytest

from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.access import Access
from harness.platforms.edges.client import ApiClient
from harness.platforms.kind.node import Exit
from harness.platforms.kubernetes.lab import check_exit
from harness.platforms.kubernetes.pods import Pods, _pod, exit_codes


def pod(**status: Any) -> dict[str, Any]:
    metadata = {"name": "dcm-1", "namespace": "emco", "uid": "u1", "labels": {"app": "dcm"}}
    return {"metadata": metadata, "status": status}


def test_a_new_pod_has_neither_address_nor_container() -> None:
    one = _pod(pod())
    assert (one.app, one.address, one.container, one.is_stale) == ("dcm", "", "", False)
    assert one.path == "/api/v1/namespaces/emco/pods/dcm-1"


def test_a_running_container_is_known_by_its_id() -> None:
    status = {"containerID": "containerd://abc", "state": {"running": {}}}
    one = _pod(pod(podIP="10.0.0.1", containerStatuses=[status]))
    assert (one.address, one.container, one.is_stale) == ("10.0.0.1", "abc", False)


def test_a_container_that_ended_makes_its_pod_stale_and_has_no_id() -> None:
    for state in ({"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"reason": "Error"}}):
        one = _pod(pod(containerStatuses=[{"containerID": "containerd://abc", "state": state}]))
        assert (one.container, one.is_stale) == ("", True)


def test_a_container_that_is_being_made_is_not_stale() -> None:
    one = _pod(pod(containerStatuses=[{"state": {"waiting": {"reason": "ContainerCreating"}}}]))
    assert not one.is_stale


PROXY = {"name": "proxy", "containerID": "containerd://p", "state": {"running": {}}}
SERVICE = {"name": "dcm", "containerID": "containerd://abc", "state": {"running": {}}}


@pytest.mark.parametrize(
    "statuses",
    [
        {"containerStatuses": [PROXY, SERVICE]},
        {"containerStatuses": [SERVICE], "initContainerStatuses": [PROXY]},
    ],
)
def test_a_pod_with_a_proxy_in_it_is_never_taken_for_its_service(statuses: dict[str, Any]) -> None:
    """SIGKILL would hit the proxy, all connections would end, and the service would live on."""

    async def running() -> None:
        pods = Pods(ApiClient("hub", Access(("127.0.0.1", 1), None)), "emco")
        pods._told({"type": "ADDED", "object": pod(podIP="10.0.0.1", **statuses)})
        try:
            await pods.running("dcm", limit=0)
        finally:
            await pods._api.close()

    with pytest.raises(HarnessTrouble, match="the pod dcm-1 of dcm has other containers beside the service"):
        asyncio.run(running())


def test_a_helper_that_has_ended_does_not_count() -> None:
    once = {"name": "once", "state": {"terminated": {"exitCode": 0}}}
    assert _pod(pod(containerStatuses=[SERVICE], initContainerStatuses=[once])).beside == ()


def ended(code: int) -> dict[str, Any]:
    return {"terminated": {"containerID": "containerd://abc", "exitCode": code}}


@pytest.mark.parametrize("where", ["state", "lastState"])
def test_the_exit_code_that_the_cluster_tells_is_that_of_the_same_container(where: str) -> None:
    assert exit_codes(pod(containerStatuses=[{**SERVICE, where: ended(137)}])) == {"abc": 137}


@pytest.mark.parametrize("told,is_proven", [({}, True), ({"abc": 137}, True), ({"abc": 1}, False), ({"p": 0}, True)])
def test_a_death_that_node_and_cluster_tell_differently_is_not_proven(told: dict[str, int], is_proven: bool) -> None:
    one = _pod(pod(containerStatuses=[SERVICE]))
    if is_proven:
        check_exit("dcm", one, Exit("abc", 7, 137), told)
    else:
        with pytest.raises(HarnessTrouble, match="its node says that container abc ended with 137, the cluster with 1"):
            check_exit("dcm", one, Exit("abc", 7, 137), told)
