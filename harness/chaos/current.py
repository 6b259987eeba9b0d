"""The stage that the running experiment acts on.

Chaos Toolkit finds activities by their module's path and hands them nothing but their arguments, so what they act on
has to be found in one place. This is the only state of the package that outlives a call; chaoslib itself runs one
experiment in a process at a time.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from chaoslib.exceptions import ActivityFailed

from harness.campaign import Campaign
from harness.chaos.stage import Stage
from harness.platforms.disruptions import InCluster
from harness.platforms.edges.access import write_client_files

Keep = Callable[[Mapping[str, Any]], None]
"""Writes down what an activity came to."""

_STAGES: list[tuple[Stage, Keep]] = []  # the one that is in force is the last


def stage() -> Stage:
    """The stage in force. Raises ActivityFailed with what is missing."""
    if not _STAGES:
        raise ActivityFailed(
            "there is no EMCO to act on: the experiment needs the control `harness.chaos.control`, which starts one"
        )
    return _STAGES[-1][0]


def keep(value: Mapping[str, Any]) -> None:
    """Write down what an activity came to, where the stage in force has somebody who keeps it."""
    if _STAGES:
        _STAGES[-1][1](value)


def _keep_nothing(_: Mapping[str, Any]) -> None:
    pass


def is_set() -> bool:
    """Whether there is a stage."""
    return bool(_STAGES)


@contextmanager
def acting_on(one: Stage, *, keep: Keep = _keep_nothing) -> Iterator[None]:
    """Let experiments act on this stage meanwhile, those activities of chaostoolkit-kubernetes included that they have.

    keep: gets what each activity came to, as it ends

    These go by environment variables: where EMCO runs in a cluster, they name it, and no kubeconfig is read.
    """
    in_force = (one, keep)
    named = one.act(_cluster)
    _STAGES.append(in_force)
    before = {name: os.environ.get(name, "") for name in named}
    _set(named)
    try:
        yield
    finally:
        _set(before)
        _STAGES.remove(in_force)


def _set(variables: Mapping[str, str]) -> None:
    """Those that are empty are not to be there."""
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value:
            os.environ[name] = value


async def _cluster(campaign: Campaign) -> Mapping[str, str]:
    if not isinstance(campaign.disruptions, InCluster):
        return {}
    folder = campaign.lab.folder
    files = write_client_files(*campaign.disruptions.kubeconfig, folder)
    named = {
        "KUBECONFIG": str(folder / "none"),
        "CHAOSTOOLKIT_IN_POD": "false",  # else it would act on the cluster in which the harness runs
        "KUBERNETES_HOST": files.url,
        # chaosk8s takes a token, where there is one, and then no certificate; what is not set it does not verify
        "KUBERNETES_API_KEY": files.token,  # one of the caller's own would go before the certificate
        "KUBERNETES_CA_CERT_FILE": files.authority,
        "KUBERNETES_CERT_FILE": files.certificate,
        "KUBERNETES_KEY_FILE": files.key,
        "KUBERNETES_VERIFY_SSL": "true" if files.verified else "",
    }
    return {name: str(value or "") for name, value in named.items()}
