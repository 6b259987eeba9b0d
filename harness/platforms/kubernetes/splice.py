"""Leads an EMCO's services to the relay, and back: their ConfigMaps name it in the place of the stores.

What they were before is in the undo journal first, so that `emco-chaos rollback` brings it back after the harness was
killed.
"""

import asyncio
import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.emco.services import SCHEMA_LOOKS
from harness.faults.journal import Journal, UndoFails
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edges.access import read_hub
from harness.platforms.edges.client import ApiClient, Refused
from harness.platforms.edges.running import check_open
from harness.platforms.kubernetes.found import CONFIG_FILE, Found, find_emco
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE, Wiring

Json = dict[str, Any]
UNDO = "emco-wiring"
MARK = "emco-chaos/content"
_METRICS = "EMCO_METRICS_POLLING_INTERVAL_SECS"
INSTANCES = 2  # one at work, one that waits at the relay to be next
# As Recreate would do it. That one must not be: a Deployment that is given it together with another number of replicas
# in the middle of a roll-out is stuck for good.
_AT_ONCE = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "100%"}}
_TRIES = 5
_GONE_LIMIT = 90.0
_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class Where:
    """A cluster, by a kubeconfig and a context of it."""

    kubeconfig: Path
    context: str


class Splice:
    """The relay between the services of an installed EMCO and their stores.

    replicas: how many of each service there are to be once it is taken back; None: as many as there were
    max_retries: rsync's setting of that name meanwhile; empty: as it is
    """

    def __init__(
        self, wiring: Wiring, where: Where, journal: Journal, *, replicas: int | None = None, max_retries: str = ""
    ) -> None:
        self._wiring = wiring
        self._where = where
        self._journal = journal
        self._replicas = replicas
        self._max_retries = max_retries
        self._names: dict[str, str] = {}
        self._undos: dict[int, Mapping[str, str]] = {}

    def deployment(self, service: str) -> str:
        """Name of a service's Deployment."""
        return self._names[service]

    async def put(self, api: ApiClient, relay: str) -> None:
        """Lead all services to the relay, whose content is `relay`. Raises HarnessTrouble for what cannot be led there.

        Only in a namespace that is open to the harness. What leads there already is left.
        """
        await check_open(api, EMCO_NAMESPACE)
        found = await find_emco(api, EMCO_NAMESPACE, self._wiring.services)
        self._names = {service: one.name for service, one in found.items()}
        await asyncio.gather(*(self._lead(api, one, relay) for one in found.values()))

    async def _lead(self, api: ApiClient, one: Found, relay: str) -> None:
        config_map, deployment = led(one, self._wiring, relay, max_retries=self._max_retries)
        marks = one.deployment["spec"]["template"]["metadata"].get("annotations") or {}
        if MARK not in marks and one.name not in {undo["deployment"] for undo in self._undos.values()}:
            original = copy.deepcopy(one.deployment["spec"])
            original["replicas"] = original["replicas"] if self._replicas is None else self._replicas
            arguments = {
                "file": str(self._where.kubeconfig.resolve()),  # rollback may be called elsewhere
                "context": self._where.context,
                "deployment": one.name,
                "spec": json.dumps(original),
                "config_map": one.config_map["metadata"]["name"],
                "data": json.dumps(one.config_map["data"]),
            }
            self._undos[self._journal.record(UNDO, **arguments)] = arguments
        await _replace(api, "/api/v1", "configmaps", config_map["metadata"]["name"], {"data": config_map["data"]})
        await _replace(api, "/apis/apps/v1", "deployments", one.name, {"spec": deployment["spec"]})
        await _others_gone(api, one.service, deployment["spec"]["template"]["metadata"]["annotations"][MARK])

    async def take_back(self, api: ApiClient) -> None:
        """Make all as it was. What cannot be stays in the undo journal."""
        for number, arguments in self._undos.items():
            await _restore(api, arguments)
            self._journal.done(number)
        self._undos.clear()


