"""Pods as they are read from the API."""

from typing import Any

from harness.platforms.kubernetes.pods import _pod


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
