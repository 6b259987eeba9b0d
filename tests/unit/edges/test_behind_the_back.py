"""What the harness does to an edge behind EMCO's back, by the seam Edge, whatever stands behind it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestServer

from harness.emco.running import not_running
from harness.faults.victim import HarnessTrouble
from harness.platforms.edge_emulator import EdgeEmulator
from harness.platforms.edges.access import Access
from harness.platforms.edges.api_edge import ApiEdge, Guard, Ways
from harness.platforms.edges.authority import Authority
from harness.platforms.edges.client import ApiClient
from harness.platforms.edges.controllers import Controllers
from harness.platforms.edges.edge import Edge, EmulatedEdge, let_all_run
from harness.platforms.kubernetes import edges_pod
from harness.platforms.kubernetes.edges import EdgesPod

Json = dict[str, Any]
NAME, LABEL = "p1+c1", {"emco/deployment-id": "123-app1"}
PATHS = {"Deployment": "/apis/apps/v1/namespaces/default/deployments", "Job": "/apis/batch/v1/namespaces/default/jobs"}
REPORT = "/apis/k8splugin.io/v1alpha1/namespaces/default/resourcebundlestates"


def deployment(name: str = "web") -> Json:
    labels = {"app": "web", **LABEL}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "pause:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default", "labels": LABEL},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    }


def job() -> Json:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "pause:1"}]}}
    metadata = {"name": "once", "namespace": "default", "labels": LABEL}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}


class _Anything:
    """A guard that lets everything be touched."""

    def check(self, found: object) -> None: ...

    async def leave(self) -> None: ...


@asynccontextmanager
async def emulated() -> AsyncIterator[tuple[Edge, ApiClient]]:
    async with _served(EdgeEmulator(NAME)) as (emulator, client):
        yield EmulatedEdge(emulator), client


@asynccontextmanager
async def in_a_pod() -> AsyncIterator[tuple[Edge, ApiClient]]:
    async with _served(EdgeEmulator(NAME)) as (emulator, client):
        server = TestServer(edges_pod._admin((emulator,)))
        await server.start_server()
        pod = EdgesPod((NAME,), (str(server.host), int(server.port or 0)))
        try:
            yield pod.edge(NAME), client
        finally:
            await pod.close()
            await server.close()


@asynccontextmanager
async def behind_an_api(*, own: bool = True) -> AsyncIterator[tuple[Edge, ApiClient]]:
    """An API server without controllers is an emulator that is told to have none."""
    async with _served(EdgeEmulator(NAME, ready=False, monitor=False)) as (_, client):
        ways = Ways(Access(("", 0), None), Access(("", 0), None), Authority.passing())
        controllers = Controllers(client, own=own, reports=True, now=time.time)
        guard = cast(Guard, _Anything())
        edge = ApiEdge(NAME, ways, client=client, controllers=controllers, guard=guard, log=lambda: ())
        try:
            yield edge, client
        finally:
            await edge.stop()


@asynccontextmanager
async def _served(emulator: EdgeEmulator) -> AsyncIterator[tuple[EdgeEmulator, ApiClient]]:
    await emulator.start("127.0.0.1", 0)
    client = ApiClient(NAME, Access(emulator.address, None))
    try:
        yield emulator, client
    finally:
        await client.close()
        await emulator.stop()


async def apply(edge: Edge, client: ApiClient, *things: Json) -> None:
    """As EMCO does; an edge behind an API learns of the kinds."""
    report = {"apiVersion": "k8splugin.io/v1alpha1", "kind": "ResourceBundleState", "metadata": {"name": "123-app1"}}
    report["metadata"] = {"name": "123-app1", "namespace": "default", "labels": LABEL}
    for thing in things:
        await client.ask("POST", PATHS[thing["kind"]], thing)
    await client.ask("POST", REPORT, report)
    for thing in (*things, report):
        if isinstance(edge, ApiEdge):
            await edge._place(thing)


async def why(edge: Edge, kind: str) -> str:
    return next(not_running(thing) for thing in await edge.objects() if thing["kind"] == kind)


async def reported(edge: Edge) -> bool:
    return next(bool(one["status"]["ready"]) for one in await edge.objects() if one["kind"] == "ResourceBundleState")


KINDS = pytest.mark.parametrize("opened", [emulated, in_a_pod, behind_an_api])


@KINDS
def test_nothing_runs_where_it_is_not_let_and_all_does_again(opened: Any) -> None:
    async def act() -> None:
        async with opened() as (edge, client):
            await apply(edge, client, deployment())
            assert (edge.runs, await why(edge, "Deployment"), await reported(edge)) == (True, "", True)

            await edge.let_run(runs=False)
            assert (edge.runs, await why(edge, "Deployment")) == (False, "has 0 of 2 replicas ready")
            assert not await reported(edge)
            await client.ask("POST", PATHS["Deployment"], deployment("later"))
            assert [not_running(one) for one in await edge.objects() if one["metadata"]["name"] == "later"] != [""]

            assert await let_all_run([edge], "p1+c9") == []
            assert await let_all_run([edge]) == [f"workloads run again on {NAME}"]
            assert (edge.runs, await why(edge, "Deployment"), await reported(edge)) == (True, "", True)
            assert await let_all_run([edge]) == []

    asyncio.run(act())


@KINDS
def test_what_is_deleted_is_gone_and_reported_no_more_and_the_rest_stays(opened: Any) -> None:
    async def act() -> None:
        async with opened() as (edge, client):
            await apply(edge, client, deployment(), deployment("other"))
            web = next(one for one in await edge.objects() if one["metadata"]["name"] == "web")

            await edge.delete(web)

            left = await edge.objects()
            assert {one["metadata"]["name"] for one in left} == {"other", "123-app1"}
            report = next(one for one in left if one["kind"] == "ResourceBundleState")
            assert [one["metadata"]["name"] for one in report["status"]["deploymentStatuses"]] == ["other"]
            with pytest.raises(HarnessTrouble, match="web"):
                await edge.delete(web)

    asyncio.run(act())


@pytest.mark.parametrize("opened", [emulated, in_a_pod])
def test_a_clean_slate_lets_all_run(opened: Any) -> None:
    async def act() -> None:
        async with opened() as (edge, client):
            await apply(edge, client, deployment())
            before = await edge.objects()
            await edge.let_run(runs=False)
            await edge.restore(())
            assert edge.runs
            await edge.restore(before)
            assert await why(edge, "Deployment") == ""

    asyncio.run(act())


def test_a_job_that_is_done_stays_done() -> None:
    async def act() -> None:
        async with behind_an_api() as (edge, client):
            await apply(edge, client, job())
            assert await why(edge, "Job") == ""
            await edge.let_run(runs=False)
            assert await why(edge, "Job") == ""

    asyncio.run(act())


def test_where_a_cluster_decides_itself_the_harness_has_no_say() -> None:
    async def act() -> None:
        async with behind_an_api(own=False) as (edge, _):
            with pytest.raises(HarnessTrouble, match="the cluster itself decides what runs there"):
                await edge.let_run(runs=False)
            assert edge.runs

    asyncio.run(act())
