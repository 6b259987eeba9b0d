import importlib.util
import json
import tarfile
from pathlib import Path

import pytest

from harness.emco.calls import Call
from harness.emco.phases import plan_calls
from harness.emco.refusals import refused_calls
from harness.emco.workload import Workload, read_workload

WORKLOADS = Path(__file__).parents[3] / "fixtures" / "workloads"


@pytest.fixture(scope="module")
def workload() -> Workload:
    return read_workload(WORKLOADS / "golden.yaml", WORKLOADS / "golden.values.yaml", edges_provided=False)


@pytest.fixture(scope="module")
def calls(workload: Workload) -> tuple[Call, ...]:
    return plan_calls(workload)


DIG = "/v2/projects/proj1/composite-apps/ca1/v1/deployment-intent-groups"
LC = "/v2/projects/proj1/logical-clouds"

# The recorded golden path of real EMCO, in its order.
GOLDEN_PATH = [
    ("POST", "/v2/projects"),
    ("POST", "/v2/controllers"),
    ("POST", "/v2/cluster-providers"),
    ("POST", "/v2/cluster-providers/p1/clusters"),
    ("POST", "/v2/cluster-providers/p1/clusters/c1/labels"),
    ("POST", LC),
    ("POST", f"{LC}/lc1/cluster-references"),
    ("POST", f"{LC}/lc1/instantiate"),
    ("POST", LC),
    ("POST", "/v2/projects/proj1/composite-apps"),
    ("POST", "/v2/projects/proj1/composite-apps/ca1/v1/apps"),
    ("POST", "/v2/projects/proj1/composite-apps/ca1/v1/composite-profiles"),
    ("POST", "/v2/projects/proj1/composite-apps/ca1/v1/composite-profiles/cp1/profiles"),
    ("POST", DIG),
    ("POST", f"{DIG}/dig1/generic-placement-intents"),
    ("POST", f"{DIG}/dig1/generic-placement-intents/gpi1/app-intents"),
    ("POST", f"{DIG}/dig1/intents"),
    ("POST", f"{DIG}/dig1/approve"),
    ("POST", f"{DIG}/dig1/instantiate"),
    ("POST", f"{DIG}/dig1/update"),
    ("POST", f"{DIG}/dig1/rollback"),
    ("POST", f"{DIG}/dig1/terminate"),
    ("DELETE", f"{DIG}/dig1/intents/int1"),
    ("DELETE", f"{DIG}/dig1/generic-placement-intents/gpi1/app-intents/ai1"),
    ("DELETE", f"{DIG}/dig1/generic-placement-intents/gpi1"),
    ("DELETE", f"{DIG}/dig1"),
    ("DELETE", "/v2/projects/proj1/composite-apps/ca1/v1/composite-profiles/cp1/profiles/prof1"),
    ("DELETE", "/v2/projects/proj1/composite-apps/ca1/v1/composite-profiles/cp1"),
    ("DELETE", "/v2/projects/proj1/composite-apps/ca1/v1/apps/app1"),
    ("DELETE", "/v2/projects/proj1/composite-apps/ca1/v1"),
    ("DELETE", f"{LC}/lc2"),
    ("POST", f"{LC}/lc1/terminate"),
    ("DELETE", f"{LC}/lc1/cluster-references/ref1"),
    ("DELETE", f"{LC}/lc1"),
    ("DELETE", "/v2/cluster-providers/p1/clusters/c1/labels/edge"),
    ("DELETE", "/v2/cluster-providers/p1/clusters/c1"),
    ("DELETE", "/v2/cluster-providers/p1"),
    ("DELETE", "/v2/projects/proj1"),
]


def test_makes_every_call_of_the_golden_path_in_its_order(calls: tuple[Call, ...]) -> None:
    made = iter([(call.method, call.path) for call in calls])
    missing = [wanted for wanted in GOLDEN_PATH if wanted not in made]
    assert missing == []


def test_replaces_all_that_emco_can_replace_with_other_content(calls: tuple[Call, ...]) -> None:
    created = {call.target: call for call in calls if call.verb == "create"}
    replaced = {call.target: call for call in calls if call.verb == "replace"}
    kinds = {call.kind for call in replaced.values()}
    assert kinds == {call.kind for call in created.values()} - {"clusters", "cluster-references"}
    same = [call.name for call in replaced.values() if _content(call) == _content(created[call.target])]
    assert same == ["clm/labels/replace-edge"]  # a label is nothing but its name


def _content(call: Call) -> object:
    return call.json, call.multipart


def test_goes_only_where_the_state_machine_allows(calls: tuple[Call, ...]) -> None:
    allowed = {
        "approve": {"created", "terminated", "updated"},
        "instantiate": {"approved", "terminated"},
        "update": {"instantiated"},
        "rollback": {"instantiated"},
        "migrate": {"instantiated"},
        "terminate": {"instantiated", "stopped"},
        "replace": {"created"},
        "delete": {"terminated"},
    }
    after = {
        "create": "created",
        "approve": "approved",
        "instantiate": "instantiated",
        "terminate": "terminated",
        "migrate": "updated",
    }
    states: dict[str, str] = {}
    for call in calls:
        if call.kind != "deployment-intent-groups":
            continue
        assert states.get(call.target, "") in allowed.get(call.verb, {""}), call.name
        states[call.target] = after.get(call.verb, states.get(call.target, ""))
        if call.verb == "migrate":
            states["projects/proj1/composite-apps/ca1/v2/deployment-intent-groups/dig2"] = "instantiated"
    assert set(states.values()) == {"terminated"}


def test_leaves_nothing_behind(calls: tuple[Call, ...]) -> None:
    left = {call.target for call in calls if call.verb == "create"} - {
        call.target for call in calls if call.verb == "delete"
    }
    assert left == set()


def test_only_copies_are_set_up_without_crash_points(calls: tuple[Call, ...]) -> None:
    tested = {(call.kind, call.verb) for call in calls if not call.setup}
    assert {(call.kind, call.verb) for call in calls} == tested


def test_refused_calls_cover_the_deletes_with_children(workload: Workload, calls: tuple[Call, ...]) -> None:
    tried = {one.call.name for one in refused_calls(workload, calls) if one.why == "has-children"}
    assert {"orchestrator/deployment-intent-groups/delete-dig1", "dcm/logical-clouds/delete-lc1"} <= tried
    group = next(
        one
        for one in refused_calls(workload, calls)
        if one.why == "has-children" and one.call.name.endswith("delete-dig1")
    )
    assert calls[group.before].name == "orchestrator/intents/delete-int1"
    assert "orchestrator/deployment-intent-groups/terminate-dig1-2" in [call.name for call in calls[: group.before]]


def test_archives_are_what_their_sources_give() -> None:
    spec = importlib.util.spec_from_file_location("pack", WORKLOADS / "charts" / "pack.py")
    assert spec is not None
    assert spec.loader is not None
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    folders = [path for path in (WORKLOADS / "charts").iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert len(folders) == 4
    for folder in folders:
        archive = WORKLOADS / "charts" / f"{folder.name}.tgz"
        assert archive.read_bytes() == pack.packed(folder), f"run {pack.__file__} again"
        with tarfile.open(archive) as content:
            assert content.getnames()


def test_calls_can_be_written_as_json(calls: tuple[Call, ...]) -> None:
    assert json.loads(json.dumps([call.json for call in calls]))
