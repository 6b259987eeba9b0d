"""`emco-chaos rollback`: what runs that were killed left behind."""

import typer

from harness.defaults import default_folders
from harness.faults import journal
from harness.platforms.edges.running import CLUSTER_UNDOERS
from harness.platforms.kind.clusters import KIND_UNDOERS
from harness.platforms.kind.machine import MACHINE_UNDOERS
from harness.platforms.kubernetes.installed import INSTALLED_UNDOERS


def rollback() -> None:
    """Undo what killed runs left behind: processes, folders, objects on clusters. Runs at work are left alone.

    The exit code is 3 when something could not be undone: it stays written down, to be tried again.
    """
    folder = default_folders()["state_folder"] / "undo"
    undone, kept = 0, 0
    for path in sorted(folder.glob("*.undo")) if folder.is_dir() else ():
        if journal.owner_alive(path):
            typer.echo(f"{path.name}: its run is still at work, left alone")
            continue
        undoers = {**journal.UNDOERS, **CLUSTER_UNDOERS, **KIND_UNDOERS, **MACHINE_UNDOERS, **INSTALLED_UNDOERS}
        owed = len(journal.left(path))
        for sentence in journal.rollback(path, undoers=undoers):
            typer.echo(sentence)
        still = len(journal.left(path)) if path.exists() else 0
        undone, kept = undone + owed - still, kept + still
        if still:
            typer.echo(
                f"what could not be undone stays in {path}; remove the file if it never can be, as the cluster is gone"
            )
    if undone or not kept:
        typer.echo(f"{undone} acts undone" if undone else "nothing to undo")
    if kept:
        raise typer.Exit(3)
