"""Services of an installed EMCO that the workload does not need: none of them runs while a run lasts.

They were not led to the relay, so what they do to the stores nobody would see, and the stores are replaced under them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.emco.services import SERVICES
from harness.faults.journal import Journal, UndoFails
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edges.access import read_hub
from harness.platforms.edges.client import MERGE_PATCH, ApiClient
from harness.platforms.edges.running import check_open
from harness.platforms.kubernetes.splice import Where
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE

Json = dict[str, Any]
UNDO = "emco-idle"
_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{EMCO_NAMESPACE}/deployments"
_PODS = f"/api/v1/namespaces/{EMCO_NAMESPACE}/pods"
_GONE_LIMIT, _PAUSE = 90.0, 0.2


async def not_needed(api: ApiClient, services: Sequence[str]) -> Mapping[str, tuple[str, int]]:
    """Deployments of EMCO's services, other than these, that have pods: service and number of pods by their names."""
    found = {}
    for one in (await api.ask("GET", _DEPLOYMENTS)).get("items") or ():
        service = str((one["metadata"].get("labels") or {}).get("app", ""))
        replicas = int(one["spec"].get("replicas", 1))
        if service in SERVICES and service not in services and replicas:
            found[str(one["metadata"]["name"])] = service, replicas
    return found


class Idle:
    """Those of one cluster, told to have no pod, and to have as many as before."""

    def __init__(self, services: Sequence[str], where: Where, journal: Journal) -> None:
        self._services = tuple(services)
        self._where = where
        self._journal = journal
        self._undos: dict[int, Mapping[str, str]] = {}

    async def stop(self, api: ApiClient) -> tuple[str, ...]:
        """Let none of them run, and return once their pods are gone; the services. Raises HarnessTrouble."""
        await check_open(api, EMCO_NAMESPACE)
        found = await not_needed(api, self._services)
        for name, (_, replicas) in found.items():
            where = {"file": str(self._where.kubeconfig.resolve()), "context": self._where.context}
            arguments = {**where, "deployment": name, "replicas": str(replicas)}
            self._undos[self._journal.record(UNDO, **arguments)] = arguments
            await _scale(api, name, 0)
        services = tuple(sorted({service for service, _ in found.values()}))
        await asyncio.gather(*(_no_pods(api, service) for service in services))
        return services

    async def start(self, api: ApiClient) -> None:
        """Let as many run as before. What cannot be stays in the undo journal. Raises HarnessTrouble."""
        for number, arguments in tuple(self._undos.items()):
            await _restart(api, arguments)
            self._journal.done(number)
            del self._undos[number]


async def _scale(api: ApiClient, name: str, replicas: int) -> None:
    await api.ask("PATCH", f"{_DEPLOYMENTS}/{name}", {"spec": {"replicas": replicas}}, content=MERGE_PATCH)


async def _restart(api: ApiClient, arguments: Mapping[str, str]) -> None:
    await check_open(api, EMCO_NAMESPACE)
    await _scale(api, arguments["deployment"], int(arguments["replicas"]))


async def _no_pods(api: ApiClient, service: str) -> None:
    deadline = asyncio.get_running_loop().time() + _GONE_LIMIT
    while left := (await api.ask("GET", _PODS, query=f"labelSelector=app%3D{service}")).get("items") or ():
        if asyncio.get_running_loop().time() > deadline:
            name = left[0]["metadata"]["name"]
            raise HarnessTrouble(
                f"the pod {name} of {service}, which is to rest, does not end within {_GONE_LIMIT:g} s"
            )
        await asyncio.sleep(_PAUSE)  # only the API server knows; bounded by the limit


def _undo(arguments: Mapping[str, str]) -> str:
    """For `emco-chaos rollback`: a sentence."""
    return asyncio.run(_undone(arguments))


async def _undone(arguments: Mapping[str, str]) -> str:
    name, context = arguments["deployment"], arguments["context"]
    try:
        api = ApiClient(context, read_hub(Path(arguments["file"]), context))
        try:
            await _restart(api, arguments)
        finally:
            await api.close()
    except (UsageError, HarnessTrouble) as error:
        raise UndoFails(f"{name} ({context}) could not be started again: {error}") from error
    return f"{name} ({context}) runs again, with {arguments['replicas']} pods"


IDLE_UNDOERS: Mapping[str, Callable[[Mapping[str, str]], str]] = MappingProxyType({UNDO: _undo})
"""For journals that hold services at rest: what plays their undo."""
