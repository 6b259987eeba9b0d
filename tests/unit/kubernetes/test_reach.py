"""Which nodes of a cluster that was there before the harness can reach, and where its images come from."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edges.client import ApiClient
from harness.platforms.kind.environment import relay_is_up
from harness.platforms.kubernetes.reach import PULLED, KindNodes, kind_nodes, pulled_image
from harness.platforms.kubernetes.wiring import Wiring
from tests.unit.kubernetes.test_installed import NODE, SERVICES, STORES, Clusters, checked, clusters, node, put
from tests.unit.kubernetes.test_splice import INSTALLED

Json = dict[str, Any]
__all__ = ["clusters"]


async def of_hub(_: str) -> str:
    return "hub"


async def of_none(_: str) -> str:
    return ""


def test_the_node_of_a_kind_cluster_is_within_reach_when_there_is_but_one(clusters: Clusters) -> None:
    async def work(api: ApiClient) -> None:
        found = await kind_nodes(api, of_hub)
        assert found == KindNodes("hub", ("hub-control-plane",))
        assert (found.within_reach("auto"), found.within_reach("none")) == ("hub-control-plane", "")
        await put(api, {**node("kind://docker/hub/hub-worker"), "metadata": {"name": "n2"}})
        found = await kind_nodes(api, of_hub)
        assert (found.cluster, sorted(found.names)) == ("hub", ["hub-control-plane", "hub-worker"])
        assert found.within_reach("auto") == ""

    clusters.run((NODE,), work)


@pytest.mark.parametrize(
    "things,cluster_of",
    [
        ((), of_hub),
        ((node("aws:///i-1"),), of_hub),
        ((NODE, {**node("aws:///i-1"), "metadata": {"name": "n2"}}), of_hub),
        ((NODE,), of_none),  # of the same name, on another machine
        ((node("kind://docker/other/hub-control-plane"),), of_hub),
    ],
)
def test_nodes_of_any_other_cluster_are_out_of_reach(
    clusters: Clusters, things: tuple[Json, ...], cluster_of: Callable[[str], Awaitable[str]]
) -> None:
    async def work(api: ApiClient) -> None:
        found = await kind_nodes(api, cluster_of)
        assert (found, found.within_reach("auto")) == (KindNodes(), "")

    clusters.run(things, work)


def test_an_emco_is_accepted_whoever_made_its_cluster(clusters: Clusters) -> None:
    assert set(checked(clusters, (*INSTALLED, *STORES, node("aws:///i-1")))) == set(SERVICES)


def test_where_images_cannot_be_loaded_that_of_emulated_edges_has_to_be_named(clusters: Clusters) -> None:
    with pytest.raises(UsageError, match=r"\(p1\+c1\).*push emco-chaos/reference:.*EMCO_CHAOS_EDGES_IMAGE"):
        pulled_image(clusters.settings(), Wiring(SERVICES, ("p1+c1",)))
    assert pulled_image(clusters.settings(edges_image="r/edges:1"), Wiring(SERVICES, ("p1+c1",))) == "r/edges:1"
    assert pulled_image(clusters.settings(), Wiring(SERVICES, ())) == ""


class Unpullable:
    """A cluster that has the relay's Deployment, and cannot pull the image of its pod."""

    async def ask(self, _: str, path: str, **__: Any) -> Json:
        if path.endswith("/events"):
            about = {"involvedObject": {"name": "relay-1"}, "reason": "Failed", "lastTimestamp": "2026-01-01"}
            return {"items": [{**about, "message": 'Failed to pull image "python:3.11-slim": not found'}]}
        if path.endswith("/pods"):
            state = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
            return {"items": [{"metadata": {"name": "relay-1"}, "status": {"containerStatuses": [{"state": state}]}}]}
        return {"metadata": {"generation": 1}, "spec": {"replicas": 1}, "status": {}}


async def test_a_relay_that_cannot_be_pulled_is_said_with_its_events_and_what_names_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.platforms.kind.environment._ROLLOUT_LIMIT", 0.0)
    with pytest.raises(HarnessTrouble) as trouble:
        await relay_is_up(cast("ApiClient", Unpullable()), Wiring(SERVICES, ()), hint=PULLED)
    assert str(trouble.value) == (
        "deployments relay is not ready within 0 s: pod relay-1: ImagePullBackOff Back-off pulling image; Failed: "
        'Failed to pull image "python:3.11-slim": not found; the cluster pulls these images itself, as '
        "EMCO_CHAOS_PYTHON_IMAGE and EMCO_CHAOS_EDGES_IMAGE name them"
    )
