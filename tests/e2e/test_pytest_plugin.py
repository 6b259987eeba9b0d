"""The plugin in real sessions: what it costs when it is not needed, what it refuses, what it reports."""

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.crashpoints.model import CrashPoint, Outcome, PointResult, Proof, Told
from harness.pytest_support import EmcoSession
from harness.reporting.summary import read_summary
from tests.e2e.conftest import ROOT, SCENARIO, Run

HEAVY = ("aiohttp", "pymongo", "msgspec", "uvloop", "rich", "harness.campaign", "harness.pytest_support")
CALL = "dcm/logical-clouds/create-lc1"
WHOLE, BROKEN, HUNG_UP = (
    f"{CALL}@{rest}" for rest in ("before:mongo.data.crash", "after:mongo.data.crash", "after:mongo.data.disconnect")
)
CHOICE = f"{CALL} and mongo.data and not stateInfo and not before:mongo.data.disconnect"


# -- a session without EMCO ----------------------------------------------------------------------------------------


def test_an_unrelated_session_loads_nothing_heavy(pytester: pytest.Pytester, sessions: Run) -> None:
    pytester.makeconftest(
        f"""
        import sys
        def pytest_unconfigure(config):
            print("LOADED", [name for name in {HEAVY!r} if name in sys.modules])
        """
    )
    pytester.makepyfile("def test_nothing(): pass")
    for arguments in (("--co",), (), ("-n", "1", "-p", "no:randomly")):
        # allure's own plugin and the terminal plugins of others are not what is tested here
        result = sessions("-p", "no:allure_pytest", "-p", "no:hypothesispytest", *arguments)
        result.stdout.fnmatch_lines(["LOADED []"])
        assert result.ret == 0


def test_it_can_be_switched_off(pytester: pytest.Pytester, sessions: Run) -> None:
    pytester.makepyfile("def test_nothing(emco): pass")
    result = sessions("-p", "no:emco_chaos")
    result.stdout.fnmatch_lines(["*fixture 'emco' not found"])


def test_options_stand_in_one_group_and_markers_are_registered(sessions: Run) -> None:
    text = sessions("--help").stdout.str()
    group = text.split("EMCO crash points:\n")[1].split("\n\n")[0]
    for name in (
        "workload",
        "values",
        "bin",
        "reference",
        "faults",
        "seed",
        "baseline",
        "no-baseline",
        "out",
        "no-isolate",
    ):
        assert f"--emco-{name}" in group
    assert "--emco-mongo-uri" in group
    assert "--emco-etcd-endpoint" in group
    markers = sessions("--markers").stdout.str()
    assert all(f"@pytest.mark.{name}" in markers for name in ("crash_point(", "emco_real", "emco_slow"))


