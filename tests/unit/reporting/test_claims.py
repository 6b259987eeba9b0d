"""Claims in everything that a run leaves behind, beside crash points and without them."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from rich.console import Console

from harness.crashpoints.claims import Figure
from harness.crashpoints.model import Grade, Outcome, RunSummary
from harness.evidence.encoding import redacted
from harness.evidence.run_folder import create_run_folder
from harness.reporting import labels, table
from harness.reporting.baseline import (
    Baseline,
    BaselineVerdict,
    Entry,
    Match,
    apply,
    from_run,
    read_baseline,
    write_baseline,
)
from harness.reporting.claims import by_scenario, figures, merged_claims
from harness.reporting.compare import Move, compare
from harness.reporting.export import export_markdown
from harness.reporting.findings import ClaimFinding, count, findings, judged, replay_command
from harness.reporting.signoff import decide, render_signoff, write_signoff
from harness.reporting.summary import read_summary, write_summary
from harness.reporting.verdict import Verdict, judge

if TYPE_CHECKING:
    from pathlib import Path

    from harness.evidence.redaction import Redactor
    from tests.unit.reporting.conftest import Make

TODAY = date(2026, 1, 14)
SENTINEL = "s3nt1nel"
SUBJECT = "cluster_partition/update/refused"


def entry(name: str, outcome: Outcome) -> Entry:
    return Entry(name, outcome, "known", "rsync team", TODAY)


def held(summary: RunSummary, *entries: Entry) -> BaselineVerdict:
    ids = {point.id for point in summary.plan.points()}
    complete = {claim.subject for claim in summary.claims}
    return apply(Baseline(entries), judged(summary), today=TODAY, selected_ids=ids, complete_subjects=complete)


def shown(summary: RunSummary, redactor: Redactor) -> str:
    on = Console(file=io.StringIO(), width=60, color_system=None)
    baseline = held(summary)
    table.print_findings(on, summary, redactor)
    table.print_claims(on, summary, redactor)
    table.print_verdict(on, summary, judge(summary, baseline), baseline, redactor)
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


# --- counts, findings, verdict ---


def test_points_and_claims_are_counted_together(make: Make) -> None:
    counts = count(make.disrupted())
    assert (counts.planned, counts.ran, counts.claims, counts.findings, counts.proven) == (1, 1, 5, 3, 1)
    assert counts.by_grade == {Grade.PASS: 3, Grade.WARN: 1, Grade.FAIL: 1, Grade.BLOCKER: 1, Grade.ERROR: 0}


def test_a_claim_that_does_not_hold_is_a_finding(make: Make) -> None:
    found = findings(judged(make.disrupted()))
    assert [(each.id, each.outcome.value) for each in found] == [
        ("cluster_partition/update/slow:goal", "stuck"),
        (f"{SUBJECT}:bounded", "broken"),
        ("namespace_wipe/restored:clean", "leaks"),
    ]
    assert isinstance(found[0], ClaimFinding)
    assert found[0].evidence == ("claims/slow/attempts.svg",)
    assert replay_command(replace(make.claim(), replay="")) == "pytest scenarios/cluster_partition"


def test_unknown_claims_give_3_new_ones_1_and_claims_alone_are_a_run(make: Make) -> None:
    def verdict(*outcomes: Outcome) -> Verdict:
        summary = make.summary(claims=tuple(make.claim(each, f"c{n}") for n, each in enumerate(outcomes)))
        return judge(summary, held(summary))

    assert verdict() == Verdict(3, ("nothing was tested",))
    assert verdict(Outcome.HOLDS, Outcome.LEAKS) == Verdict(0, ())
    assert verdict(Outcome.BROKEN, Outcome.STUCK) == Verdict(1, ("2 failures",))
    both = ("1 claim with outcome unknown", "1 failure")
    assert verdict(Outcome.UNKNOWN, Outcome.BROKEN) == Verdict(3, both)


# --- baseline, comparison ---


def test_entries_of_claims_are_judged_like_those_of_points(make: Make) -> None:
    summary = make.disrupted()
    known, worse = (
        entry(f"{SUBJECT}:bounded", Outcome.BROKEN),
        entry("cluster_partition/update/slow:goal", Outcome.BROKEN),
    )
    better, gone = entry(f"{SUBJECT}:goal", Outcome.STUCK), entry("namespace_wipe/restored:rto", Outcome.BROKEN)
    elsewhere = entry("store_outage/mongo/10s:goal", Outcome.LOST)
    assert held(summary, known, worse, better, gone, elsewhere) == BaselineVerdict(
        known=(Match(known, summary.claims[1]),),
        worse=(Match(worse, summary.claims[2]),),
        vanished=(Match(better, summary.claims[0]), Match(gone, None)),
        not_selected=(elsewhere,),
    )


def test_a_run_of_the_whole_plan_says_nothing_about_claims(make: Make) -> None:
    claim, point = entry(f"{SUBJECT}:bounded", Outcome.BROKEN), entry("dcm/x@after:mongo.data.crash", Outcome.STUCK)
    found = apply(Baseline((claim, point)), [make.result()], today=TODAY, selected_ids=(), covers=lambda _: True)
    assert found == BaselineVerdict(vanished=(Match(point, None),), not_selected=(claim,))


def test_a_baseline_of_claims_is_written_and_read(make: Make, tmp_path: Path) -> None:
    previous = Baseline((entry(f"{SUBJECT}:bounded", Outcome.BROKEN), entry("elsewhere:x", Outcome.BROKEN)))
    made = from_run(judged(make.disrupted()), previous, today=TODAY, reason="new", owner="you", expires=TODAY)
    assert [(each.id, each.outcome.value, each.reason) for each in made.entries] == [
        (f"{SUBJECT}:bounded", "broken", "known"),
        ("cluster_partition/update/slow:goal", "stuck", "new"),
        ("elsewhere:x", "broken", "known"),
    ]
    write_baseline(tmp_path / "b.yaml", made)
    assert read_baseline(tmp_path / "b.yaml") == made


def test_claims_are_compared(make: Make) -> None:
    a = make.summary(
        make.result(), claims=(make.claim(), make.claim(Outcome.STUCK, "x"), make.claim(name="old")), run="a"
    )
    b = make.summary(make.result(), claims=(make.claim(Outcome.BROKEN), make.claim(Outcome.BROKEN, "x")), run="b")
    found = compare(a, b)
    assert found.new == (Move(f"{SUBJECT}:goal", Outcome.HOLDS, Outcome.BROKEN),)
    assert found.better == (Move(f"{SUBJECT}:x", Outcome.STUCK, Outcome.BROKEN),)
    assert found.only_a == (Move(f"{SUBJECT}:old", Outcome.HOLDS, None),)


# --- order, figures ---


def test_scenarios_and_subjects_are_in_order_and_claims_as_they_were_checked(make: Make) -> None:
    second, first = make.claim(name="b"), make.claim(name="a")
    other = make.claim(variant="instantiate/slow")
    (scenario,) = by_scenario([second, other, first])
    assert [(each.variant, each.claims) for each in scenario.subjects] == [
        ("instantiate/slow", (other,)),
        ("update/refused", (second, first)),
    ]


def test_of_several_results_of_a_claim_the_worst_counts_and_of_equals_the_last(make: Make) -> None:
    good, bad, again = make.claim(), make.claim(Outcome.BROKEN), make.claim(Outcome.BROKEN, evidence=("a.svg",))
    assert merged_claims([bad, good, again]) == (again,)


def test_figures() -> None:
    measured: dict[str, Figure] = {
        "attempts": 143,
        "spacing_s": 2.0412345,
        "bytes": 123456.7,
        "bounded": False,
        "stop": "no effect",
    }
    assert figures(measured) == "attempts=143, spacing_s=2.041, bytes=123457, bounded=no, stop=no effect"


# --- what people see ---


def test_the_terminal_shows_a_section_per_scenario(make: Make, redactor: Redactor) -> None:
    text = shown(make.disrupted(), redactor)
    rows = [line.rstrip() for line in text[text.index("cluster_partition: ") :].splitlines()]
    assert rows[:10] == [
        "cluster_partition: 1 of 3 hold, worst: stuck",
        "claim                   outcome  measured",
        "update/refused:goal     holds    attempts=5, spacing_s=2.04, bounded=no",
        "update/refused:bounded  broken   attempts=5, spacing_s=2.04, bounded=no",
        "update/slow:goal        stuck    attempts=5, spacing_s=2.04, bounded=no",
        "",
        "namespace_wipe: 1 of 2 hold, worst: leaks",
        "claim           outcome  measured",
        "restored:rpo    holds    rpo_documents=0",
        "restored:clean  leaks",
    ]
    assert "1 of 1 points and 5 claims in 62 s, 1 proven: 3 pass, 1 warn, 1 fail, 1 blocker" in text
    assert f"failure: {SUBJECT}:bounded (broken)" in text
    assert "evidence: claims/slow/attempts.svg" in text


def test_a_run_of_claims_alone_speaks_of_claims_alone(make: Make, redactor: Redactor) -> None:
    summary = make.summary(claims=(make.claim(),))
    assert shown(summary, redactor).splitlines()[-1] == "1 claim in 62 s: 1 pass"
    assert decide(summary, judge(summary, held(summary)), held(summary)).sentence == (
        "1 claim about disruptions checked; nothing that speaks against a release, 0 warnings."
    )
    html = render_signoff(summary, judge(summary, held(summary)), held(summary), redactor)
    assert "<h2>Disruptions</h2>" in html
    assert "<h2>Calls</h2>" not in html


def test_the_page_has_every_claim_with_its_figures_and_its_picture(make: Make, redactor: Redactor) -> None:
    summary = make.disrupted()
    baseline = held(summary, entry(f"{SUBJECT}:bounded", Outcome.BROKEN))
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    pictures = {"claims/slow/attempts.svg": svg}
    html = render_signoff(summary, judge(summary, baseline), baseline, redactor, pictures=pictures)
    for text in (
        "<h3>cluster_partition: 1 of 3 hold</h3>",
        f'<span class="id">{SUBJECT}</span>',
        "it reaches its bounded",
        '<span class="dim">spacing_s</span> 2.04',
        "refused for 12.0 s, 9 connections",
        "accepted: known (rsync team, until 2026-01-14)",
        "pytest &#39;scenarios/cluster_partition&#39;",
    ):
        assert text in html
    (source,) = re.findall(r'src="([^"]*)"', html)
    assert source.startswith("data:image/svg+xml,%3Csvg%20")
    assert re.findall(r"href=|url\(|@import|https?://|<script>alert", html) == []


def test_a_picture_is_taken_from_the_runs_folder_and_one_that_is_gone_is_left_out(
    make: Make, redactor: Redactor, tmp_path: Path
) -> None:
    folder, summary = create_run_folder(tmp_path, run="r", redactor=redactor), make.disrupted()
    verdict = judge(summary, held(summary))
    assert "data:" not in write_signoff(folder, summary, verdict, held(summary)).read_text()
    folder.write_text("claims/slow/attempts.svg", "<svg>shown</svg>")
    assert "data:image/svg+xml,%3Csvg%3Eshown" in write_signoff(folder, summary, verdict, held(summary)).read_text()


def test_an_exported_claim_says_everything(make: Make, redactor: Redactor) -> None:
    text = export_markdown(make.disrupted(), f"{SUBJECT}:bounded", redactor)
    for part in (
        f"# broken: `{SUBJECT}:bounded`",
        "    pytest 'scenarios/cluster_partition'",
        "| claimed | it reaches its bounded |",
        "refused for 12.0 s, 9 connections",
        "| spacing_s | 2.04 |",
        "| it reaches its goal | holds | seen as holds |",
        "* emco: 22.06",
    ):
        assert part in text


def test_what_allure_and_junit_are_told(make: Make, redactor: Redactor) -> None:
    (scenario, _) = by_scenario(make.disrupted().claims)
    facts = labels.claim_facts(scenario.subjects[0], {"claims/x/attempts.svg": "<svg/>"}, redactor)
    assert (facts.title, facts.feature, facts.story, facts.severity) == (
        SUBJECT,
        "cluster_partition",
        "update/refused",
        "critical",
    )
    assert dict(facts.labels) == {"epic": "Disruptions", "outcome": "broken", "grade": "fail"}
    attached = {each.name: each for each in facts.attachments}
    assert json.loads(attached["measured.json"].body)["bounded"]["attempts"] == 5
    assert (attached["attempts.svg"].mime, attached["attempts.svg"].body) == ("image/svg+xml", "<svg/>")
    properties = labels.claim_properties(scenario.subjects[0].claims, redactor)
    assert ("outcome", "broken") in properties
    assert (f"{SUBJECT}:bounded", "broken: seen as broken") in properties
    assert (f"{SUBJECT}:bounded spacing_s", "2.04") in properties


# --- files, secrets ---


def test_claims_go_there_and_back(make: Make, redactor: Redactor, tmp_path: Path) -> None:
    folder = create_run_folder(tmp_path, run="r", redactor=redactor)
    path = write_summary(folder, make.disrupted())
    assert read_summary(path) == redacted(make.disrupted(), redactor)
    document = json.loads(path.read_text())
    assert document["claims"][1]["grade"] == "fail"
    assert document["findings"][0]["measured"] == {"attempts": 5, "spacing_s": 2.04, "bounded": False}
    assert (document["counts"]["claims"], document["counts"]["by_outcome"]["broken"]) == (5, 1)


def test_no_artefact_of_a_claim_shows_a_secret(make: Make, redactor: Redactor, tmp_path: Path) -> None:
    text = f'answered {{"password": "{SENTINEL}"}}'
    poisoned = make.claim(
        Outcome.BROKEN,
        claim=text,
        reason=f"token={SENTINEL}",
        proof=f"password: {SENTINEL}",
        measured={"password": SENTINEL, "note": f"token={SENTINEL}", "privatekey": 4711},
        evidence=(f"claims/token={SENTINEL}",),
        replay=f"pytest --token={SENTINEL}",
    )
    summary = make.summary(claims=(poisoned,))
    baseline = held(summary)
    folder = create_run_folder(tmp_path, run="r", redactor=redactor)
    folder.append(poisoned, "claims.jsonl")
    write_summary(folder, summary)
    write_signoff(folder, summary, judge(summary, baseline), baseline)
    (scenario,) = by_scenario(summary.claims)
    artefacts = {
        "terminal": shown(summary, redactor),
        "export": export_markdown(summary, poisoned.id, redactor),
        "junit": str(labels.claim_properties(summary.claims, redactor)),
        "allure": str(labels.claim_facts(scenario.subjects[0], {"log.txt": text}, redactor)),
        **{str(path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()},
    }
    assert [name for name, text in artefacts.items() if SENTINEL in text or "4711" in text] == []
    assert len(artefacts) == 7
