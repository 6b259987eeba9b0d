"""What a release before this one had more of is removed, and nothing else, on an API server of the test's own."""

import asyncio

from aiohttp import web

from harness.platforms.edges.access import Access
from harness.platforms.edges.client import ApiClient
from harness.platforms.kubernetes.install import Release, remove_others
from harness.platforms.kubernetes.wiring import Wiring

RELEASE = Release(Wiring(("orchestrator", "clm", "rsync"), ()), "emco:1", "python:3.11-slim", "faithful")


class Cluster:
    """Holds names of Deployments and Services; remembers what was deleted."""

    def __init__(self) -> None:
        self.held = {
            "deployments": {"clm", "dcm", "orchestrator", "rsync", "something-of-the-users"},
            "services": {"relay", "relay-clm", "relay-dcm", "edges"},
        }
        self.deleted: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        plural, _, name = request.path.partition("/namespaces/")[2].partition("/")[2].partition("/")
        held = self.held[plural]
        if not name:
            return web.json_response({"items": [{"metadata": {"name": one}} for one in held]})
        if request.method == "DELETE":
            held.discard(name)
            self.deleted.append(f"{plural}/{name}")
        there = {"kind": "Deployment", "metadata": {"name": name}}
        return web.json_response(there if name in held else {"kind": "Status"}, status=200 if name in held else 404)


async def removed() -> list[str]:
    cluster = Cluster()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", cluster.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api = ApiClient("hub", Access(runner.addresses[0][:2], None))
    try:
        await remove_others(api, RELEASE)
    finally:
        await api.close()
        await runner.cleanup()
    return cluster.deleted


def test_a_service_that_is_no_more_wanted_goes_with_its_way_to_the_relay() -> None:
    assert asyncio.run(removed()) == ["deployments/dcm", "services/relay-dcm"]
