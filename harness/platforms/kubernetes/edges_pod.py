"""Emulated edges in a pod of their own: `python -m harness.platforms.kubernetes.edges_pod NAME...`.

Edge number i listens on port 6443 + i. The harness reads and replaces what they hold on a port of the loopback, which
only a port-forward reaches: GET /edges, and PUT /edges with what GET returned, for all or for some; PUT
/edges/NAME/runs with true or false, and POST /edges/NAME/delete with an object.
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

    async def runs(request: web.Request) -> web.Response:
        named(request).set_ready(ready=bool(msgspec.json.decode(await request.read())))
        return web.Response(status=204)

    async def delete(request: web.Request) -> web.Response:
        try:
            named(request).delete(msgspec.json.decode(await request.read()))
        except ValueError as error:
            return web.Response(status=404, text=str(error))
        return web.Response(status=204)

    def named(request: web.Request) -> EdgeEmulator:
        name = request.match_info["name"]
        for edge in edges:
            if edge.name == name:
                return edge
        raise web.HTTPNotFound(text=f"there is no edge {name}")

    app = web.Application(client_max_size=_LARGEST)
    app.router.add_get("/edges", objects)
    app.router.add_put("/edges", restore)
    app.router.add_put("/edges/{name}/runs", runs)
    app.router.add_post("/edges/{name}/delete", delete)
    return app


if __name__ == "__main__":
    main(sys.argv[1:])
