"""Starting an EMCO for an experiment that was given none, from the experiment's configuration."""

import contextlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.background import Background
from harness.chaos.current import acting_on
from harness.chaos.stage import Stage
from harness.defaults import ROOT, default_folders, make_redactor, make_settings
from harness.evidence.run_folder import RunFolder, create_run_folder, run_id
from harness.faults.victim import UsageError
from harness.platforms.kind.clusters import Sets
from harness.platforms.settings import CLUSTER, EDGES, FAULTS, NODE_ACCESS, PLATFORMS, Settings
from harness.work import prepare

DEFAULT_WORKLOAD = ROOT / "fixtures" / "workloads" / "three-edges.yaml"


@dataclass(slots=True)
class Opened:
    """An EMCO that was started for an experiment, and the folder of its evidence."""

    stage: Stage
    folder: RunFolder
    _stack: contextlib.ExitStack

    def keep(self, value: Mapping[str, Any]) -> None:
        """Write one line to the run's activities, synced."""
        self.folder.append(dict(value), "activities.jsonl")

    def close(self) -> None:
        """Write down what the relays saw, and take everything down."""
        with self._stack:
            stage = self.stage
            seen = {"marks": stage.marks, "made": stage.made, "effects": stage.history(), "knocks": stage.knocks()}
            self.folder.write_json("history.json", seen)


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
        stack.enter_context(acting_on(stage))
        opened = Opened(stage, folder, stack.pop_all())
    opened.keep({"experiment": title, "on": work.title, "settings": dict(settings.as_json())})
    return opened


def settings_of(configuration: Mapping[str, Any]) -> Settings:
    """Settings from an experiment's configuration. Raises UsageError for what is wrong in it.

    Read are workload, values, emco_bin, reference, mongo_uri, etcd_endpoint, isolate, edges, max_retries, platform,
    cluster and node_access; other keys are the experiment's own, for its activities. Where platform, cluster, edges or
    node_access are missing the environment variables EMCO_CHAOS_PLATFORM, EMCO_CHAOS_CLUSTER, EMCO_CHAOS_EDGES and
    EMCO_CHAOS_NODE_ACCESS say it; clusters that were left are used.
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
    workload = configuration.get("workload")
    emco_bin, values = configuration.get("emco_bin"), configuration.get("values")
    settings = make_settings(
        workload=file_of(str(workload)) if workload else DEFAULT_WORKLOAD,
        values=file_of(str(values)) if values else None,
        emco_bin=Path(str(emco_bin)) if emco_bin else None,
        reference=str(configuration.get("reference") or "faithful"),
        mongo_uri=str(configuration.get("mongo_uri") or ""),
        etcd_endpoint=str(configuration.get("etcd_endpoint") or ""),
        faults=",".join(FAULTS),
        workers=1,
        seed=0,
        isolate=_yes(configuration.get("isolate", True)),
        edges=edges,
        platform=platform,
        cluster=cluster if platform == "kind" or configuration.get("cluster") else CLUSTER,  # elsewhere there is none
        node_access=node_access,
        node_image=os.environ.get("EMCO_CHAOS_NODE_IMAGE", ""),
        reuse=platform == "kind" and Sets(default_folders()["state_folder"]).get(cluster) is not None,
    )
    return replace(settings, max_retries=str(configuration.get("max_retries") or ""))


def file_of(name: str) -> Path:
    """A path as it is, or from the project's root: experiments name its own fixtures."""
    path = Path(name)
    return path if path.exists() or path.is_absolute() else ROOT / path


def _yes(value: object) -> bool:
    """A switch from YAML or from the environment, where everything is text."""
    text = str(value).strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off"):
        return False
    raise UsageError(f"isolate: true or false is expected, not {value!r}")
