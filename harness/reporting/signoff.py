"""The sign-off page: one run as one HTML file that a release engineer can read, print and archive."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.crashpoints.model import GRADES, Change, Grade, Outcome, PointResult, RunSummary
from harness.evidence.encoding import redacted
from harness.evidence.redaction import Redactor
from harness.evidence.run_folder import RunFolder
from harness.reporting.baseline import BaselineVerdict, Entry
from harness.reporting.claims import by_scenario, figure_text
from harness.reporting.difference import change_lines
from harness.reporting.export import attempt_text, what_was_done
from harness.reporting.findings import by_outcome, call_rows, count, replay_command, severity
from harness.reporting.table import told_text
from harness.reporting.templates import environment
from harness.reporting.verdict import Verdict
from harness.reporting.words import counted

PAGE = "index.html"
_LONGEST = 20_000


@dataclass(frozen=True, slots=True)
class Decision:
    """What the page says at its top. kind: go, no-go, or none for a run that can never be a sign-off."""

    kind: str
    headline: str
    sentence: str


def title(summary: RunSummary) -> str:
    """The run's title; one on the reference EMCO says so whatever its title was."""
    return f"{summary.title} (reference EMCO: not a sign-off)" if summary.reference else summary.title


def decide(summary: RunSummary, verdict: Verdict, baseline: BaselineVerdict) -> Decision:
    """Go, no-go, or no sign-off at all."""
    counts = count(summary)
    points = f"{counts.ran} of {counts.planned} crash points tested, {counts.proven} injections proven"
    claims = f"{counted(counts.claims, 'claim')} about disruptions checked" if counts.claims else ""
    tested = ", ".join(part for part in (points if counts.planned or not claims else "", claims) if part)
    if summary.reference:
        return Decision(
            "none",
            "Not a sign-off",
            f"This run was on the reference EMCO, which says nothing about a release. {tested}"
            + (f"; {'; '.join(verdict.reasons)}." if verdict.reasons else "."),
        )
    if verdict.code == 0:
        known = f", {len(baseline.known)} known and accepted" if baseline.known else ""
        warnings = counts.by_grade[Grade.WARN]
        speaks = f"nothing that speaks against a release{known}, {counted(warnings, 'warning')}"
        return Decision("go", "Go", f"{tested}; {speaks}.")
    return Decision("no-go", "No go", f"{'; '.join(verdict.reasons)}. {tested}.")


def render_signoff(
    summary: RunSummary,
    verdict: Verdict,
    baseline: BaselineVerdict,
    redactor: Redactor,
    *,
    pictures: Mapping[str, str] | None = None,
) -> str:
    """The page as HTML, without secrets and without anything that would have to be loaded from elsewhere.

    pictures: SVG text by the name under which evidence of claims names it
    """
    run = redacted(summary, redactor)
    accepted = {match.entry.id: redacted(match.entry, redactor) for match in baseline.known}
    stale = (("worse", baseline.worse), ("better or gone", baseline.vanished), ("expired", baseline.expired))
    counts = count(run)
    env = environment()
    env.filters |= {"told": told_text, "duration": duration, "pretty": pretty, "figure": figure_text}
    return env.get_template("signoff.html.j2").render(
        title=title(run),
        run=run,
        decision=decide(run, redacted(verdict, redactor), baseline),
        counts=counts,
        has_points=counts.planned > 0 or not run.claims,
        points=by_outcome(run.results),
        claims=by_outcome(run.claims),
        outcomes=[outcome for outcome in Outcome if counts.by_outcome[outcome]],
        grades=GRADES,
        rows=call_rows(run.plan, run.results),
        scenarios=by_scenario(run.claims),
        pictures={name: _embedded(svg) for name, svg in (pictures or {}).items()},
        accepted=accepted,
        findings=_point_findings(run, accepted),
        stale=[(what, redactor.text(match.sentence())) for what, matches in stale for match in matches],
        slowest=_slowest(run.results),
    )


def _point_findings(run: RunSummary, accepted: Mapping[str, Entry]) -> list[dict[str, Any]]:
    calls = {call.name: call for call in run.plan.calls}
    found = [result for result in run.results if result.grade is not Grade.PASS]
    return [
        {
            "result": result,
            "accepted": accepted.get(result.id),
            "what": what_was_done(result.point, calls.get(result.point.call), result.proof).replace("`", ""),
            "changes": [_change(change) for change in result.difference],
            "attempts": [attempt_text(attempt) for attempt in result.attempts],
            "replay": replay_command(result),
        }
        for result in sorted(found, key=lambda result: -severity(result.outcome))
    ]


def _embedded(svg: str) -> str:
    # As an image no script in it runs and its style stays its own. Not base64: that would be masked as a secret.
    return f"data:image/svg+xml,{quote(svg)}"


def write_signoff(folder: RunFolder, summary: RunSummary, verdict: Verdict, baseline: BaselineVerdict) -> Path:
    """Write index.html into the run's folder, with the pictures that are kept there; its path."""
    names = {name for scenario in by_scenario(summary.claims) for each in scenario.subjects for name in each.pictures()}
    files = {name: folder.path / name for name in names}
    pictures = {name: file.read_text(encoding="utf-8") for name, file in files.items() if file.is_file()}
    page = render_signoff(summary, verdict, baseline, folder.redactor, pictures=pictures)
    return folder.write_text(PAGE, page)


def duration(seconds: float) -> str:
    """`1 h 02 min`, `3 min 07 s`, `4.2 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{seconds:.1f} s"


def pretty(value: Any) -> str:
    """Indented JSON, cut where it is very long: the whole is in summary.json."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n... ({len(text)} characters; see summary.json)"


def _change(change: Change) -> dict[str, Any]:
    where, *lines = change_lines(change, limit=30, width=300)
    return {"headline": where, "lines": [line.strip() for line in lines], "change": change}


def _slowest(results: tuple[PointResult, ...]) -> list[PointResult]:
    return sorted(results, key=lambda result: -result.seconds)[:5]
