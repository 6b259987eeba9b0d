"""One finding as one self-contained Markdown file, to be attached to a bug report."""

import json
import re
from collections.abc import Mapping
from typing import Any

from harness.crashpoints.claims import ClaimResult
from harness.crashpoints.model import QUIET, Attempt, CallPlan, CrashPoint, PointResult, Proof, RunSummary, Under
from harness.evidence.encoding import redacted
from harness.evidence.redaction import Redactor
from harness.faults.victim import UsageError
from harness.reporting.claims import figure_text
from harness.reporting.difference import change_lines
from harness.reporting.findings import judged, replay_command
from harness.reporting.table import told_text
from harness.reporting.templates import environment
from harness.reporting.words import counted

_LONGEST = 20_000


class NoSuchPointError(UsageError):
    """The run has no result for this id. The message is a sentence."""


def export_markdown(summary: RunSummary, result_id: str, redactor: Redactor) -> str:
    """Everything about one result, without secrets: done, expected, seen, tried; versions, seed, replay command.

    Raises NoSuchPointError if the run has no point or claim of this id.
    """
    result = redacted(find_result(summary, result_id), redactor)
    if isinstance(result, ClaimResult):
        return _export_claim(summary, result, redactor)
    call = next((each for each in summary.plan.calls if each.name == result.point.call), None)
    env = environment()
    env.filters |= {"fence": fence, "json": _json, "told": told_text, "line": _one_line}
    return env.get_template("finding.md.j2").render(
        result=result,
        run=redacted(summary, redactor),
        call=call,
        what=what_was_done(result.point, call, result.proof),
        expected=what_was_expected(result),
        changes=[(change, "\n".join(change_lines(change, limit=50, width=400))) for change in result.difference],
        attempts=[(attempt, attempt_text(attempt)) for attempt in result.attempts],
        replay=replay_command(result),
    )


def _export_claim(summary: RunSummary, claim: ClaimResult, redactor: Redactor) -> str:
    run = redacted(summary, redactor)
    env = environment()
    env.filters |= {"fence": fence, "json": _json, "line": _one_line, "figure": figure_text}
    others = [other for other in run.claims if other.subject == claim.subject and other.id != claim.id]
    return env.get_template("claim.md.j2").render(result=claim, run=run, others=others, replay=replay_command(claim))


def find_result(summary: RunSummary, result_id: str) -> PointResult | ClaimResult:
    """The result of this id. Raises NoSuchPointError, with ids that look alike where there are some."""
    for result in judged(summary):
        if result.id == result_id:
            return result
    alike = [result.id for result in judged(summary) if result_id in result.id][:3]
    hint = f"; did you mean {' or '.join(alike)}?" if alike else ""
    raise NoSuchPointError(f"run {summary.run} has no result for `{result_id}`{hint}")


def what_was_done(point: CrashPoint, call: CallPlan | None, proof: Proof) -> str:
    """One sentence: which call, which boundary, which fault."""
    request = f"`{point.call}` ({call.method} {call.path})" if call else f"`{point.call}`"
    if point.side == "refused":
        return f"{request} was called, which {point.service} has to refuse. No fault was injected."
    effect = "its answer was delivered to the client" if point.effect == "answer" else f"its effect `{point.effect}`"
    if point.effect == QUIET:
        effect = "it noted that an edge cannot be reached, between two tries"
    elif point.effect != "answer" and proof.at:
        effect += f" ({proof.at})"
    where = f"{point.side} {effect}"
    deeds: Mapping[str, str] = {
        "crash": f"{point.victim} was killed (SIGKILL) {where}, and started again.",
        "disconnect": f"The client closed its connection {where}.",
        "reset": f"The connection of {point.victim} to the store was reset {where}.",
        "error": f"{point.victim} was answered with an error in the store's stead: {effect} was not carried out.",
    }
    deed = deeds.get(point.fault, f"No fault was injected ({where}).")
    return " ".join(part for part in (f"{request} was called.", deed, _BESIDE[point.under]) if part)


_BESIDE: Mapping[Under, str] = {
    "": "",
    "edges-refused": "Edges refused connections from before the call until it was back.",
    "start-error": "Its first read of the store when it started was answered with an error.",
    "start-error-2": "Its second read of the store when it started was answered with an error.",
}


def what_was_expected(result: PointResult) -> str:
    """One sentence: what the state should have been, given what the client was told."""
    if result.point.side == "refused" or result.told.kind == "refused":
        return "A refused call must leave the state as it was before the call."
    if result.told.kind == "acknowledged":
        return "An acknowledged call must leave the state that the call leads to when nothing goes wrong."
    return (
        "The state is that of before or of after the call, or becomes one of them by waiting or by repeating the call."
    )


def attempt_text(attempt: Attempt) -> str:
    """`repeat: 409 refused: exists; did not help, 2 changes left`."""
    answers = ", then ".join(told_text(told) for told in attempt.told)
    if attempt.reached:
        end = f"reached the state {attempt.reached}" + ("" if attempt.reached == "undone" else " the call")
    else:
        end = "did not help" + (f", {counted(len(attempt.difference), 'change')} left" if attempt.difference else "")
    parts = (answers, end, attempt.note)
    return f"{attempt.name}: " + "; ".join(part for part in parts if part)


def fence(text: str, language: str = "") -> str:
    """A Markdown code block that nothing in the text can end."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n... ({len(text)} characters in all)"
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", cut)), default=0))
    return f"{ticks}{language}\n{cut.rstrip()}\n{ticks}"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _one_line(text: str) -> str:
    # A bar would end the cell of the table that the line may stand in.
    return " ".join(text.split()).replace("|", "\\|")
