"""Real EMCO on a real cluster, as a user: from its images, by its charts, and as somebody installed it.

Settings: EMCO_CHAOS_TEST_EMCO=VERSION, of the images that docker has or that EMCO_CHAOS_TEST_IMAGES names (a
repository, or archives); EMCO_CHAOS_TEST_CHARTS: EMCO's charts, for the tests that need them;
EMCO_CHAOS_TEST_STORES=1: docker has the images that its chart emco-db names; EMCO_CHAOS_TEST_MONITOR: its monitor's.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import MappingProxyType
from typing import Any

import bson
import pytest

from harness.platforms.kubernetes.splice import Where
from harness.platforms.kubernetes.stores import open_stores

ROOT = Path(__file__).parents[2]
VERSION, IMAGES, CHARTS = (os.environ.get(f"EMCO_CHAOS_TEST_{name}", "") for name in ("EMCO", "IMAGES", "CHARTS"))
STORES, MONITOR = (os.environ.get(f"EMCO_CHAOS_TEST_{name}", "") for name in ("STORES", "MONITOR"))
SAMPLE = ("clm/clusters/create-c1@*", "dcm/logical-clouds/create-lc1@*")
SERVICES = ("clm", "dcm", "orchestrator", "rsync")

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Outcomes = dict[str, str]


def _missing() -> str:
    if os.environ.get("EMCO_CHAOS_KIND") != "1":
        return "takes clusters and minutes: `make chaos-kind` runs it"
    if not VERSION:
        return "needs images of EMCO: EMCO_CHAOS_TEST_EMCO=VERSION names their tag"
    return next((f"{name} is not on PATH" for name in ("docker", "kind") if shutil.which(name) is None), "")


def _no_charts() -> str:
    if not CHARTS:
        return "needs EMCO's charts: EMCO_CHAOS_TEST_CHARTS names their folder"
    return "" if shutil.which("helm") else "helm is not on PATH"


pytestmark = [
    pytest.mark.skipif(_missing() != "", reason=_missing()),
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("kind"),
]
needs_charts = pytest.mark.skipif(_no_charts() != "", reason=_no_charts())


needs_stores = pytest.mark.skipif(
    not STORES, reason="needs the images of EMCO's store chart: EMCO_CHAOS_TEST_STORES=1 says that docker has them"
)
needs_monitor = pytest.mark.skipif(
    not MONITOR or shutil.which("helm") is None,
    reason="needs EMCO's chart monitor, EMCO_CHAOS_TEST_MONITOR, its image, and helm on PATH",
)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {name: str(tmp_path_factory.mktemp(name)) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME")}


@pytest.fixture(scope="module")
def harness(homes: dict[str, str]) -> Run:
    def run(
        *arguments: str,
        module: str = "harness.cli",
        settings: Mapping[str, str] = MappingProxyType({}),
        cwd: Path = ROOT,
    ) -> "subprocess.CompletedProcess[str]":
        command, given = [sys.executable, "-m", module, *arguments], {**os.environ, **homes, **settings}
        return subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=1500, check=False)

    return run


def images() -> tuple[str, ...]:
    return ("--emco-images", IMAGES) if IMAGES else ()


def brought_up(harness: Run, name: str, *options: str) -> Iterator[str]:
    """A hub with real EMCO in it, removed at the end."""
    made = harness("up", "--cluster", name, "--emco", VERSION, *images(), *options)
    assert made.returncode == 0, made.stderr
    yield name
    removed = harness("down", "--cluster", name)
    assert removed.returncode == 0, removed.stderr


@pytest.fixture(scope="module")
def expected(harness: Run, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """On processes, by what the same images hold."""
    place = ("--from", IMAGES) if Path(IMAGES).exists() else ("--repository", IMAGES)
    services = ("--services", ",".join(SERVICES))
    taken = harness("get-emco", VERSION, *services, *(place if IMAGES else ()))
    assert taken.returncode == 0, taken.stderr
    return outcomes(harness, tmp_path_factory.mktemp("process"), "--emco", VERSION)


def outcomes(harness: Run, out: Path, *options: str) -> Outcomes:
    """Outcome of every point of the sample, which must all be proven, on real EMCO."""
    ended = harness("run", *SAMPLE, "--no-baseline", "-n", "1", "--out", str(out), *options)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    summary: dict[str, Any] = json.loads(next(out.glob("*/summary.json")).read_text(encoding="utf-8"))
    assert summary["reference"] is False
    assert all(result["proof"]["proven"] for result in summary["results"])
    return {
        "{call}@{side}:{effect}~{occurrence}.{fault}".format(**result["point"]): result["outcome"]
        for result in summary["results"]
    }


def asked(name: str, *arguments: str, machine: str = "hub") -> str:
    """What kubectl on the hub's node, or an edge's, answers."""
    kubectl = ["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", *arguments]
    command = ["docker", "exec", f"{name}-{machine}-control-plane", *kubectl]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def installed(name: str) -> Any:
    """How EMCO's services are specified."""
    specified: dict[str, Any] = {}
    for kind, key in (("deployments", "spec"), ("configmaps", "data")):
        listed = json.loads(asked(name, "--namespace", "emco", "get", kind, "--output", "json"))
        specified |= {f"{kind}/{one['metadata']['name']}": one[key] for one in listed["items"]}
    return specified


