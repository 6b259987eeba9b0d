"""The user's patches, tried beforehand on all that will be made in a cluster."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.kubernetes.charts import rendered_services
from harness.platforms.kubernetes.helm import Charts
from harness.platforms.kubernetes.install import Release, emco_objects, harness_objects
from harness.platforms.kubernetes.needs import needed_of_chart, needed_of_manifest
from harness.platforms.kubernetes.patches import Patches
from harness.platforms.kubernetes.store_charts import rendered_stores
from harness.platforms.kubernetes.wiring import Wiring
from harness.platforms.together import apart

Json = dict[str, Any]
Group = tuple[Sequence[Json], Callable[[Json], Json]]
_IMAGE = "image:known-later"


def check_cluster_patches(
    patches: Patches,
    wiring: Wiring,
    images: Mapping[str, str],
    charts: Charts | None,
    *,
    is_foreign: bool,
    store_charts: bool = False,
) -> None:
    """Whether each patch hits something and takes nothing that is needed. Raises UsageError; makes nothing.

    images: of EMCO's services, none for the reference;  charts: what installs them, where charts do; with store_charts
    the stores as well
    is_foreign: EMCO is somebody else's, and gets no patches; what the harness makes beside it does
    """
    release = Release(wiring, _IMAGE, _IMAGE, "faithful", images=images)
    groups: list[Group] = [(harness_objects(release, ""), needed_of_manifest)]
    if not is_foreign:
        services = None if charts is None else _Charted()
        stores = _ChartedStores() if store_charts else None
        own = emco_objects(replace(release, services=services, stores=stores), "")
        groups.append((own, needed_of_manifest))
    if charts is not None:
        with tempfile.TemporaryDirectory(prefix="emco-chaos-") as folder:
            groups.append((_rendered(charts, images, Path(folder), stores=store_charts), needed_of_chart))
    patches.check(groups)


def _rendered(charts: Charts, images: Mapping[str, str], folder: Path, *, stores: bool) -> list[Json]:
    async def render() -> list[Json]:
        made = await rendered_services(charts, images, folder)
        return made + (await rendered_stores(charts, folder) if stores else [])

    try:
        return apart(render)
    except HarnessTrouble as trouble:
        raise UsageError(str(trouble)) from trouble


class _Charted:
    """Stands for charts that install the services: no manifest of the harness's does it then."""

    def deployment(self, service: str) -> str:
        return service

    async def put(self, api: object, relay: str) -> None:
        """Nothing is made."""

    async def take_back(self, api: object) -> None:
        """Nothing was made."""


class _ChartedStores:
    """The same for the stores."""

    workloads = ()

    async def put(self, api: object) -> None:
        """Nothing is made."""
