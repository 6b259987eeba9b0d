"""Opens an environment on whichever platform the settings name."""

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from harness.crashpoints.lab import Lab, Limits
from harness.faults.victim import UsageError
from harness.platforms.commands import need
from harness.platforms.disruptions import Disruptable
from harness.platforms.edges.edge import Edge
from harness.platforms.images.named import ServiceImage
from harness.platforms.kind.clusters import available_mib, check_kind
from harness.platforms.kind.environment import KIND_LIMITS, open_kind_lab, real_images
from harness.platforms.kubernetes.charts import Charts, check_charts
from harness.platforms.kubernetes.installed import check_installed, open_installed_lab, resting_services
from harness.platforms.process.disruptions import ProcessDisruptions
from harness.platforms.process.environment import open_lab
from harness.platforms.process.lab import EdgeName
from harness.platforms.settings import KIND_EDGES, PLATFORMS, Settings
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


def check_platform(settings: Settings, *, clusters: int) -> None:
    """Whether the platform can be had, as far as it can be told beforehand. Raises UsageError; starts nothing.

    clusters: that the workload registers
    """
    if settings.platform not in PLATFORMS:
        raise UsageError(f"--platform {settings.platform}: {' or '.join(PLATFORMS)} is expected")
    if settings.platform == "kind":
        kind = replace(settings.kind, edges=clusters) if settings.edges == KIND_EDGES else settings.kind
        check_kind(kind, available_mib=available_mib(), workers=settings.workers)
    if settings.platform == "kubernetes":
        need("docker", "the platform kubernetes, which kills on the nodes of kind,")
        need("kind", "the platform kubernetes, which loads images into the nodes of kind,")


def images_of(settings: Settings, services: Sequence[str]) -> Mapping[str, ServiceImage]:
    """The images that the services run from, none where they run from none of their own.

    Raises UsageError for one that cannot be had, and for charts that are not there.
    """
    if settings.platform == "kubernetes":
        return check_installed(settings, services)
    if settings.platform != "kind":
        return {}
    if settings.charts:
        check_charts(Charts(settings.charts, settings.chart_values), services)
    return real_images(settings, services)


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
