"""How far the life of each resource has come, as calls are made one after the other."""

from collections.abc import Mapping
from types import MappingProxyType

from harness.emco.calls import Call


class States:
    """What exists, with which content, and how far its life has come, as calls are made one after the other."""

    _AFTER: Mapping[str, str] = MappingProxyType(
        {
            "approve": "approved",
            "instantiate": "instantiated",
            "apply": "instantiated",
            "terminate": "terminated",
            "stop": "stopped",
            "update": "instantiated",
            "rollback": "instantiated",
            "migrate": "updated",
        }
    )

    def __init__(self) -> None:
        self._state: dict[str, str] = {}
        self._content: dict[str, Call] = {}

    def see(self, call: Call) -> None:
        if call.verb == "delete":
            self._state.pop(call.target, None)
            self._content.pop(call.target, None)
        elif call.verb in ("create", "replace"):
            self._state.setdefault(call.target, "created")
            self._content[call.target] = call
        else:
            self._state[call.target] = self._AFTER[call.verb]
            if call.verb == "migrate" and (target := _migration_target(call)):
                self._state[target] = "instantiated"

    def of(self, target: str) -> str:
        """The state of a resource; empty when it does not exist."""
        return self._state.get(target, "")

    def exists(self, target: str) -> bool:
        return target in self._content

    def content(self, target: str) -> Call | None:
        """The call, create or replace, that gave the resource its content."""
        return self._content.get(target)


def _migration_target(call: Call) -> str:
    """The path of the deployment intent group that a migrate goes to; empty when its body names none."""
    spec = (call.json or {}).get("spec", {})
    segments = call.target.split("/")
    version, group = spec.get("targetCompositeAppVersion"), spec.get("targetDeploymentIntentGroup")
    if not version or not group or len(segments) != 7:
        return ""
    return "/".join([*segments[:4], str(version), segments[5], str(group)])
