"""Settings of a run, as a value. Wrong ones are refused before anything starts."""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.crashpoints.model import CALLED, kind_of
from harness.emco.services import SERVICES
from harness.faults.victim import UsageError

FAULTS = ("crash", "disconnect", "none", "reset", "error")
DEFAULT_FAULTS = ("crash", "disconnect", "none")
KIND_EDGES = "kind"
EDGES = ("emulator", "kube-apiserver", KIND_EDGES)
NODE_ACCESS = ("auto", "none")
EMCO_CLEANUP = 120.0
"""Seconds from a termination until real rsync removes the reports on it (facts, section 6.5)."""
_LONGEST_DELAY = 3600.0
PLATFORMS = ("process", "kind", "kubernetes")
CLUSTER = "emco-chaos"
"""Name of the set of clusters where none is given."""
WORKERS_SET = re.compile(r"-w([0-9]{1,2})$")
"""What the name of a set ends with that belongs to one worker of several."""


@dataclass(frozen=True, slots=True)
class EdgeKubeconfig:
    """A running cluster in the place of one that the workload registers.

    context: of the kubeconfig; empty: it has but one
    """

    provider: str
    cluster: str
    file: Path
    context: str = ""

    def __str__(self) -> str:
        return self._text(str(self.file))

    def shown(self) -> str:
        """As an option, without where on this machine the file is."""
        return self._text(shown(self.file))

    def _text(self, file: str) -> str:
        return f"{self.provider}+{self.cluster}={file}{'#' + self.context if self.context else ''}"


def parse_edge_kubeconfig(text: str) -> EdgeKubeconfig:
    """From `PROVIDER+CLUSTER=FILE` or `PROVIDER+CLUSTER=FILE#CONTEXT`. Raises UsageError."""
    name, equals, place = text.partition("=")
    provider, plus, cluster = name.strip().partition("+")
    file, _, context = place.strip().partition("#")
    if not (equals and plus and provider and cluster and file):
        raise UsageError(
            f"--edge-kubeconfig {text}: PROVIDER+CLUSTER=FILE or PROVIDER+CLUSTER=FILE#CONTEXT is expected"
        )
    return EdgeKubeconfig(provider, cluster, Path(file).expanduser().absolute(), context)


