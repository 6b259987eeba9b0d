"""What a run is done with when nothing else is said: folders, workload, baseline. Shared by command line and pytest."""

import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.crashpoints.model import CALLED
from harness.evidence.redaction import Redactor, redactor
from harness.faults.victim import UsageError
from harness.platforms.images.cache import Cache
from harness.platforms.settings import (
    CLUSTER,
    NODE_ACCESS,
    PLATFORMS,
    KindSettings,
    Settings,
    parse_edge_kubeconfig,
)

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "fixtures" / "workloads" / "golden.yaml"


def default_workers() -> int:
    """One for each core, at most four: beyond that the disk and the memory of a laptop are in the way."""
    return max(1, min(4, len(os.sched_getaffinity(0))))


def default_folders() -> dict[str, Path]:
    """Where state, cache and data are kept."""
    home = Path.home()
    state = Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "emco-chaos"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "emco-chaos"
    memory = Path("/dev/shm")  # noqa: S108  a folder of our own below it, mode 700: stores without a disk's wait
    base = memory if os.access(memory, os.W_OK) else Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108  the same
    return {"state_folder": state, "cache_folder": cache, "work_folder": base / f"emco-chaos-{os.getuid()}"}


def default_python_image() -> str:
    """The stock image of the Python that runs the harness: what is installed here fits into it."""
    named = os.environ.get("EMCO_CHAOS_PYTHON_IMAGE", "")
    return named or f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"


def make_settings(  # noqa: PLR0913  one keyword for each option
    *,
    workload: Path,
    values: Path | None,
    emco_bin: Path | None,
    reference: str,
    mongo_uri: str,
    etcd_endpoint: str,
    faults: str,
    victims: str = CALLED,
    workers: int,
    seed: int,
    isolate: bool,
    emco: str = "",
    emco_images: str = "",
    charts: Path | None = None,
    chart_values: Sequence[Path] = (),
    store_charts: bool = False,
    monitor_chart: Path | None = None,
    patches: Path | None = None,
    edges: str = "emulator",
    edge_kubeconfigs: Sequence[str] = (),
    platform: str = "process",
    kubeconfig: Path | None = None,
    context: str = "",
    node_access: str = NODE_ACCESS[0],
    cluster: str = CLUSTER,
    node_image: str = "",
    keep: bool = False,
    reuse: bool = False,
) -> Settings:
    """Settings from options. Raises UsageError."""
    assets = os.environ.get("KUBEBUILDER_ASSETS", "")
    folders = default_folders()
    beside = workload.with_name(f"{workload.stem}.values.yaml")
    shared = mongo_uri or etcd_endpoint or edge_kubeconfigs or platform != PLATFORMS[0]
    if emco and emco_bin:
        raise UsageError("--emco names a release, --emco-bin a folder of binaries: one of them is enough")
    if values is not None and not values.is_file():
        raise UsageError(f"--values {values}: no such file")
    return Settings(
        workload=workload,
        values=values or (beside if beside.is_file() else None),
        emco_bin=_release(emco, folders["cache_folder"]) if emco and platform == PLATFORMS[0] else emco_bin,
        emco_version=emco,
        emco_images=emco_images,
        charts=charts,
        chart_values=tuple(chart_values),
        store_charts=store_charts,
        monitor_chart=monitor_chart,
        patches=patches,
        reference=reference,
        mongo_uri=mongo_uri,
        etcd_endpoint=etcd_endpoint,
        edges=edges,
        edge_assets=Path(assets) if assets and edges == "kube-apiserver" else None,
        edge_kubeconfigs=tuple(map(parse_edge_kubeconfig, edge_kubeconfigs)),
        faults=listed(faults),
        victims=listed(victims),
        workers=1 if shared and not workers else workers or default_workers(),
        seed=seed,
        platform=platform,
        kubeconfig=kubeconfig,
        context=context,
        node_access=node_access,
        edges_image=os.environ.get("EMCO_CHAOS_EDGES_IMAGE", ""),
        kind=KindSettings(
            name=cluster, node_image=node_image, python_image=default_python_image(), keep=keep, reuse=reuse
        ),
        isolate=isolate,
        state_folder=folders["state_folder"],
        cache_folder=folders["cache_folder"],
        work_folder=folders["work_folder"],
    )


def _release(version: str, cache_folder: Path) -> Path:
    place, _ = Cache(cache_folder).whole(version)
    return place


def listed(text: str) -> tuple[str, ...]:
    """The words of an option that takes several, separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def default_baseline(settings: Settings) -> Path | None:
    """The baseline that belongs to what is run: the reference's defects are known, those of real binaries are yours."""
    path = ROOT / "fixtures" / "baselines" / f"reference-{settings.reference}.yaml"
    golden = settings.workload.resolve() == GOLDEN.resolve()
    return path if not settings.is_real and golden and path.is_file() else None


def make_redactor(salt: bytes | None = None) -> Redactor:
    """With a salt of its own for each run: masks of equal secrets are equal within a run only."""
    places = {str(folder): f"[{name}]/" for name, folder in default_folders().items()}
    places |= {str(Path.home()): "~/", str(ROOT): "", str(Path.cwd()): ""}
    return redactor(salt=salt or secrets.token_bytes(16), environment=os.environ, places=places)
