"""summary.json: one run as one file. The format is documented in docs/summary.md.

The file holds the RunSummary and, beside it, what follows from it (counts, calls, findings, each result's id and
grade), so that a person with jq needs no code. What follows is left out of account when the file is read back.
"""

from pathlib import Path
from typing import Any

from harness.crashpoints.model import RunSummary
from harness.evidence.encoding import MalformedError, from_plain, parse, plain
from harness.evidence.redaction import Redactor
from harness.evidence.run_folder import SUMMARY, RunFolder
from harness.reporting.findings import call_rows, count, findings, judged

SCHEMA = 2
_READABLE = (1, SCHEMA)  # schema 1 had no claims, else it is the same

_DERIVED = ("counts", "calls", "findings", "not_tested")


def summary_document(summary: RunSummary, redactor: Redactor) -> dict[str, Any]:
    """The content of summary.json, without secrets; what people look for first comes first."""
    document: dict[str, Any] = plain(summary, redactor)
    plan, results, claims = document.pop("plan"), document.pop("results"), document.pop("claims")
    derived = {
        "counts": count(summary),
        "calls": call_rows(summary.plan, summary.results),
        "findings": findings(judged(summary)),
        "not_tested": summary.plan.not_tested,
    }
    document |= {name: plain(value, redactor) for name, value in derived.items()}
    document["plan"] = plan
    document["results"] = [
        {"id": result.point.id, "grade": result.grade.value, **stored}
        for result, stored in zip(summary.results, results, strict=True)
    ]
    document["claims"] = [
        {"id": stored.pop("id"), "grade": claim.grade.value, **stored}
        for claim, stored in zip(summary.claims, claims, strict=True)
    ]
    return document


def write_summary(folder: RunFolder, summary: RunSummary) -> Path:
    """Write summary.json into the run's folder, which is the latest run then; its path."""
    path = folder.write_json(SUMMARY, summary_document(summary, folder.redactor))
    folder.make_latest()
    return path


def read_summary(path: Path) -> RunSummary:
    """Read a run back from its summary.json or its folder.

    Raises MalformedError: no such file, no JSON, another schema, an unknown key, a value that does not fit.
    """
    file = path / SUMMARY if path.is_dir() else path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise MalformedError(f"{file}: there is no summary of a run here: {error.strerror}") from error
    document = parse(data, where=str(file))
    if not isinstance(document, dict):
        raise MalformedError(f"{file}: a summary is a JSON object")
    if (found := document.get("schema")) not in _READABLE:
        known = " and ".join(str(number) for number in _READABLE)
        raise MalformedError(f"{file}: this is schema {found!r}, but only {known} are understood")
    return from_plain(_without_derived(document), RunSummary, where=str(file))


def _without_derived(document: dict[str, Any]) -> dict[str, Any]:
    stored = {name: value for name, value in document.items() if name not in _DERIVED}
    for name, derived in (("results", ("id", "grade")), ("claims", ("grade",))):
        if isinstance(items := stored.get(name), list):
            stored[name] = [_without(item, derived) for item in items]
    return stored


def _without(value: Any, names: tuple[str, ...]) -> Any:
    return {key: item for key, item in value.items() if key not in names} if isinstance(value, dict) else value