THEIRS = {"somebody.things": (bson.encode({"_id": 2}), bson.encode({"_id": 1}))}
KEYS = {b"/somebody": b"1"}


def held(name: str, homes: dict[str, str], *, theirs: bool = False) -> tuple[Any, Any]:
    """What the stores of an installed EMCO hold; theirs: once somebody has put something beside EMCO's own."""

    async def look() -> tuple[Any, Any]:
        async with open_stores(Where(kubeconfig(name, homes), f"kind-{name}-hub")) as (mongo, etcd):
            if theirs:
                await mongo.restore(await mongo.snapshot() | THEIRS)
                await etcd.restore(await etcd.snapshot() | KEYS)
            return await mongo.snapshot(), await etcd.snapshot()

    return asyncio.run(look())


def unneeded(name: str) -> None:
    """Install another service of EMCO's, which the workload does not need."""
    options = ("--image", "python:3.11-slim", "--", "sleep", "1000000")
    asked(name, "--namespace", "emco", "create", "deployment", "ncm", *options)


def test_its_images_have_the_outcomes_that_they_have_on_processes(
    harness: Run, expected: Outcomes, tmp_path: Path
) -> None:
    for name in brought_up(harness, "emco-chaos-real"):
        on_kind = ("--platform", "kind", "--cluster", name, "--reuse")
        assert outcomes(harness, tmp_path, *on_kind, "--emco", VERSION, *images()) == expected


@pytest.fixture(scope="module")
def charts(harness: Run) -> Iterator[str]:
    yield from brought_up(harness, "emco-chaos-charts", "--charts", CHARTS)


def kubeconfig(name: str, homes: dict[str, str]) -> Path:
    return Path(homes["XDG_STATE_HOME"], "emco-chaos", "kind", name, "hub.kubeconfig")


def cluster_options(name: str, homes: dict[str, str]) -> tuple[str, ...]:
    file = str(kubeconfig(name, homes))
    return ("--platform", "kubernetes", "--kubeconfig", file, "--context", f"kind-{name}-hub")


@needs_charts
def test_its_charts_have_the_same_outcomes_and_are_left_as_they_made_it(
    harness: Run, expected: Outcomes, charts: str, tmp_path: Path
) -> None:
    before = installed(charts)
    on_kind = ("--platform", "kind", "--cluster", charts, "--reuse", "--charts", CHARTS)
    assert outcomes(harness, tmp_path, *on_kind, "--emco", VERSION, *images()) == expected
    assert installed(charts) == before


