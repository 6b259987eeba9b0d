"""What the terminal shows: the plan, the table per call, the findings, a comparison. Plain text when it is no terminal.

Ids are for copying, so nothing that is printed is ever cut or wrapped inside an id.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from harness.crashpoints.model import GRADES, Grade, Outcome, Plan, RunSummary, Told
from harness.evidence.encoding import redacted
from harness.evidence.redaction import Redactor
from harness.reporting.baseline import BaselineVerdict, Match
from harness.reporting.claims import by_scenario, figures
from harness.reporting.compare import Comparison, Move
from harness.reporting.difference import difference_lines
from harness.reporting.findings import ClaimFinding, Finding, by_outcome, call_rows, count, findings, judged
from harness.reporting.verdict import Verdict
from harness.reporting.words import counted

_STYLES = {
    Grade.PASS: "green",
    Grade.WARN: "yellow",
    Grade.FAIL: "red",
    Grade.BLOCKER: "bold red",
    Grade.ERROR: "bold magenta",
}


def print_plan(console: Console, plan: Plan) -> None:
    """Everything that will be done: every point numbered, with its id; then what is not tested, and the counts."""
    _line(console, plan.title, style="bold")
    number = 0
    for call in plan.calls:
        effects = counted(len(call.effects), "effect")
        _line(console, f"\n{call.name}  {call.method} {call.path}  ({call.service}, {effects})", style="bold")
        if call.note:
            _line(console, f"  {call.note}")
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
        table.add_column(justify="right", style="dim", min_width=5)
        table.add_column(no_wrap=True)
        table.add_column(style="dim", no_wrap=True)
        for point in call.points:
            number += 1
            of = "" if point.elsewhere else f" of {len(call.effects)}"
            nth = f"effect {point.ordinal}{of}" if point.ordinal else ""
            table.add_row(str(number), Text(point.id), nth)
        if call.points:
            _print_wide(console, table)
    if plan.not_tested:
        _line(console, "\nNot tested", style="bold")
        for item in plan.not_tested:
            _line(console, f"  {item}")
    faults = Counter(point.fault if point.side != "refused" else "no fault" for point in plan.points())
    parts = ", ".join(f"{number} {fault}" for fault, number in sorted(faults.items()))
    total = f"{counted(number, 'point')} over {counted(len(plan.calls), 'call')}"
    _line(console, f"\n{total}" + (f": {parts}" if parts else ""), style="bold")


def print_table(console: Console, summary: RunSummary) -> None:
    """One row per call: points, how many led to which outcome, the worst; and a row for all."""
    rows = [row for row in call_rows(summary.plan, summary.results) if row.points]
    counts = count(summary)
    outcomes = by_outcome(summary.results)
    # Only outcomes that occurred have a column: nine columns, most of them empty, do not fit on a screen.
    seen = [outcome for outcome, number in outcomes.items() if number]
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, show_footer=True)
    table.add_column("call", footer="all calls", no_wrap=True)
    table.add_column("points", footer=str(counts.planned), justify="right")
    if counts.not_run:
        table.add_column("not run", footer=str(counts.not_run), justify="right")
    for outcome in seen:
        style = _STYLES[GRADES[outcome]]
        table.add_column(outcome.value, footer=str(outcomes[outcome]), justify="right", style=style)
    table.add_column("worst", footer=seen[-1].value if seen else "-", no_wrap=True)
    for row in rows:
        numbers = [str(row.by_outcome[outcome] or "") for outcome in seen]
        missing = [str(row.points - row.ran or "")] if counts.not_run else []
        worst = Text(row.worst.value, style=_STYLES[GRADES[row.worst]]) if row.worst else Text("-", style="dim")
        table.add_row(row.name, str(row.points), *missing, *numbers, worst)
    _print_wide(console, table)


def print_claims(console: Console, summary: RunSummary, redactor: Redactor) -> None:
    """One section per scenario; one row per claim: which, its outcome, the figures."""
    for scenario in by_scenario(redacted(summary, redactor).claims):
        held = f"{scenario.passed} of {len(scenario.claims)} hold"
        _line(console, f"\n{scenario.name}: {held}, worst: {scenario.worst.value}", style="bold")
        table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
        for title in ("claim", "outcome", "measured"):
            table.add_column(title, no_wrap=True)
        for claim in scenario.claims:
            outcome = Text(claim.outcome.value, style=_STYLES[claim.grade])
            name = claim.id.removeprefix(claim.scenario).lstrip("/:")
            table.add_row(Text(name), outcome, Text(figures(claim.measured)))
        _print_wide(console, table)


def print_findings(
    console: Console, summary: RunSummary, redactor: Redactor, *, baseline: BaselineVerdict | None = None
) -> None:
    """One block per finding, worst first: what it is, what differs, what the client was told, what repairs it.

    Points of one call that end alike, for the same reason, share the block of the first; the others are named below it.
    """
    known = {match.entry.id: match for match in baseline.known} if baseline else {}
    # Masked before it becomes text: in a sentence a secret cannot be told from its name any more.
    for first, *others in _alike(findings(judged(redacted(summary, redactor))), known):
        _line(console, "")
        _line(console, f"{first.outcome.value}  {first.id}", style=_STYLES[first.grade])
        for line in (*finding_lines(first, known.get(first.id)), *_others(others)):
            _line(console, f"  {line}")


def _alike(
    every: Iterable[Finding | ClaimFinding], known: Mapping[str, Match]
) -> Iterable[Sequence[Finding | ClaimFinding]]:
    """Findings in groups: those of one call with one outcome and reason, all accepted for one reason or all not."""
    groups: dict[object, list[Finding | ClaimFinding]] = {}
    for each in every:
        accepted = known[each.id].entry.reason if each.id in known else None
        alone = each.id if isinstance(each, ClaimFinding) else _parts(each.id)[0]
        groups.setdefault((alone, each.outcome, *_story(each), accepted), []).append(each)
    return groups.values()


def _story(each: Finding | ClaimFinding) -> tuple[str, str, bool]:
    """Reason, repair and whether the client was told anything: "2 keys" and "3 keys" left behind are the same story."""
    reason = re.sub(r"\b\d+(?= keys?\b)|\d{9,}", "#", each.reason)
    return (reason, "", False) if isinstance(each, ClaimFinding) else (reason, each.repair, each.told.status is None)


def _others(others: Sequence[Finding | ClaimFinding], *, limit: int = 6) -> Iterator[str]:
    if others:
        yield f"the same at {counted(len(others), 'more point')} of this call:"
        yield from (f"  {_parts(each.id)[1]}" for each in others[:limit])
    if len(others) > limit:
        yield f"  ... and {len(others) - limit} more; the report has each with its difference"


def _parts(point: str) -> tuple[str, str]:
    call, _, where = point.partition("@")
    return call, where


def finding_lines(each: Finding | ClaimFinding, known: Match | None = None) -> Iterable[str]:
    """The block below a finding's headline, line by line; the first is the reason, the last how to replay it."""
    yield each.reason
    yield from _claim_lines(each) if isinstance(each, ClaimFinding) else _point_lines(each)
    if known:
        yield f"accepted: {known.entry.reason} ({known.entry.owner}, until {known.entry.expires.isoformat()})"
    yield f"replay: {each.replay}"


