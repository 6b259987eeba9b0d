"""Where programs of the stores are found, when a service answers, which switches the reference EMCO has."""

import asyncio
import sys
from pathlib import Path

import pytest

from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.process.programs import (
    Answers,
    check_defects,
    check_schema_known,
    find_program,
    is_done_with_schema,
)
from harness.platforms.supervisor import NeverReady


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A program beside this Python, and one of the same name on PATH."""
    found = {}
    for name in ("beside", "path"):
        (tmp_path / name).mkdir()
        found[name] = tmp_path / name / "store"
        found[name].touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "beside" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return found


def test_what_stands_beside_this_python_comes_first(places: dict[str, Path]) -> None:
    assert find_program("store", "--x") == str(places["beside"])


def test_the_machines_own_comes_first_where_that_is_asked_for(places: dict[str, Path]) -> None:
    assert find_program("store", "--x", path_first=True) == str(places["path"])


@pytest.mark.parametrize("gone,there", [("beside", "path"), ("path", "beside")])
@pytest.mark.parametrize("path_first", [False, True])
def test_either_is_taken_where_the_other_is_not(
    places: dict[str, Path], gone: str, there: str, path_first: bool
) -> None:
    places[gone].unlink()
    assert find_program("store", "--x", path_first=path_first) == str(places[there])


def test_without_any_the_sentence_says_what_to_do(places: dict[str, Path]) -> None:
    for place in places.values():
        place.unlink()
    with pytest.raises(UsageError, match=r"store was not found, .* or name a running one by --x"):
        find_program("store", "--x")


@pytest.mark.parametrize("setting", ["faithful", "fixed", "B1,C1", "faithful-R5"])
def test_switches_that_the_reference_has(setting: str) -> None:
    check_defects(setting)


def test_a_switch_that_the_reference_has_not_is_refused_with_those_it_has() -> None:
    with pytest.raises(UsageError, match="--reference B1,nope: nope is no switch; there are faithful, fixed, A1,"):
        check_defects("B1,nope")


async def test_a_service_without_the_schema_is_waited_for_from_the_moment_its_ports_are_open(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"successfully processed the referential schema\n")  # of an earlier start
    offset = log.stat().st_size
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    address = server.sockets[0].getsockname()[:2]
    ready, never = (Answers([address], log, schema=True, limit=limit) for limit in (60.0, -1.0))
    with pytest.raises(ConnectionRefusedError, match="not loaded yet"):
        await ready(offset)
    with pytest.raises(NeverReady, match="did not load the schema within"):
        await never(offset)
    with log.open("ab") as more:
        more.write(b"successfully processed the referential schema\n")
    await ready(offset)
    await never(offset)
    server.close()
    with pytest.raises(ConnectionRefusedError):
        await ready(offset)


async def test_the_time_without_a_schema_is_that_of_the_start_at_hand(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    ready = Answers([server.sockets[0].getsockname()[:2]], log, schema=True, limit=60.0)
    with pytest.raises(ConnectionRefusedError, match="not loaded yet"):
        await ready(0)
    ready._open = (0, -1000.0)  # long ago
    with pytest.raises(NeverReady):
        await ready(0)
    log.write_bytes(b"started\n")
    with pytest.raises(ConnectionRefusedError, match="not loaded yet"):
        await ready(log.stat().st_size)
    server.close()


@pytest.mark.parametrize(
    "log, done",
    [
        (b"DatabaseReferentialSchema: successfully processed the referential schema.", True),
        (b"DatabaseReferentialSchema: failed to retrieve schema segments from db.", True),
        (b"the referential schema is not asked for again", True),
        (b"DatabaseReferentialSchema: there are no schema(s) registered in the db.", False),
    ],
)
def test_what_a_service_says_when_it_does_not_look_for_the_schema_any_more(log: bytes, done: bool) -> None:
    assert is_done_with_schema(log) is done


def test_a_service_that_gave_up_the_schema_with_nothing_broken_is_trouble() -> None:
    with pytest.raises(HarnessTrouble, match="dcm gave up the referential schema although stores and links were whole"):
        check_schema_known("dcm", b"DatabaseReferentialSchema: failed to retrieve schema segments from db.")


@pytest.mark.parametrize(
    "log",
    [b"", b"started", b"failed to retrieve schema segments from db\nsuccessfully processed the referential schema"],
)
def test_a_service_that_knows_the_schema_or_needs_none_is_fine(log: bytes) -> None:
    check_schema_known("dcm", log)
