"""The judgement of one crash point: a pure function of what was seen. It can be repeated on stored values."""

from dataclasses import dataclass

from harness.crashpoints.lab import Profile
from harness.crashpoints.learn import Controls
from harness.crashpoints.model import Attempt, Change, Outcome, Told
from harness.stores.canonical import Canonical, CanonicalRules, canonical, difference
from harness.stores.snapshot import Snapshot

RESTART = "restart of all services"
"""Name of the attempt that does nothing else."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The control states in canonical form, by what they are."""

    before: tuple[Canonical, ...]
    after: tuple[Canonical, ...]
    twice: tuple[Canonical, ...]
    undone: tuple[Canonical, ...]
    redone: tuple[Canonical, ...]
    torn: tuple[Canonical, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """How a state relates to the control states.

    reached: `before`, `after`, `twice`, `undone`, `redone`, `torn`, or "" for none of them
    leaks:   inert leftovers beside an otherwise equal state
    orphans: what no record owns but is or was at work, beside an otherwise equal state
    """

    reached: str
    leaks: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return bool(self.reached) and not self.leaks and not self.orphans


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome and the sentence that explains it."""

    outcome: Outcome
    reason: str
    nearest: str = ""
    difference: tuple[Change, ...] = ()
    repair: str = ""
    leaks: tuple[str, ...] = ()


def expected_states(controls: Controls, profile: Profile, rules: CanonicalRules) -> Expected:
    """Canonical forms of the control states; without their inert leftovers, too, since a faulted run may have fewer."""

    def forms(*snapshots: Snapshot | None) -> tuple[Canonical, ...]:
        unique: dict[str, Canonical] = {}
        for snapshot in snapshots:
            if snapshot is not None:
                fewer, leaks = profile.without_inert(snapshot)
                for one in (snapshot, fewer) if leaks else (snapshot,):
                    form = canonical(one, rules)
                    unique.setdefault(form.digest, form)
        return tuple(unique.values())

    return Expected(
        before=forms(*controls.before),
        after=forms(*controls.after),
        twice=forms(controls.twice, controls.there.get("twice")),
        undone=forms(controls.undone, controls.there.get("undone")),
        redone=forms(controls.redone, controls.there.get("redone")),
        torn=forms(controls.torn),
    )


def match(
    snapshot: Snapshot, expected: Expected, profile: Profile, rules: CanonicalRules, *, wanted: tuple[str, ...]
) -> Match:
    """Whether a state is one of the wanted control states: as it is, without inert leftovers, without the unowned."""
    whole = canonical(snapshot, rules)
    if name := _among(whole, expected, wanted):
        return Match(name)
    fewer, leaks = profile.without_inert(snapshot)
    if leaks and (name := _among(canonical(fewer, rules), expected, wanted)):
        return Match(name, leaks=leaks)
    owned, orphans = profile.without_unowned(snapshot)
    if orphans and (name := _among(canonical(owned, rules), expected, wanted)):
        return Match(name, orphans=orphans)
    return Match("")


def _among(form: Canonical, expected: Expected, wanted: tuple[str, ...]) -> str:
    for name in wanted:
        states: tuple[Canonical, ...] = getattr(expected, name)
        if any(form.digest == state.digest for state in states):
            return name
    return ""


def nearest(
    snapshot: Snapshot, expected: Expected, rules: CanonicalRules, *, names: tuple[str, ...]
) -> tuple[str, tuple[Change, ...]]:
    """The control state with the fewest differing entries, and those."""
    form = canonical(snapshot, rules)
    best: tuple[str, tuple[Change, ...]] | None = None
    for name in names:
        states: tuple[Canonical, ...] = getattr(expected, name)
        for state in states:
            changes = tuple(Change(one.where, one.kind, one.expected, one.actual) for one in difference(state, form))
            if best is None or len(changes) < len(best[1]):
                best = (name, changes)
    return best or ("", ())


@dataclass(frozen=True, slots=True)
class Examination:
    """What was tried on fresh copies of one partial state.

    restart: nothing but the restart of all services with which every other attempt begins
    there:   the call repeated in place, where the restart alone led to a control state: did it need the restart?
    """

    restart: Attempt
    repeat: Attempt
    repeat_match: Match
    undo_after_repeat: Attempt | None
    undo: Attempt | None
    redo: Attempt | None
    redo_match: Match
    rungs: tuple[Attempt, ...]
    there: Attempt | None = None

    def attempts(self) -> tuple[Attempt, ...]:
        """All, in the order of trying."""
        # A restart that changes nothing of the kind is no news: every attempt begins with one.
        restart = self.restart if self.restart.reached else None
        tried = (self.there, restart, self.repeat, self.undo_after_repeat, self.undo, self.redo)
        return tuple(one for one in tried if one is not None) + self.rungs


def judge_whole(told: Told, state: Match, *, self_healed: bool) -> Verdict | None:
    """The verdict when the state is a control state and the client was told the truth; None: it has to be examined."""
    if not state.clean:
        return None
    if state.reached == "after" and told.kind != "refused":
        if self_healed:
            return Verdict(Outcome.SELF_HEALS, "partial at the crash, complete after the restart", "after")
        return Verdict(Outcome.ATOMIC, "the state after the call", "after")
    if state.reached == "before" and told.kind != "acknowledged":
        if self_healed:
            return Verdict(Outcome.SELF_HEALS, "partial at the crash, rolled back after the restart", "before")
        return Verdict(Outcome.ATOMIC, "the state before the call", "before")
    return None


def judge(
    told: Told,
    state: Match,
    why_at_work: str,
    changes: tuple[str, tuple[Change, ...]],
    tried: Examination,
    *,
    elsewhere: bool = False,
) -> Verdict:
    """The verdict on a state that is not simply before or after. The worst that holds wins.

    elsewhere: the victim works beside the call. An acknowledgement then promises what is to come of it, in the records
    and on the edges; what the victim notes for itself on the way is no result
    """
    where, delta = changes
    if restart_would_do(told, state, tried) and not (tried.there is not None and tried.there.reached):
        reason = f"partial until all services are restarted, which alone leads to the state {tried.restart.reached}"
        return Verdict(Outcome.NEEDS_REPAIR, reason, where, delta, RESTART)
    repair = _repair(tried)
    if told.kind == "acknowledged" and state.reached != "after":
        if elsewhere and why_at_work:  # what was promised is under way, and will be for ever
            helps = f"; {repair} helps" if repair else ""
            reason = f"acknowledged with {told.status}, but its goal is never reached: {why_at_work}{helps}"
            return Verdict(Outcome.STUCK, reason, "after", delta, repair)
        if not elsewhere or state.reached or any(not one.where.startswith("etcd ") for one in delta):
            reason = f"acknowledged with {told.status}, but the result is not there"
            return Verdict(Outcome.LOST, reason, "after", delta)
    if why_at_work:
        repair = "retry" if tried.repeat.reached else repair
        if repair:
            reason = f"does not come to rest by itself ({why_at_work}); {repair} helps"
            return Verdict(Outcome.NEEDS_REPAIR, reason, where, delta, repair)
        return Verdict(Outcome.STUCK, f"does not come to rest and nothing helps: {why_at_work}", where, delta)
    if told.kind == "refused" and state.reached == "after":
        reason = f"the client was refused with {told.status}, but the call took place"
        return Verdict(Outcome.NEEDS_REPAIR if repair else Outcome.STUCK, reason, "before", delta, repair)
    if elsewhere and told.kind == "acknowledged" and state.reached != "after" and tried.repeat.reached:
        # A client that was told "accepted" has no reason to ask again.
        reason = f"acknowledged with {told.status}, but complete only once a client repeats it"
        return Verdict(Outcome.NEEDS_REPAIR, reason, where, delta, "retry")
    return _judge_partial(tried, where, delta, repair)


def restart_would_do(told: Told, state: Match, tried: Examination) -> bool:
    """Whether a restart of all services alone leads from a partial state to one that the client was told of."""
    return (not state.reached or bool(state.orphans)) and _fits(told, tried.restart.reached)


def _fits(told: Told, reached: str) -> bool:
    """Whether a control state is what the client was told."""
    return (reached == "after" and told.kind != "refused") or (reached == "before" and told.kind != "acknowledged")


def judge_in_place(state: Match, failed: str, tried: Examination, *, by_restart: bool) -> Verdict:
    """The verdict on a whole state that services cannot go on with as they run.

    failed: what went otherwise than without the fault;  by_restart: whether it goes after a restart of all services
    """
    repair = RESTART if by_restart else _repair(tried)
    reason = f"the state {state.reached} the call, but {failed}; {repair or 'nothing that was tried'} helps"
    return Verdict(Outcome.NEEDS_REPAIR if repair else Outcome.STUCK, reason, state.reached, (), repair)


def _judge_partial(tried: Examination, where: str, delta: tuple[Change, ...], repair: str) -> Verdict:
    repeat = tried.repeat_match
    undo_works = tried.undo_after_repeat is None or bool(tried.undo_after_repeat.reached)
    if repeat.reached and undo_works:
        if repeat.orphans:
            reason = f"repeating gives the after-state, but there remains: {'; '.join(repeat.orphans)}"
            return Verdict(Outcome.ORPHANS, reason, where, delta, repair, repeat.orphans)
        if repeat.leaks:
            return Verdict(
                Outcome.LEAKS,
                f"repeating heals; left behind: {'; '.join(repeat.leaks)}",
                where,
                delta,
                "retry",
                repeat.leaks,
            )
        return Verdict(
            Outcome.RETRY_HEALS, "partial; repeating the call gives exactly the after-state", where, delta, "retry"
        )
    if repeat.reached:
        reason = "repeating gives the after-state, but then the undo fails"
        return Verdict(Outcome.ORPHANS, reason, where, delta, repair, repeat.orphans + repeat.leaks)
    answer = tried.repeat.told[-1] if tried.repeat.told else Told(None)
    lie = f"; repeating answers {answer.status} over a partial record" if answer.kind == "refused" else ""
    if repair:
        return Verdict(Outcome.NEEDS_REPAIR, f"repeating does not heal, {repair} does{lie}", where, delta, repair)
    return Verdict(
        Outcome.STUCK, f"nothing heals: not repeating, not undo and redo, no rung of the ladder{lie}", where, delta
    )


def _repair(tried: Examination) -> str:
    """The first thing that helps, other than repeating."""
    if tried.redo is not None and tried.redo.reached and tried.undo is not None and tried.undo.reached:
        return "undo+redo"
    for rung in tried.rungs:
        if rung.reached:
            return rung.name
    if tried.undo is not None and tried.undo.reached:
        return "undo"
    return ""
