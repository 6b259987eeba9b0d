"""A real kube-apiserver for tests, in an event loop of its own; skipped without KUBEBUILDER_ASSETS."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from harness.faults.journal import Journal
from harness.platforms.edges.api_edge import ApiEdge
from harness.platforms.edges.authority import open_authority
from harness.platforms.edges.client import ApiClient, base_path
from harness.platforms.linux import become_subreaper
from harness.platforms.process.edges import Site, open_edges
from harness.platforms.process.lab import EdgeName
from harness.platforms.process.layout import Block
from harness.platforms.settings import Settings
from harness.platforms.supervisor import ForkServer
from harness.wire.relay import Relay

T = TypeVar("T")
Json = dict[str, Any]
ASSETS = os.environ.get("KUBEBUILDER_ASSETS", "")
needs_api_server = pytest.mark.skipif(
    not ASSETS, reason="needs KUBEBUILDER_ASSETS: a folder with etcd and kube-apiserver"
)


@dataclass(frozen=True)
class ApiServer:
    """A running API server as an edge.

    client: as the harness asks it;  kubeconfig: file with which anybody can
    """

    loop: asyncio.AbstractEventLoop
    edge: ApiEdge
    client: ApiClient
    kubeconfig: Path

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(100)

    def ask(self, method: str, path: str, body: Any = None, **given: Any) -> Json:
        return self.run(self.client.ask(method, path, body, **given))

    def apply(self, thing: Json, *, namespace: str = "default", plural: str = "") -> None:
        """Create an object, as EMCO does."""
        plural = plural or f"{thing['kind'].lower()}s"
        middle = f"/namespaces/{namespace}" if namespace else ""
        self.ask("POST", f"{base_path(thing['apiVersion'])}{middle}/{plural}", thing)

    def names(self) -> list[str]:
        """What the edge holds of EMCO's."""
        return [f"{thing['kind']} {thing['metadata']['name']}" for thing in self.run(self.edge.objects())]


@contextlib.contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """Bring one up, as the platform does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    stack = contextlib.AsyncExitStack()

    def run(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(100)

    become_subreaper()
    workload = folder / "w.yaml"
    workload.touch()
    settings = Settings(workload, edges="kube-apiserver", edge_assets=Path(ASSETS), cache_folder=folder / "cache")
    with closing(ForkServer()) as launcher, closing(Journal(folder / "1-1.undo")) as journal:
        block = Block()
        site = Site(settings, block.layout, folder / "work", journal, launcher, launcher)

        async def begin() -> ApiEdge:
            edges = await open_edges(site, (EdgeName("p1", "c1"),), stack)
            edge = edges[EdgeName("p1", "c1")]
            assert isinstance(edge, ApiEdge)
            edge.follow(Relay())
            return edge

        try:
            edge = run(begin())
            yield ApiServer(loop, edge, edge._client, _kubeconfig(folder, edge))
        finally:
            run(stack.aclose())
            block.close()
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


def _kubeconfig(folder: Path, edge: ApiEdge) -> Path:
    """For a user that authenticates by certificate, as kind's kubeconfigs do."""
    issued = open_authority(folder / "cache" / "authority")._authority.issue_cert(
        "somebody", common_name="somebody", organization_name="system:masters"
    )
    (folder / "user.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    (folder / "user.key").write_bytes(issued.private_key_pem.bytes())
    (folder / "ca.pem").write_text(edge._ways.authority.pem)
    content = {
        "clusters": [{"name": "c", "cluster": {"server": "https://{}:{}".format(*edge.upstream),
                                               "certificate-authority": "ca.pem"}}],
        "users": [{"name": "u", "user": {"client-certificate": "user.pem", "client-key": "user.key"}}],
        "contexts": [{"name": "kind-c", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path
