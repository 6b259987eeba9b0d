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

    Exit code 3 when something could not be undone; it is kept, and tried again the next time.
    """
    folder = default_folders()["state_folder"] / "undo"
    played, kept = 0, 0
    for path in sorted(folder.glob("*.undo")) if folder.is_dir() else ():
        if journal.owner_alive(path):
            typer.echo(f"{path.name}: its run is still at work, left alone")
            continue
        undoers = {**journal.UNDOERS, **CLUSTER_UNDOERS, **KIND_UNDOERS, **MACHINE_UNDOERS, **INSTALLED_UNDOERS}
        done = journal.rollback(path, undoers=undoers)
        for sentence in done.told:
            typer.echo(sentence)
        for sentence in done.failed:
            typer.echo(f"could not be undone: {sentence}", err=True)
        if done.failed:
            typer.echo(f"it is kept in {path}: try again, or remove that file if there is nothing to undo", err=True)
        played, kept = played + len(done.told), kept + len(done.failed)
    typer.echo(f"{played} acts undone" if played else "nothing to undo" if not kept else "nothing undone")
    if kept:
        raise typer.Exit(3)
