"""The addresses of a run put into the calls of a workload."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.emco.calls import Call, Multipart, Rung
from harness.emco.services import service_registered_as


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The addresses of one run.

    controllers: service -> (host, port) at which it is registered as a controller: a relay's address
    edges:       (cluster provider, cluster) -> kubeconfig text
    """

    controllers: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    edges: Mapping[tuple[str, str], str] = field(default_factory=dict)


def rewrite(call: Call, endpoints: Endpoints) -> Call:
    """The call with the addresses of a run in it: controllers of known services at their relays, clusters' kubeconfigs.

    What undoes and repairs the call is rewritten with it.
    """
    changed = replace(
        call,
        undo=tuple(rewrite(step, endpoints) for step in call.undo),
        ladder=tuple(Rung(rung.name, tuple(rewrite(step, endpoints) for step in rung.calls)) for rung in call.ladder),
    )
    if call.kind in ("controllers", "clm-controllers", "dtc-controllers") and call.json is not None:
        return replace(changed, json=_at_relay(call.json, endpoints))
    if call.service == "clm" and call.kind == "clusters" and call.multipart is not None:
        return replace(changed, multipart=_on_edge(call.target, call.multipart, endpoints))
    return changed


def _at_relay(body: Mapping[str, Any], endpoints: Endpoints) -> Mapping[str, Any]:
    service = service_registered_as(str(body.get("metadata", {}).get("name", "")))
    if service is None or service not in endpoints.controllers:
        return body
    host, port = endpoints.controllers[service]
    return {**body, "spec": {**body.get("spec", {}), "host": host, "port": port}}


def _on_edge(target: str, form: Multipart, endpoints: Endpoints) -> Multipart:
    _, provider, _, cluster = target.split("/")
    kubeconfig = endpoints.edges.get((provider, cluster))
    if kubeconfig is None:
        return form
    return replace(form, files=tuple(replace(part, content=kubeconfig.encode()) for part in form.files))
