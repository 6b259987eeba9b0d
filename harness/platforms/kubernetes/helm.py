"""helm, a program of its own: charts are copied, values and patches laid over them."""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import harness
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.commands import CommandFails, command

Json = dict[str, Any]
_LIMIT = 120.0
_CHART = "Chart.yaml"
_LOCAL = "file://"
_ROOT = Path(harness.__file__).parent.parent
_POST_RENDERER = "harness.platforms.kubernetes.patches"
# Where a chart may lie below the folder that is named: EMCO's source and pulled emco-services/charts, the umbrella that
# was pulled, and a folder into which emco-services and emco-db were.
_PLACES = ("", "charts", "emco-services/charts", "charts/emco-services/charts")


@dataclass(frozen=True, slots=True)
class Charts:
    """place: a folder with EMCO's charts, or its umbrella chart;  values: the user's, which win over ours

    patches: a kustomization of the user's for what the charts make
    """

    place: Path
    values: tuple[Path, ...] = ()
    patches: Path | None = None

    def find(self, name: str) -> Path | None:
        """The folder of one chart."""
        found = (self.place / inner / name for inner in _PLACES)
        return next((one for one in found if (one / _CHART).is_file()), None)

    def folder(self, name: str) -> Path:
        """The same. Raises UsageError where there is none."""
        found = self.find(name)
        if found is None:
            raise UsageError(
                f"--charts {self.place}: there is no {name}/{_CHART}; a folder as deployments/helm/emcoBase of EMCO's "
                "source is expected, or its chart emco, or emco-services/charts, as `helm pull --untar` leaves them"
            )
        return found


class Helm:
    """Installs charts into one namespace. folder: for copies of the charts, values, and what helm keeps for itself"""

    def __init__(self, charts: Charts, folder: Path) -> None:
        self._charts = charts
        self._folder = folder
        self._ready: set[Path] = set()
        self._whole: set[Path] = set()

    async def install(
        self,
        release: str,
        chart: str,
        own: Json,
        *,
        namespace: str,
        cluster: tuple[Path, str],
        make_namespace: bool = False,
    ) -> None:
        """Make a release be there, by our values and the user's, with the user's patches.

        cluster: kubeconfig and context;  make_namespace: where it is not there. Raises HarnessTrouble with what helm
        says.
        """
        kubeconfig, context = cluster
        made = ("--create-namespace",) if make_namespace else ()
        folder, values = await self._prepared(release, chart, own)
        await self._run(
            "upgrade", "--install", release, str(folder), "--namespace", namespace, *made,
            "--kubeconfig", str(kubeconfig), "--kube-context", context, *values, *self._patching(), chart=chart,
        )  # fmt: skip

    async def rendered(self, release: str, chart: str, own: Json, *, namespace: str) -> list[Json]:
        """What would be made, without the patches. Raises HarnessTrouble."""
        folder, values = await self._prepared(release, chart, own)
        asked = ("template", release, str(folder), "--namespace", namespace, *values)
        text = await self._run(*asked, chart=chart)
        try:
            return [one for one in yaml.safe_load_all(text) if one]
        except yaml.YAMLError as error:
            raise HarnessTrouble(
                f"what the chart {chart} makes cannot be read: {' '.join(str(error).split())}"
            ) from error

    async def _prepared(self, release: str, chart: str, own: Json) -> tuple[Path, tuple[str, ...]]:
        """The chart, with its dependencies beside it, and the values for it."""
        folder = self._copied(chart)
        await self._complete(folder, chart)
        file = self._folder / f"{release}.values.yaml"
        file.write_text(yaml.safe_dump(own), encoding="utf-8")
        file.chmod(0o600)  # passwords may be among them
        return folder, tuple(text for path in (file, *self._charts.values) for text in ("--values", str(path)))

    def _copied(self, chart: str) -> Path:
        """Where its dependencies can be put into it; its neighbours, where these are some of them, come along."""
        place = self._charts.folder(chart)
        home = self._folder / "charts" / place.parent.relative_to(self._charts.place)
        alone = not any(str(one.get("repository", "")).startswith(_LOCAL) for one in _dependencies(place))
        source, target = (place, home / chart) if alone else (place.parent, home)
        if not {home, target} & self._ready:
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
            self._ready.add(target)
        return home / chart

    async def _complete(self, folder: Path, chart: str) -> None:
        """Have all charts in it that it depends on, and these have theirs. Those of a chart that was pulled are."""
        if folder in self._whole:
            return
        wanted = _dependencies(folder)
        has = {path.name for path in (folder / "charts").iterdir()} if (folder / "charts").is_dir() else set()
        missing = [one for one in wanted if not any(name.startswith(str(one["name"])) for name in has)]
        for one in missing:
            near = folder / str(one.get("repository", "")).removeprefix(_LOCAL)
            if str(one.get("repository", "")).startswith(_LOCAL) and (near / _CHART).is_file():
                await self._complete(near.resolve(), chart)
        if missing:
            await self._run("dependency", "update", str(folder), chart=chart)
        self._whole.add(folder)

    def _patching(self) -> tuple[str, ...]:
        """The program through which helm sends what it has rendered."""
        if self._charts.patches is None:
            return ()
        given = ("-m", _POST_RENDERER, str(self._charts.patches.resolve()))
        return ("--post-renderer", sys.executable, *(text for one in given for text in ("--post-renderer-args", one)))

    async def _run(self, *arguments: str, chart: str) -> str:
        homes = {f"HELM_{name}_HOME": str(self._folder / "helm" / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        try:
            return await command("helm", *arguments, limit=_LIMIT, environment={**homes, "PYTHONPATH": str(_ROOT)})
        except CommandFails as error:
            raise HarnessTrouble(f"the chart {chart} cannot be {_DONE[arguments[0]]}: {error}") from error


_DONE: Mapping[str, str] = {"upgrade": "installed", "template": "rendered", "dependency": "completed"}


def _dependencies(folder: Path) -> list[Json]:
    file = folder / _CHART
    try:
        return list((yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("dependencies") or ())
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise HarnessTrouble(f"{folder.name}/{_CHART} cannot be read: {said}") from error
