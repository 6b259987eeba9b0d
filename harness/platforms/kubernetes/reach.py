"""What the harness can do with the nodes of a cluster that was there before, and with which images."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from harness.faults.victim import UsageError
from harness.platforms.commands import CommandFails, command
from harness.platforms.edges.client import ApiClient
from harness.platforms.kind.environment import ROOT
from harness.platforms.kubernetes.image import image_name
from harness.platforms.kubernetes.wiring import Wiring
from harness.platforms.settings import Settings

PULLED = "the cluster pulls these images itself, as EMCO_CHAOS_PYTHON_IMAGE and EMCO_CHAOS_EDGES_IMAGE name them"
"""What to know where a pod does not come up in a cluster that nothing is loaded into."""
_PROVIDER = "kind://docker/"
_LABEL = "io.x-k8s.kind.cluster"
_ASK_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class KindNodes:
    """The nodes of a kind cluster of this machine's docker: images can be loaded into them.

    cluster: as kind names it, empty where the nodes are no such containers;  names: of the containers
    """

    cluster: str = ""
    names: tuple[str, ...] = ()

    def within_reach(self, access: str) -> str:
        """The container that is the only node, where processes are killed; empty where that cannot or shall not be.

        access: as --node-access has it
        """
        return self.names[0] if access == "auto" and len(self.names) == 1 else ""


async def kind_nodes(api: ApiClient, cluster_of: Callable[[str], Awaitable[str]]) -> KindNodes:
    """The nodes of a cluster that kind made on this machine; none of any other, or where nodes may not be looked at.

    cluster_of: of which kind cluster a container of this machine is a node, empty for none
    """
    nodes = (await api.ask("GET", "/api/v1/nodes", accept=(403,))).get("items") or []
    provided = [str((one.get("spec") or {}).get("providerID", "")) for one in nodes]
    if not provided or not all(one.startswith(_PROVIDER) for one in provided):
        return KindNodes()
    clusters, names = zip(*(one.removeprefix(_PROVIDER).split("/", 1) for one in provided), strict=True)
    here = await asyncio.gather(*map(cluster_of, names))
    return KindNodes(clusters[0], names) if set(here) == {clusters[0]} else KindNodes()


async def docker_cluster_of(container: str) -> str:
    """Of which kind cluster a container of docker here is a node; empty for none, or where there is no docker."""
    label = f'{{{{index .Config.Labels "{_LABEL}"}}}}'
    try:
        return (await command("docker", "container", "inspect", "--format", label, container, limit=_ASK_LIMIT)).strip()
    except CommandFails:  # a cluster of the same name elsewhere, for all that is known
        return ""


def pulled_image(settings: Settings, wiring: Wiring) -> str:
    """The image of emulated edges, where the cluster has to pull it. Raises UsageError where none is named."""
    if wiring.emulated and not settings.edges_image:
        name = image_name(ROOT, base=settings.kind.python_image)
        raise UsageError(
            f"--context {settings.context}: images cannot be loaded into this cluster's nodes, and its emulated edges "
            f"({', '.join(wiring.emulated)}) run from one of the harness: push {name}, which `emco-chaos image` "
            "builds, to where the cluster pulls from, and name it by EMCO_CHAOS_EDGES_IMAGE"
        )
    return settings.edges_image
