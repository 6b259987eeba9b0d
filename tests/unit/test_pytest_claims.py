"""How a test is judged by its claims; no pytest session, no EMCO."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from harness.crashpoints.claims import ClaimResult
from harness.crashpoints.model import Outcome
from harness.evidence.redaction import Redactor
from harness.evidence.run_folder import RunFolder, create_run_folder
from harness.faults.victim import HarnessTrouble
from harness.pytest_claims import Claims, Setting
from harness.reporting.baseline import Baseline, Entry
from harness.reporting.claimed import plan_tests, read_claimed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.reporting.claims import Subject

SUBJECT = "cluster_partition/update/refused"
TODAY = date(2026, 1, 14)
PROOF = "refused for 12.0 s, 9 connections"


@dataclass
class Bench:
    """Claims of one test, with what they tell of."""

    folder: RunFolder
    told: list[tuple[Subject, Mapping[str, str]]] = field(default_factory=list)

    def claims(self, *entries: Entry, test: str = "t.py::test_it") -> Claims:
        def told(subject: Subject, files: Mapping[str, str]) -> None:
            self.told.append((subject, files))

        plan_tests(self.folder, [test])
        return Claims(Setting(test, self.folder, Baseline(entries), TODAY, 7, f"pytest '{test}'", told))

    def broken(self, *entries: Entry) -> Claims:
        """One claim that holds, one that is broken, one that is stuck."""
        claims = self.claims(*entries)
        claims.about("cluster_partition", "update/refused", proof=PROOF)
        claims.check("retries", "rsync tries again", holds=True, seen="5 tries")
        claims.check("bounded", "it gives up", holds=False, seen="143 tries", measured={"attempts": 143})
        claims.check("goal", "it gets there", holds=False, seen="not within 40 s", otherwise=Outcome.STUCK)
        return claims

    def kept(self) -> tuple[ClaimResult, ...]:
        return read_claimed(self.folder).claims


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(create_run_folder(tmp_path, run="r", redactor=Redactor(salt=b"salt")))


def entry(name: str, outcome: Outcome = Outcome.BROKEN, expires: date = TODAY) -> Entry:
    return Entry(f"{SUBJECT}:{name}", outcome, f"why {name}", "rsync team", expires)


ACCEPTED = (entry("bounded"), entry("goal", Outcome.STUCK))


def judged(claims: Claims) -> str:
    """What judging raises: the kind and the message; `pass` where it raises nothing."""
    try:
        claims.judge()
    except (HarnessTrouble, pytest.fail.Exception, pytest.xfail.Exception) as error:
        return f"{type(error).__name__}: {error}"
    return "pass"


def test_every_check_is_on_disk_before_the_next_begins(bench: Bench) -> None:
    claims = bench.claims()
    claims.about("cluster_partition", "update/refused", proof=PROOF)
    assert claims.check("retries", "rsync tries again", holds=True, seen="5 tries", measured={"attempts": 5})
    kept = bench.kept()[0]
    assert (kept.id, kept.outcome, kept.reason) == (f"{SUBJECT}:retries", Outcome.HOLDS, "5 tries")
    assert (kept.proof, kept.measured, kept.replay) == (PROOF, {"attempts": 5}, "pytest 't.py::test_it'")


def test_claims_that_hold_or_leak_pass(bench: Bench) -> None:
    claims = bench.claims()
    claims.about("namespace_wipe", proof="the namespace is gone")
    claims.check("rpo", "nothing is lost", holds=True, seen="0 documents")
    claims.check("clean", "nothing remains", holds=False, seen="3 keys", otherwise=Outcome.LEAKS)
    assert judged(claims) == "pass"
    assert read_claimed(bench.folder).complete == {"namespace_wipe"}
    assert [subject.id for subject, _ in bench.told] == ["namespace_wipe"]


def test_what_is_exactly_as_accepted_is_expected(bench: Bench) -> None:
    text = judged(bench.broken(*ACCEPTED))
    assert text == "XFailed: known finding: bounded (broken), goal (stuck) (accepted: why bounded; why goal)"


@pytest.mark.parametrize(
    "entries, parts",
    [
        ((), ("finding: 2 of 3 claims not as accepted: bounded, goal",)),
        ((entry("bounded"),), ("finding: 1 of 3 claims not as accepted: goal",)),
        ((entry("bounded"), entry("goal")), ("1 of 3 claims not as accepted: goal", "accepted as broken", "now stuck")),
        ((*ACCEPTED, entry("retries")), ("baseline entry to be removed or lowered", ":retries: ", "is now holds")),
        ((*ACCEPTED, entry("renamed")), ("baseline entry to be removed or lowered", ":renamed: ", "has this id")),
        ((ACCEPTED[0], entry("goal", Outcome.LOST)), ("baseline entry to be removed or lowered", "is now stuck")),
        ((ACCEPTED[1], entry("bounded", expires=date(2026, 1, 13))), ("baseline entry expired", ":bounded: ")),
    ],
)  # fmt: skip
def test_what_is_not_exactly_as_accepted_fails(
    bench: Bench, entries: tuple[Entry, ...], parts: tuple[str, ...]
) -> None:
    text = judged(bench.broken(*entries))
    assert text.startswith("Failed: ")
    assert [part for part in parts if part not in text] == []


def test_a_failure_says_all_that_is_needed(bench: Bench) -> None:
    assert judged(bench.broken()).splitlines() == [
        "Failed: finding: 2 of 3 claims not as accepted: bounded, goal",
        f"  broken  {SUBJECT}:bounded",
        "    143 tries",
        "    claimed: it gives up",
        f"    proof: {PROOF}",
        "    measured: attempts=143",
        f"  stuck  {SUBJECT}:goal",
        "    not within 40 s",
        "    claimed: it gets there",
        f"    proof: {PROOF}",
        "  seed: 7",
        "  replay: pytest 't.py::test_it'",
    ]


def test_entries_of_other_subjects_say_nothing(bench: Bench) -> None:
    others = (Entry(f"{SUBJECT}-more:goal", Outcome.BROKEN, "r", "o", TODAY), entry("goal", Outcome.STUCK))
    assert "1 of 3 claims not as accepted: bounded" in judged(bench.broken(*others))


def test_an_unknown_comes_before_all_else(bench: Bench) -> None:
    claims = bench.broken()
    claims.unknown("rto", "it is fast", why="the clock broke")
    text = judged(claims)
    assert text.startswith("HarnessTrouble: harness trouble: 1 claim unknown: rto\n")
    assert "the clock broke" in text
    assert f"stuck  {SUBJECT}:goal" in text


def test_without_proof_that_it_happened_nothing_holds(bench: Bench) -> None:
    claims = bench.claims()
    claims.about("cluster_partition", "update/refused", proof=" ")
    assert not claims.check("retries", "rsync tries again", holds=True, seen="5 tries")
    assert bench.kept()[0].outcome is Outcome.UNKNOWN
    assert "it is not proven that the disruption happened; seen: 5 tries" in judged(claims)


def test_a_test_that_checks_nothing_does_not_pass(bench: Bench) -> None:
    assert judged(bench.claims()).endswith("asked for the fixture `claims` and checked nothing about anything")
    claims = bench.broken(*ACCEPTED)
    claims.about("namespace_wipe", proof="p")
    assert judged(claims).endswith("checked nothing about namespace_wipe")


def test_evidence_is_named_by_claims_before_and_after_it(bench: Bench) -> None:
    claims = bench.claims()
    claims.about("cluster_partition", "update/refused", proof=PROOF)
    claims.check("retries", "rsync tries again", holds=True, seen="5 tries")
    path = claims.attach("attempts.svg", "<svg/>")
    claims.check("goal", "it gets there", holds=True, seen="3 s")
    claims.about("namespace_wipe", proof=PROOF)
    claims.check("rpo", "nothing is lost", holds=True, seen="0")
    claims.judge()
    assert (bench.folder.path / path).read_text() == "<svg/>"
    assert [(each.name, each.evidence) for each in bench.kept()] == [
        ("retries", (path,)),
        ("goal", (path,)),
        ("rpo", ()),
    ]
    assert [dict(files) for _, files in bench.told] == [{path: "<svg/>"}, {}]


@pytest.mark.parametrize("error", [AssertionError("no edge"), RuntimeError("no edge\nmore")])
def test_a_test_that_ends_early_leaves_what_it_knew_and_an_unknown(bench: Bench, error: Exception) -> None:
    bench.broken().end_early(error)
    last = bench.kept()[-1]
    assert (last.name, last.outcome) == ("carried-out", Outcome.UNKNOWN)
    assert last.reason == f"the test ended early: {type(error).__name__}: no edge"
    assert read_claimed(bench.folder).complete == set()
    assert f"  stuck  {SUBJECT}:goal" in error.__notes__[0]
    assert "  replay: pytest 't.py::test_it'" in error.__notes__[0]


def test_a_skip_inside_of_a_test_is_no_trouble(bench: Bench) -> None:
    claims = bench.claims()
    claims.end_early(pytest.skip.Exception("not here"))
    assert read_claimed(bench.folder).trouble == ()


def test_a_test_that_was_interrupted_is_unknown(bench: Bench) -> None:
    claims = bench.broken()
    claims.end_early(KeyboardInterrupt())
    assert [each.outcome.value for each in bench.kept()] == ["holds", "broken", "stuck", "unknown"]


def test_what_did_not_run_and_what_said_nothing_is_trouble(bench: Bench) -> None:
    plan_tests(bench.folder, ["a", "b", "c"])
    bench.claims(test="a").end_early(RuntimeError("x"))
    bench.claims(test="b")
    assert read_claimed(bench.folder).trouble == (
        "2 tests with claims ended before they said what they are about: a, b",
        "1 test with claims did not run: c",
    )


def test_half_a_line_of_a_process_that_was_killed_is_trouble_and_costs_no_other(bench: Bench) -> None:
    bench.broken()
    with (bench.folder.path / "claims.jsonl").open("a") as file:
        file.write('{"id": "cut')
    claimed = read_claimed(bench.folder)
    assert [each.name for each in claimed.claims] == ["retries", "bounded", "goal", "carried-out"]
    assert "claims.jsonl:4" in claimed.trouble[0]


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        (lambda claims: claims.check("x", "c", holds=True, seen="s"), "say first what is claimed"),
        (lambda claims: claims.attach("x", "t"), "say first what is claimed"),
        (lambda claims: claims.about("S", proof="p"), "a scenario's name is made of"),
        (lambda claims: claims.about("namespace_wipe", "wrong-data-key", proof="p"), "looks like a secret"),
    ],
)
def test_wrong_use_is_refused_with_a_sentence(bench: Bench, wrong: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        wrong(bench.claims())


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        (lambda claims: claims.about("s", proof="p"), "has been about s before"),
        (lambda claims: claims.check("x", "c", holds=True, seen="s"), "s:x was checked before"),
        (lambda claims: claims.check("token", "c", holds=True, seen="s"), "looks like a secret"),
        (lambda claims: claims.check("y.z", "c", holds=True, seen="s"), "the name of a claim is made of"),
        (lambda claims: claims.check("y", "c", holds=False, seen="s", otherwise=Outcome.HOLDS), "cannot be 'holds'"),
        (
            lambda claims: claims.check("y", "c", holds=False, seen="s", otherwise=Outcome.UNKNOWN),
            "cannot be 'unknown'",
        ),
        (lambda claims: claims.check("y", "c", holds=True, seen="s", measured={"t_s": float("nan")}), "t_s = nan"),
        (lambda claims: claims.attach("../x", "t"), "a plain file name"),
        (lambda claims: claims.attach("x", "t" * 8_000_001), "evidence has at most"),
        (lambda claims: (claims.attach("x", "t"), claims.attach("x", "t")), "x was attached before"),
    ],
)
def test_wrong_use_of_what_is_about_something_is_refused(bench: Bench, wrong: Any, sentence: str) -> None:
    claims = bench.claims()
    claims.about("s", proof="p")
    claims.check("x", "c", holds=True, seen="s")
    with pytest.raises(ValueError, match=sentence):
        wrong(claims)


def test_what_is_in_the_folder_already_is_evidence_of_every_claim_of_the_test(bench: Bench) -> None:
    claims = bench.claims()
    claims.bring({"experiments/it/journal.json": "{}"})
    claims.about("cluster_partition", "update/refused", proof=PROOF)
    claims.check("retries", "rsync tries again", holds=True, seen="5 tries")
    claims.about("cluster_partition", "update/reset", proof=PROOF)
    claims.check("retries", "rsync tries again", holds=True, seen="5 tries")
    claims.bring({"experiments/it-2/journal.json": "[]"})
    claims.judge()
    files = {"experiments/it/journal.json": "{}", "experiments/it-2/journal.json": "[]"}
    assert [given for _, given in bench.told] == [files, files]
    assert [set(claim.evidence) for claim in bench.kept()[-2:]] == [set(files), set(files)]
