"""Clusters of the platform kind, for people: `emco-chaos up`, `down` and `status`."""

import asyncio
import os
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from harness.defaults import default_folders, default_python_image
from harness.evidence.run_folder import run_id
from harness.faults.journal import process_started
from harness.faults.victim import UsageError
from harness.learning import interruptible
from harness.options import with_settings
from harness.platforms.commands import need
from harness.platforms.kind.clusters import ClusterSet, Sets, is_running
from harness.platforms.kind.environment import ROOT, bring_up, workloads
from harness.platforms.kind.images import reference_image
from harness.platforms.settings import CLUSTER, KIND_EDGES, Settings
from harness.platforms.together import all_of
from harness.work import Work, prepare

Platform = Annotated[str, typer.Option("--platform", help="Only kind has anything to bring up.")]
Name = Annotated[str, typer.Option("--cluster", help="Name of the set of clusters: its hub is NAME-hub.")]


@with_settings(
    "workload",
    "values",
    "emco",
    "emco_images",
    "charts",
    "chart_values",
    "store_charts",
    "patches",
    "reference",
    "cluster",
    "node_image",
    "reuse",
    "workers",
    platform="kind",
)
def up(
    *,
    settings: Settings,
    platform: Platform = "kind",
    edges: Annotated[
        int,
        typer.Option("--edges", help="Clusters beside the hub, one for each that the workload registers; 0: emulated."),
    ] = 0,
    monitor_chart: Annotated[
        Path | None,
        typer.Option("--monitor-chart", metavar="DIR", help="EMCO's chart monitor, to report on these clusters."),
    ] = None,
) -> None:
    """Make clusters, put EMCO into the hub, and leave them for `--reuse`. The services are those of the workload.

    With several workers each gets a set of its own: NAME-w0, NAME-w1 and so on.
    """
    _only_kind(platform)
    sets, kind = Sets(settings.state_folder), replace(settings.kind, edges=edges, keep=True)
    if edges:
        settings = replace(settings, edges=KIND_EDGES)
    settings = replace(settings, monitor_chart=monitor_chart)
    place = Path("reports", "out", run_id(datetime.now(UTC), "up")).absolute()  # made when something goes wrong
    settings = replace(settings, kind=kind, evidence_folder=place)
    of_each = [_that_may_be_there(settings.of_worker(number), sets) for number in range(settings.workers)]
    missing = sum(not one.kind.reuse for one in of_each)
    work = prepare(replace(settings, workers=max(1, missing), kind=replace(kind, reuse=not missing)))
    if edges not in (0, len(work.edges)):
        raise UsageError(
            f"--edges {edges}: the workload registers {len(work.edges)} clusters; as many, or none, are made"
        )
    with tempfile.TemporaryDirectory(prefix="emco-chaos-") as folder:
        making = all_of(_bring_up(one, work, Path(folder)) for one in of_each)
        asyncio.run(
            interruptible(
                making, left="what was made is kept: `emco-chaos status` shows it, `emco-chaos down` removes it"
            )
        )
    for one in of_each:
        _show(sets, one.kind.name)


def _that_may_be_there(settings: Settings, sets: Sets) -> Settings:
    """`--reuse` of what is there; what is not is made."""
    reuse = settings.kind.reuse and sets.get(settings.kind.name) is not None
    return replace(settings, kind=replace(settings.kind, reuse=reuse))


async def _bring_up(settings: Settings, work: Work, base: Path) -> None:
    folder = base / settings.kind.name
    folder.mkdir(mode=0o700)
    this = f"{os.getpid()}-{process_started(os.getpid())}"
    undo = settings.state_folder / "undo" / f"{this}.{settings.kind.name}.up.undo"
    await bring_up(settings, services=work.services, edges=work.edges, folder=folder, undo=undo)


def image() -> None:
    """Build the image that emulated edges run from in pods, and print its name.

    For clusters that have to pull it, since nothing can be loaded into their nodes.
    """
    need("docker", "building an image")
    with tempfile.TemporaryDirectory(prefix="emco-chaos-") as folder:
        base = default_python_image()
        turns = Sets(default_folders()["state_folder"]).turns
        typer.echo(asyncio.run(reference_image(ROOT, base=base, folder=Path(folder), turns=turns)))


def down(*, platform: Platform = "kind", cluster: Name = CLUSTER) -> None:
    """Remove clusters that were left, with all they hold.

    Under a name also those of the workers of its runs.
    """
    _only_kind(platform)
    sets = Sets(default_folders()["state_folder"])
    found = sets.called(cluster)
    if not found:
        raise UsageError(f"there are no clusters {cluster}; there are {', '.join(sets.names()) or 'none'}")
    for name in found:
        with sets.locked(name):
            one = sets.get(name)
            if one is None:
                continue  # somebody else has removed it meanwhile
            asyncio.run(sets.delete(one))
        typer.echo(f"{', '.join(cluster.name for cluster in one.all)}: removed")


def status(*, platform: Platform = "kind") -> None:
    """Show the clusters that were left, and what runs in them."""
    _only_kind(platform)
    sets = Sets(default_folders()["state_folder"])
    for name in sets.names():
        _show(sets, name)
    if not sets.names():
        typer.echo("no clusters")


def _show(sets: Sets, name: str) -> None:
    found = sets.get(name)
    if found is not None:
        for line in asyncio.run(_lines(found)):
            typer.echo(line)


async def _lines(found: ClusterSet) -> list[str]:
    lines = []
    for one in found.all:
        runs = await is_running(one)
        lines.append(f"{one.name}: {'runs' if runs else 'does not run'}")
        lines.append(f"  kubectl --kubeconfig {one.kubeconfig} --context {one.context}")
        if runs and one == found.hub:
            lines += [f"  {what}: {state}" for what, state in (await workloads(one)).items()]
    return lines


def _only_kind(platform: str) -> None:
    if platform != "kind":
        raise UsageError(f"--platform {platform}: only kind has anything to bring up beforehand")
