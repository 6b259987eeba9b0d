"""What disruptions do to pods and stores of a cluster, written down before it is done, for `emco-chaos rollback`."""

import asyncio
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from harness.faults.journal import Journal, UndoFails
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edges.access import read_hub
from harness.platforms.edges.client import MERGE_PATCH, ApiClient
from harness.platforms.edges.running import check_open
from harness.platforms.kubernetes.policies import remove_policies
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE

PAUSE_UNDO, SCALE_UNDO, POLICY_UNDO = "kind-pause", "emco-scale", "network-policy"
_STATEFUL = f"/apis/apps/v1/namespaces/{EMCO_NAMESPACE}/statefulsets"
_LIMIT = 30.0


class DisruptionUndo:
    """Undos of one cluster. node: the container that is its node;  kubeconfig: a file, and the context in it"""

    def __init__(self, journal: Journal, node: str, kubeconfig: tuple[Path, str]) -> None:
        self._journal = journal
        self._node = node
        self._file, self._context = kubeconfig

    def paused(self, container: str) -> int:
        """A container is about to be frozen; the number for `done`."""
        return self._journal.record(PAUSE_UNDO, node=self._node, container=container)

    def stopped(self, store: str) -> int:
        """A store is about to be told to have no pod; the number for `done`."""
        return self._journal.record(SCALE_UNDO, file=str(self._file.resolve()), context=self._context, store=store)

    def denied(self) -> int:
        """A NetworkPolicy is about to be made; the number for `done`."""
        return self._journal.record(POLICY_UNDO, file=str(self._file.resolve()), context=self._context)

    def done(self, number: int) -> None:
        """It runs again, or is gone for good."""
        self._journal.done(number)


async def scale(api: ApiClient, store: str, replicas: int) -> None:
    """Tell a store of the harness's own to have so many pods."""
    await api.ask("PATCH", f"{_STATEFUL}/{store}", {"spec": {"replicas": replicas}}, content=MERGE_PATCH)


def _resume(arguments: Mapping[str, str]) -> str:
    """Let the processes of a container run again that a killed run froze."""
    node, container = arguments["node"], arguments["container"]
    short = f"container {container[:12]} on {node}"
    asked = ["docker", "exec", node, "ctr", "--namespace", "k8s.io", "tasks"]
    try:
        listed = subprocess.run([*asked, "ls"], capture_output=True, text=True, timeout=_LIMIT, check=False)
        if "No such container" in listed.stderr:
            return f"{node} is gone, and {short} with it"
        state = next((line.split()[-1] for line in listed.stdout.splitlines() if line.startswith(container)), "gone")
        if listed.returncode == 0 and state != "PAUSED":
            return f"{short} is not paused: {state.lower()}"
        ended = subprocess.run(
            [*asked, "resume", container], capture_output=True, text=True, timeout=_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UndoFails(f"{short} could not be resumed: {error}") from error
    if ended.returncode != 0:
        raise UndoFails(f"{short} could not be resumed: {ended.stderr.strip()}")
    return f"{short} runs again"


def _scale_up(arguments: Mapping[str, str]) -> str:
    file, context, store = Path(arguments["file"]), arguments["context"], arguments["store"]
    if not file.exists():
        return f"{store} ({context}) is gone with its cluster"
    return asyncio.run(_scaled_up(file, context, store))


async def _scaled_up(file: Path, context: str, store: str) -> str:
    try:
        api = ApiClient(context, read_hub(file, context))
        try:
            await check_open(api, EMCO_NAMESPACE)
            if (await api.ask("GET", f"{_STATEFUL}/{store}", accept=(404,))).get("kind") != "StatefulSet":
                return f"{store} ({context}) was gone already"
            await scale(api, store, 1)
        finally:
            await api.close()
    except (UsageError, HarnessTrouble) as error:
        raise UndoFails(f"{store} ({context}) could not be started again: {error}") from error
    return f"{store} ({context}) is to run again"


def _allow(arguments: Mapping[str, str]) -> str:
    file, context = Path(arguments["file"]), arguments["context"]
    if not file.exists():
        return f"NetworkPolicies ({context}) are gone with their cluster"
    return asyncio.run(_allowed(file, context))


async def _allowed(file: Path, context: str) -> str:
    try:
        api = ApiClient(context, read_hub(file, context))
        try:
            await check_open(api, EMCO_NAMESPACE)
            await remove_policies(api)
        finally:
            await api.close()
    except (UsageError, HarnessTrouble) as error:
        raise UndoFails(f"NetworkPolicies of the harness ({context}) could not be removed: {error}") from error
    return f"no NetworkPolicy of the harness is there any more ({context})"


DISRUPTION_UNDOERS: Mapping[str, Callable[[Mapping[str, str]], str]] = MappingProxyType(
    {PAUSE_UNDO: _resume, SCALE_UNDO: _scale_up, POLICY_UNDO: _allow}
)
"""For journals that hold what was done to pods and stores: what plays its undo."""
