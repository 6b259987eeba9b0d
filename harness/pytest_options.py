"""Options of the pytest plugin, and how a run is named in all its processes; loads nothing heavy."""

import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

_ORIGIN = "emco_chaos_origin"
_KEY: pytest.StashKey["Origin"] = pytest.StashKey()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a pytest run began, so that its processes, pytest-xdist's workers included, make one run.

    suffix: of the run's id;  salt: of the redactor, in hex;  clock: this process's monotonic seconds when it knew
    """

    began: datetime
    suffix: str
    salt: str
    clock: float


def origin(config: pytest.Config) -> Origin:
    """The one of this pytest run: handed over by the process that started this one, or made now."""
    if _KEY not in config.stash:
        given = getattr(config, "workerinput", {}).get(_ORIGIN)
        if given:
            config.stash[_KEY] = Origin(datetime.fromisoformat(given[0]), given[1], given[2], time.monotonic())
        else:
            suffix, salt = secrets.token_hex(2), secrets.token_hex(16)
            config.stash[_KEY] = Origin(datetime.now(UTC), suffix, salt, time.monotonic())
    return config.stash[_KEY]


def hand_over(config: pytest.Config, workerinput: dict[str, Any]) -> None:
    """Give a worker of pytest-xdist the origin of this run; only plain values go through."""
    one = origin(config)
    workerinput[_ORIGIN] = [one.began.isoformat(), one.suffix, one.salt]


def option(config: pytest.Config, name: str) -> Any:
    """An option as given on the command line or, failing that, in the ini file."""
    given = config.getoption(f"emco_{name}")
    return given if given is not None else config.getini(f"emco_{name}")


def option_flag(name: str) -> str:
    """How an option is written on the command line."""
    return "--emco" if name == "version" else f"--emco-{name.replace('_', '-')}"


_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")


def usage_error(config: pytest.Config, error: Exception, about: str = "") -> pytest.UsageError:
    """An error of the harness as one of pytest's, with its options named as pytest's command line has them."""

    def as_here(flag: re.Match[str]) -> str:
        name = flag[1].replace("-", "_")
        return option_flag(name) if hasattr(config.option, f"emco_{name}") else flag[0]

    parts = str(error).split("`")  # a command that is quoted is none of pytest's
    parts[::2] = [_FLAG.sub(as_here, part) for part in parts[::2]]
    return pytest.UsageError(about + "`".join(parts))


def file(config: pytest.Config, name: str) -> Path | None:
    """An option that names a file or folder: from where pytest was called, or from the ini file's folder."""
    if given := config.getoption(f"emco_{name}"):
        return Path(config.invocation_params.dir / given)
    if text := config.getini(f"emco_{name}"):
        return Path((config.inipath.parent if config.inipath else config.rootpath) / text)
    return None


def files(config: pytest.Config, name: str) -> tuple[Path, ...]:
    """An option that may be repeated and names files: as `file`."""
    if given := config.getoption(f"emco_{name}"):
        return tuple(Path(config.invocation_params.dir / one) for one in given)
    root = config.inipath.parent if config.inipath else config.rootpath
    return tuple(Path(root / one) for one in config.getini(f"emco_{name}"))


def out_folder(config: pytest.Config) -> Path:
    """Where the folders of runs are made."""
    return file(config, "out") or config.rootpath / "reports" / "out"
