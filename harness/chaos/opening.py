"""Starting an EMCO for an experiment that was given none, from the experiment's configuration."""

import contextlib
import difflib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.background import Background
from harness.chaos.current import acting_on
from harness.chaos.keeping import Keeper
from harness.chaos.stage import Stage
from harness.defaults import ROOT, default_folders, make_redactor, make_settings
from harness.evidence.run_folder import create_run_folder, run_id
from harness.faults.victim import UsageError
from harness.platforms.kind.clusters import Sets
from harness.platforms.settings import CLUSTER, EDGES, FAULTS, NODE_ACCESS, PLATFORMS, Settings
from harness.work import prepare

DEFAULT_WORKLOAD = ROOT / "fixtures" / "workloads" / "three-edges.yaml"


@dataclass(slots=True)
class Opened:
    """An EMCO that was started for an experiment, and the folder of its evidence."""

    stage: Stage
    keeper: Keeper
    on_reference: bool
    _stack: contextlib.ExitStack

    def close(self) -> None:
        """Write down what was seen, and take everything down."""
        with self._stack:
            self.keeper.history(self.stage)


_SETTINGS = frozenset(
    {"workload", "values", "emco_bin", "reference", "mongo_uri", "etcd_endpoint", "isolate", "edges", "max_retries"}
    | {"cleanup_delay", "platform", "cluster", "node_access", "kubeconfig", "context", "out", "accepted"}
    | {"emco", "emco_images", "charts", "store_charts", "monitor_chart", "patches"}
)
"""Keys of an experiment's configuration that say something by themselves."""


def check_keys(experiment: Mapping[str, Any], *, where: str = "the experiment") -> None:
    """Raise UsageError for a key of an experiment's configuration that nothing reads: it is misspelled.

    Read are those of `settings_of`, `accepted` and `out`, and what the experiment itself names as `${key}`. Where
    activities of other extensions take part they may read any. where: whose configuration it is, for the sentence
    """
    rest = {name: value for name, value in experiment.items() if name != "configuration"}
    modules = {str(one.get("module", "")) for one in _providers(rest)}
    if any(module and not module.startswith("harness.") for module in modules):
        return
    named = set(re.findall(r"\$\{?(\w[\w-]*)", json.dumps(rest)))
    for key in experiment.get("configuration") or {}:
        if key in _SETTINGS or key in named:
            continue
        meant = difflib.get_close_matches(key, _SETTINGS, n=1)
        raise UsageError(
            f"{where}: its configuration has {key!r}, which nothing in it reads"
            + (f": is {meant[0]!r} meant?" if meant else "")
        )


