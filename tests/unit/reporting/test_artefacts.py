"""What people see: nothing cut, nothing secret, nothing that markup or Markdown in a server's answer could break."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from harness.crashpoints.model import Attempt, Change, Outcome, PointResult, Proof, RunSummary, Told
from harness.evidence.encoding import to_json
from harness.evidence.run_folder import create_run_folder
from harness.reporting import labels, table
from harness.reporting.baseline import Baseline, BaselineVerdict, Entry, apply
from harness.reporting.compare import compare
from harness.reporting.export import NoSuchPointError, export_markdown, fence, what_was_done, what_was_expected
from harness.reporting.progress import Progress
from harness.reporting.signoff import decide, duration, render_signoff, write_signoff
from harness.reporting.summary import summary_document, write_summary
from harness.reporting.verdict import judge

if TYPE_CHECKING:
    from harness.evidence.redaction import Redactor
    from tests.unit.reporting.conftest import Make

TODAY = date(2026, 1, 14)
SENTINEL = "s3nt1nel"


def held(summary: RunSummary, *entries: Entry) -> BaselineVerdict:
    ids = {point.id for point in summary.plan.points()}
    return apply(Baseline(entries), summary.results, today=TODAY, selected_ids=ids)


def console(*, terminal: bool = False, width: int = 60) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)


def shown(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_the_plan_numbers_every_point_and_never_cuts_an_id(make: Make, terminal: bool) -> None:
    on = console(terminal=terminal, width=30)
    plan = make.usual().plan
    table.print_plan(on, plan)
    for number, point in enumerate(plan.points(), start=1):
        assert re.search(rf"^ *{number}  {re.escape(point.id)}( |$)", shown(on), re.MULTILINE)
    assert "5 points over 2 calls: 4 crash, 1 disconnect" in shown(on)
    assert "orchestrator POST /v2/unknown" in shown(on)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_table_has_a_row_per_call_and_only_outcomes_that_occurred(make: Make, terminal: bool) -> None:
    on = console(terminal=terminal, width=30)
    table.print_table(on, make.usual())
    rows = [line.split() for line in shown(on).splitlines() if line.strip() and "─" not in line]
    assert rows == [
        ["call", "points", "atomic", "retry-heals", "leaks", "needs-repair", "stuck", "worst"],
        ["dcm/create", "3", "1", "1", "1", "stuck"],
        ["clm/delete", "2", "1", "1", "needs-repair"],
        ["all", "calls", "5", "1", "1", "1", "1", "1", "stuck"],
    ]


def test_the_table_of_an_interrupted_run_counts_what_did_not_run(make: Make) -> None:
    on = console()
    summary = make.summary(make.result(), plan=make.plan(make.point(), make.point("clm/delete")), status="interrupted")
    table.print_table(on, summary)
    assert ["clm/delete", "1", "1", "-"] in [line.split() for line in shown(on).splitlines()]


def test_a_finding_is_one_block(make: Make, redactor: Redactor) -> None:
    on = console(width=40)
    bad = make.bad(Outcome.STUCK)
    summary = make.summary(bad)
    table.print_findings(
        on, summary, redactor, baseline=held(summary, Entry(bad.point.id, bad.outcome, "r", "o", TODAY))
    )
    assert re.sub("#[0-9a-f]{6}", "#", shown(on)).splitlines() == [
        "",
        "stuck  dcm/create@after:mongo.data.crash",
        "  it is stuck",
        "  client was told: nothing",
        "  compared with the state after the call:",
        "    differs     mongo emco.resources {logicalCloud,project} proj1/lc1",
        '        stateInfo  missing, expected {"actions": [{"state": "Created"}]}',
        '        level  expected "1", found "0"',
        '        password  unexpected "[masked #]"',
        "  repaired by: nothing that was tried",
        "  accepted: r (o, until 2026-01-14)",
        "  replay: emco-chaos replay 'dcm/create@after:mongo.data.crash'",
    ]


def test_points_of_a_call_that_end_alike_share_a_block_and_none_is_dropped(make: Make, redactor: Redactor) -> None:
    on = console()
    alike = [make.bad(Outcome.STUCK, make.point(effect=f"mongo.part{number}")) for number in range(9)]
    accepted = make.bad(Outcome.STUCK, make.point(effect="mongo.accepted"))
    elsewhere = make.bad(Outcome.STUCK, make.point("clm/delete"))
    otherwise = make.bad(Outcome.LOST, make.point(effect="mongo.other"))
    summary = make.summary(*alike, accepted, elsewhere, otherwise)
    entry = Entry(accepted.point.id, accepted.outcome, "r", "o", TODAY)
    table.print_findings(on, summary, redactor, baseline=held(summary, entry))
    text = shown(on)
    heads = [line for line in text.splitlines() if line.startswith(("stuck", "lost"))]
    assert sorted(heads) == sorted(
        f"{one.outcome.value}  {one.point.id}" for one in (alike[0], accepted, elsewhere, otherwise)
    )
    assert "  the same at 8 more points of this call:\n" in text
    assert [number for number in range(9) if f"    after:mongo.part{number}.crash\n" in text] == list(range(1, 7))
    assert "    ... and 2 more; the report has each with its difference\n" in text


def test_progress_without_a_terminal_tells_findings_and_finished_calls(make: Make) -> None:
    on, now = console(), iter([0.0, 0.0, *(float(n) for n in range(1, 20))])
    progress = Progress(on, clock=lambda: next(now))
    summary = make.usual()
    progress.started(summary.plan)
    for result in summary.results:
        progress.finished(result)
    progress.closed()
    progress.closed()
    assert [line.split("s  ", 1)[1] for line in shown(on).splitlines()] == [
        "0/5  5 points over 2 calls",
        "2/5  stuck         dcm/create@after:mongo.state.crash",
        "3/5  leaks         dcm/create@after:answer.crash",
        "3/5  dcm/create: 3 points done, worst: stuck",
        "5/5  needs-repair  clm/delete@after:mongo.data.disconnect",
        "5/5  clm/delete: 2 points done, worst: needs-repair",
    ]


def test_progress_on_a_terminal_shows_findings_above_the_bar_and_may_be_closed_early(make: Make) -> None:
    on = console(terminal=True, width=100)
    progress = Progress(on, clock=lambda: 0.0)
    progress.closed()
    progress.started(make.usual().plan)
    progress.finished(make.usual().results[1])
    progress.closed()
    assert "stuck         dcm/create@after:mongo.state.crash" in shown(on)
    assert "1/5" in shown(on)


def test_a_comparison_is_printed_by_kind(make: Make) -> None:
    on = console()
    table.print_comparison(on, compare(make.summary(make.result(), run="a"), make.summary(make.bad(), run="b")))
    assert shown(on) == "a -> b\n\nnew (1)\n  dcm/create@after:mongo.data.crash  atomic -> stuck\n"
    on = console()
    table.print_comparison(on, compare(make.usual(), make.usual()))
    assert "no difference" in shown(on)


# --- secrets ---


def poisoned(make: Make) -> PointResult:
    """A result with a sentinel wherever text or data can stand."""
    secret = {"privatekey": SENTINEL, "note": f"token={SENTINEL}", "list": [{"password": SENTINEL}]}
    text = f'answered {{"password": "{SENTINEL}"}}'
    changes = tuple(
        Change(f"mongo x password={SENTINEL}", kind, expected=secret, actual={"privatekey": SENTINEL + "2"})
        for kind in ("missing", "unexpected", "differs")
    )
    return make.result(
        Outcome.STUCK,
        reason=text,
        proof=Proof(True, 1, text, text),
        told=Told(500, text),
        difference=changes,
        attempts=(Attempt("repeat", (Told(500, text),), "", changes, text),),
        repair=text,
        leaks=(text,),
        logs=f"password: {SENTINEL}\n-----BEGIN PRIVATE KEY-----\n{SENTINEL}",
    )


def test_no_artefact_shows_a_secret(make: Make, redactor: Redactor, tmp_path: Path) -> None:
    result = poisoned(make)
    summary = make.summary(result, trouble=f"token={SENTINEL}", status="failed", versions={"emco": f"token={SENTINEL}"})
    baseline = held(summary)
    verdict = judge(summary, baseline)
    on = console()
    table.print_findings(on, summary, redactor)
    table.print_verdict(on, summary, verdict, baseline, redactor)
    folder = create_run_folder(tmp_path, run="r", redactor=redactor)
    folder.append(result)
    write_summary(folder, summary)
    write_signoff(folder, summary, verdict, baseline)
    labels.write_allure_session(tmp_path / "allure", summary, redactor, environment={})
    artefacts = {
        "terminal": shown(on),
        "export": export_markdown(summary, result.point.id, redactor),
        "junit": str(labels.junit_properties(result, redactor)),
        "allure": str(labels.allure_facts(result, redactor)),
        "message": labels.message(result, redactor),
        **{str(path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()},
    }
    assert [name for name, text in artefacts.items() if SENTINEL in text] == []
    assert {"summary.json", "index.html", "results.jsonl", "categories.json"} <= {Path(name).name for name in artefacts}


# --- the sign-off page ---


def page(summary: RunSummary, redactor: Redactor, *entries: Entry) -> str:
    baseline = held(summary, *entries)
    return render_signoff(summary, judge(summary, baseline), baseline, redactor)


def test_a_run_on_the_reference_can_never_be_a_sign_off(make: Make, redactor: Redactor) -> None:
    summary = make.summary(make.result(), reference=True)
    html = page(summary, redactor)
    assert "<title>Crash points of EMCO (reference EMCO: not a sign-off)</title>" in html
    assert '<section class="decision none">' in html
    assert "signature" not in html


def test_go_and_no_go(make: Make) -> None:
    for result, kind in ((make.result(), "go"), (make.bad(), "no-go"), (make.result(Outcome.UNKNOWN), "no-go")):
        summary = make.summary(result)
        assert decide(summary, judge(summary, held(summary)), held(summary)).kind == kind


def test_the_page_holds_all_that_is_asked_of_it_and_loads_nothing(make: Make, redactor: Redactor) -> None:
    summary = make.usual()
    accepted = summary.results[1]
    html = page(summary, redactor, Entry(accepted.point.id, Outcome.STUCK, "known bug 12", "dcm team", TODAY))
    for text in (
        "No go",
        "1 failure not in the baseline",
        "known bug 12 (dcm team, until 2026-01-14)",
        "orchestrator POST /v2/unknown",
        "22.06",
        "1 min 02 s",
        "etcd /context/ctx-3/ (11 keys)",
        "emco-chaos replay &#39;dcm/create@after:mongo.state.crash&#39;",
        "level  expected &#34;1&#34;, found &#34;0&#34;",
    ):
        assert text in html
    assert html.count('<details class="finding') == 3
    assert re.findall(r"(?:src|href)=|url\(|@import|https?://", html) == []


def test_what_a_server_said_cannot_break_the_page(make: Make, redactor: Redactor) -> None:
    evil = "<script>alert(1)</script>{{ 7 * 7 }}"
    html = page(make.summary(make.result(Outcome.STUCK, told=Told(500, evil), reason=evil, logs=evil)), redactor)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7 * 7 }}" in html


@pytest.mark.parametrize(
    "seconds, text", [(4.24, "4.2 s"), (59.96, "1 min 00 s"), (187, "3 min 07 s"), (3725, "1 h 02 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# --- one finding for a bug report ---


def test_an_exported_finding_says_everything(make: Make, redactor: Redactor) -> None:
    text = export_markdown(make.usual(), "dcm/create@after:mongo.state.crash", redactor)
    for part in (
        "# stuck: `dcm/create@after:mongo.state.crash`",
        "emco-chaos replay 'dcm/create@after:mongo.state.crash'",
        "dcm was killed (SIGKILL) after its effect `mongo.state` (mongo findAndModify emco.resources), and started",
        "SIGKILL reaped (pid 4711) (1 injection, proven)",
        "1. `mongo.data`  <-- here",
        '    level  expected "1", found "0"',
        "* repeat: 409 refused: exists; did not help, 1 change left; lie",
        "* emco: 22.06",
        "* seed: 7",
    ):
        assert part in text


def test_an_id_without_result_is_refused_with_a_hint(make: Make, redactor: Redactor) -> None:
    with pytest.raises(
        NoSuchPointError, match=r"no result for `mongo\.state`; did you mean dcm/create@after:mongo\.state"
    ):
        export_markdown(make.usual(), "mongo.state", redactor)


def test_a_code_block_cannot_be_ended_by_its_text() -> None:
    assert fence("a ``` b ```` c\n") == "`````\na ``` b ```` c\n`````"


def test_sentences_for_every_kind_of_point(make: Make) -> None:
    refused = make.point(side="refused", effect="409", fault="none")
    gone = make.point(effect="answer", fault="disconnect")
    assert what_was_done(refused, None, Proof(True, 0, "", "")) == (
        "`dcm/create` was called, which dcm has to refuse. No fault was injected."
    )
    assert what_was_done(gone, None, Proof(True, 1, "x", "")) == (
        "`dcm/create` was called. The client closed its connection after its answer was delivered to the client."
    )
    reset = replace(make.point(effect="mongo.data"), fault="reset", side="before")
    assert what_was_done(reset, None, Proof(True, 1, "mongo update", "")) == (
        "`dcm/create` was called. "
        "The connection of dcm to the store was reset before its effect `mongo.data` (mongo update)."
    )
    error = replace(make.point(effect="etcd.put:a"), fault="error", side="before", victim="rsync")
    assert what_was_done(error, None, Proof(True, 1, "", "")) == (
        "`dcm/create` was called. "
        "rsync was answered with an error in the store's stead: its effect `etcd.put:a` was not carried out."
    )
    quiet = replace(make.point(effect="quiet"), victim="rsync", under="edges-refused")
    assert what_was_done(quiet, None, Proof(True, 1, "waiting", "")) == (
        "`dcm/create` was called. rsync was killed (SIGKILL) after it noted that an edge cannot be reached, "
        "between two tries, and started again. Edges refused connections from before the call until it was back."
    )
    assert "must leave the state as it was" in what_was_expected(make.result(point=refused))
    assert "acknowledged" in what_was_expected(make.result())
    assert "before or of after" in what_was_expected(make.bad())


# --- labels ---


def test_junit_properties(make: Make, redactor: Redactor) -> None:
    properties = dict(labels.junit_properties(make.bad(), redactor))
    assert properties["boundary"] == "after mongo.data"
    assert (properties["call"], properties["fault"], properties["outcome"]) == ("dcm/create", "crash", "stuck")
    assert (properties["grade"], properties["proven"], properties["told"]) == ("blocker", "yes", "nothing")
    assert 'level  expected "1", found "0"' in properties["difference"]
    assert "repair" not in properties


def test_allure_facts(make: Make, redactor: Redactor) -> None:
    facts = labels.allure_facts(make.bad(), redactor)
    assert (facts.feature, facts.story, facts.severity) == ("dcm/create", "after mongo.data", "blocker")
    assert dict(facts.labels) == {
        "fault": "crash",
        "victim": "dcm",
        "outcome": "stuck",
        "grade": "blocker",
        "service": "dcm",
    }
    attachments = {each.name: each for each in facts.attachments}
    assert json.loads(attachments["difference.json"].body)[0]["kind"] == "differs"
    assert attachments["difference"].body.startswith("differs     mongo emco.resources")


@pytest.mark.parametrize(
    "status, outcome, accepted, category",
    [
        ("failed", Outcome.STUCK, "", "Product defect"),
        ("skipped", Outcome.STUCK, "known", "Known finding"),
        ("failed", Outcome.UNKNOWN, "", "Harness trouble: outcome unknown"),
        ("broken", Outcome.UNKNOWN, "", "Harness trouble: outcome unknown"),
    ],
)
def test_every_message_is_in_exactly_one_category(
    make: Make, redactor: Redactor, status: str, outcome: Outcome, accepted: str, category: str
) -> None:
    message = "Failed: " + labels.message(make.result(outcome), redactor, accepted=accepted)
    categories: Any = labels.categories()
    matching = [
        str(each["name"])
        for each in categories
        if status in each["matchedStatuses"] and re.fullmatch(each["messageRegex"], message)
    ]
    assert len(matching) == 1
    assert matching[0].startswith(category)


def test_the_session_files_of_allure(make: Make, redactor: Redactor, tmp_path: Path) -> None:
    summary = make.usual(title="Läufe: a=b")
    environment = {"CI_PIPELINE_ID": "12", "CI_JOB_URL": "https://ci/job/1", "CI_PIPELINE_URL": "https://ci/12"}
    labels.write_allure_session(tmp_path, summary, redactor, environment=environment)
    properties = (tmp_path / "environment.properties").read_text("ascii").splitlines()
    assert "title=L\\u00e4ufe: a=b" in properties
    assert "setting.workers=2" in properties
    executor = json.loads((tmp_path / "executor.json").read_text())
    assert (executor["type"], executor["buildOrder"], executor["buildUrl"]) == ("gitlab", 12, "https://ci/job/1")
    assert labels.executor({}, run="r") == {"name": "local", "type": "local", "buildName": "r", "reportName": "r"}


def test_the_summary_document_is_plain_json(make: Make, redactor: Redactor) -> None:
    document = summary_document(make.usual(), redactor)
    assert json.loads(to_json(document, redactor)) == document
