"""From pytest's options to the settings of a run, and back to the command line that does the same again."""

import os
import shlex

import pytest

from harness.crashpoints.model import CALLED
from harness.defaults import GOLDEN, make_settings
from harness.faults.victim import UsageError
from harness.platforms.settings import CLUSTER, DEFAULT_FAULTS, EDGES, NODE_ACCESS, PLATFORMS, Settings
from harness.pytest_options import file, files, option, option_flag, usage_error


def settings_of(config: pytest.Config) -> Settings:
    """From options and ini file. Raises pytest.UsageError with a sentence."""
    seed = str(option(config, "seed") or "0")
    if not seed.isdecimal():
        raise pytest.UsageError(f"--emco-seed {seed}: a number is expected")
    try:
        return make_settings(
            workload=file(config, "workload") or GOLDEN,
            values=file(config, "values"),
            emco_bin=file(config, "bin"),
            emco=option(config, "version"),
            charts=file(config, "charts"),
            chart_values=files(config, "chart_values"),
            patches=file(config, "patches"),
            monitor_chart=file(config, "monitor_chart"),
            store_charts=option(config, "store_charts"),
            emco_images=option(config, "images"),
            reference=option(config, "reference") or "faithful",
            mongo_uri=option(config, "mongo_uri"),
            etcd_endpoint=option(config, "etcd_endpoint"),
            faults=option(config, "faults") or ",".join(DEFAULT_FAULTS),
            victims=option(config, "victims") or CALLED,
            workers=_workers(config),
            seed=int(seed),
            isolate=not option(config, "no_isolate"),
            platform=option(config, "platform") or PLATFORMS[0],
            kubeconfig=file(config, "kubeconfig"),
            context=option(config, "context"),
            node_access=option(config, "node_access") or os.environ.get("EMCO_CHAOS_NODE_ACCESS", "") or NODE_ACCESS[0],
            cluster=option(config, "cluster") or CLUSTER,
            node_image=option(config, "node_image") or os.environ.get("EMCO_CHAOS_NODE_IMAGE", ""),
            keep=option(config, "keep"),
            reuse=option(config, "reuse"),
            edges=option(config, "edges") or EDGES[0],
            edge_kubeconfigs=option(config, "edge_kubeconfig") or (),
        )
    except UsageError as error:
        raise usage_error(config, error) from error


def _workers(config: pytest.Config) -> int:
    """How many processes run tests, as the process that starts them and each of them knows it."""
    if (given := getattr(config, "workerinput", None)) is not None:
        return int(given["workercount"])
    return len(config.getoption("tx", None) or ()) if config.pluginmanager.hasplugin("dsession") else 1


def worker_number(config: pytest.Config) -> int:
    """Which of pytest-xdist's workers this process is: gw0 is 0. One with another name counts as the first."""
    digits = str(config.workerinput["workerid"]).removeprefix("gw")  # type: ignore[attr-defined]  # pytest-xdist's
    return int(digits) if digits.isdecimal() else 0


def replay_line(config: pytest.Config, place: str, settings: Settings) -> str:
    """The pytest command for one test, with the options of this run that decide what is tested.

    place: the test, as pytest takes it;  settings: those of this process
    """
    given = ["pytest", place]
    for name in (
        "workload",
        "values",
        "bin",
        "version",
        "images",
        "charts",
        "monitor_chart",
        "patches",
        "reference",
        "mongo_uri",
        "etcd_endpoint",
        "edges",
        "baseline",
    ):
        if (value := config.getoption(f"emco_{name}")) is not None:
            given += [option_flag(name), value]
    for name in ("chart_values", "edge_kubeconfig"):
        for value in config.getoption(f"emco_{name}") or ():
            given += [option_flag(name), value]
    for name in ("platform", "kubeconfig", "context", "node_access", "cluster", "node_image"):
        if (value := config.getoption(f"emco_{name}")) is not None and name != "cluster":
            given += [f"--emco-{name.replace('_', '-')}", value]
    if settings.kind.name != CLUSTER:  # of a worker of several, its own
        given += ["--emco-cluster", settings.kind.name]
    if config.getoption("emco_store_charts"):
        given.append("--emco-store-charts")
    if config.getoption("emco_reuse"):
        given.append("--emco-reuse")
    if config.getoption("emco_no_baseline"):
        given.append("--emco-no-baseline")
    return shlex.join(given)
