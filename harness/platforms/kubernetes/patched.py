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
from harness.platforms.kubernetes.wiring import Wiring
from harness.platforms.together import apart

Json = dict[str, Any]
Group = tuple[Sequence[Json], Callable[[Json], Json]]
_IMAGE = "image:known-later"


def check_cluster_patches(
    patches: Patches, wiring: Wiring, images: Mapping[str, str], charts: Charts | None, *, is_foreign: bool
) -> None:
    """Whether each patch hits something and takes nothing that is needed. Raises UsageError; makes nothing.

    images: of EMCO's services, none for the reference;  charts: what installs them, where charts do
    is_foreign: EMCO is somebody else's, and gets no patches; what the harness makes beside it does
    """
    release = Release(wiring, _IMAGE, _IMAGE, "faithful", images=images)
    groups: list[Group] = [(harness_objects(release, ""), needed_of_manifest)]
    if not is_foreign:
        own = emco_objects(release if charts is None else replace(release, services=_Charted()), "")
        groups.append((own, needed_of_manifest))
    if charts is not None:
        with tempfile.TemporaryDirectory(prefix="emco-chaos-") as folder:
            groups.append((_rendered(charts, images, Path(folder)), needed_of_chart))
    patches.check(groups)


def _rendered(charts: Charts, images: Mapping[str, str], folder: Path) -> list[Json]:
    try:
        return apart(lambda: rendered_services(charts, images, folder))
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
