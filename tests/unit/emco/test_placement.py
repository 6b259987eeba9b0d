"""Where a workload wants its applications, and who sees it when EMCO forgets an edge."""

from dataclasses import replace
from typing import Any

import pytest

from harness.chaos.watching import Seen, changed, running
from harness.emco.calls import Call
from harness.emco.placement import Placed, placed
from harness.emco.records import DEPLOYMENT_LABEL
from harness.emco.status import NOTHING_SAID, GroupStatus, Resource

BASE = "projects/p/composite-apps/a/v1/deployment-intent-groups"
EDGES = ("p1+c1", "p1+c2", "p1+c3")
THREE = tuple(Placed("app1", frozenset([edge])) for edge in EDGES)


def create(kind: str, target: str, json: dict[str, Any] | None = None) -> Call:
    label = target.rsplit("/", 1)[-1]
    return Call(
        f"orchestrator/{kind}/create-{label}", "orchestrator", "create", kind, label, target, "POST", "/v2", json
    )


def intent(app: str, wanted: dict[str, Any], group: str = "dig1") -> Call:
    target = f"{BASE}/{group}/generic-placement-intents/gpi/app-intents/{app}"
    return create("app-intents", target, {"spec": {"app": app, "intent": wanted}})


def label(cluster: str, name: str) -> Call:
    return create("labels", f"cluster-providers/p1/clusters/{cluster}/labels/{name}", {"clusterLabel": name})


GROUP = create("deployment-intent-groups", f"{BASE}/dig1")
C1, C2 = ({"clusterProvider": "p1", "cluster": name} for name in ("c1", "c2"))
EAST = {"clusterProvider": "p1", "clusterLabel": "east"}


@pytest.mark.parametrize(
    "wanted, edges",
    [
        ({"allOf": [C1, C2]}, [{"p1+c1"}, {"p1+c2"}]),
        ({"anyOf": [C1, C2]}, [{"p1+c1", "p1+c2"}]),
        ({"allOf": [EAST]}, [{"p1+c2"}, {"p1+c3"}]),
        ({"anyOf": [EAST, C1]}, [{"p1+c1", "p1+c2", "p1+c3"}]),
        ({"allOf": [C1, {"anyOf": [C2, EAST]}]}, [{"p1+c1"}, {"p1+c2", "p1+c3"}]),
        ({"allOf": [{"clusterProvider": "p2", "clusterLabel": "east"}]}, [set()]),
        ({}, []),
    ],
)
def test_all_of_wants_each_edge_any_of_one_and_a_label_means_who_has_it(
    wanted: dict[str, Any], edges: list[set[str]]
) -> None:
    calls = [label("c1", "west"), label("c2", "east"), label("c3", "east"), GROUP, intent("app1", wanted)]
    assert placed(calls, GROUP) == tuple(Placed("app1", frozenset(one)) for one in edges)


def test_intents_of_another_group_do_not_count_and_each_app_has_its_own() -> None:
    calls = [GROUP, intent("x", {"allOf": [C1]}), intent("y", {"allOf": [C2]}), intent("z", {"allOf": [C1]}, "dig12")]
    assert placed(calls, GROUP) == (Placed("x", frozenset(["p1+c1"])), Placed("y", frozenset(["p1+c2"])))


def said(*edges: str) -> GroupStatus:
    resources = tuple(Resource("app1", edge, "ConfigMap", "m", "Applied", "1-app1") for edge in edges)
    return replace(NOTHING_SAID, deployed="Instantiated", resources=resources)


def holding(*edges: str) -> dict[str, list[dict[str, Any]]]:
    thing = {"kind": "ConfigMap", "metadata": {"name": "m", "labels": {DEPLOYMENT_LABEL: "1-app1"}}}
    return {edge: [thing] if edge in edges else [] for edge in EDGES}


def test_an_edge_that_emco_has_forgotten_is_missed() -> None:
    one = said("p1+c1")
    why = "nothing of app1 is reported on p1+c2, where it is to be"

    assert one.not_ready(holding("p1+c1"), THREE) == why
    assert said(*EDGES).not_ready(holding(*EDGES), THREE) == ""
    seen = Seen(0.0, one, {edge: {"ConfigMap/m": "1"} if edge == "p1+c1" else {} for edge in EDGES})
    assert running(THREE)(seen) == why
    assert running(THREE[:1])(seen) == ""
    assert changed({}, THREE)(seen) == why
    everywhere = Seen(0.0, said(*EDGES), {edge: {"ConfigMap/m": "1"} for edge in EDGES})
    assert running(THREE)(everywhere) == ""
    assert changed({edge: {"ConfigMap/m": "0"} for edge in EDGES}, THREE)(everywhere) == ""
    idle = replace(everywhere, idle=("Deployment web on p1+c2 has 0 of 1 replicas ready",))
    assert running(THREE)(idle) == changed({}, THREE)(idle) == idle.idle[0]


def test_another_app_on_an_edge_does_not_stand_for_the_one_that_is_wanted() -> None:
    wanted = (Placed("app2", frozenset(["p1+c1"])),)
    assert said("p1+c1").not_placed(wanted) == "nothing of app2 is reported on p1+c1, where it is to be"
