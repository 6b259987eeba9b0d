"""The fixture `claims` in real sessions: how a test with claims ends, what is kept of it, what is reported."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.crashpoints.model import Outcome, RunSummary
from harness.reporting.summary import read_summary
from tests.e2e.conftest import Run

SUBJECT = "cluster_partition/instantiate/refused"
BASELINE = """
- {{id: "{id}", outcome: {outcome}, reason: rsync never gives up, owner: rsync team, expires: {expires}}}
"""
HOLDS = """
def test_partition(claims):
    claims.about("cluster_partition", "instantiate/refused", proof="refused for 12.0 s, 9 connections")
    assert claims.check("retries", "rsync tries again", holds=True, seen="5 tries", measured={"attempts": 5})
    assert claims.check("goal", "the goal is reached", holds=True, seen="3.2 s after healing")
"""
BREAKS = """
from harness.crashpoints.model import Outcome

def test_partition(claims):
    claims.about("cluster_partition", "instantiate/refused", proof="refused for 12.0 s, 9 connections")
    claims.check("retries", "rsync tries again", holds=True, seen="5 tries")
    assert not claims.check("bounded", "it gives up", holds=False, seen="143 tries", measured={"attempts": 143})
    claims.check("goal", "the goal is reached", holds=False, seen="not within 40 s", otherwise=Outcome.STUCK)
