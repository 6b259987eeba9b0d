"""A guard against a wrong target: activities that go past the stage may act on the run's own EMCO and on nothing else.

The stage's own activities know only what the harness made or was allowed. Those of chaostoolkit-kubernetes (chaosk8s)
act on whatever cluster and namespace they are told, on `default` when they are told none: they are looked at before the
experiment does anything.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from chaoslib import substitute

from harness.campaign import Campaign
from harness.chaos.stage import Stage
from harness.platforms.disruptions import InCluster

_PAST_THE_STAGE = "chaosk8s"
_NAMESPACE = ("ns", "namespace")
_CLUSTER = ("KUBERNETES_", "KUBECONFIG", "CHAOSTOOLKIT_IN_POD")  # how secrets lead chaosk8s to a cluster

Values = Mapping[str, Any]


def wrong_targets(experiment: Values, configuration: Values, *, own: Collection[str]) -> tuple[str, ...]:
    """Activities that would act on something that is not the run's own, a sentence each.

    own: the namespaces of the run; none where EMCO runs as processes
    """
    return tuple(
        f"{activity.get('name')!r} ({activity['provider']['module']}) {why}"
        for activity in _activities(experiment)
        if str(activity.get("provider", {}).get("module", "")).partition(".")[0] == _PAST_THE_STAGE
        and (why := _why_not(activity, experiment, configuration, own))
    )


def own_namespaces(stage: Stage) -> tuple[str, ...]:
    """The namespaces that experiments on a stage may act in: that of its EMCO, which is labelled for it."""
    return stage.act(_own)


async def _own(campaign: Campaign) -> tuple[str, ...]:
    disruptions = campaign.disruptions
    return (disruptions.namespace,) if isinstance(disruptions, InCluster) else ()


def _why_not(activity: Values, experiment: Values, configuration: Values, own: Collection[str]) -> str:
    if not own:
        return "acts on a cluster, and the EMCO of this run is in none: it takes the platform kind or kubernetes"
    if named := [name for name in _secrets(activity, experiment) if name.startswith(_CLUSTER)]:
        return f"names a cluster of its own by the secret {named[0]}: it may act on the run's only"
    arguments = activity["provider"].get("arguments") or {}
    given = [substitute(str(arguments[name]), configuration, {}) for name in _NAMESPACE if name in arguments]
    if not given:
        return f"names no namespace: `ns` has to be {' or '.join(own)}"
    if wrong := [name for name in given if name not in own]:
        return f"acts in the namespace {wrong[0]!r}, which is not the run's own: {' or '.join(own)}"
    return ""


def _secrets(activity: Values, experiment: Values) -> Iterator[str]:
    for group in activity["provider"].get("secrets") or activity.get("secrets") or ():
        yield from (experiment.get("secrets") or {}).get(group) or ()


def _activities(experiment: Values) -> Iterator[Values]:
    yield from (experiment.get("steady-state-hypothesis") or {}).get("probes") or ()
    yield from experiment.get("method") or ()
    yield from experiment.get("rollbacks") or ()
