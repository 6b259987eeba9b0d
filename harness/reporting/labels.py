"""What JUnit and allure are told about a result, as plain values; the pytest plugin hands them over.

JUnit: properties of a test case. Allure: labels, severity, attachments per test; environment.properties,
categories.json and executor.json once per session (allure removes them at its start, so they are written at its end).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from harness.crashpoints.claims import ClaimResult
from harness.crashpoints.model import GRADES, CrashPoint, Grade, PointResult, RunSummary
from harness.evidence.encoding import redacted, to_json
from harness.evidence.redaction import Redactor
from harness.evidence.run_folder import write_atomically
from harness.reporting.claims import Subject, by_scenario, figure_text
from harness.reporting.difference import difference_lines
from harness.reporting.export import attempt_text
from harness.reporting.findings import replay_command
from harness.reporting.table import told_text

Severity = Literal["blocker", "critical", "normal", "minor", "trivial"]

_SEVERITIES: dict[Grade, Severity] = {
    Grade.PASS: "normal",
    Grade.WARN: "minor",
    Grade.FAIL: "critical",
    Grade.BLOCKER: "blocker",
    Grade.ERROR: "normal",
}
_TEXT, _JSON, _SVG = "text/plain", "application/json", "image/svg+xml"


@dataclass(frozen=True, slots=True)
class Attachment:
    """name: shown in the report; mime: `text/plain`, `application/json` or `image/svg+xml`"""

    name: str
    mime: str
    body: str


@dataclass(frozen=True, slots=True)
class AllureFacts:
    """What allure is told about one test. `labels` are beyond feature, story and severity.

    feature, story: call and boundary of a crash point; scenario and variant of a disruption
    """

    title: str
    description: str
    feature: str
    story: str
    severity: Severity
    labels: tuple[tuple[str, str], ...]
    attachments: tuple[Attachment, ...]


def boundary(point: CrashPoint) -> str:
    """`after mongo.stateInfo~2`, `after rsync:etcd.put:...`: the point without call and fault."""
    nth = f"~{point.occurrence}" if point.occurrence > 1 else ""
    whose = f"{point.victim}:" if point.elsewhere else ""
    return f"{point.side} {whose}{point.effect}{nth}"


def junit_properties(result: PointResult, redactor: Redactor) -> tuple[tuple[str, str], ...]:
    """(name, value) for pytest's user_properties."""
    result = redacted(result, redactor)
    point = result.point
    values = {
        "id": point.id,
        "call": point.call,
        "service": point.service,
        "victim": point.victim,
        "boundary": boundary(point),
        "fault": point.fault,
        "outcome": result.outcome.value,
        "grade": result.grade.value,
        "proven": "yes" if result.proof.proven else "no",
        "told": told_text(result.told),
        "repair": result.repair,
        "difference": "\n".join(difference_lines(result.difference)),
        "replay": replay_command(result),
    }
    return tuple((name, value) for name, value in values.items() if value)


def allure_facts(result: PointResult, redactor: Redactor) -> AllureFacts:
    """Labels and attachments of one result, without secrets."""
    result = redacted(result, redactor)
    point = result.point
    return AllureFacts(
        title=point.id,
        description=f"{result.outcome.value}: {result.reason}\n\nReplay: {replay_command(result)}",
        feature=point.call,
        story=boundary(point),
        severity=_SEVERITIES[result.grade],
        labels=(
            ("fault", point.fault),
            ("victim", point.victim),
            ("outcome", result.outcome.value),
            ("grade", result.grade.value),
            ("service", point.service),
        ),
        attachments=tuple(_attachments(result, redactor)),
    )


