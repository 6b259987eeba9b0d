"""What a campaign is about, from its settings: which calls, how each is undone and repaired, on what EMCO."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.crashpoints.lab import Rung, Subject
from harness.emco.calls import Call, clusters, not_tested, services
from harness.emco.inputs import InputError
from harness.emco.phases import plan_calls
from harness.emco.refusals import RefusedCall, digest, refused_calls
from harness.emco.workload import read_workload
from harness.faults.victim import UsageError
from harness.platforms.images.named import ServiceImage
from harness.platforms.kubernetes.patches import read_patches
from harness.platforms.opening import check_patches, check_platform, images_of
from harness.platforms.process.edges import check_edges
from harness.platforms.process.lab import EdgeName
from harness.platforms.process.programs import check_defects, find_binaries
from harness.platforms.settings import EDGES, PLATFORMS, Settings


@dataclass(frozen=True, slots=True)
class Work:
    """What a campaign is about, known before anything is started.

    subjects: the calls in order;  refused: calls that must be refused
    digest:   of workload, settings, binaries and code
    """

    title: str
    digest: str
    subjects: tuple[Subject, ...]
    refused: tuple[Subject, ...]
    setup: frozenset[str]
    services: tuple[str, ...]
    edges: tuple[EdgeName, ...]
    not_tested: tuple[str, ...]


def prepare(settings: Settings) -> Work:
    """Read the workload and look whether everything is there. Raises UsageError; starts nothing."""
    try:
        workload = read_workload(settings.workload, settings.values, sidecar=settings.sidecar)
        calls = plan_calls(workload)
        refused = refused_calls(workload, calls)
    except InputError as error:
        raise UsageError(str(error)) from error
    needed = tuple(dict.fromkeys((*services(calls), "rsync")))
    if settings.emco_bin:
        find_binaries(settings.emco_bin, needed)
    elif not settings.is_real:
        check_defects(settings.reference)
    edges = tuple(EdgeName(*pair) for pair in clusters(calls))
    check_edges(settings, edges)
    check_platform(settings, clusters=len(edges))
    images = images_of(settings, needed)
    check_patches(settings, needed, edges, images)
    return Work(
        title=_title(settings),
        digest=_digest(settings, calls, refused, needed, images),
        subjects=tuple(_subject(call, calls) for call in calls),
        refused=tuple(_refused(one, calls) for one in refused) if "none" in settings.faults else (),
        setup=frozenset(call.name for call in calls if call.setup),
        services=_start_order(needed),
        edges=edges,
        not_tested=not_tested(calls),
    )


def _title(settings: Settings) -> str:
    return f"{settings.workload.name} on {emco_name(settings)}"


def emco_name(settings: Settings) -> str:
    """Which EMCO is tested, and on what kind of edges where these are not the emulator, for titles."""
    real = f"EMCO {settings.emco_version}" if settings.emco_version else "EMCO binaries"
    real = f"EMCO in {settings.context}" if settings.context else real
    emco = real if settings.is_real else f"the reference EMCO ({settings.reference})"
    edges = "" if settings.edges == EDGES[0] else f", edges by {settings.edges}"
    edges = f" on {settings.platform}{edges}" if settings.platform != PLATFORMS[0] else edges
    return emco + edges + (f", {len(settings.edge_kubeconfigs)} running clusters" if settings.edge_kubeconfigs else "")


def _start_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """The orchestrator first: it stores the schema that the others wait for."""
    return tuple(sorted(names, key=lambda name: (name != "orchestrator", name)))


def _subject(call: Call, calls: tuple[Call, ...]) -> Subject:
    rungs = tuple(Rung(rung.name, rung.calls) for rung in call.ladder)
    if not call.lifecycle:
        return Subject(call, call.undo, rungs, services=_repairers(call))
    teardown = _teardown(call, calls)
    last = _last_resorts(call, calls, teardown)
    return Subject(call, call.undo, rungs, teardown, last, _repairers(call))


def _teardown(call: Call, calls: tuple[Call, ...]) -> tuple[Call, ...]:
    """What the workload itself does to be rid of a resource: terminate it, delete its children and itself."""
    terminate = tuple(one for one in calls if one.target == call.target and one.verb == "terminate")[:1]
    deletes = tuple(one for one in calls if one.verb == "delete" and f"{one.target}/".startswith(f"{call.target}/"))
    return terminate + deletes if deletes else ()


def _last_resorts(call: Call, calls: tuple[Call, ...], teardown: tuple[Call, ...]) -> tuple[Rung, ...]:
    """Removing it; and bringing it up again first, for what refuses to be terminated as it is."""
    if not teardown:
        return ()
    up = {
        verb: one
        for verb in ("approve", "instantiate")
        for one in calls
        if one.target == call.target and one.verb == verb
    }
    rungs = [Rung("removing it altogether", teardown)]
    if "instantiate" in up:
        rungs.append(Rung(f"{' + '.join(up)}, then removing it altogether", tuple(up.values()) + teardown))
    return tuple(rungs)


def _refused(one: RefusedCall, calls: tuple[Call, ...]) -> Subject:
    """A call that must be refused, with what may mend it where it was refused and did its damage all the same."""
    call = one.call
    planned = next((known for known in calls if known.name == call.name), call)
    rungs = tuple(Rung(rung.name, rung.calls) for rung in planned.ladder)
    teardown = _teardown(call, calls)
    return Subject(call, (), rungs, teardown, services=_repairers(planned), refused=one.why, before=one.before)


def _repairers(call: Call) -> frozenset[str]:
    """rsync, where undoing or repairing runs something."""
    steps = [*call.undo, *(step for rung in call.ladder for step in rung.calls)]
    return frozenset({"rsync"} if any(step.lifecycle for step in steps) else ())


def _digest(
    settings: Settings,
    calls: tuple[Call, ...],
    refused: tuple[RefusedCall, ...],
    needed: tuple[str, ...],
    images: Mapping[str, ServiceImage],
) -> str:
    """Whatever changes what is learned changes the digest: workload, defects or binaries, and the code itself."""
    content = hashlib.sha256(digest(calls, refused).encode())
    clusters_named = " ".join(map(str, settings.edge_kubeconfigs))
    content.update(
        f"{settings.reference} {settings.max_retries} {settings.cleanup_delay} "
        f"{settings.mongo_uri} {settings.etcd_endpoint} "
        f"{settings.edges} {settings.edge_assets} {clusters_named}".encode()
    )
    if settings.emco_bin:
        for binary in find_binaries(settings.emco_bin, needed).values():
            stat = binary.program.stat()
            content.update(f"{binary.service} {stat.st_size} {stat.st_mtime_ns}".encode())
    content.update(b"charts" * bool(settings.charts) + b"stores" * settings.store_charts)
    content.update(b" ".join(path.read_bytes() for path in settings.chart_values))
    content.update(read_patches(settings.patches).digest.encode())
    for service, image in images.items():
        content.update(f"{service} {image.name} {image.digest}".encode())
    root = Path(__file__).parent.parent
    for package in ("harness", "reference"):
        for source in sorted((root / package).rglob("*.py")):
            content.update(source.read_bytes())
    return content.hexdigest()[:16]