def led(one: Found, wiring: Wiring, relay: str, *, max_retries: str = "") -> tuple[Json, Json]:
    """The ConfigMap and the Deployment of a service that finds its stores at the relay. A pure function.

    max_retries: rsync's setting of that name; empty: as it is
    """
    host = wiring.stores_host(one.service)
    told = {"database-ip": host, "etcd-ip": host, "log-level": "info", **SCHEMA_LOOKS}
    if one.service == "rsync" and max_retries:
        told["max-retries"] = max_retries
    config = json.dumps({**one.config, **told}, indent=1)
    config_map, deployment = copy.deepcopy(one.config_map), copy.deepcopy(one.deployment)
    config_map["data"][CONFIG_FILE] = config
    spec, template = deployment["spec"], deployment["spec"]["template"]
    spec["replicas"], spec["strategy"] = INSTANCES, _AT_ONCE
    # config.json is mounted as one file, which kubelet does not renew: other content needs other pods
    content = hashlib.sha256(f"{config}\0{relay}".encode()).hexdigest()[:16]
    template["metadata"]["annotations"] = {**(template["metadata"].get("annotations") or {}), MARK: content}
    container = template["spec"]["containers"][0]
    others = [variable for variable in container.get("env") or () if variable["name"] != _METRICS]
    container["env"] = [*others, {"name": _METRICS, "value": "-1"}]  # else every service reads all of mongo every 15 s
    container["readinessProbe"] = {"tcpSocket": {"port": wiring.ports(one.service)[-1]}, "periodSeconds": 1}
    template["spec"]["terminationGracePeriodSeconds"] = 1
    return config_map, deployment


async def _others_gone(api: ApiClient, service: str, content: str) -> None:
    """Wait until no pod of a service is left that goes round the relay. Raises HarnessTrouble."""
    pods = f"/api/v1/namespaces/{EMCO_NAMESPACE}/pods"
    deadline = asyncio.get_running_loop().time() + _GONE_LIMIT
    asked: set[str] = set()
    while True:
        listed = (await api.ask("GET", pods, query=f"labelSelector=app%3D{service}")).get("items") or ()
        others = [one["metadata"] for one in listed if (one["metadata"].get("annotations") or {}).get(MARK) != content]
        if not others:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise HarnessTrouble(f"the pod {others[0]['name']} of {service} does not end within {_GONE_LIMIT:g} s")
        for one in others:
            if one["uid"] not in asked:  # not at once: only the kubelet knows when its process has ended
                body = {"gracePeriodSeconds": 1, "preconditions": {"uid": one["uid"]}}
                await api.ask("DELETE", f"{pods}/{one['name']}", body, accept=(404, 409))
                asked.add(one["uid"])
        await asyncio.sleep(_PAUSE)  # the API server's state, which only it can tell; bounded by the limit


async def _replace(api: ApiClient, root: str, plural: str, name: str, fields: Json) -> None:
    """Give an object other fields, whole ones, whatever else changes in it meanwhile."""
    path = f"{root}/namespaces/{EMCO_NAMESPACE}/{plural}/{name}"
    for number in range(_TRIES):
        now = await api.ask("GET", path)
        if all(now.get(key) == value for key, value in fields.items()):
            return
        try:
            await api.ask("PUT", path, {**now, **fields})
        except Refused as error:
            if error.status != 409 or number + 1 == _TRIES:
                raise
        else:
            return


async def _restore(api: ApiClient, arguments: Mapping[str, str]) -> None:
    await check_open(api, EMCO_NAMESPACE)
    data, spec = json.loads(arguments["data"]), json.loads(arguments["spec"])
    await _replace(api, "/api/v1", "configmaps", arguments["config_map"], {"data": data})
    await _replace(api, "/apis/apps/v1", "deployments", arguments["deployment"], {"spec": spec})


def _undo(arguments: Mapping[str, str]) -> str:
    """For `emco-chaos rollback`: a sentence."""
    return asyncio.run(_undone(arguments))


async def _undone(arguments: Mapping[str, str]) -> str:
    name = arguments["deployment"]
    try:
        access = read_hub(Path(arguments["file"]), arguments["context"])
        api = ApiClient(arguments["context"], access)
        try:
            await _restore(api, arguments)
        finally:
            await api.close()
    except (UsageError, HarnessTrouble) as error:
        raise UndoFails(f"the wiring of {name} ({arguments['context']}) could not be brought back: {error}") from error
    return f"{name} ({arguments['context']}) is wired as before"


WIRING_UNDOERS: Mapping[str, Callable[[Mapping[str, str]], str]] = MappingProxyType({UNDO: _undo})
"""For journals that hold wirings: what plays their undo."""
