"""The pytest plugin: options, markers, one test per crash point, and what a session ends with.

A session that has nothing to do with EMCO pays for this file only: whatever is heavy is in harness.pytest_support,
which is imported when a crash point or one of the fixtures is wanted for the first time.

Under pytest-xdist the process that starts the workers makes the plan, before they start, and hands it over; workers
only read it, so all collect the same. It cannot collect, so it goes by the folders on the command line and the ini
setting `emco_crash_points`.
"""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.pytest_options import hand_over, option, option_flag, origin, out_folder
from harness.pytest_order import place_of, spread

if TYPE_CHECKING:
    from harness.pytest_claims import Claims
    from harness.pytest_support import EmcoSession

_FIXTURES = ("emco", "edges", "faults", "evidence", "experiment", "claims")
pytest_plugins = [f"fixtures.{name}" for name in _FIXTURES]

_LIMIT_IN_CLUSTER = 900  # seconds for one test
HANDOVER = "emco_chaos"
CLAIMS: pytest.StashKey["Claims"] = pytest.StashKey()
"""What a test has claimed, put there by the fixture `claims`."""
_SESSION: pytest.StashKey["EmcoSession"] = pytest.StashKey()

_OPTIONS = (
    ("workload", "FILE", "emcoctl file with the calls; default: the built-in golden workload"),
    ("values", "FILE", "values file of the workload, as `emcoctl -v`; default: <workload>.values.yaml if it is there"),
    ("bin", "DIR", "folder with real EMCO binaries (DIR/<service>/<service>); default: the reference EMCO"),
    ("version", "VERSION", "a release of EMCO: as `emco-chaos get-emco` took it from its images; on kind these images"),
    ("charts", "DIR", "kind: install that release's services by EMCO's own Helm charts in this folder (needs helm)"),
    ("monitor_chart", "DIR", "kind: EMCO's chart monitor, to report on edges that are clusters; default: a stand-in"),
    ("patches", "PLACE", "kind, kubernetes: a kustomization whose patches are applied to what is made in the cluster"),
    ("images", "PLACE", "kind: where these are: a repository, an archive of images, or a folder of such"),
    ("reference", "DEFECTS", "defects of the reference EMCO: faithful (default), fixed, or switches such as B1,C1"),
    ("faults", "KINDS", "which points: crash, disconnect, none (calls that must be refused); default: these three"),
    ("victims", "NAMES", "whose boundaries: called (the default), and services that work beside it, such as rsync"),
    ("seed", "NUMBER", "order of the calls; 0 (default): as in the workload"),
    ("baseline", "FILE", "accepted findings; default: the one that belongs to what is run, if any"),
    ("out", "DIR", "where the run's folder is made; default: reports/out below the root directory"),
    ("mongo_uri", "URI", "a running standalone mongo, empty or marked as the harness's; default: an embedded one"),
    ("etcd_endpoint", "HOST:PORT", "a running etcd, empty or marked as the harness's; default: an embedded one"),
    ("platform", "NAME", "where EMCO runs: process (default), kind: in pods, or kubernetes: as it is installed there"),
    ("kubeconfig", "FILE", "kubernetes: how that cluster is reached"),
    ("context", "NAME", "kubernetes: the context; never the current one by itself"),
    (
        "node_access",
        "WORD",
        "kind, kubernetes: auto (default): kill services on a node within reach; none: delete pods",
    ),
    ("cluster", "NAME", "kind: name of the set of clusters (default: emco-chaos)"),
    ("node_image", "IMAGE", "kind: image of the nodes; default: $EMCO_CHAOS_NODE_IMAGE, or kind's own"),
    (
        "edges",
        "KIND",
        "emulator (default), kube-apiserver: one of the run's own for each, from $KUBEBUILDER_ASSETS, or kind",
    ),
)
_REPEATED = (
    (
        "edge_kubeconfig",
        "EDGE",
        (
            "a running cluster in the place of one of the workload's, PROVIDER+CLUSTER=FILE or =FILE#CONTEXT; may be "
            "repeated. One worker then, and only namespaces with the label emco-chaos/allowed=true"
        ),
    ),
    ("chart_values", "FILE", "kind: values for the charts of --emco-charts; may be repeated"),
)
_SWITCHES = (
    ("no_baseline", "accept no finding: every failure fails"),
    ("keep", "kind: leave the clusters for later runs"),
    ("reuse", "kind: use the clusters that `emco-chaos up` or --emco-keep left"),
    ("store_charts", "kind: install mongo and etcd as well, by the chart emco-db in the folder of --emco-charts"),
    ("no_isolate", "use no network namespace, also where the system allows one"),
)
_CRASH_POINT = (
    "crash_point(pattern, ..., victims=(), faults=()): only these crash points (ids or patterns); victims and faults "
    "instead of those of the options. For tests with the argument `crash_point`"
)
_OWN_STORES = (
    "emco_own_stores(kinds=()): kills, freezes or wipes a store, skipped where that is somebody else's, with "
    "--emco-platform kubernetes; kinds: only where the parameter `kind` is one of these"
)
_KIND = (
    "emco_kind(edges='', installed=False): needs EMCO in a cluster, skipped without --emco-platform kind; edges: of "
    "which kind; installed: one of --emco-platform kubernetes will do"
)
_MARKERS = (
    _CRASH_POINT,
    "emco_real: needs real EMCO binaries, skipped without --emco-bin and --emco",
    _KIND,
    "emco_processes(why): cannot be done in pods, skipped there",
    _OWN_STORES,
    "emco_reference(why): needs the reference EMCO, skipped with real ones",
    "emco_slow: takes minutes; leave out with -m 'not emco_slow'",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The group `emco`; every option is an ini setting, too: `emco_bin` for --emco-bin. Paths there are the file's."""
    group = parser.getgroup("emco", "EMCO crash points")
    for name, metavar, text in _OPTIONS:
        flag = option_flag(name)
        flags = (flag, "--emco-version") if name == "version" else (flag,)
        group.addoption(*flags, dest=f"emco_{name}", metavar=metavar, default=None, help=text)
        parser.addini(f"emco_{name}", f"as {flag}", default="")
    for name, text in _SWITCHES:
        flag = f"--emco-{name.replace('_', '-')}"
        group.addoption(flag, dest=f"emco_{name}", action="store_true", default=None, help=text)
        parser.addini(f"emco_{name}", f"as {flag}", type="bool", default=False)
    for name, metavar, text in _REPEATED:
        group.addoption(option_flag(name), dest=f"emco_{name}", metavar=metavar, action="append", help=text)
        parser.addini(f"emco_{name}", f"as {option_flag(name)}, one a line", type="linelist", default=[])
    parser.addini(
        "emco_crash_points",
        "folders, from the root directory, with tests of crash points, each with the victims that its tests name "
        "beside the called service: with `-n` the plan is made before collection",
        type="linelist",
        default=["scenarios/crash_mid_call", "scenarios/rsync_crash rsync", "scenarios/store_outage rsync"],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


def emco_session(config: pytest.Config) -> "EmcoSession":
    """What this pytest session has of EMCO; made when it is asked for the first time."""
    if _SESSION not in config.stash:
        from harness.pytest_support import EmcoSession

        given = getattr(config, "workerinput", {}).get(HANDOVER)
        config.stash[_SESSION] = EmcoSession(config, given)
    return config.stash[_SESSION]


def _existing(config: pytest.Config) -> "EmcoSession | None":
    return config.stash.get(_SESSION, None)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse wrong options, and make the plan where it will be needed. Starts nothing else."""
    config = session.config
    if _is_worker(config):
        return
    if (victims := _victims_wanted(config)) is not None:
        emco_session(config).make_plan(victims)
    elif any(config.getoption(f"emco_{name}") is not None for name in _checked()) or _shares_machine(config):
        emco_session(config).check()


def _shares_machine(config: pytest.Config) -> bool:
    """Whether each worker will have clusters of its own: there has to be memory for all of them."""
    return option(config, "platform") == "kind" and config.pluginmanager.hasplugin("dsession")


def _checked() -> tuple[str, ...]:
    return tuple(name for name, _, _ in (*_OPTIONS, *_REPEATED))


def _victims_wanted(config: pytest.Config) -> tuple[str, ...] | None:
    """The victims of the folders with tests of crash points that will be collected, as the command line has it.

    None: there is no such folder, and no plan is wanted.
    """
    if config.getoption("showfixtures") or config.getoption("show_fixtures_per_test"):
        return None
    here = config.invocation_params.dir
    ignored = [here / name for name in config.getoption("ignore", None) or ()]
    wanted = [here / argument.partition("::")[0] for argument in config.args]
    victims: tuple[str, ...] | None = None
    for line in config.getini("emco_crash_points"):
        name, *others = line.split()
        folder = config.rootpath / name
        if not folder.is_dir() or any(_within(folder, one) for one in ignored):
            continue
        if any(_within(folder, one) or _within(one, folder) for one in wanted):
            victims = (*(victims or ()), *others)
    return victims


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist: a worker gets what was made here, and works on the same run."""
    hand_over(node.config, node.workerinput)
    if (session := _existing(node.config)) is not None:
        node.workerinput[HANDOVER] = session.handover()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """What is run, and where the run's folder is."""
    session = _existing(config)
    return session.header() if session is not None and not _is_worker(config) else []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each crash point."""
    if "crash_point" not in metafunc.fixturenames:
        return
    config = metafunc.config
    if config.getoption("showfixtures") or config.getoption("show_fixtures_per_test"):
        metafunc.parametrize("crash_point", ())
        return
    markers = list(metafunc.definition.iter_markers("crash_point"))
    patterns = [str(name) for marker in markers for name in marker.args]
    victims, faults = (_named(markers, word) for word in ("victims", "faults"))
    parameters = emco_session(config).parameters(patterns, victims=victims, faults=faults)
    metafunc.parametrize("crash_point", parameters)


def _named(markers: list[pytest.Mark], word: str) -> tuple[str, ...]:
    """What the closest marker that has this word says. Raises pytest.UsageError for a word that no marker has."""
    for marker in markers:
        if unknown := set(marker.kwargs) - {"victims", "faults"}:
            raise pytest.UsageError(f"the marker crash_point has no {min(unknown)!r}; it has victims and faults")
    return next((tuple(marker.kwargs[word]) for marker in markers if word in marker.kwargs), ())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the tests that wait go beside those that compute; before pytest-xdist writes down the groups.

    In a cluster a test has longer: what it takes there is longer, and the first of a run makes the cluster.
    """
    in_cluster = (option(config, "platform") or "process") != "process"
    if in_cluster and config.pluginmanager.hasplugin("timeout") and config.getoption("timeout", None) is None:
        for item in items:
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_LIMIT_IN_CLUSTER))
    if getattr(config.option, "loadgroup", False):
        spread(items, workers=int(config.workerinput["workercount"]))  # type: ignore[attr-defined]  # pytest-xdist's


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write down which points and which tests with claims are to run, once -k and the like have chosen."""
    if session.config.getoption("collectonly"):
        return
    if claiming := [place_of(item) for item in session.items if _claims_something(item)]:
        emco_session(session.config).plan_claims(claiming)
    if (emco := _existing(session.config)) is not None:
        emco.chosen([item.callspec.params.get("crash_point") for item in session.items if hasattr(item, "callspec")])


def _claims_something(item: pytest.Item) -> bool:
    return "claims" in getattr(item, "fixturenames", ())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """emco_real: skipped without binaries; emco_reference: with; emco_kind, emco_processes, emco_own_stores: on the
    other platforms."""
    config = item.config
    platform = option(config, "platform") or "process"
    if platform != "process" and (marker := item.get_closest_marker("emco_processes")) is not None:
        pytest.skip(f"cannot be done in pods: {marker.args[0]}")
    lent = platform == "kubernetes" or option(config, "store_charts")
    if lent and (marker := item.get_closest_marker("emco_own_stores")) is not None:
        kinds, callspec = marker.kwargs.get("kinds", ()), getattr(item, "callspec", None)
        if not kinds or (callspec is not None and callspec.params.get("kind") in kinds):
            if platform == "kubernetes":
                pytest.skip("the stores of an installed EMCO are somebody else's: give --emco-platform kind")
            pytest.skip("the stores are as EMCO's chart makes them: leave out --emco-store-charts")
    if (marker := item.get_closest_marker("emco_kind")) is not None:
        if platform != "kind" and not (platform == "kubernetes" and marker.kwargs.get("installed")):
            pytest.skip("needs EMCO in a cluster: give --emco-platform kind")
        edges = marker.kwargs.get("edges", "")
        if edges and edges != option(config, "edges"):
            pytest.skip(f"needs edges that are clusters: give --emco-edges {edges}")
    real = bool(option(config, "bin") or option(config, "version")) or platform == "kubernetes"
    if real and (marker := item.get_closest_marker("emco_reference")) is not None:
        pytest.skip(f"takes the reference EMCO: {marker.args[0]}")
    if item.get_closest_marker("emco_real") and not (option(config, "bin") or option(config, "version")):
        pytest.skip("needs real EMCO binaries: give --emco-bin DIR or --emco VERSION")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test with claims is judged by them as soon as its own code is through."""
    try:
        result = yield
    except BaseException as error:
        if (claims := item.stash.get(CLAIMS, None)) is not None:
            claims.end_early(error)
        raise
    if (claims := item.stash.get(CLAIMS, None)) is not None:
        claims.judge()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test with claims that is skipped did not get lost."""
    report = yield
    if report.skipped and call.when == "setup" and _claims_something(item):
        emco_session(item.config).skip_claims(place_of(item))
    if (
        report.failed
        and (session := _existing(item.config)) is not None
        and (place := session.keep_evidence(item.name))
    ):
        report.sections.append(("evidence of the cluster", place))
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Take the environment down; the process that has all results writes the summary."""
    emco = _existing(session.config) or _of_workers(session.config)
    if emco is not None:
        emco.close()
        if not _is_worker(session.config) and exitstatus != pytest.ExitCode.USAGE_ERROR:  # then nothing was begun
            emco.finish(int(exitstatus))


def _of_workers(config: pytest.Config) -> "EmcoSession | None":
    """For the process that started workers: the session that they have had in common, if any of them had one."""
    distributed = config.pluginmanager.hasplugin("dsession")
    made = distributed and any(out_folder(config).glob(f"*-{origin(config).suffix}"))
    return emco_session(config) if made else None


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter", config: pytest.Config) -> None:
    """The table per call and the counts."""
    if (session := _existing(config)) is not None:
        session.show(terminalreporter)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Whatever happened before: nothing stays up."""
    if (session := _existing(config)) is not None:
        session.leave()
