"""The findings that are known and accepted, each with a reason, an owner and a day on which the acceptance ends.

A baseline is a YAML list:

    - id: dcm/logical-clouds/create-l1@after:mongo.data.crash
      outcome: needs-repair
      reason: needs a transaction in orchlib's db package
      owner: dcm team
      expires: 2026-12-31
      seen: repeating does not heal, removing it altogether does

The id is that of a crash point or of a claim. Only failures can be accepted: passes and warnings need no acceptance,
and `unknown` says nothing to accept. An entry lasts as long as the finding is exactly as accepted. If it got worse, got
better or its day is over, that is reported, so that the list never says more than is true. With `seen` it must be for
the same reason, too: a service that panics is not what was accepted as a call that cannot be repeated, though both are
stuck. It is how the run's sentence begins, figures and names apart (harness/reporting/seen.py).
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import yaml

from harness.crashpoints.claims import claim_subject
from harness.crashpoints.outcomes import GRADES, Grade, Judged, Outcome
from harness.evidence.run_folder import write_atomically
from harness.faults.victim import UsageError
from harness.reporting.findings import severity
from harness.reporting.seen import opening, says, words

_NEEDED = ("id", "outcome", "reason", "owner", "expires")
_KEYS = (*_NEEDED, "seen")
_BY_INVARIANTS = ("consistent", "invariants")  # names of claims whose reasons begin with those of invariants
_FAILURES = (Grade.FAIL, Grade.BLOCKER)
_HEADER = """\
# Known findings that are accepted for now (docs/summary.md, "Baseline"). `expires` is the last day of the acceptance.
"""


class _Plain(yaml.SafeDumper):
    """Writes equal dates out each time: nobody edits `*id001` by hand."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  the signature is PyYAML's
        return True


class BaselineError(UsageError):
    """The baseline cannot be used; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted finding. `expires` is the last day on which it counts; `seen`: what a result's reason has to begin
    with, any if empty."""

    id: str
    outcome: Outcome
    reason: str
    owner: str
    expires: date
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Baseline:
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """An entry and the result of its point or claim in this run. `result` is None if there is none."""

    entry: Entry
    result: Judged | None

    def sentence(self) -> str:
        """What was accepted, by whom until when, and what was seen."""
        seen = f"is now {self.result.outcome}" if self.result else "no point or claim has this id any more"
        what = str(self.entry.outcome)
        if self.result and _otherwise(self.entry, self.result):
            what, seen = f"{what} ({self.entry.seen})", f"{seen} ({self.result.reason})"
        until = self.entry.expires.isoformat()
        return f"{self.entry.id}: accepted as {what} by {self.entry.owner} until {until}, {seen}"