def _attachments(result: PointResult, redactor: Redactor) -> list[Attachment]:
    found: list[Attachment] = []
    if result.difference:
        lines = "\n".join(difference_lines(result.difference, limit=100, width=1000))
        found.append(Attachment("difference", _TEXT, lines))
        document = to_json(result.difference, redactor, indent=True).decode()
        found.append(Attachment("difference.json", _JSON, document))
    told = [f"client was told: {told_text(result.told)}", *(attempt_text(attempt) for attempt in result.attempts)]
    found.append(Attachment("what was told and tried", _TEXT, "\n".join(told)))
    found.append(Attachment("proof.json", _JSON, to_json(result.proof, redactor, indent=True).decode()))
    if result.leaks:
        found.append(Attachment("left behind", _TEXT, "\n".join(result.leaks)))
    if result.logs:
        found.append(Attachment("log", _TEXT, result.logs))
    return found


def claim_properties(claims: Sequence[ClaimResult], redactor: Redactor) -> tuple[tuple[str, str], ...]:
    """(name, value) for pytest's user_properties: outcome and sentence of each claim, each figure, a summary."""
    claims = [redacted(claim, redactor) for claim in claims]
    found: list[tuple[str, str]] = []
    for scenario in by_scenario(claims):
        for subject in scenario.subjects:
            found += [("id", subject.id), ("scenario", scenario.name), ("outcome", subject.worst.value)]
            found += [("grade", GRADES[subject.worst].value), *(("replay", replay) for replay in subject.replays)]
    for claim in claims:
        found.append((claim.id, f"{claim.outcome.value}: {claim.reason}"))
        found += [(f"{claim.id} {name}", figure_text(value)) for name, value in claim.measured.items()]
    return tuple(found)


def claim_facts(subject: Subject, files: Mapping[str, str], redactor: Redactor) -> AllureFacts:
    """Labels and attachments of what a test claimed, without secrets. `files`: the text of evidence by its name."""
    claims = [redacted(claim, redactor) for claim in subject.claims]
    lines = [f"{claim.outcome.value}: {claim.claim} ({claim.name})\n    seen: {claim.reason}" for claim in claims]
    measured = {claim.name: dict(claim.measured) for claim in claims if claim.measured}
    attachments = [Attachment("claims", _TEXT, "\n".join(lines))]
    if measured:
        attachments.append(Attachment("measured.json", _JSON, to_json(measured, redactor, indent=True).decode()))
    attachments.append(Attachment("claims.json", _JSON, to_json(claims, redactor, indent=True).decode()))
    for name, text in files.items():
        mime = {".svg": _SVG, ".json": _JSON}.get(PurePosixPath(name).suffix, _TEXT)
        attachments.append(Attachment(PurePosixPath(name).name, mime, redactor.text(text)))
    replays = "\n".join(f"Replay: {redactor.text(replay)}" for replay in subject.replays)
    return AllureFacts(
        title=subject.id,
        description="\n\n".join(
            part for part in (*(redactor.text(proof) for proof in subject.proofs), replays) if part
        ),
        feature=subject.claims[0].scenario,
        story=subject.variant or subject.claims[0].scenario,
        severity=_SEVERITIES[GRADES[subject.worst]],
        labels=(("epic", "Disruptions"), ("outcome", subject.worst.value), ("grade", GRADES[subject.worst].value)),
        attachments=tuple(attachments),
    )


FINDING = "finding"
KNOWN = "known finding"
TROUBLE = "harness trouble"
"""How a test's message has to begin, so that categories.json can tell product defects from harness trouble."""


def message(result: PointResult, redactor: Redactor, *, accepted: str = "") -> str:
    """The message of a test that does not pass; allure sorts by its beginning. `accepted`: the baseline's reason."""
    kind = TROUBLE if result.grade is Grade.ERROR else KNOWN if accepted else FINDING
    reason = redactor.text(result.reason) + (f" (accepted: {accepted})" if accepted else "")
    return f"{kind}: {result.outcome.value}: {reason}; replay with {replay_command(result)}"