def test_showing_fixtures_plans_nothing(scenario: Run, tmp_path: Path) -> None:
    result = scenario("--fixtures")
    result.stdout.re_match_lines(["evidence -- .*"])
    assert result.ret == 0
    assert not (tmp_path / "out").exists()


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (("--emco-bin", "/nowhere"), "*/nowhere*"),
        (("--emco-workload", "missing.yaml"), "--emco-workload *missing.yaml: no such file*"),
        (("--emco-values", "missing.yaml"), "--emco-values *missing.yaml: no such file*"),
        (("--emco-seed", "soon"), "*--emco-seed soon: a number is expected*"),
        (("--emco-faults", "earthquake"), "*unknown fault 'earthquake'*"),
        (("--emco-baseline", "missing.yaml"), "*missing.yaml: the baseline cannot be read*"),
        (("--emco-mongo-uri", "nonsense"), "--emco-mongo-uri nonsense: a host and a port are expected*"),
        (("-n", "2", "--emco-etcd-endpoint", "127.0.0.1:2379"), "*only one worker can run*"),
    ],
)
def test_wrong_values_are_refused_before_anything_starts(
    scenario: Run, homes: dict[str, Path], arguments: tuple[str, ...], sentence: str
) -> None:
    result = scenario(*arguments)
    result.stderr.fnmatch_lines([f"ERROR: {sentence}"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not list((homes["XDG_STATE_HOME"]).rglob("*.undo"))


@pytest.fixture
def no_cluster_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A docker and a kind on PATH that do nothing."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("docker", "kind"):
        (programs / name).write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


PRINTS_SET = """
from harness.pytest_plugin import emco_session
def test_of_whom(request):
    settings = emco_session(request.config).settings
    print("HAS", settings.kind.name, settings.workers)
def test_another(request):
    test_of_whom(request)
"""


@pytest.mark.usefixtures("no_cluster_yet")
@pytest.mark.parametrize("where", ["option", "ini"])
def test_on_kind_each_worker_has_clusters_of_its_own(pytester: pytest.Pytester, sessions: Run, where: str) -> None:
    pytester.makeini("[pytest]\nemco_platform = kind\nemco_cluster = x\nemco_reuse = true" if where == "ini" else "")
    pytester.makepyfile(PRINTS_SET)
    options = () if where == "ini" else ("--emco-platform", "kind", "--emco-cluster", "x", "--emco-reuse")
    result = sessions("-n", "2", "--dist", "each", "-rP", *options)
    assert result.ret == 0
    said = {line for line in result.stdout.lines if line.startswith("HAS")}
    assert said == {"HAS x-w0 1", "HAS x-w1 1"}
    alone = sessions("-n", "1", "-rP", *options)
    assert {line for line in alone.stdout.lines if line.startswith("HAS")} == {"HAS x 1"}


@pytest.mark.usefixtures("no_cluster_yet")
def test_memory_that_is_too_little_for_the_clusters_of_all_workers_is_said_before_they_start(
    pytester: pytest.Pytester, sessions: Run
) -> None:
    pytester.makeini("[pytest]\nemco_platform = kind")
    pytester.makepyfile("def test_nothing(): pass")
    limit = 10**6  # MiB, which no machine has that runs this
    pytester.makeconftest(f"import harness.platforms.kind.clusters as one\none._HUB_MIB = {limit}")
    result = sessions("-n", "2")
    result.stderr.fnmatch_lines(
        ["ERROR: too little memory: * 2 workers, each with a hub and 0 edges, need 2000000 MiB"]
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_a_wrong_option_is_refused_where_nothing_needs_it(pytester: pytest.Pytester, sessions: Run) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    result = sessions("--emco-bin", "/nowhere")
    result.stderr.fnmatch_lines(["ERROR: */nowhere*"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_workers_get_slow_tests_beside_the_others(pytester: pytest.Pytester, sessions: Run) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_quick(number): pass

        @pytest.mark.emco_slow
        @pytest.mark.parametrize("number", range(2))
        def test_slow(number): pass
        """
    )
    result = sessions("-v", "-n", "6", "--dist", "loadgroup", "--no-loadscope-reorder")
    result.stdout.fnmatch_lines_random(["*test_slow?0?@slow-0*", "*test_slow?1?@slow-1*", "*::test_quick?0? *"])
    assert result.ret == 0
    assert "@" not in sessions("-v", "-n", "2").stdout.str().partition("collected")[2]


def test_ini_values_count_and_are_relative_to_the_ini_file(pytester: pytest.Pytester, sessions: Run) -> None:
    pytester.makeini("[pytest]\nemco_workload = here/mine.yaml\nemco_crash_points = points")
    pytester.mkdir("points").joinpath("test_points.py").write_text("def test_point(crash_point): pass")
    pytester.mkdir("elsewhere")
    result = sessions("--rootdir", pytester.path, "points")
    result.stderr.fnmatch_lines([f"ERROR: --emco-workload {pytester.path}/here/mine.yaml: no such file"])


def test_a_worker_without_a_plan_says_so(pytester: pytest.Pytester, sessions: Run) -> None:
    pytester.makepyfile("def test_point(crash_point): pass")
    result = sessions("-n", "1")
    result.stdout.fnmatch_lines(["*UsageError: this pytest-xdist worker was given no crash points*"])
    assert result.ret != 0


def test_tests_of_real_emco_are_skipped_with_the_reason(pytester: pytest.Pytester, sessions: Run) -> None:
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.emco_real
        def test_real(): pass
        """
    )
    result = sessions("-rs", "--strict-markers")
    result.stdout.fnmatch_lines(["SKIPPED*needs real EMCO binaries: give --emco-bin DIR or --emco VERSION"])


# -- the verdict on one result, no EMCO needed ---------------------------------------------------------------------


def a_result(outcome: Outcome) -> PointResult:
    point = CrashPoint("dcm/things/create-x", "dcm", "after", "mongo.data", 1, 1, "crash")
    return PointResult(point, outcome, "what was seen", Proof(True, 1, "", ""), Told(201, "done"))


def judged(pytester: pytest.Pytester, outcome: Outcome, *, accepted: str = "", expires: str = "2999-01-01") -> str:
    """`pass`, or the kind of exception and its message."""
    entry = f"- {{id: {a_result(outcome).point.id}, outcome: {accepted}, reason: r, owner: o, expires: {expires}}}\n"
    file = pytester.path / "baseline.yaml"
    file.write_text(entry if accepted else "")
    config = pytester.parseconfig("--emco-baseline", file, "--emco-seed", "77")
    try:
        EmcoSession(config, None).judge(a_result(outcome), "pytest 'that test'")
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  what is raised is what is looked at
        return f"{type(error).__name__}: {error}"
    return "pass"


@pytest.mark.parametrize(
    "outcome, accepted, expires, expected",
    [
        (Outcome.ATOMIC, "", "", "pass"),
        (Outcome.LEAKS, "", "", "pass"),
        (Outcome.STUCK, "", "", "Failed: finding: stuck: what was seen; replay with"),
        (Outcome.STUCK, "stuck", "2999-01-01", "KnownFinding: known finding: stuck: what was seen (accepted: r)"),
        (Outcome.STUCK, "needs-repair", "2999-01-01", "Failed: finding: stuck"),
        (Outcome.STUCK, "stuck", "2001-01-01", "Failed: baseline entry expired"),
        (Outcome.NEEDS_REPAIR, "stuck", "2999-01-01", "Failed: baseline entry to be removed or lowered"),
        (Outcome.ATOMIC, "stuck", "2999-01-01", "Failed: baseline entry to be removed or lowered"),
        (Outcome.ATOMIC, "stuck", "2001-01-01", "Failed: baseline entry to be removed or lowered"),
        (Outcome.UNKNOWN, "stuck", "2999-01-01", "HarnessTrouble: harness trouble: unknown"),
        (Outcome.UNKNOWN, "", "", "HarnessTrouble: harness trouble: unknown"),
    ],
)  # fmt: skip
def test_a_finding_is_accepted_only_exactly_as_the_baseline_says(
    pytester: pytest.Pytester, outcome: Outcome, accepted: str, expires: str, expected: str
) -> None:
    assert judged(pytester, outcome, accepted=accepted, expires=expires).startswith(expected)


def test_a_failure_says_what_was_told_the_seed_and_how_to_replay(pytester: pytest.Pytester) -> None:
    text = judged(pytester, Outcome.STUCK)
    assert "client was told: 201 acknowledged: done" in text
    assert "seed: 77" in text
    assert "replay: emco-chaos replay 'dcm/things/create-x@after:mongo.data.crash'" in text
    assert "or: pytest 'that test'" in text


# -- crash points on the reference EMCO ----------------------------------------------------------------------------


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    """One entry as things are, one that is better than it says, one that is worse."""
    file = tmp_path / "baseline.yaml"
    accepted = ((BROKEN, "stuck"), (WHOLE, "stuck"), (HUNG_UP, "needs-repair"))
    lines = [
        f"- {{id: '{name}', outcome: {outcome}, reason: known, owner: o, expires: 2999-01-01}}"
        for name, outcome in accepted
    ]
    file.write_text("\n".join(lines))
    return file


def outcomes(junit: Path) -> dict[str, str]:
    """Point id -> passed, failed or skipped."""
    found = {}
    for case in ET.parse(junit).getroot().iter("testcase"):  # noqa: S314  written by this test
        name = str(case.get("name"))
        states = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        found[name[name.index("[") + 1 : name.rindex("]")]] = states[0] if states else "passed"
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "workers", [(), ("-n", "2"), ("-n", "2", "--dist", "loadgroup")], ids=["alone", "load", "loadgroup"]
)
def test_points_run_are_judged_and_reported(
    scenario: Run, baseline: Path, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    junit, allure = tmp_path / "junit.xml", tmp_path / "allure"
    result = scenario(
        "-k",
        CHOICE,
        "--emco-baseline",
        baseline,
        "--junitxml",
        junit,
        "--alluredir",
        allure,
        "-p",
        "no:cacheprovider",
        *workers,
    )
    assert outcomes(junit) == {WHOLE: "failure", BROKEN: "skipped", HUNG_UP: "failure"}
    result.assert_outcomes(failed=2, xfailed=1, deselected=None)
    result.stdout.fnmatch_lines(
        ["*all calls* 3 *", "3 of 3 points in*", f"*baseline, better: {WHOLE}*", "*to remove or to lower*"]
    )

    summary = read_summary(tmp_path / "out" / "latest")
    assert summary.status == "complete"
    assert [each.point.id for each in summary.results] == [WHOLE, BROKEN, HUNG_UP]
    assert all(each.proof.proven for each in summary.results)
    assert (tmp_path / "out" / "latest" / "index.html").exists()

    properties = {each.get("name"): each.get("value") for each in ET.parse(junit).getroot().iter("property")}  # noqa: S314
    assert {"call", "boundary", "fault", "outcome", "grade", "difference", "replay"} <= properties.keys()
    tests = [json.loads(file.read_text()) for file in allure.glob("*-result.json")]
    known = next(test for test in tests if test["name"] == BROKEN)
    labels = {label["name"]: label["value"] for label in known["labels"]}
    assert labels["feature"] == CALL
    assert labels["story"] == "after mongo.data"
    assert (labels["severity"], labels["fault"], labels["outcome"]) == ("blocker", "crash", "stuck")
    assert "difference" in [each["name"] for each in known["attachments"]]
    assert known["status"] == "skipped"
    assert "known finding: " in known["statusDetails"]["message"]
    assert (allure / "categories.json").exists()


@pytest.mark.timeout(300)
def test_ids_are_those_of_the_plan_and_collecting_again_learns_nothing(scenario: Run, homes: dict[str, Path]) -> None:
    first = scenario("--co", "-q")
    learned = sorted(homes["XDG_CACHE_HOME"].rglob("lesson-*.json"))
    times = [file.stat().st_mtime_ns for file in learned]
    again = scenario("--co", "-q", "-k", CALL)
    ids = [line.partition("[")[2].removesuffix("]") for line in first.outlines if "::test_crash_mid_call[" in line]
    assert len(ids) == len(set(ids)) > 500
    assert {WHOLE, BROKEN, HUNG_UP} <= set(ids)
    assert [file.stat().st_mtime_ns for file in learned] == times
    assert f"/{len(ids)} tests collected" in again.stdout.str()


@pytest.mark.timeout(300)
def test_one_test_is_run_by_its_node_id_also_with_a_seed(scenario: Run, sessions: Run, tmp_path: Path) -> None:
    node = f"{SCENARIO}/test_crash_mid_call.py::test_crash_mid_call[{BROKEN}]"
    out = tmp_path / "out"
    result = sessions("-c", ROOT / "pytest.ini", "--emco-out", out, "--emco-no-baseline", "--emco-seed", "5", node)
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "finding: stuck" in text
    assert "unexpected  mongo emco.resources {logicalCloud,project} lc1/proj1" in text
    assert f"emco-chaos replay '{BROKEN}'" in text
    assert "--emco-no-baseline" in text.split("or: pytest")[1].splitlines()[0]
    assert read_summary(out / "latest").seed == 5


@pytest.mark.timeout(300)
def test_fixtures_show_and_break_an_emco(pytester: pytest.Pytester, sessions: Run, tmp_path: Path) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        def test_a_client(emco):
            assert "dcm" in emco.services
            assert emco.post("orchestrator", "/v2/projects", json={{"metadata": {{"name": "p"}}}}).status == 201
            answer = emco.get("orchestrator", "/v2/projects/p")
            assert answer.ok and answer.body["metadata"]["name"] == "p"
            assert [one["project"] for one in emco.snapshot().documents("emco.resources") if "project" in one] == ["p"]

        def test_a_clean_slate(emco, edges):
            assert emco.get("orchestrator", "/v2/projects/p").status == 404
            assert all(edge.objects() == [] for edge in edges.values())

        def test_a_workload(emco, edges):
            told = emco.at("orchestrator/deployment-intent-groups/instantiate-dig1").send()
            assert told.kind == "acknowledged", told
            assert emco.at_rest() == ""
            (edge,) = edges.values()
            kinds = [found["kind"] for found in edge.objects()]
            assert "Deployment" in kinds
            assert edge.find("Deployment", "no-such") is None
            assert any("/deployments" in request.path and request.status < 300 for request in edge.requests())

        def test_faults(emco, faults):
            death = faults.crash("dcm")
            assert death.signal == 9
            with pytest.raises(Exception, match="dcm did not answer"):
                emco.get("dcm", "/v2/projects/p/logical-clouds")
            faults.start("dcm")
            assert emco.get("dcm", "/v2/projects/p/logical-clouds").status < 500

        def test_an_injection(emco, faults):
            injected = faults.inject({BROKEN!r})
            assert injected.proof.proven and injected.proof.injections == 1
            assert injected.told.status is None
            assert "lc1" in str(emco.snapshot().documents("emco.resources"))

        @pytest.mark.crash_point({WHOLE!r})
        def test_chosen_points(crash_point, faults, evidence):
            assert faults.replay(crash_point).outcome == "atomic"

        def test_evidence(evidence):
            evidence.record("token", "a")
            path = evidence.attach("what", {{"password": "sentinel-8311", "shown": 1}})
            assert path.is_relative_to(evidence.folder)
            assert '"shown": 1' in path.read_text() and "sentinel-8311" not in path.read_text()
        """
    )
    result = sessions("--emco-out", tmp_path / "out", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=7)


INTERRUPTIBLE = """
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs these tests may have it ignored
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "number, workers",
    [(signal.SIGINT, ()), (signal.SIGTERM, ()), (signal.SIGINT, ("-n", "2"))],
    ids=["ctrl-c", "sigterm", "ctrl-c with workers"],
)
def test_an_interrupted_session_undoes_everything_and_writes_its_summary(
    pytester: pytest.Pytester,
    sessions: Run,
    tmp_path: Path,
    homes: dict[str, Path],
    number: signal.Signals,
    workers: tuple[str, ...],
) -> None:
    out = tmp_path / "out"
    arguments = ("-c", str(ROOT / "pytest.ini"), str(SCENARIO), "--emco-out", str(out), "-p", "no:cacheprovider", "-v")
    command = (sys.executable, "-c", INTERRUPTIBLE, *arguments, *workers)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=pytester.path, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "%]" in line:  # the first test is over, the next under way
                break
        if number is signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does it
        else:
            os.kill(process.pid, number)
        process.stdout.read()
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    summary = read_summary(out / "latest")
    assert summary.status == "interrupted"
    assert len(summary.results) >= 1
    assert list(homes["XDG_STATE_HOME"].rglob("*.undo")) == []
    assert [each for each in Path("/proc").glob("[0-9]*") if session_of(each) == process.pid] == []


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("sessions")
def test_workers_of_a_session_that_was_killed_end_with_it(
    pytester: pytest.Pytester, tmp_path: Path, homes: dict[str, Path]
) -> None:
    arguments = ("-c", str(ROOT / "pytest.ini"), str(SCENARIO), "--emco-out", str(tmp_path / "out"), "-v", "-n", "1")
    with subprocess.Popen(
        (sys.executable, "-m", "pytest", *arguments),
        stdout=subprocess.PIPE, text=True, cwd=pytester.path, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if "%]" in line:
                break
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while alive := [each.name for each in Path("/proc").glob("[0-9]*") if session_of(each) == process.pid]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)  # nobody tells of the end of somebody else's child
    undo = (sys.executable, "-m", "harness.cli", "rollback")
    assert subprocess.run(undo, capture_output=True, timeout=60, check=False).returncode == 0
    assert list(homes["XDG_STATE_HOME"].rglob("*.undo")) == []


def session_of(process: Path) -> int:
    """Session id of a process in /proc; 0 when it is gone, or has ended and waits for who adopted it."""
    try:
        state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return 0
    return 0 if state == "Z" else int(session)
