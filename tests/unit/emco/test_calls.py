import re
from pathlib import Path

import pytest

from harness.emco.calls import (
    Call,
    Multipart,
    clusters,
    not_tested,
    services,
)
from harness.emco.endpoints import Endpoints, rewrite
from harness.emco.inputs import InputError
from harness.emco.phases import plan_calls
from harness.emco.refusals import digest, refused_calls
from harness.emco.workload import Workload, read_workload

CLOUD = "projects/p/logical-clouds"
GROUPS = "projects/p/composite-apps/ca/v1/deployment-intent-groups"


def doc(anchor: str, name: str = "", more: str = "") -> str:
    metadata = f"metadata: {{name: {name}}}\n" if name else ""
    return f"---\nversion: emco/v2\nresourceContext: {{anchor: {anchor}}}\n{metadata}{more}"


SMALL = (
    doc("projects", "p")
    + doc(CLOUD, "lc", "spec: {level: '0'}\n")
    + doc(f"{CLOUD}/lc/cluster-references", "r", "spec: {cluster: c}\n")
    + doc(f"{CLOUD}/lc/instantiate")
)


def read(folder: Path, text: str, sidecar: str = "", *, update: bool | None = None) -> Workload:
    (folder / "w.yaml").write_text(text)
    (folder / "w.chaos.yaml").write_text(sidecar)
    return read_workload(folder / "w.yaml", update=update)


def names(calls: tuple[Call, ...]) -> list[str]:
    return [call.name for call in calls]


def by_name(calls: tuple[Call, ...], name: str) -> Call:
    return next(call for call in calls if call.name == name)


def test_the_phases_are_those_of_emcoctl(tmp_path: Path) -> None:
    calls = plan_calls(read(tmp_path, SMALL, update=True))
    assert [(call.name, call.method, call.path) for call in calls] == [
        ("orchestrator/projects/create-p", "POST", "/v2/projects"),
        ("dcm/logical-clouds/create-lc", "POST", f"/v2/{CLOUD}"),
        ("dcm/cluster-references/create-r", "POST", f"/v2/{CLOUD}/lc/cluster-references"),
        ("dcm/logical-clouds/instantiate-lc", "POST", f"/v2/{CLOUD}/lc/instantiate"),
        ("orchestrator/projects/replace-p", "PUT", "/v2/projects/p"),
        ("dcm/logical-clouds/replace-lc", "PUT", f"/v2/{CLOUD}/lc"),
        ("dcm/logical-clouds/terminate-lc", "POST", f"/v2/{CLOUD}/lc/terminate"),
        ("dcm/cluster-references/delete-r", "DELETE", f"/v2/{CLOUD}/lc/cluster-references/r"),
        ("dcm/logical-clouds/delete-lc", "DELETE", f"/v2/{CLOUD}/lc"),
        ("orchestrator/projects/delete-p", "DELETE", "/v2/projects/p"),
    ]


def test_composite_apps_and_labels_have_their_own_addresses(tmp_path: Path) -> None:
    text = doc("projects/p/composite-apps", "ca", "spec: {compositeAppVersion: v1}\n")
    text += doc("projects/p/composite-apps", "ca", "spec: {compositeAppVersion: v2}\n")
    text += doc("cluster-providers/x/clusters/c/labels", "", "clusterLabel: edge\n")
    calls = plan_calls(read(tmp_path, text))
    assert [(call.name, call.path) for call in calls[3:]] == [
        ("clm/labels/delete-edge", "/v2/cluster-providers/x/clusters/c/labels/edge"),
        ("orchestrator/composite-apps/delete-ca-2", "/v2/projects/p/composite-apps/ca/v2"),
        ("orchestrator/composite-apps/delete-ca", "/v2/projects/p/composite-apps/ca/v1"),
    ]


def test_names_hold_only_characters_that_ids_may_have(tmp_path: Path) -> None:
    calls = plan_calls(read(tmp_path, doc("projects", "'my project: 1'")))
    assert calls[0].name == "orchestrator/projects/create-my-project-1"


def test_a_terminate_that_emcoctl_would_be_refused_is_left_out(tmp_path: Path) -> None:
    calls = plan_calls(read(tmp_path, SMALL + doc(f"{CLOUD}/lc/terminate")))
    assert names(calls).count("dcm/logical-clouds/terminate-lc") == 1
    assert "dcm/logical-clouds/terminate-lc-2" not in names(calls)


