"""Clusters of the platform kind, for people: `emco-chaos up`, `down` and `status`."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer

from harness.defaults import ROOT, default_folders, default_python_image
from harness.faults.journal import UNDOERS, Journal, process_started
from harness.faults.victim import UsageError
from harness.platforms.kind.clusters import (
    KIND_UNDOERS,
    Cluster,
    ClusterSet,
    Sets,
    available_mib,
    check_docker,
    check_kind,
    is_running,
)
from harness.platforms.settings import KindSettings

CONFIG = ROOT / "fixtures" / "kind"

Platform = Annotated[str, typer.Option("--platform", help="Only kind needs to be brought up beforehand.")]
Name = Annotated[str, typer.Option("--cluster", help="Name of the set of clusters: its hub is NAME-hub.")]


def up(
    *,
    platform: Platform = "kind",
    cluster: Name = "emco-chaos",
    edges: Annotated[int, typer.Option("--edges", help="Clusters beside the hub.")] = 0,
    node_image: Annotated[
        str,
        typer.Option(
            "--node-image", envvar="EMCO_CHAOS_NODE_IMAGE", help="Image of the nodes.", show_default="kind's own"
        ),
    ] = "",
    reuse: Annotated[bool, typer.Option("--reuse", help="Take clusters of this name that are there already.")] = False,
) -> None:
    """Make clusters and leave them for `--reuse`."""
    _only_kind(platform)
    settings = KindSettings(cluster, edges, node_image, default_python_image(), keep=True, reuse=reuse)
    made = _run(lambda: bring_up(settings))
    for one in made.all:
        typer.echo(f"{one.name}: kubectl --kubeconfig {one.kubeconfig} --context {one.context}")


def down(*, platform: Platform = "kind", cluster: Name = "emco-chaos") -> None:
    """Remove clusters that were left, with all they hold."""
    _only_kind(platform)
    sets = Sets(default_folders()["state_folder"])
    with sets.locked(cluster):
        found = sets.get(cluster)
        if found is None:
            raise UsageError(f"there are no clusters {cluster}; there are {', '.join(sets.names()) or 'none'}")
        _run(lambda: sets.delete(found))
    typer.echo(f"{', '.join(one.name for one in found.all)}: removed")


def status(*, platform: Platform = "kind") -> None:
    """Show the clusters that were left."""
    _only_kind(platform)
    sets = Sets(default_folders()["state_folder"])
    for name in sets.names():
        found = sets.get(name)
        for one in found.all if found is not None else ():
            typer.echo(f"{one.name}: {_run(lambda one=one: _state(one))}")  # type: ignore[misc]  # bound at once
    if not sets.names():
        typer.echo("no clusters")


async def bring_up(settings: KindSettings) -> ClusterSet:
    """The clusters that the settings ask for, made or reused, and left."""
    folders = default_folders()
    sets = Sets(folders["state_folder"])
    check_kind(settings, available_mib=available_mib())
    with sets.locked(settings.name):
        await check_docker(settings)
        if settings.reuse and sets.get(settings.name) is not None:
            return await sets.reuse(settings)
        path = folders["state_folder"] / "undo" / f"{os.getpid()}-{process_started(os.getpid())}.up.undo"
        journal = Journal(path, undoers={**UNDOERS, **KIND_UNDOERS})
        made, undos = await sets.create(settings, journal, config_folder=CONFIG)
        sets.keep(made, journal, undos)
        journal.close()
        return made


async def _state(cluster: Cluster) -> str:
    return "runs" if await is_running(cluster) else "does not run"


def _only_kind(platform: str) -> None:
    if platform != "kind":
        raise UsageError(f"--platform {platform}: only kind has anything to bring up beforehand")


def _run(act: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(act())