def _providers(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if isinstance(provider := value.get("provider"), Mapping):
            yield provider
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _providers(one)


def open_stage(configuration: Mapping[str, Any], *, title: str) -> Opened:
    """Start an EMCO, empty, and let experiments act on it. Raises UsageError for wrong settings before it starts."""
    settings = settings_of(configuration)
    work = prepare(settings)
    with contextlib.ExitStack() as stack:
        environment = Background(settings, work, name="chaos")
        stack.callback(environment.close)
        environment.open()
        stage = Stage(environment, work)
        stage.empty()
        folder = create_run_folder(
            Path(str(configuration.get("out") or "reports/out")),
            run=run_id(datetime.now(UTC), secrets.token_hex(2)),
            redactor=make_redactor(),
        )
        keeper = Keeper(folder)
        stack.enter_context(acting_on(stage, keep=keeper.activity))
        theirs = settings.emco_bin or settings.emco_version or settings.platform == "kubernetes"
        opened = Opened(stage, keeper, not theirs, stack.pop_all())
    keeper.activity({"experiment": title, "on": work.title, "settings": dict(settings.as_json())})
    return opened


def settings_of(configuration: Mapping[str, Any]) -> Settings:
    """Settings from an experiment's configuration. Raises UsageError for what is wrong in it.

    Read are those of _SETTINGS; other keys are the experiment's own, for its activities. Where platform, cluster,
    edges, node_access, emco, emco_images, charts, monitor_chart or patches are missing the environment says it
    (EMCO_CHAOS_PLATFORM, ..., EMCO_CHAOS_EMCO), and on the platform kubernetes EMCO_CHAOS_KUBECONFIG and
    EMCO_CHAOS_CONTEXT; clusters that were left are used.
    """
    platform, cluster, edges, node_access = (
        str(configuration.get(key) or os.environ.get(f"EMCO_CHAOS_{key.upper()}") or default)
        for key, default in (
            ("platform", PLATFORMS[0]),
            ("cluster", CLUSTER),
            ("edges", EDGES[0]),
            ("node_access", NODE_ACCESS[0]),
        )
    )
    release, images, charts, monitor, patches = (
        str(configuration.get(key) or os.environ.get(f"EMCO_CHAOS_{key.upper()}") or "")
        for key in ("emco", "emco_images", "charts", "monitor_chart", "patches")
    )
    kubeconfig, context = _cluster(configuration, platform)
    workload = configuration.get("workload")
    emco_bin, values = configuration.get("emco_bin"), configuration.get("values")
    settings = make_settings(
        workload=file_of(str(workload)) if workload else DEFAULT_WORKLOAD,
        values=file_of(str(values)) if values else None,
        emco_bin=Path(str(emco_bin)) if emco_bin else None,
        emco=release,
        emco_images=images,
        charts=Path(charts) if charts else None,
        store_charts=_yes(configuration, "store_charts", default=False),
        monitor_chart=Path(monitor) if monitor else None,
        patches=Path(patches) if patches else None,
        reference=str(configuration.get("reference") or "faithful"),
        mongo_uri=str(configuration.get("mongo_uri") or ""),
        etcd_endpoint=str(configuration.get("etcd_endpoint") or ""),
        faults=",".join(FAULTS),
        workers=1,
        seed=0,
        isolate=_yes(configuration, "isolate", default=True),
        edges=edges,
        platform=platform,
        kubeconfig=Path(kubeconfig).expanduser() if kubeconfig else None,
        context=context,
        cluster=cluster if platform == "kind" or configuration.get("cluster") else CLUSTER,  # elsewhere there is none
        node_access=node_access,
        node_image=os.environ.get("EMCO_CHAOS_NODE_IMAGE", ""),
        reuse=platform == "kind" and Sets(default_folders()["state_folder"]).get(cluster) is not None,
    )
    return replace(
        settings,
        max_retries=str(configuration.get("max_retries") or ""),
        cleanup_delay=str(configuration.get("cleanup_delay") or ""),
    )


def _cluster(configuration: Mapping[str, Any], platform: str) -> tuple[str, str]:
    """Kubeconfig and context of an EMCO that is installed in a cluster. Raises UsageError where one is missing there.

    Neither is ever taken from what kubectl works with, and the environment says nothing where EMCO runs elsewhere.
    """
    named = [str(configuration.get(key) or "") for key in ("kubeconfig", "context")]
    if platform != "kubernetes":
        return named[0], named[1]
    kubeconfig, context = (
        given or os.environ.get(f"EMCO_CHAOS_{key}", "")
        for given, key in zip(named, ("KUBECONFIG", "CONTEXT"), strict=True)
    )
    if not (kubeconfig and context):
        missing = "context" if kubeconfig else "kubeconfig" if context else "kubeconfig and context"
        raise UsageError(
            f"the platform kubernetes needs {missing}: in the experiment's configuration, or in the environment as "
            "EMCO_CHAOS_KUBECONFIG and EMCO_CHAOS_CONTEXT"
        )
    return kubeconfig, context


def file_of(name: str) -> Path:
    """A path as it is, or from the project's root: experiments name its own fixtures."""
    path = Path(name)
    return path if path.exists() or path.is_absolute() else ROOT / path


def _yes(configuration: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """A switch from YAML or from the environment, where everything is text."""
    value = configuration.get(name, default)
    text = str(value).strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off"):
        return False
    raise UsageError(f"{name}: true or false is expected, not {value!r}")
