"""Stages of a pytest session: an EMCO for experiments, opened when a test asks for it and kept for the next ones.

Only one is open at a time in a process, beside the environment of the crash points: tests that want another workload or
other defects close the one before. Ask for them in an order that keeps equal ones together.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.background import Background
from harness.chaos.stage import Stage
from harness.defaults import ROOT
from harness.platforms.settings import Settings
from harness.work import prepare

THREE_EDGES = ROOT / "fixtures" / "workloads" / "three-edges.yaml"


class Stages:
    """Opens and closes stages.

    settings:  those of the session, of which a stage changes the workload
    make_room: is called before one is opened: on kind a set of clusters holds one EMCO
    """

    def __init__(self, settings: Settings, *, worker: str, make_room: Callable[[], None]) -> None:
        self._settings = settings
        self._make_room = make_room
        self._worker = worker
        self._open: tuple[Settings, Background, Stage] | None = None

    def get(self, workload: Path = THREE_EDGES, *, max_retries: str = "", cleanup_delay: str = "") -> Stage:
        """A stage with this workload, as it was left by whoever used it before.

        Raises UsageError, HarnessTrouble or ServiceDown when it cannot be brought up.
        """
        values = workload.with_name(f"{workload.stem}.values.yaml")
        wanted = replace(
            self._settings,
            workload=workload,
            values=values if values.is_file() else None,
            max_retries=max_retries,
            cleanup_delay=cleanup_delay,
            sidecar=None,
        )
        if self._open is not None and self._open[0] == wanted:
            return self._open[2]
        self.close()
        self._make_room()
        work = prepare(wanted)
        environment = Background(wanted, work, name=f"stage-{self._worker}")
        environment.open()
        stage = Stage(environment, work)
        self._open = (wanted, environment, stage)
        return stage

    def keep_evidence(self, about: str) -> str:
        """Keep what surrounds the EMCO that is open; where, empty for nowhere. Raises HarnessTrouble."""
        if self._open is None:
            return ""
        return self._open[2].act(lambda campaign: campaign.lab.keep_evidence(about))

    def leave(self) -> None:
        """The test that used the stage is over: what goes on there, a watched status for one, took from the others."""
        if self._open is not None:
            self._open[2].leave()

    def close(self) -> None:
        """Take down what is open."""
        opened, self._open = self._open, None
        if opened is not None:
            opened[1].close()