"""


@pytest.fixture
def run(pytester: pytest.Pytester, sessions: Run, tmp_path: Path) -> Run:
    """Runs the tests in pytester's folder; the run's folder is made below tmp_path/out."""

    def run(*arguments: str | Path) -> pytest.RunResult:
        return sessions("--emco-out", tmp_path / "out", "-p", "no:cacheprovider", "-ra", *arguments)

    return run


def baseline(folder: Path, *entries: tuple[str, str], expires: str = "2999-01-01") -> Path:
    file = folder / "baseline.yaml"
    texts = [
        BASELINE.format(id=f"{SUBJECT}:{name}", outcome=outcome, expires=expires).strip() for name, outcome in entries
    ]
    file.write_text("\n".join(texts))
    return file


def summary(tmp_path: Path) -> RunSummary:
    return read_summary(tmp_path / "out" / "latest")


def test_a_test_whose_claims_hold_passes(pytester: pytest.Pytester, run: Run, tmp_path: Path) -> None:
    pytester.makepyfile(HOLDS)
    result = run("--emco-no-baseline")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*EMCO disruptions*",
            "cluster_partition: 2 of 2 hold, worst: holds",
            "instantiate/refused:retries *holds *attempts=5*",
            "2 claims in * s: 2 pass",
        ]
    )
    one = summary(tmp_path)
    assert (one.status, one.title) == ("complete", "Disruptions on the reference EMCO (faithful)")
    assert [(each.id, each.outcome) for each in one.claims] == [
        (f"{SUBJECT}:retries", Outcome.HOLDS),
        (f"{SUBJECT}:goal", Outcome.HOLDS),
    ]
    assert one.claims[0].replay.startswith("pytest ")
    assert one.claims[0].replay.endswith("::test_partition --emco-no-baseline")
    assert "Disruptions" in (tmp_path / "out" / "latest" / "index.html").read_text()


def test_a_test_with_new_findings_fails_and_says_all_of_them(
    pytester: pytest.Pytester, run: Run, tmp_path: Path
) -> None:
    pytester.makepyfile(BREAKS)
    result = run("--emco-no-baseline", "--emco-seed", "77")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "finding: 2 of 3 claims not as accepted: bounded, goal",
            f"  broken  {SUBJECT}:bounded",
            "    143 tries",
            "    claimed: it gives up",
            "    proof: refused for 12.0 s, 9 connections",
            "    measured: attempts=143",
            f"  stuck  {SUBJECT}:goal",
            "  seed: 77",
            "  replay: pytest *::test_partition --emco-no-baseline",
            f"failure: {SUBJECT}:bounded (broken)",
            "2 failures",
        ]
    )
    assert [each.outcome for each in summary(tmp_path).claims] == [Outcome.HOLDS, Outcome.BROKEN, Outcome.STUCK]


def test_what_is_exactly_as_accepted_is_an_expected_failure(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(BREAKS)
    file = baseline(pytester.path, ("bounded", "broken"), ("goal", "stuck"))
    result = run("--emco-baseline", file)
    result.assert_outcomes(xfailed=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*2 findings known and*", "*known finding: bounded (broken), goal (stuck) (accepted: rsync never gives up)*"]
    )
    run("--emco-baseline", file, "--runxfail").assert_outcomes(failed=1)


def test_what_is_unknown_is_trouble_and_never_a_pass(pytester: pytest.Pytester, run: Run, tmp_path: Path) -> None:
    pytester.makepyfile(
        """
        def test_unknown(claims):
            claims.about("s", proof="p")
            claims.unknown("rto", "it is fast", why="the clock broke")

        def test_silent(claims): pass
        """
    )
    result = run("--emco-no-baseline")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*HarnessTrouble: harness trouble: 1 claim unknown: rto",
            "*  unknown  s:rto",
            "*    the clock broke",
            "*HarnessTrouble: harness trouble: the test asked for the fixture `claims` and checked nothing*",
            "1 claim with outcome unknown",
        ]
    )
    assert summary(tmp_path).claims[0].outcome is Outcome.UNKNOWN


def test_a_test_that_ends_early_leaves_an_unknown_and_what_it_knew(
    pytester: pytest.Pytester, run: Run, tmp_path: Path
) -> None:
    pytester.makepyfile(BREAKS + "    raise RuntimeError('the relay is gone: password=s3nt1nel')\n")
    result = run("--emco-baseline", baseline(pytester.path, ("bounded", "broken"), ("later", "broken")))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*RuntimeError: the relay is gone*", "*claims so far:", f"*broken  {SUBJECT}:bounded"])
    last = summary(tmp_path).claims[-1]
    assert (last.id, last.outcome) == (f"{SUBJECT}:carried-out", Outcome.UNKNOWN)
    assert last.reason.startswith("the test ended early: RuntimeError: the relay is gone: password=[masked")
    assert "1 claim with outcome unknown" in result.stdout.str()
    assert "to remove or to lower" not in result.stdout.str()  # `later` had no chance to be checked


def test_what_dies_or_does_not_run_is_not_taken_for_complete(
    pytester: pytest.Pytester, run: Run, tmp_path: Path
) -> None:
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.fixture
        def broken(claims):
            raise RuntimeError("no EMCO")

        def test_holds(claims):
            claims.about("a", proof="p")
            claims.check("x", "c", holds=True, seen="s")

        @pytest.mark.skip(reason="not here")
        def test_skipped(claims): pass

        def test_without_emco(broken): pass

        def test_stops(claims):
            claims.about("b", proof="p")
            claims.check("x", "c", holds=True, seen="s")
            raise KeyboardInterrupt

        def test_never_runs(claims): pass
        """
    )
    run("--emco-no-baseline")
    one = summary(tmp_path)
    assert one.status == "interrupted"
    assert [(each.id, each.outcome.value) for each in one.claims] == [
        ("a:x", "holds"),
        ("b:x", "holds"),
        ("b:carried-out", "unknown"),
    ]
    run("--emco-no-baseline", "-k", "not stops and not never")
    two = summary(tmp_path)
    assert two.status == "interrupted"
    assert "1 test with claims ended before they said what they are about: " in two.trouble
    assert "test_skipped" not in two.trouble


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_everything_is_in_one_summary_in_junit_and_in_allure(
    pytester: pytest.Pytester, run: Run, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(
        """
        import pytest
        from harness.crashpoints.model import Outcome
        from harness.reporting.plot import Lane, Try, attempts_svg

        @pytest.mark.parametrize("kind", ["refused", "black-hole", "slow", "flapping"])
        def test_partition(claims, kind):
            claims.about("cluster_partition", f"update/{kind}", proof=f"{kind} for 3.0 s, 4 connections")
            claims.check("retries", "rsync tries again", holds=kind != "slow", seen="5 tries, token=s3nt1nel",
                         measured={"attempts": 5, "spacing_s": 2.0, "bounded": False, "password": "s3nt1nel"})
            claims.attach("attempts.svg", attempts_svg(kind, [Lane("p1+c1", (Try(1.0, False),))]))
        """
    )
    junit, allure = tmp_path / "junit.xml", tmp_path / "allure"
    result = run("--emco-no-baseline", "--junitxml", junit, "--alluredir", allure, *workers)
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["cluster_partition: 3 of 4 hold, worst: broken", "4 claims in * s: 3 pass, 1 fail"])
    assert len(list((tmp_path / "out").glob("*Z-*"))) == 1
    one = summary(tmp_path)
    assert (one.status, [each.variant for each in one.claims]) == (
        "complete",
        ["update/black-hole", "update/flapping", "update/refused", "update/slow"],
    )
    page = (tmp_path / "out" / "latest" / "index.html").read_text()
    assert page.count('src="data:image/svg+xml,') == 4
    assert all((tmp_path / "out" / "latest" / name).is_file() for each in one.claims for name in each.evidence)

    properties = [(each.get("name"), each.get("value")) for each in ET.parse(junit).getroot().iter("property")]  # noqa: S314  written by this test
    assert ("cluster_partition/update/slow:retries attempts", "5") in properties
    assert ("cluster_partition/update/slow:retries bounded", "no") in properties
    assert ("outcome", "broken") in properties
    tests = [json.loads(file.read_text()) for file in allure.glob("*-result.json")]
    slow = next(test for test in tests if test["name"] == "cluster_partition/update/slow")
    labels = {label["name"]: label["value"] for label in slow["labels"]}
    assert (labels["epic"], labels["feature"], labels["story"]) == ("Disruptions", "cluster_partition", "update/slow")
    assert (labels["severity"], labels["outcome"]) == ("critical", "broken")
    attached = {each["name"]: (allure / each["source"]).read_text() for each in slow["attachments"]}
    assert json.loads(attached["measured.json"])["retries"]["spacing_s"] == 2.0
    assert attached["attempts.svg"].startswith("<svg ")
    assert "finding: 1 of 1 claim not as accepted: retries" in slow["statusDetails"]["message"]

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if "s3nt1nel" in path.read_text()] == []
    assert "s3nt1nel" not in result.stdout.str().split("EMCO disruptions")[1]


