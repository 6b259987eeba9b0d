"""Emulated edges in a pod of their own: `python -m harness.platforms.kubernetes.edges_pod NAME...`.

Edge number i listens on port 6443 + i. The harness reads and replaces what they hold on a port of the loopback, which
only a port-forward reaches: GET /edges, and PUT /edges with what GET returned, for all or for some.
"""

import asyncio
import sys
from typing import Any

import msgspec
from aiohttp import web

from harness.platforms.edge_emulator import EdgeEmulator

FIRST_PORT = 6443
ADMIN_PORT = 6400
_LARGEST = 64 * 1024 * 1024


def main(names: list[str]) -> None:
    """Serve until the process is killed."""
    asyncio.run(_serve(tuple(EdgeEmulator(name) for name in names)))


async def _serve(edges: tuple[EdgeEmulator, ...]) -> None:
    for index, edge in enumerate(edges):
        await edge.start("0.0.0.0", FIRST_PORT + index)  # noqa: S104  the pod's own network: rsync comes from another pod
    runner = web.AppRunner(_admin(edges))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", ADMIN_PORT).start()
    await asyncio.Event().wait()


def _admin(edges: tuple[EdgeEmulator, ...]) -> web.Application:
    async def objects(_: web.Request) -> web.Response:
        held = {edge.name: edge.objects() for edge in edges}
        return web.Response(body=msgspec.json.encode(held), content_type="application/json")

    async def restore(request: web.Request) -> web.Response:
        wanted: dict[str, list[dict[str, Any]]] = msgspec.json.decode(await request.read())
        for edge in edges:
            if edge.name in wanted:
                await edge.restore(wanted[edge.name])
        return web.Response(status=204)

    app = web.Application(client_max_size=_LARGEST)
    app.router.add_get("/edges", objects)
    app.router.add_put("/edges", restore)
    return app


if __name__ == "__main__":
    main(sys.argv[1:])