def _claim_lines(each: ClaimFinding) -> Iterator[str]:
    yield f"claimed: {each.claim}"
    yield f"proof: {each.proof}" if each.proof else "proof: none"
    if each.measured:
        yield f"measured: {figures(each.measured)}"
    yield from (f"evidence: {name}" for name in each.evidence)


def _point_lines(each: Finding) -> Iterator[str]:
    yield f"client was told: {told_text(each.told)}"
    if each.difference:
        yield f"compared with the state {each.nearest} the call:" if each.nearest else "difference:"
        yield from (f"  {line}" for line in difference_lines(each.difference))
    yield from (f"left behind: {leak}" for leak in each.leaks)
    yield f"repaired by: {each.repair}" if each.repair else "repaired by: nothing that was tried"


def told_text(told: Told) -> str:
    """`201 acknowledged: {...}`, or that there was no answer."""
    if told.status is None:
        return f"nothing ({told.body})" if told.body else "nothing"
    body = " ".join(told.body.split())
    return f"{told.status} {told.kind}" + (f": {body[:200]}" if body else "")


def print_verdict(
    console: Console, summary: RunSummary, verdict: Verdict, baseline: BaselineVerdict, redactor: Redactor
) -> None:
    """The last lines of a run: the counts, what the baseline says, why the exit code is what it is."""
    counts = count(summary)
    grades = ", ".join(f"{number} {grade.value}" for grade, number in counts.by_grade.items() if number)
    points = f"{counts.ran} of {counts.planned} points" if counts.planned or not counts.claims else ""
    what = " and ".join(part for part in (points, counted(counts.claims, "claim") if counts.claims else "") if part)
    proven = f", {counts.proven} proven" if points else ""
    _line(console, f"{what} in {summary.seconds:.0f} s{proven}: {grades or '-'}", style="bold")
    if baseline.known:
        _line(console, f"{counted(len(baseline.known), 'finding')} known and accepted")
    better, gone = ([one for one in baseline.vanished if bool(one.result) is there] for there in (True, False))
    for title, matches in (
        ("worse", baseline.worse),
        ("better", better),
        ("gone", gone),
        ("expired", baseline.expired),
    ):
        for match in matches:
            _line(console, f"baseline, {title}: {match.sentence()}")
    for result in baseline.new:
        _line(
            console,
            f"{'failure' if baseline.is_empty else 'not in the baseline'}: {result.id} ({result.outcome.value})",
        )
    if summary.reference:
        _line(console, "this run was on the reference EMCO: it can never be a sign-off")
    for reason in redacted(verdict, redactor).reasons:
        _line(console, f"exit {verdict.code}: {reason}", style="bold red")