def test_what_undoes_a_call(tmp_path: Path) -> None:
    sidecar = """
replace:
  - {document: dcm/logical-clouds/create-lc, metadata: {description: one}}
  - {document: dcm/logical-clouds/create-lc, spec: {user: u}}
"""
    calls = plan_calls(read(tmp_path, SMALL, sidecar))

    def undo(name: str) -> tuple[str, str, object]:
        (step,) = by_name(calls, name).undo
        return step.method, step.path, step.json

    original = {"metadata": {"name": "lc"}, "spec": {"level": "0"}}
    first = {"metadata": {"name": "lc", "description": "one"}, "spec": {"level": "0"}}
    second = {"metadata": {"name": "lc"}, "spec": {"level": "0", "user": "u"}}
    assert by_name(calls, "dcm/logical-clouds/replace-lc").json == first
    assert by_name(calls, "dcm/logical-clouds/replace-lc-2").json == second
    assert undo("dcm/logical-clouds/create-lc") == ("DELETE", f"/v2/{CLOUD}/lc", None)
    assert undo("dcm/logical-clouds/replace-lc") == ("PUT", f"/v2/{CLOUD}/lc", original)
    assert undo("dcm/logical-clouds/replace-lc-2") == ("PUT", f"/v2/{CLOUD}/lc", first)
    assert undo("dcm/logical-clouds/delete-lc") == ("POST", f"/v2/{CLOUD}", second)
    assert undo("dcm/logical-clouds/instantiate-lc") == ("POST", f"/v2/{CLOUD}/lc/terminate", None)
    assert undo("dcm/logical-clouds/terminate-lc") == ("POST", f"/v2/{CLOUD}/lc/instantiate", None)


def test_the_ladder_has_only_what_the_service_has_routes_for(tmp_path: Path) -> None:
    text = SMALL + doc(GROUPS, "dig") + doc(f"{GROUPS}/dig/approve") + doc(f"{GROUPS}/dig/update")
    text += doc(f"{GROUPS}/dig/generic-k8s-intents", "g")
    text += doc("cluster-providers/x/clusters/c/apply")
    calls = plan_calls(read(tmp_path, text))

    def ladder(name: str) -> list[str]:
        return [rung.name for rung in by_name(calls, name).ladder]

    assert ladder("dcm/logical-clouds/create-lc") == ["PUT"]
    assert ladder("dcm/cluster-references/create-r") == []
    assert ladder("dcm/logical-clouds/instantiate-lc") == ["terminate", "terminate + instantiate", "stop"]
    assert ladder("dcm/logical-clouds/delete-lc") == ["terminate + DELETE", "PUT", "POST"]
    assert ladder("ncm/clusters/apply-c") == ["terminate", "terminate + apply", "stop"]
    assert ladder("gac/generic-k8s-intents/delete-g") == ["PUT", "POST"]
    group = ["terminate", "terminate + instantiate", "approve + instantiate", "approve + terminate", "stop"]
    assert ladder("orchestrator/deployment-intent-groups/update-dig") == group
    assert by_name(calls, "orchestrator/deployment-intent-groups/update-dig").undo == ()
    assert by_name(calls, "ncm/clusters/apply-c").undo[0].path == "/v2/cluster-providers/x/clusters/c/terminate"


def test_the_sidecar_extends_calls_undo_ladder_and_setup(tmp_path: Path) -> None:
    sidecar = f"""
calls:
  - {{post: {CLOUD}/lc/stop, after: dcm/logical-clouds/instantiate-lc}}
  - {{post: {CLOUD}/lc/update, before: dcm/logical-clouds/stop-lc, spec: {{a: 1}}}}
undo:
  dcm/logical-clouds/stop-lc: [dcm/logical-clouds/terminate-lc, {{post: {CLOUD}/lc/instantiate}}]
ladder:
  dcm/logical-clouds/stop-lc:
    - {{name: ask again, calls: [dcm/logical-clouds/stop-lc]}}
refused:
  - {{call: dcm/logical-clouds/delete-lc, before: dcm/logical-clouds/stop-lc, why: running}}
setup: ["orchestrator/projects/*"]
"""
    workload = read(tmp_path, SMALL, sidecar)
    calls = plan_calls(workload)
    assert names(calls)[3:6] == [f"dcm/logical-clouds/{verb}-lc" for verb in ("instantiate", "update", "stop")]
    stop = by_name(calls, "dcm/logical-clouds/stop-lc")
    assert [step.path.rsplit("/", 1)[-1] for step in stop.undo] == ["terminate", "instantiate"]
    assert [rung.name for rung in stop.ladder] == ["terminate", "terminate + instantiate", "ask again"]
    assert by_name(calls, "dcm/logical-clouds/update-lc").json == {"spec": {"a": 1}}
    assert {call.name for call in calls if call.setup} == {
        "orchestrator/projects/create-p",
        "orchestrator/projects/delete-p",
    }
    refused = {(one.call.name, one.why): one.before for one in refused_calls(workload)}
    assert refused["dcm/logical-clouds/delete-lc", "running"] == 5


