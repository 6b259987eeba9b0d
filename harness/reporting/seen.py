"""How the reason of a finding is recognised in another run: by its words, whatever figures and names it has.

acknowledged with 202, but its goal is never reached: /context/1653353371845750561/status/ is Instantiating; undo ...
acknowledged with …, but its goal is never reached: … is Instantiating
"""

import re

_REST = re.compile(r"[;(]")  # details come after these
_INVARIANT = re.compile(r"[A-Z]\d+-[a-z-]+")  # I4-dangling: this digit is a part of a name that never changes
_VARIES = re.compile(r"[\d/{}…]")
_SEVERAL = re.compile(r"…(?:,? (?:and )?…)+")
_MOST = 160  # characters: what comes later in a sentence is detail as well
_ENDS = ("", " ", ":")


def opening(reason: str) -> str:
    """How a reason begins, up to its details, with `…` for figures, places and names that have figures."""
    begins = words(_REST.split(reason, maxsplit=1)[0])
    if len(begins) > _MOST:
        begins = begins[:_MOST].rpartition(" ")[0]
    return begins.rstrip(": ")


def words(text: str) -> str:
    """The words of a sentence alone: `…` stands for what differs from run to run."""
    return _SEVERAL.sub("…", " ".join(map(_word, text.split())))


def _word(token: str) -> str:
    core = token.strip(",:.")
    if not _VARIES.search(core) or _INVARIANT.fullmatch(core):
        return token
    return f"…{token[len(token.rstrip(',:')) :]}"


def says(reason: str, seen: str) -> bool:
    """Whether a reason begins with what was seen, and says no more in the same breath.

    `nothing heals: ...` says `nothing heals`; `I8-idle, edge-owned: ...` does not say `I8-idle`.
    """
    said, wanted = words(_REST.split(reason, maxsplit=1)[0].strip()), words(seen)
    return said.startswith(wanted) and said[len(wanted) : len(wanted) + 1] in _ENDS