def print_comparison(console: Console, comparison: Comparison) -> None:
    """What changed from one run to another."""
    _line(console, f"{comparison.a} -> {comparison.b}", style="bold")
    for note in comparison.notes:
        _line(console, f"note: {note}", style="yellow")
    sections: tuple[tuple[str, tuple[Move, ...], str], ...] = (
        ("new", comparison.new, "red"),
        ("worse", comparison.worse, "red"),
        ("better", comparison.better, "green"),
        ("gone", comparison.gone, "green"),
        ("undecided", comparison.undecided, "magenta"),
        (f"only in {comparison.a}", comparison.only_a, "dim"),
        (f"only in {comparison.b}", comparison.only_b, "dim"),
    )
    for title, moves, style in sections:
        if moves:
            _line(console, f"\n{title} ({len(moves)})", style=style)
        told = [move for move in moves if move.was or move.now]
        for move in told:
            _line(console, f"  {move.id}  {_name(move.was)} -> {_name(move.now)}")
        if len(told) < len(moves):
            _line(console, f"  {len(moves) - len(told)} without a result")
    if not any(moves for _, moves, _ in sections):
        _line(console, "no difference")


def _name(outcome: Outcome | None) -> str:
    return outcome.value if outcome else "-"


def _line(console: Console, text: str, *, style: str = "") -> None:
    # soft_wrap: a terminal may break the line, but what is copied is whole. Text: brackets are no markup.
    console.print(Text(text, style=style), soft_wrap=True)


def _print_wide(console: Console, table: Table) -> None:
    """The table as wide as it needs to be, also where the console is narrower."""
    options = console.options.update(max_width=10_000)
    needed = Measurement.get(console, options, table).maximum
    lines = console.render_lines(table, options.update(width=needed))
    console.print(Segments([segment for line in lines for segment in (*line, Segment.line())]), crop=False, end="")