@pytest.mark.parametrize(
    "sidecar, line, words",
    [
        ("setup: [dcm/logical-clouds/create-lx]\n", 1, "no call is named 'dcm/logical-clouds/create-lx'"),
        ("undo:\n  dcm/logical-clouds/create-lx: []\n", 2, "such as dcm/logical-clouds/create-lc"),
        ("replace:\n  - document: dcm/logical-clouds/instantiate-lc\n", 2, "creates nothing that could be replaced"),
        ("calls:\n  - post: planets/x/stop\n", 2, "no service is known"),
        ("replace:\n  - {document: orchestrator/projects/create-p, file: gone}\n", 2, "'gone' is neither"),
    ],
)
def test_a_sidecar_that_does_not_fit_is_refused(tmp_path: Path, sidecar: str, line: int, words: str) -> None:
    workload = read(tmp_path, SMALL, sidecar)
    with pytest.raises(InputError) as caught:
        plan_calls(workload)
    assert str(caught.value).startswith(f"{tmp_path / 'w.chaos.yaml'}:{line}: ")
    assert words in str(caught.value)


def test_refused_calls_follow_from_children_and_from_states(tmp_path: Path) -> None:
    text = doc("projects", "p") + doc(GROUPS, "dig") + doc(f"{GROUPS}/dig/intents", "i")
    text += doc(f"{GROUPS}/dig/approve") + doc(f"{GROUPS}/dig/instantiate")
    workload = read(tmp_path, text)
    calls = plan_calls(workload)
    tried = [(one.call.name.rsplit("/", 1)[-1], one.why, one.before) for one in refused_calls(workload)]
    assert sorted(tried) == [
        ("approve-dig", "instantiated", 5),
        ("delete-dig", "has-children", 6),
        ("delete-dig", "instantiated", 5),
        ("delete-p", "has-children", 6),
        ("instantiate-dig", "not-approved", 2),
        ("stop-dig", "nothing-under-way", 5),
        ("terminate-dig", "not-instantiated", 4),
        ("update-dig", "not-instantiated", 4),
    ]
    assert names(calls)[5:7] == [
        "orchestrator/deployment-intent-groups/terminate-dig",
        "orchestrator/intents/delete-i",
    ]


def test_rewrite_puts_addresses_and_kubeconfigs_in_everywhere(tmp_path: Path) -> None:
    text = doc("controllers", "rsync", "spec: {host: far, port: 1, type: x}\n")
    text += doc("controllers", "stranger", "spec: {host: far, port: 2}\n")
    text += doc("cluster-providers/x/clusters", "c", "file: kc\n") + doc(
        "cluster-providers/x/clusters", "d", "file: kc\n"
    )
    calls = plan_calls(read(tmp_path, text))
    ends = Endpoints(controllers={"rsync": ("127.0.0.9", 77)}, edges={("x", "c"): "kubeconfig of c"})
    rsync, stranger, c, d = (rewrite(call, ends) for call in calls[:4])
    assert rsync.json is not None
    assert rsync.json["spec"] == {"host": "127.0.0.9", "port": 77, "type": "x"}
    (put,) = rsync.ladder[0].calls
    assert put.json == rsync.json
    assert stranger == calls[1]
    assert isinstance(c.multipart, Multipart)
    assert [part.content for part in c.multipart.files] == [b"kubeconfig of c"]
    assert d == calls[3]
    (create_again,) = rewrite(by_name(calls, "clm/clusters/delete-c"), ends).undo
    assert create_again.multipart == c.multipart
    assert clusters(calls) == (("x", "c"), ("x", "d"))
    assert services(calls) == ("orchestrator", "rsync", "clm")


def test_not_tested_lists_the_routes_that_no_call_takes(tmp_path: Path) -> None:
    untouched = not_tested(plan_calls(read(tmp_path, SMALL)))
    assert "dcm POST /v2/projects/{}/logical-clouds/{}/stop" in untouched
    assert "orchestrator PUT /v2/projects/{}" in untouched
    assert "dcm POST /v2/projects/{}/logical-clouds/{}/instantiate" not in untouched
    assert "orchestrator DELETE /v2/projects/{}" not in untouched


def test_the_digest_follows_what_is_done_and_not_where_files_lie(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    here, there = (plan_calls(read(tmp_path / name, SMALL)) for name in "ab")
    changed = plan_calls(read(tmp_path / "a", SMALL.replace("'0'", "'1'")))
    assert digest(here) == digest(there) != digest(changed)
    assert all(re.fullmatch(r"[A-Za-z0-9._+/-]+", call.name) for call in here)
