"""Opens an environment on whichever platform the settings name."""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from harness.crashpoints.lab import Lab, Limits
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.disruptions import Disruptable
from harness.platforms.edges.edge import Edge
from harness.platforms.images.named import ServiceImage, image_called, pulled_image
from harness.platforms.kind.clusters import available_mib, check_kind
from harness.platforms.kind.environment import KIND_LIMITS, charts_of, open_kind_lab, real_images
from harness.platforms.kind.monitor import IMAGE as MONITOR_IMAGE
from harness.platforms.kind.monitor import check_monitor
from harness.platforms.kubernetes.charts import check_charts
from harness.platforms.kubernetes.installed import check_installed, open_installed_lab, resting_services
from harness.platforms.kubernetes.patched import check_cluster_patches
from harness.platforms.kubernetes.patches import read_patches
from harness.platforms.kubernetes.store_charts import CHART as STORE_CHART
from harness.platforms.kubernetes.store_charts import StorePlan, plan_stores
from harness.platforms.kubernetes.wiring import Wiring
from harness.platforms.process.disruptions import ProcessDisruptions
from harness.platforms.process.environment import open_lab
from harness.platforms.process.lab import EdgeName
from harness.platforms.settings import KIND_EDGES, PLATFORMS, Settings
from harness.platforms.together import apart
from harness.stores.etcd import Etcd
from harness.stores.mongo import Mongo
from harness.wire.links import Address


class EmcoLab(Lab, Protocol):
    """A lab with an EMCO in it, as those see it who do more than replay crash points."""

    @property
    def services(self) -> Collection[str]: ...
    @property
    def edges(self) -> Mapping[EdgeName, Edge]: ...
    @property
    def mongo(self) -> Mongo: ...
    @property
    def etcd(self) -> Etcd: ...

    @property
    def folder(self) -> Path:
        """Logs and data of the environment; it goes with it."""

    def http(self, service: str) -> Address:
        """Where a service has its API."""

    async def ask(self, service: str, path: str) -> Any:
        """The JSON that a GET is answered with; None where the answer is an error, no JSON, or none at all."""

    async def keep_evidence(self, about: str) -> str:
        """Keep what surrounds EMCO says when something went wrong; where, empty for nowhere."""

    async def edge_objects(self) -> Mapping[str, tuple[dict[str, Any], ...]]:
        """What EMCO's edges hold, by their names."""


class Ending(Disruptable, Protocol):
    """What can be done to an EMCO, and an end of it."""

    async def close(self) -> None:
        """End what goes on by itself."""

    async def leave(self) -> None:
        """Nobody needs it until the next clean slate: processes of services end, so that what they go on doing takes
        nothing from others on this machine. Pods go on: to replace them costs more than they take."""


def check_platform(settings: Settings, *, clusters: int) -> None:
    """Whether the platform can be had, as far as it can be told beforehand. Raises UsageError; starts nothing.

    clusters: that the workload registers
    """
    if settings.platform not in PLATFORMS:
        raise UsageError(f"--platform {settings.platform}: {' or '.join(PLATFORMS)} is expected")
    if settings.platform == "kind":
        kind = replace(settings.kind, edges=clusters) if settings.edges == KIND_EDGES else settings.kind
        check_kind(kind, available_mib=available_mib(), workers=settings.workers)


def images_of(settings: Settings, services: Sequence[str]) -> Mapping[str, ServiceImage]:
    """The images that the services run from, none where they run from none of their own.

    Raises UsageError for one that cannot be had, and for charts that are not there.
    """
    if settings.platform == "kubernetes":
        return check_installed(settings, services)
    if settings.platform != "kind":
        return {}
    if settings.charts:
        check_charts(charts_of(settings), (*services, *((STORE_CHART,) if settings.store_charts else ())))
    if settings.monitor_chart:
        check_monitor(settings.monitor_chart)
        image_called(settings.emco_images, settings.emco_version, MONITOR_IMAGE)
    if settings.store_charts:
        for image in _stores(settings).images:
            pulled_image(image)
    return real_images(settings, services)


def _stores(settings: Settings) -> StorePlan:
    """What the chart of the stores would make. Raises UsageError for what the harness could not use."""
    try:
        with tempfile.TemporaryDirectory(prefix="emco-chaos-") as folder:
            return apart(lambda: plan_stores(charts_of(settings), Path(folder)))
    except HarnessTrouble as trouble:
        raise UsageError(str(trouble)) from trouble


def check_patches(
    settings: Settings, services: Sequence[str], edges: Sequence[EdgeName], images: Mapping[str, ServiceImage]
) -> None:
    """Whether the user's patches hit what will be made, and leave what the harness needs. Raises UsageError."""
    if settings.patches is None:
        return
    where = {str(edge): ("edge", 0) for edge in edges} if settings.edges == KIND_EDGES else {}
    named = {service: image.name for service, image in images.items()}
    check_cluster_patches(
        read_patches(settings.patches),
        Wiring(tuple(services), tuple(map(str, edges)), where),
        named,
        charts_of(settings) if settings.charts else None,
        store_charts=settings.store_charts,
        is_foreign=settings.platform == "kubernetes",
    )


def resting(settings: Settings, services: Sequence[str]) -> tuple[str, ...]:
    """Services of an installed EMCO that do not run while these are tested. Raises UsageError."""
    return resting_services(settings, services) if settings.platform == "kubernetes" else ()


def platform_limits(settings: Settings) -> Limits:
    """The waits that fit the platform."""
    return KIND_LIMITS if settings.platform != PLATFORMS[0] else Limits()


@contextlib.asynccontextmanager
async def open_environment(
    settings: Settings,
    limits: Limits,
    *,
    services: tuple[str, ...],
    edges: tuple[EdgeName, ...],
    folder: Path,
    undo: Path,
) -> AsyncIterator[tuple[EmcoLab, Ending]]:
    """The lab and what can be done to it; `services` are started by the first clean slate.

    edges: clusters to have;  folder: for logs and data;  undo: the journal. Raises UsageError and HarnessTrouble.
    """
    if settings.platform != PLATFORMS[0]:
        opening = open_kind_lab if settings.platform == "kind" else open_installed_lab
        async with opening(settings, limits, services=services, edges=edges, folder=folder, undo=undo) as (
            lab,
            disruptions,
        ):
            yield lab, disruptions
        return
    async with open_lab(settings, limits, services=services, edges=edges, folder=folder, undo=undo) as process:
        yield process, ProcessDisruptions(process)
