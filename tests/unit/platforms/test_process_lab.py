"""A clean slate of processes: what is broken before any fault is trouble, and no finding."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.crashpoints.lab import Limits
from harness.emco.endpoints import Endpoints
from harness.faults.victim import HarnessTrouble
from harness.platforms.process.lab import Parts, ProcessLab
from harness.platforms.settings import Settings
from harness.stores.snapshot import Snapshot

KNOWS = b"successfully processed the referential schema"
GAVE_UP = b"failed to retrieve schema segments from db"


@dataclass
class SmallService:
    """A process that is up as soon as it is started."""

    log: bytes
    pid: int | None = None

    async def start(self) -> None:
        self.launch()

    def launch(self) -> None:
        self.pid = 7

    async def answering(self) -> None: ...

    def said(self) -> bytes:
        return self.log


@dataclass
class SmallAtWork:
    processes: Mapping[str, SmallService]
    started: list[str] = field(default_factory=list)

    async def stop(self) -> None:
        for one in self.processes.values():
            one.pid = None

    def tell_owners(self) -> None: ...


class SmallStore:
    async def restore(self, _: object) -> None: ...


def lab_of(services: Mapping[str, SmallService], folder: Path) -> ProcessLab:
    workload = folder / "workload.yaml"
    workload.touch()
    nothing: Any = SimpleNamespace(freeze=lambda _: None, drop=lambda _: None, name="a")
    parts: Any = Parts(nothing, folder, SmallAtWork(services), {}, SmallStore(), SmallStore(), {}, nothing, Endpoints())  # type: ignore[arg-type]  # what a clean slate takes of them
    return ProcessLab(Settings(workload), Limits(), parts)


@asynccontextmanager
async def small_lab(folder: Path) -> AsyncIterator[ProcessLab]:
    """Of two services, of which one gives up the schema."""
    made = lab_of({"clm": SmallService(KNOWS), "dcm": SmallService(GAVE_UP)}, folder)
    yield made
    await made._rest.close()


async def test_a_service_that_has_given_up_the_schema_on_a_clean_slate_is_trouble(tmp_path: Path) -> None:
    async with small_lab(tmp_path) as lab:
        with pytest.raises(
            HarnessTrouble, match="dcm gave up the referential schema although stores and links were whole"
        ):
            await lab.clean_slate(Snapshot(lab.environment, {"emco.resources": ()}, {}, {}))
        assert lab.clean_slates == 0


async def test_what_is_not_started_is_not_asked(tmp_path: Path) -> None:
    async with small_lab(tmp_path) as lab:
        await lab.clean_slate(Snapshot(lab.environment, {"emco.resources": ()}, {}, {}), only=frozenset({"clm"}))
        assert lab.clean_slates == 1
