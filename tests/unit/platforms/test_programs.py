"""Where the programs of the stores are found, and which switches the reference EMCO has."""

import sys
from pathlib import Path

import pytest

from harness.faults.victim import UsageError
from harness.platforms.process.programs import check_defects, find_program


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
