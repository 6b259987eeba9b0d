"""Whether anything leads from a source to a target: where nothing does, that nothing was seen there says nothing."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from harness.faults.victim import UsageError
from harness.wire.links import Link

_SHARED = "?"  # the source of a link that services share; whose a connection is shows only when it comes


def must_be_linked(links: Iterable[Link], services: Iterable[str], *, source: str, target: str) -> None:
    """Raise UsageError with the links that there are unless one leads from a source to a target (patterns)."""
    known = tuple(links)
    shared = any(fnmatchcase(one, source) for one in services)
    for link in known:
        fits = shared if link.source == _SHARED else fnmatchcase(link.source, source)
        if fits and fnmatchcase(link.target, target):
            return
    there = ", ".join(sorted({link.describe() for link in known}))
    raise UsageError(f"no link goes from {source!r} to {target!r}; there are {there}")