@needs_charts
def test_an_installed_one_has_the_same_outcomes_and_is_left_as_it_was(
    harness: Run, homes: dict[str, str], expected: Outcomes, charts: str, tmp_path: Path
) -> None:
    unneeded(charts)
    before, content = installed(charts), held(charts, homes, theirs=True)
    assert outcomes(harness, tmp_path, *cluster_options(charts, homes)) == expected
    assert installed(charts) == before
    assert held(charts, homes) == content
    assert "emco-chaos" not in asked(charts, "get", "namespaces")


@needs_charts
def test_an_installed_one_has_the_same_outcomes_where_its_node_is_left_alone(
    harness: Run, homes: dict[str, str], expected: Outcomes, charts: str, tmp_path: Path
) -> None:
    options = (*cluster_options(charts, homes), "--node-access", "none")
    assert outcomes(harness, tmp_path, *options) == expected


EXPERIMENTS = "while_away and instantiate and refused and one or max_retries and instantiate"


@needs_charts
def test_experiments_act_on_an_installed_one_and_leave_it_as_it_was(
    harness: Run, homes: dict[str, str], charts: str, tmp_path: Path
) -> None:
    before, content = installed(charts), held(charts, homes, theirs=True)
    file, context = str(kubeconfig(charts, homes)), f"kind-{charts}-hub"
    options = (
        "--emco-platform", "kubernetes", "--emco-kubeconfig", file, "--emco-context", context,
        "--emco-baseline", "fixtures/baselines/reference-faithful.yaml",  # EMCO tries once more than is set
    )  # fmt: skip
    ended = harness(
        "scenarios/cluster_partition", "-k", EXPERIMENTS, *options, "--emco-out", str(tmp_path), module="pytest"
    )
    print(ended.stdout[-8000:])
    assert ended.returncode == 0, ended.stderr[-2000:]
    summary = json.loads((tmp_path / "latest" / "summary.json").read_text(encoding="utf-8"))
    assert {one["id"].rpartition(":")[0] for one in summary["claims"]} == {
        "cluster_partition/instantiate/refused/one-of-three",
        "cluster_partition/max-retries/instantiate/refused/one-of-three",
    }
    by_itself = {"EMCO_CHAOS_PLATFORM": "kubernetes", "EMCO_CHAOS_KUBECONFIG": file, "EMCO_CHAOS_CONTEXT": context}
    experiment = str(ROOT / "scenarios" / "rsync_crash" / "experiment.yaml")
    ran = harness("--no-version-check", "run", experiment, module="chaostoolkit", settings=by_itself, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert installed(charts) == before
    assert held(charts, homes) == content


@needs_charts
def test_rollback_takes_back_what_a_killed_harness_did_to_an_installed_one(
    harness: Run, homes: dict[str, str], charts: str, tmp_path: Path
) -> None:
    before, content = installed(charts), held(charts, homes, theirs=True)
    options = ("run", SAMPLE[0], "--out", str(tmp_path), *cluster_options(charts, homes))
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", *options],
        cwd=ROOT,
        env={**os.environ, **homes},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    undo = Path(homes["XDG_STATE_HOME"], "emco-chaos", "undo")
    deadline = time.monotonic() + 300
    while not (led := _kept(undo)) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)  # until all services are led to the relay, and the first points are done; bounded
    assert led, "the services were not led to the relay, or the stores not kept, in time"
    while held(charts, homes) == content and time.monotonic() < deadline:
        time.sleep(0.1)  # until something is replaced; bounded by the deadline
    os.kill(led, signal.SIGKILL)  # the worker first: it would undo all when it lost its parent
    process.kill()
    process.wait(30)
    assert "relay-clm.emco-chaos" in json.dumps(installed(charts))
    assert held(charts, homes) != content
    told = harness("rollback").stdout
    assert told.count("is wired as before") == len(SERVICES)
    assert "the namespace emco-chaos" in told
    assert "hold what they held before" in told
    assert installed(charts) == before
    assert held(charts, homes) == content
    assert not list(undo.iterdir())
    assert "emco-chaos" not in asked(charts, "get", "namespaces")


