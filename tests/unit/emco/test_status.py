"""What of a group an edge still lacks, by the status API and by what the edges hold."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from harness.emco.placement import Placed
from harness.emco.status import parse_status

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