def categories() -> list[dict[str, object]]:
    """categories.json: they do not overlap, because a result is shown in every category that it matches."""
    return [
        {
            "name": "Harness trouble: outcome unknown, says nothing about EMCO",
            "matchedStatuses": ["broken", "failed"],
            "messageRegex": f"(?s).*{TROUBLE}: .*",
        },
        {
            "name": "Known finding, accepted in the baseline",
            "matchedStatuses": ["skipped"],
            "messageRegex": f"(?s).*{KNOWN}: .*",
        },
        {
            "name": "Baseline entry that is not true any more",
            "matchedStatuses": ["failed"],
            "messageRegex": r"(?s).*(XPASS\(strict\)|baseline entry).*",
        },
        {
            "name": "Product defect: a crash point or a disruption that EMCO does not survive",
            "matchedStatuses": ["failed"],
            "messageRegex": f"(?s).*{FINDING}: .*",
        },
        {
            "name": "Harness trouble: the test itself broke",
            "matchedStatuses": ["broken"],
            "messageRegex": f"(?s)(?!.*{TROUBLE}: ).*",
        },
    ]


def executor(environment: Mapping[str, str], *, run: str) -> dict[str, object]:
    """executor.json: which CI job this was, as far as the environment tells; else `local`."""
    known = (
        ("gitlab", "CI_PIPELINE_ID", "CI_JOB_URL", "CI_PIPELINE_URL"),
        ("github", "GITHUB_RUN_NUMBER", "", ""),
        ("jenkins", "BUILD_NUMBER", "BUILD_URL", "JOB_URL"),
    )
    for kind, order, build, project in known:
        if number := environment.get(order, ""):
            url = environment.get(build, "") or _github_url(environment)
            found: dict[str, object] = {"name": kind, "type": kind, "buildName": f"{kind} #{number}", "reportName": run}
            found |= {"buildOrder": int(number)} if number.isdigit() else {}
            found |= {"buildUrl": url} if url else {}
            found |= {"url": environment[project]} if environment.get(project) else {}
            return found
    return {"name": "local", "type": "local", "buildName": run, "reportName": run}


def _github_url(environment: Mapping[str, str]) -> str:
    parts = [environment.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")]
    return f"{parts[0]}/{parts[1]}/actions/runs/{parts[2]}" if all(parts) else ""


def environment_properties(summary: RunSummary, redactor: Redactor) -> str:
    """environment.properties: run, seed, versions, settings, in Java's format (ASCII, escapes)."""
    settings = redactor.data(dict(summary.settings))
    values = {
        "run": summary.run,
        "title": summary.title,
        "platform": "reference EMCO (no sign-off)" if summary.reference else "real EMCO",
        "seed": str(summary.seed),
        **{f"version.{name}": version for name, version in summary.versions.items()},
        **{f"setting.{name}": value if isinstance(value, str) else json.dumps(value, default=str)
           for name, value in settings.items()},
    }  # fmt: skip
    return "".join(f"{_escaped(name, key=True)}={_escaped(redactor.text(value))}\n" for name, value in values.items())


def _escaped(text: str, *, key: bool = False) -> str:
    special = "\\ =:#!" if key else "\\"
    out = []
    for character in text:
        if character in special:
            out.append("\\" + character)
        elif character in "\n\r\t":
            out.append({"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character])
        elif " " <= character <= "~":
            out.append(character)
        else:
            units = character.encode("utf-16-be", "surrogatepass")
            out.extend(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
    return "".join(out)


def write_allure_session(
    folder: Path, summary: RunSummary, redactor: Redactor, *, environment: Mapping[str, str]
) -> None:
    """Write environment.properties, categories.json and executor.json into allure's result folder."""
    write_atomically(folder / "environment.properties", environment_properties(summary, redactor).encode("ascii"))
    write_atomically(folder / "categories.json", json.dumps(categories(), indent=2).encode())
    write_atomically(folder / "executor.json", json.dumps(executor(environment, run=summary.run), indent=2).encode())