def test_claims_of_a_worker_that_dies_are_not_lost(pytester: pytest.Pytester, run: Run, tmp_path: Path) -> None:
    pytester.makepyfile(
        """
        import os, signal

        def test_dies(claims):
            claims.about("a", proof="p")
            claims.check("x", "c", holds=False, seen="s")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    run("--emco-no-baseline", "-n", "1", "--max-worker-restart", "0")
    assert [(each.id, each.outcome.value) for each in summary(tmp_path).claims] == [
        ("a:x", "broken"),
        ("a:carried-out", "unknown"),
    ]


def test_claims_of_groups_of_workers_are_kept_under_the_name_that_pytest_takes(
    pytester: pytest.Pytester, run: Run, tmp_path: Path
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.xdist_group("one")
        def test_kept(claims):
            claims.about("s", "kept", proof="p")
            claims.check("a", "it holds", holds=True, seen="so")

        @pytest.mark.xdist_group("one")
        @pytest.mark.skip(reason="not here")
        def test_skipped(claims): pass
        """
    )
    result = run("--emco-no-baseline", "-n", "2", "--dist", "loadgroup", "-v")
    result.stdout.fnmatch_lines(["*::test_kept@one*"])
    result.assert_outcomes(passed=1, skipped=1)
    one = summary(tmp_path)
    assert (one.status, one.trouble) == ("complete", "")
    assert [each.replay.split()[1].partition("::")[2] for each in one.claims] == ["test_kept"]
    lines = (tmp_path / "out" / "latest" / "claiming-tests.jsonl").read_text().splitlines()
    names = [json.loads(line)["test"] for line in lines]
    assert {name.partition("::")[2] for name in names} == {"test_kept", "test_skipped"}