@dataclass(frozen=True, slots=True)
class BaselineVerdict:
    """A run held against a baseline; every entry is in exactly one place.

    new:      failures (grade fail or blocker) without an entry
    known:    as accepted
    worse:    a failure that is worse than accepted, or as bad for another reason, which nobody accepted
    vanished: better than accepted, or no point or claim has this id any more: the entry has to go, or to say less
    expired:  as accepted, but its day is over
    undecided: there is no result, or its outcome is unknown
    not_selected: was not part of this run, which says nothing about the entry
    """

    new: tuple[Judged, ...] = ()
    known: tuple[Match, ...] = ()
    worse: tuple[Match, ...] = ()
    vanished: tuple[Match, ...] = ()
    expired: tuple[Match, ...] = ()
    undecided: tuple[Match, ...] = ()
    not_selected: tuple[Entry, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there was no entry to hold a run against."""
        return not (self.known or self.worse or self.vanished or self.expired or self.undecided or self.not_selected)

    @property
    def holds(self) -> bool:
        """Whether nothing is new and every entry is still true."""
        return not (self.new or self.worse or self.vanished or self.expired)


def _nothing(_: str) -> bool:
    return False


def apply(
    baseline: Baseline,
    results: Iterable[Judged],
    *,
    today: date,
    selected_ids: Collection[str],
    covers: Callable[[str], bool] = _nothing,
    complete_subjects: Collection[str] = (),
) -> BaselineVerdict:
    """Hold a run's results against a baseline. `selected_ids` are the points that this run was to do.

    covers: whether the plan had all points of the kind of this id, so that an entry without a point has vanished
    complete_subjects: whose claims were all checked, so that an entry of theirs that was not has vanished
    """
    by_id = {result.id: result for result in results}
    places: dict[str, list[Match]] = {
        name: [] for name in ("known", "worse", "vanished", "expired", "undecided", "not_selected")
    }
    for entry in baseline.entries:
        result = by_id.get(entry.id)
        place = _place(entry, result, today=today, selected=entry.id in selected_ids)
        subject = claim_subject(entry.id)
        if place == "not_selected" and (subject in complete_subjects if subject else covers(entry.id)):
            place = "vanished"
        places[place].append(Match(entry, result))
    accepted = {entry.id for entry in baseline.entries}
    return BaselineVerdict(
        new=tuple(r for r in by_id.values() if r.grade in _FAILURES and r.id not in accepted),
        not_selected=tuple(match.entry for match in places.pop("not_selected")),
        **{name: tuple(matches) for name, matches in places.items()},
    )


def _place(entry: Entry, result: Judged | None, *, today: date, selected: bool) -> str:
    if result is None:
        return "undecided" if selected else "not_selected"
    if result.outcome is Outcome.UNKNOWN:
        return "undecided"
    if severity(result.outcome) != severity(entry.outcome):
        return "worse" if severity(result.outcome) > severity(entry.outcome) else "vanished"
    if _otherwise(entry, result):
        return "worse"
    return "expired" if today > entry.expires else "known"


def _otherwise(entry: Entry, result: Judged) -> bool:
    """Whether what was accepted has become something else that is as bad."""
    return bool(entry.seen) and result.outcome is entry.outcome and not says(result.reason, entry.seen)


def from_run(
    results: Iterable[Judged], previous: Baseline, *, today: date, reason: str, owner: str, expires: date
) -> Baseline:
    """A baseline that accepts all failures of a run.

    Entries that exist keep their reason and owner, and their expiry as long as they are still true. Entries whose
    points or claims were not tested, or led to `unknown`, stay as they are; those of what passes now are left out.
    `seen` is what the run says of crash points, and of claims whose reasons begin with the names of invariants. What
    another claim is about its id says: there it stays where it was written by hand. What the run says, too, stays as
    it was written.
    """

    def accepted(result: Judged, reason: str, owner: str, until: date, seen: str = "") -> Entry:
        subject, _, name = result.id.rpartition(":")
        by_invariants = bool(claim_subject(result.id)) and bool(subject) and name in _BY_INVARIANTS
        if not (seen and says(result.reason, seen)) and (seen or by_invariants or not claim_subject(result.id)):
            seen = opening(result.reason).partition(":")[0] if by_invariants else opening(result.reason)
        return Entry(result.id, result.outcome, reason, owner, until, seen)

    by_id = {result.id: result for result in results}
    entries: list[Entry] = []
    for entry in previous.entries:
        result = by_id.pop(entry.id, None)
        if result is None or result.outcome is Outcome.UNKNOWN:
            entries.append(entry)
        elif result.grade in _FAILURES:
            still_true = result.outcome is entry.outcome and not _otherwise(entry, result) and entry.expires >= today
            until = entry.expires if still_true else expires
            entries.append(accepted(result, entry.reason, entry.owner, until, entry.seen))
    for result in by_id.values():
        if result.grade in _FAILURES:
            entries.append(accepted(result, reason, owner, expires))
    return Baseline(tuple(sorted(entries, key=lambda entry: entry.id)))


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write the file anew; comments of an older one are lost."""
    items = [
        {"id": e.id, "outcome": e.outcome.value, "reason": e.reason, "owner": e.owner, "expires": e.expires}
        | ({"seen": e.seen} if e.seen else {})
        for e in baseline.entries
    ]
    text = _HEADER + yaml.dump(items, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=116)
    write_atomically(path, text.encode())


def read_baseline(path: Path) -> Baseline:
    """Read a baseline. Raises BaselineError with file and line for whatever is not as documented above."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BaselineError(f"{path}: the baseline cannot be read: {_why(error)}") from error
    return parse_baseline(text, where=str(path))


def _why(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def parse_baseline(text: str, *, where: str) -> Baseline:
    """Like read_baseline, from text; `where` names it in errors."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BaselineError(f"{where}:{line}: this is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise BaselineError(f"{where}: this is not YAML: {error}") from error
    if root is None:
        return Baseline()
    if not isinstance(root, yaml.SequenceNode):
        raise _error(where, root, "a baseline is a list of entries")
    entries: dict[str, Entry] = {}
    for node in root.value:
        entry = _entry(node, where)
        if entry.id in entries:
            raise _error(where, node, f"`{entry.id}` is listed twice")
        entries[entry.id] = entry
    return Baseline(tuple(entries.values()))


def _entry(node: yaml.Node, where: str) -> Entry:
    if not isinstance(node, yaml.MappingNode):
        raise _error(where, node, f"an entry has the keys {', '.join(_KEYS)}")
    values: dict[str, str] = {}
    nodes: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = str(key.value)
        if name not in _KEYS:
            raise _error(where, key, f"unknown key `{name}`; an entry has {', '.join(_KEYS)}")
        if name in values:
            raise _error(where, key, f"`{name}` is given twice")
        if not isinstance(value, yaml.ScalarNode) or not value.value.strip():
            raise _error(where, value, f"`{name}` has to be a text that is not empty")
        values[name], nodes[name] = value.value.strip(), value
    missing = [name for name in _NEEDED if name not in values]
    if missing:
        raise _error(where, node, f"this entry lacks {', '.join(missing)}")
    seen = values.get("seen", "")
    if words(seen) != (begins := opening(seen)) or (seen and not any(map(str.isalpha, seen))):
        instead = f"write `{begins}`" if any(map(str.isalpha, begins)) else "leave it out"
        raise _error(where, nodes["seen"], f"`seen` has words and ends before a semicolon or bracket: {instead}")
    return Entry(
        id=values["id"],
        outcome=_outcome(values["outcome"], nodes["outcome"], where),
        reason=values["reason"],
        owner=values["owner"],
        expires=_date(values["expires"], nodes["expires"], where),
        seen=seen,
    )


def _outcome(text: str, node: yaml.Node, where: str) -> Outcome:
    acceptable = [outcome.value for outcome in Outcome if GRADES[outcome] in _FAILURES]
    if text not in acceptable:
        raise _error(where, node, f"outcome `{text}` cannot be accepted; expected one of {', '.join(acceptable)}")
    return Outcome(text)


def _date(text: str, node: yaml.Node, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise _error(where, node, f"expires is a day such as 2026-12-31, not `{text}`") from error


def _error(where: str, node: yaml.Node, problem: str) -> BaselineError:
    return BaselineError(f"{where}:{node.start_mark.line + 1}: {problem}")