@dataclass(frozen=True, slots=True)
class KindSettings:
    """The clusters of the platform kind.

    name:         of the set: its hub is NAME-hub, its edges NAME-edge-1 and so on; of several workers the first has
                  the set NAME-w0, the second NAME-w1 and so on
    edges:        clusters beside the hub
    node_image:   of every node; empty: the one that kind has built in, which it pulls
    python_image: stock Python of the relay's pod, base of the reference EMCO's image; the version of the Python that
                  the harness itself runs on
    keep:         leave the clusters for later runs;  reuse: use those that were left
    """

    name: str = CLUSTER
    edges: int = 0
    node_image: str = ""
    python_image: str = ""
    keep: bool = False
    reuse: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.edges <= 8:
            raise UsageError(f"{self.edges} edges: a number from 0 to 8 is expected")

    def of_worker(self, number: int) -> "KindSettings":
        """The set of one worker of several, counted from 0: always the same one, so that it can be left and reused."""
        return replace(self, name=f"{self.name}-w{number}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is done with.

    workload, values:  emcoctl files; sidecar: what extends them
    emco_bin:          folder of real EMCO binaries; None: the reference EMCO
    emco_version:      of a release: on processes that folder holds what was taken from its images, on kind these run
    charts:            kind: folder of EMCO's own Helm charts that install its services; None: small manifests do
    chart_values:      kind: values files for them
    store_charts:      kind: EMCO's chart emco-db, of the same folder, installs mongo and etcd
    monitor_chart:     kind: EMCO's chart monitor, which reports on edges that are clusters; None: a stand-in does
    patches:           in clusters: a kustomization, by its file or folder, whose patches what is made there gets
    emco_images:       kind: where the release's images are: a repository, or archives; empty: where EMCO publishes them
    reference:         which defects the reference EMCO has: faithful, fixed, or named switches
    mongo_uri, etcd_endpoint: running stores instead of embedded ones; they must be empty or carry the harness's marker
    edges:             what the clusters are: the emulator, a kube-apiserver of the run's own for each, or kind clusters
    edge_assets:       folder with etcd and kube-apiserver
    edge_kubeconfigs:  running clusters in the place of some of the workload's
    faults:            which kinds of points are planned
    victims:           whose boundaries are planned: the called service's, and those of services that work beside it
    workers:           environments side by side
    seed:              decides the order of points
    platform:          where EMCO runs: process, kind, or kubernetes: one that is installed in a cluster already
    kubeconfig, context: kubernetes: that cluster
    node_access:       in a cluster: auto: services are killed on their node where it is within reach; none: pods are
                       deleted, and whether they are dead is seen from outside
    edges_image:       kubernetes: what emulated edges run from where images cannot be loaded into the nodes
    kind:              the clusters of the platform kind
    max_retries:       rsync's setting of that name; empty for none
    cleanup_delay:     seconds after which the reference's rsync removes the reports of what it terminated; empty for
                       EMCO's 120; real rsync cannot be told
    isolate:           use a network namespace where the system allows it
    all_services:      start all services for every point, also those that the call has nothing to do with
    state_folder:      undo journals and locks
    cache_folder:      what was learned
    work_folder:       data and logs of environments
    evidence_folder:   where it is kept what a cluster says when something goes wrong; None: nowhere
    """

    workload: Path
    values: Path | None = None
    sidecar: Path | None = None
    emco_bin: Path | None = None
    emco_version: str = ""
    emco_images: str = ""
    charts: Path | None = None
    chart_values: tuple[Path, ...] = ()
    store_charts: bool = False
    monitor_chart: Path | None = None
    patches: Path | None = None
    reference: str = "faithful"
    mongo_uri: str = ""
    etcd_endpoint: str = ""
    edges: str = "emulator"
    edge_assets: Path | None = None
    edge_kubeconfigs: tuple[EdgeKubeconfig, ...] = ()
    faults: tuple[str, ...] = DEFAULT_FAULTS
    victims: tuple[str, ...] = (CALLED,)
    workers: int = 1
    seed: int = 0
    isolate: bool = True
    all_services: bool = False
    max_retries: str = ""
    cleanup_delay: str = ""
    platform: str = "process"
    kubeconfig: Path | None = None
    context: str = ""
    node_access: str = NODE_ACCESS[0]
    edges_image: str = ""
    kind: KindSettings = KindSettings()
    state_folder: Path = Path()
    cache_folder: Path = Path()
    work_folder: Path = Path()
    evidence_folder: Path | None = None

    def __post_init__(self) -> None:
        if not self.workload.is_file():
            raise UsageError(f"--workload {self.workload}: no such file")
        unknown = [fault for fault in self.faults if fault not in FAULTS]
        if unknown or not self.faults:
            raise UsageError(f"unknown fault {unknown[0] if unknown else ''!r}; known: {', '.join(FAULTS)}")
        strangers = [name for name in self.victims if name != CALLED and name not in SERVICES]
        if strangers or not self.victims:
            known = ", ".join((CALLED, *sorted(SERVICES)))
            raise UsageError(f"unknown victim {strangers[0] if strangers else ''!r}; known: {known}")
        if not 1 <= self.workers <= 64:
            raise UsageError(f"{self.workers} workers: a number from 1 to 64 is expected")
        if self.is_real and self.reference != "faithful":
            raise UsageError(
                "--reference chooses defects of the reference EMCO; it has no meaning with --emco-bin or --emco"
            )
        self._check_delay()
        self._check_edges()
        self._check_platform()
        external = bool(self.mongo_uri) or bool(self.etcd_endpoint)
        if external and self.workers > 1:
            raise UsageError(
                "workers need stores of their own: with --mongo-uri or --etcd-endpoint only one worker can run"
            )
        for option, text in (("--mongo-uri", self.mongo_uri), ("--etcd-endpoint", self.etcd_endpoint)):
            if text and _host_and_port(text) is None:
                raise UsageError(
                    f"{option} {_without_password(text)}: a host and a port are expected, as in mongodb://127.0.0.1:27017"
                )

    def _check_delay(self) -> None:
        if not self.cleanup_delay:
            return
        try:
            seconds = float(self.cleanup_delay)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= _LONGEST_DELAY:
            raise UsageError(
                f"cleanup_delay is {self.cleanup_delay!r}: seconds above 0 and up to {_LONGEST_DELAY:g} are expected"
            )
        if self.is_real and seconds != EMCO_CLEANUP:
            raise UsageError(
                f"cleanup_delay is {self.cleanup_delay}: real rsync waits {EMCO_CLEANUP:g} s before it cleans up, "
                "and has no setting for it"
            )

    def _check_platform(self) -> None:
        self._check_where()
        if self.platform == PLATFORMS[0]:
            if self.emco_images:
                raise UsageError(
                    "--emco-images is for kind; on processes `emco-chaos get-emco` takes a release from them"
                )
            if self.charts or self.chart_values or self.store_charts:
                raise UsageError("--charts is for kind: charts install into clusters")
            if self.patches:
                raise UsageError("--patches is for kind and kubernetes: it patches what is made in a cluster")
            return
        if self.chart_values and not self.charts:
            raise UsageError("--chart-values needs --charts: values are for charts")
        if self.store_charts and not self.charts:
            raise UsageError("--store-charts needs --charts: the folder that emco-db is in")
        if self.charts and not self.emco_version:
            raise UsageError("--charts needs --emco VERSION: EMCO's charts install real EMCO")
        if self.emco_images and not self.emco_version:
            raise UsageError("--emco-images needs --emco VERSION: the tag of the images")
        if self.workers > 1 and self.platform == "kubernetes":
            raise UsageError(
                "an installed EMCO is one, so there is one worker; with --platform kind each has clusters of its own"
            )
        own = (EDGES[0], KIND_EDGES) if self.platform == "kind" else (EDGES[0],)
        if self.edges not in own:
            raise UsageError(f"on {self.platform} edges are {' or '.join(own)}, not {self.edges}")
        if self.emco_bin or self.mongo_uri or self.etcd_endpoint or self.edge_kubeconfigs:
            raise UsageError(
                "in a cluster EMCO runs with stores and edges in the cluster, real EMCO by --emco VERSION: --emco-bin, "
                "--mongo-uri, --etcd-endpoint and --edge-kubeconfig have no meaning there"
            )

    def _check_where(self) -> None:
        if self.platform == "kubernetes":
            self._check_cluster()
        elif self.kubeconfig or self.context:
            raise UsageError("--kubeconfig and --context are for --platform kubernetes")
        if self.node_access not in NODE_ACCESS:
            raise UsageError(f"--node-access {self.node_access}: {' or '.join(NODE_ACCESS)} is expected")
        if self.platform != "kind" and (self.kind.reuse or self.kind.keep or self.kind.name != CLUSTER):
            raise UsageError("--cluster, --keep and --reuse are for --platform kind")

    def _check_cluster(self) -> None:
        """The context is always named: the current one is whatever somebody worked with last."""
        if not (self.kubeconfig and self.context):
            wanted = (("--kubeconfig FILE", self.kubeconfig), ("--context NAME", self.context))
            missing = " and ".join(option for option, given in wanted if not given)
            raise UsageError(f"--platform kubernetes needs to be told which cluster: {missing}")
        if not self.kubeconfig.is_file():
            raise UsageError(f"--kubeconfig {self.kubeconfig}: no such file")
        if self.is_named or self.charts or self.store_charts or self.reference != "faithful":
            raise UsageError(
                "--platform kubernetes takes the EMCO that is there: --emco, --emco-images, --charts and --reference "
                "have no meaning"
            )

    def _check_edges(self) -> None:
        on_clusters = self.platform == "kind" and self.edges == KIND_EDGES
        if self.monitor_chart and not (on_clusters and self.emco_version):
            raise UsageError(
                "--monitor-chart is for real EMCO with clusters as edges: --platform kind, --edges kind, --emco VERSION"
            )
        if self.edges not in EDGES:
            raise UsageError(f"--edges {self.edges}: {' or '.join(EDGES)} is expected")
        if self.edges == KIND_EDGES and self.platform == PLATFORMS[0]:
            raise UsageError(
                "--edges kind goes with --platform kind; where EMCO runs as processes, --edge-kubeconfig names clusters"
            )
        named = [f"{one.provider}+{one.cluster}" for one in self.edge_kubeconfigs]
        for name in named:
            if named.count(name) > 1:
                raise UsageError(f"--edge-kubeconfig names {name} twice")
        for one in self.edge_kubeconfigs:
            if not one.file.is_file():
                raise UsageError(f"--edge-kubeconfig {one}: no such file")
        if named and self.workers > 1:
            raise UsageError("workers need edges of their own: with --edge-kubeconfig only one worker can run")

    def of_worker(self, number: int) -> "Settings":
        """What one worker of several goes by, counted from 0: on kind each has a set of clusters of its own."""
        if self.platform != "kind" or self.workers == 1:
            return self
        return replace(self, workers=1, kind=self.kind.of_worker(number))

    @property
    def is_real(self) -> bool:
        """Whether real EMCO runs, not the reference."""
        return self.emco_bin is not None or self.is_named or self.platform == "kubernetes"

    @property
    def is_named(self) -> bool:
        """Whether a release of EMCO is named."""
        return self.emco_version != "" or self.emco_images != ""

    @property
    def others(self) -> tuple[str, ...]:
        """The victims that work beside the called service."""
        return tuple(name for name in self.victims if name != CALLED)

    def covers(self, point_id: str) -> bool:
        """Whether the plan under these settings has all points of this one's kind."""
        victim, fault = kind_of(point_id)
        return victim in self.victims and fault in self.faults

    def store_address(self, store: str) -> tuple[str, int] | None:
        """Where a named store listens; None when it is embedded."""
        text = self.mongo_uri if store == "mongo" else self.etcd_endpoint
        return _host_and_port(text) if text else None

    def replay(self, point_id: str) -> str:
        """The command that runs one point under the same settings; a URI with a password is for the environment."""
        options: list[str] = []
        if self.workload.resolve().parts[-3:] != ("fixtures", "workloads", "golden.yaml"):
            options += ["--workload", shown(self.workload)]
            options += ["--values", shown(self.values)] if self.values else []
        options += [] if self.isolate else ["--no-isolate"]
        if self.emco_version:
            options += ["--emco", self.emco_version]
            options += ["--emco-images", self._shown_images()] if self.emco_images else []
            options += ["--charts", shown(self.charts)] if self.charts else []
            options += ["--store-charts"] if self.store_charts else []
            options += ["--monitor-chart", shown(self.monitor_chart)] if self.monitor_chart else []
            for path in self.chart_values:
                options += ["--chart-values", shown(path)]
        elif self.emco_bin:
            options += ["--emco-bin", shown(self.emco_bin)]
        options += ["--reference", self.reference] if self.reference != "faithful" else []
        with_password = _without_password(self.mongo_uri) != self.mongo_uri
        options += ["--mongo-uri", self.mongo_uri] if self.mongo_uri and not with_password else []
        options += ["--etcd-endpoint", self.etcd_endpoint] if self.etcd_endpoint else []
        options += ["--platform", self.platform] if self.platform != PLATFORMS[0] else []
        options += ["--patches", shown(self.patches)] if self.patches else []
        options += ["--kubeconfig", shown(self.kubeconfig), "--context", self.context] if self.kubeconfig else []
        no_node = self.node_access != NODE_ACCESS[0] and self.platform != PLATFORMS[0]
        options += ["--node-access", self.node_access] if no_node else []
        options += ["--cluster", self.kind.name, "--reuse"] if self.kind.reuse else []
        options += ["--edges", self.edges] if self.edges != EDGES[0] else []
        for one in self.edge_kubeconfigs:
            options += ["--edge-kubeconfig", one.shown()]
        return " ".join((f"emco-chaos replay '{point_id}'", *map(_word, options)))

    def as_json(self) -> Mapping[str, Any]:
        """For summaries, which others read: paths as they are seen from here, nothing of the harness's own folders."""
        values = {name: value for name, value in asdict(self).items() if name not in _FOLDERS}
        values = {name: shown(value) if isinstance(value, Path) else value for name, value in values.items()}
        return values | {
            "edge_kubeconfigs": [one.shown() for one in self.edge_kubeconfigs],
            "emco_images": self._shown_images(),
            "chart_values": list(map(shown, self.chart_values)),
            "mongo_uri": _without_password(self.mongo_uri),
            "etcd_endpoint": _without_password(self.etcd_endpoint),
        }

    def _shown_images(self) -> str:
        return shown(Path(self.emco_images).expanduser()) if self.emco_images[:1] in ("/", "~") else self.emco_images


_FOLDERS = ("state_folder", "cache_folder", "work_folder", "evidence_folder")


def as_path(kind: type, value: Any) -> Any:
    """msgspec's hook for reading settings that came from another process of the run: paths travel as text.

    Raises NotImplementedError, as msgspec wants it, for any other type that it does not know.
    """
    if kind is Path:
        return Path(value)
    raise NotImplementedError(f"no way to read a {kind}")


def shown(path: Path) -> str:
    """A path without where on this machine it is: from the working directory, or from the home."""
    absolute, home = path.absolute(), Path.home()
    if not absolute.is_relative_to(Path.cwd()) and absolute.is_relative_to(home) and home != Path("/"):
        return f"~/{absolute.relative_to(home)}"
    return os.path.relpath(absolute)


def _word(text: str) -> str:
    """Quoted for a shell, which is to see the tilde."""
    return f"~/{shlex.quote(text[2:])}" if text.startswith("~/") else shlex.quote(text)


def _host_and_port(text: str) -> tuple[str, int] | None:
    parts = urlsplit(text if "//" in text else f"//{text}")
    try:
        return (parts.hostname, parts.port) if parts.hostname and parts.port else None
    except ValueError:
        return None


def _without_password(text: str) -> str:
    parts = urlsplit(text if "//" in text else f"//{text}")
    return text.replace(f":{parts.password}@", ":***@") if parts.password else text
