"""The Chaos Toolkit extension: actions, probes and the control of experiments on an EMCO.

stage.py     one EMCO, what can be done to it, what was seen; used by pytest fixtures as well
actions.py, store_actions.py, edge_actions.py, backup_actions.py, cluster_actions.py, probes.py
             thin functions over the stage, found by `chaos discover emco-chaos`
control.py   starts an EMCO for `chaos run`, keeps evidence, closes what chaoslib leaves open
"""

from importlib.metadata import version
from typing import Any

from chaoslib.discovery.discover import discover_actions, discover_probes, initialize_discovery_result

__all__ = ["discover"]


def discover(discover_system: bool = True) -> dict[str, Any]:  # noqa: ARG001, FBT001, FBT002  the signature is chaoslib's
    """What this extension offers to `chaos discover`."""
    found: dict[str, Any] = initialize_discovery_result("emco-chaos", version("emco-chaos"), "emco")
    for module in ("actions", "store_actions", "edge_actions", "backup_actions", "cluster_actions"):
        found["activities"].extend(discover_actions(f"harness.chaos.{module}"))
    found["activities"].extend(discover_probes("harness.chaos.probes"))
    return found