@needs_charts
@needs_stores
def test_its_store_charts_have_the_same_outcomes_and_keep_their_passwords_and_volumes(
    harness: Run, expected: Outcomes, tmp_path: Path
) -> None:
    options = ("--charts", CHARTS, "--store-charts")
    for name in brought_up(harness, "emco-chaos-stores", *options):
        before = stores(name)
        assert [one for one in before if one.startswith("PersistentVolume ")] == [
            "PersistentVolume data-emco-db-etcd-0 Retain Bound",
            "PersistentVolume emco-db-emco-mongo-data Retain Bound",
        ]
        on_kind = ("--platform", "kind", "--cluster", name, "--reuse", *options)
        assert outcomes(harness, tmp_path, *on_kind, "--emco", VERSION, *images()) == expected
        assert stores(name) == before


def stores(name: str) -> list[str]:
    """The stores' volumes and passwords."""
    listed = json.loads(asked(name, "get", "persistentvolumes", "--output", "json"))["items"]
    said = [
        "{kind} {metadata[name]} {spec[persistentVolumeReclaimPolicy]} {status[phase]}".format(**one) for one in listed
    ]
    for secret in ("emco-mongo", "emco-etcd"):
        found = json.loads(asked(name, "--namespace", "emco", "get", "secret", secret, "--output", "json"))
        said += [f"{secret} {key} {value}" for key, value in sorted(found["data"].items())]
    return sorted(said)


@needs_monitor
def test_its_monitor_reports_on_an_edge_and_no_stand_in_does(harness: Run, expected: Outcomes, tmp_path: Path) -> None:
    name, options = "emco-chaos-monitor", ("--monitor-chart", MONITOR)
    for _ in brought_up(harness, name, "--edges", "1", *options):
        where = ("--platform", "kind", "--cluster", name, "--reuse", "--edges", "kind")
        refused = harness("run", SAMPLE[0], "--out", str(tmp_path), *where, "--emco", VERSION, *images())
        assert refused.returncode == 2
        assert "EMCO's monitor runs on the edge p1+c1: two would report there" in refused.stderr
        with ThreadPoolExecutor(1) as pool:
            ran = pool.submit(outcomes, harness, tmp_path, *where, "--emco", VERSION, *images(), *options)
            pods: set[str] = set()
            while not ran.done():
                pods |= reported(name)
                wait([ran], 1)
            assert ran.result() == expected
        assert any("web" in pod for pod in pods), f"reported were {sorted(pods)}"


def reported(name: str) -> set[str]:
    """Names of pods of which the edge's ResourceBundleStates tell: the cluster chose these."""
    listed = json.loads(
        asked(name, "get", "resourcebundlestates", "--all-namespaces", "--output", "json", machine="edge-1")
    )
    statuses = [one.get("status") or {} for one in listed["items"]]
    return {pod["metadata"]["name"] for status in statuses for pod in status.get("podStatuses") or ()}


def _kept(undo: Path) -> int:
    """The process that has led all services to the relay, and written down what the stores hold; 0: none has."""
    for path in undo.glob("*.undo"):
        text = path.read_text(encoding="utf-8")
        if text.count('"emco-wiring"') == len(SERVICES) and '"emco-stores"' in text:
            return int(path.name.partition("-")[0])
    return 0


def test_an_image_that_is_not_there_is_said_before_anything_is_made(harness: Run) -> None:
    refused = harness("up", "--cluster", "emco-chaos-none", "--emco", "no-such-tag", *images())
    assert refused.returncode == 2
    assert "emco-orch:no-such-tag" in refused.stderr
