"""The Chaos Toolkit extension of emco-chaos, where Chaos Toolkit looks for it: `chaos discover emco-chaos`.

The extension itself is harness.chaos. Its actions and probes are named `harness.chaos.actions`, `harness.chaos.probes`
and its control `harness.chaos.control` in experiments.
"""

from harness.chaos import discover

__all__ = ["discover"]
