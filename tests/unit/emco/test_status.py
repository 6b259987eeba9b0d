"""What of a group an edge still lacks, by the status API and by what the edges hold."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from harness.emco.placement import Placed
from harness.emco.status import parse_readiness, parse_status

HERE, OTHER = "p1+c1", "p1+c2"
LABEL = "1000000001-app1"


def said(**statuses: str) -> Any:
    """app1 on both edges; here its ConfigMap and Secret have these statuses, on the other one nothing is done yet."""

    def cluster(name: str, of: Mapping[str, str]) -> dict[str, Any]:
        listed = [{"GVK": {"Kind": kind}, "name": "r1", "deployedStatus": status} for kind, status in of.items()]
        return {"clusterProvider": "p1", "cluster": name, "resources": listed}

    clusters = [cluster("c1", statuses), cluster("c2", dict.fromkeys(statuses, "Pending"))]
    states = {"statusctxid": "1000000001", "actions": [{"state": "Instantiated"}]}
    return parse_status({"states": states, "apps": [{"name": "app1", "clusters": clusters}]})


def thing(kind: str, name: str = "r1", label: str = LABEL) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "labels": {"emco/deployment-id": label}}}


BOTH = (thing("ConfigMap"), thing("Secret"))
REPORT = thing("ResourceBundleState", LABEL)


@pytest.mark.parametrize(
    "secret, objects, why",
    [
        ("Applied", (*BOTH, REPORT), ""),
        ("Pending", (*BOTH, REPORT), f"Secret r1 on {HERE} is Pending"),
        ("Applied", (thing("ConfigMap"), REPORT), f"Secret r1 is said to be applied, but is not on {HERE}"),
        ("Applied", BOTH, f"nothing reports on app1 on {HERE} yet"),
        (
            "Applied",
            (*BOTH, thing("ResourceBundleState", "7-app1", "7-app1")),
            f"nothing reports on app1 on {HERE} yet",
        ),
    ],
)
def test_an_edge_lacks_what_is_not_applied_not_there_or_not_reported(
    secret: str, objects: Iterable[Mapping[str, Any]], why: str
) -> None:
    wanted = [Placed("app1", frozenset([HERE])), Placed("app1", frozenset([OTHER]))]

    assert said(ConfigMap="Applied", Secret=secret).lacks(HERE, {HERE: objects, OTHER: ()}, wanted) == why


def test_an_application_that_emco_does_not_name_is_lacking() -> None:
    status, objects = said(ConfigMap="Applied", Secret="Applied"), {HERE: (*BOTH, REPORT)}

    assert "nothing of app2 is reported on p1+c1" in status.lacks(HERE, objects, [Placed("app2", frozenset([HERE]))])
    assert status.lacks(HERE, objects, [Placed("app2", frozenset([OTHER]))]) == ""
    assert status.lacks("p1+c9", objects, []) == "nothing is to be on p1+c9"


def web(ready: int) -> dict[str, Any]:
    status = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": ready}
    return {**thing("Deployment"), "spec": {"replicas": 1}, "status": status}


@pytest.mark.parametrize(
    "objects, why",
    [
        ((web(1),), ""),
        ((web(0),), "Deployment r1 on p1+c1 has 0 of 1 replicas ready"),
        ((thing("Deployment"),), "Deployment r1 on p1+c1 says nothing of how it is"),
        ((), "Deployment r1 is said to be applied, but is not on p1+c1"),
    ],
)
def test_what_emco_applied_runs_only_where_its_own_status_says_so(
    objects: Iterable[Mapping[str, Any]], why: str
) -> None:
    both = said(Deployment="Applied")
    status = replace(both, deployed="Instantiated", resources=both.resources[:1])
    assert status.not_ready({HERE: objects}, [Placed("app1", frozenset([HERE]))]) == why


def test_an_object_of_the_same_name_that_emco_did_not_apply_says_nothing_of_it() -> None:
    both, other = said(Deployment="Applied"), {**web(0), "metadata": thing("Deployment", label="7-app9")["metadata"]}
    assert both.idle_on({HERE: (web(1), other)}) == ()
    assert both.idle_on({OTHER: (web(0),)}) == ()  # said to be Pending there, not Applied


def test_what_emco_says_of_readiness_is_told_edge_by_edge() -> None:
    def cluster(name: str, word: str) -> dict[str, Any]:
        resources = [
            {"GVK": {"Kind": "ConfigMap"}, "name": "cm", "readyStatus": "Ready"},
            {"GVK": {"Kind": "Deployment"}, "name": "web", "readyStatus": word},
        ]
        return {"clusterProvider": "p1", "cluster": name, "resources": resources}

    clusters = [cluster("c1", "Ready"), cluster("c2", "NotPresent")]
    told = parse_readiness({"readyStatus": "NotReady", "apps": [{"name": "app1", "clusters": clusters}]})
    assert (told.word, told.on(HERE), told.on(OTHER), told.on("p1+c9")) == ("NotReady", "Ready", "NotReady", "")
    assert told.edges[OTHER] == {"ConfigMap cm": "Ready", "Deployment web": "NotPresent"}
    assert parse_readiness("no status").on(HERE) == ""
