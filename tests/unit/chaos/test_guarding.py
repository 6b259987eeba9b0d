"""Nothing that goes past the stage may act on another cluster or namespace than the run's own."""

from typing import Any, cast

import pytest
from chaoslib.exceptions import InterruptExecution

from harness.chaos import control
from harness.chaos.guarding import own_namespaces, wrong_targets
from harness.chaos.running import run_on
from harness.chaos.stage import Stage
from harness.faults.victim import HarnessTrouble, UsageError

CONTROL = {"name": "emco", "provider": {"type": "python", "module": "harness.chaos.control"}}
POD = "chaosk8s.pod.actions"
CLUSTERS = {"mine": {"colour": "blue"}, "elsewhere": {"KUBERNETES_CONTEXT": "production"}}


def experiment(where: str, module: str = POD, secrets: list[str] | None = None, **arguments: Any) -> dict[str, Any]:
    provider = {"type": "python", "module": module, "func": "terminate_pods", "arguments": arguments}
    activity: dict[str, Any] = {"type": "action", "name": "hit", "provider": provider}
    if secrets:
        provider["secrets"] = secrets
    told: dict[str, Any] = {"title": "t", "description": "d", "controls": [CONTROL], "method": [], "rollbacks": []}
    told |= {"secrets": CLUSTERS, "configuration": {"where": "emco"}}
    if where == "steady-state-hypothesis":
        told[where] = {"title": "s", "probes": [{**activity, "type": "probe", "tolerance": True}]}
    else:
        told[where] = [activity]
    return told


@pytest.mark.parametrize("where", ["method", "rollbacks", "steady-state-hypothesis"])
@pytest.mark.parametrize(
    "given, why",
    [
        ({"ns": "kube-system"}, "acts in the namespace 'kube-system', which is not the run's own: emco"),
        ({"ns": "${where}x"}, "acts in the namespace 'emcox', which is not the run's own: emco"),
        ({"namespace": "default"}, "acts in the namespace 'default'"),
        ({}, "names no namespace: `ns` has to be emco"),
        ({"ns": "emco", "secrets": ["elsewhere"]}, "names a cluster of its own by the secret KUBERNETES_CONTEXT"),
    ],
)
def test_another_namespace_or_cluster_is_refused_wherever_it_is_acted_on(
    where: str, given: dict[str, Any], why: str
) -> None:
    (told,) = wrong_targets(experiment(where, **given), {"where": "emco"}, own=["emco"])
    assert told.startswith(f"'hit' ({POD}) {why}")


def test_the_namespace_of_the_run_and_what_stays_on_the_stage_are_allowed() -> None:
    for given in ({"ns": "emco"}, {"ns": "${where}"}, {"ns": "emco", "secrets": ["mine"]}):
        assert wrong_targets(experiment("method", **given), {"where": "emco"}, own=["emco"]) == ()
    assert wrong_targets(experiment("method", module="harness.chaos.actions"), {}, own=()) == ()


def test_where_emco_runs_as_processes_no_cluster_is_acted_on_and_nothing_is_begun(stage: Stage) -> None:
    assert own_namespaces(stage) == ()
    told = experiment("rollbacks", ns="emco")
    told["method"] = [
        {
            "type": "action",
            "name": "mark",
            "provider": {
                "type": "python",
                "module": "harness.chaos.actions",
                "func": "mark",
                "arguments": {"name": "begun"},
            },
        }
    ]
    with pytest.raises(UsageError, match="acts on a cluster, and the EMCO of this run is in none"):
        run_on(stage, told)
    assert "begun" not in [one.name for one in stage.marks]


def test_where_it_cannot_be_told_what_is_the_runs_own_the_experiment_is_interrupted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_answer(_: Stage) -> tuple[str, ...]:
        raise HarnessTrouble("the cluster does not answer")

    monkeypatch.setattr(control, "own_namespaces", no_answer)
    with pytest.raises(InterruptExecution, match="not begun: where it acts cannot be told: the cluster does not"):
        control.before_experiment_control(experiment("method", ns="emco"), {})


def test_a_run_of_which_not_all_could_be_read_is_none(stage: Stage) -> None:
    told = experiment("method")
    told["method"] = []
    assert run_on(stage, told)["status"] == "completed"
    stage.look(lambda campaign: cast(Any, campaign.lab.relay).problems.append("a frame of p1+c1 is nonsense"))
    try:
        with pytest.raises(HarnessTrouble, match="not all that passed could be read: a frame"):
            run_on(stage, told)
        stage.empty()
        assert run_on(stage, told)["status"] == "completed"
    finally:
        stage.look(lambda campaign: cast(Any, campaign.lab.relay).problems.clear())
