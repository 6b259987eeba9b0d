"""The small parts of the reference EMCO."""

import json
import re
from pathlib import Path

import pytest

from reference import events, resources, shapes
from reference.charts import ChartError, render, render_chart
from reference.config import ConfigError, read_config
from reference.contexts import QueueItem, go_json, holds, read_queue
from reference.defects import DEFECTS, SEEDED, UnknownDefect, parse_defects
from reference.errors import ApiError
from reference.records import key_id, reference
from reference.service import warm
from reference.state import Action, created, now, read_state
from reference.watching import readiness

from . import bench


def test_what_was_warmed_once_compiles_no_route_again(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    real = re._compiler.compile  # type: ignore[attr-defined]  # behind re's cache: only what is not in it comes here

    def counting(pattern: object, flags: int = 0) -> object:
        compiled.append(pattern)
        return real(pattern, flags)

    monkeypatch.setattr("re._compiler.compile", counting)
    re.purge()
    warm()
    first = len(compiled)
    warm()

    assert first > 0
    assert len(compiled) == first


def test_a_key_id_is_the_sorted_names() -> None:
    assert key_id({"project": "p", "app": "a"}) == "{app,project}"
    assert reference({"project": "p"}) == {"key": {"project": "p"}, "keyid": "{project}"}


def test_a_group_refers_to_its_cloud_and_then_to_its_profile() -> None:
    key = {"project": "p", "compositeApp": "ca", "compositeAppVersion": "v", "deploymentIntentGroup": "d"}
    data = shapes.DEPLOYMENT_INTENT_GROUP.to_stored({"spec": {"compositeProfile": "cp", "logicalCloud": "lc"}})
    assert [key_id(item) for item in resources.GROUP.references(key, data)] == [
        "{logicalCloud,project}",
        "{compositeApp,compositeAppVersion,compositeProfile,project}",
    ]
    assert resources.GROUP.parent(key) == {"project": "p", "compositeApp": "ca", "compositeAppVersion": "v"}


def test_json_names_are_matched_without_case_and_stored_under_the_go_names() -> None:
    stored = shapes.CLUSTER_REFERENCE.to_stored({"metadata": {"name": "r"}, "spec": {"loadbalancerIp": "10.0.0.1"}})
    assert stored["specification"]["loadbalancerip"] == "10.0.0.1"
    assert shapes.CLUSTER_REFERENCE.to_json(stored)["spec"]["loadBalancerIP"] == "10.0.0.1"


def test_a_member_of_a_wrong_type_is_refused() -> None:
    with pytest.raises(ApiError, match="must be a string") as caught:
        shapes.NAMED.to_stored({"metadata": {"name": 1}})
    assert caught.value.status == 422


def test_empty_members_of_an_app_intent_are_left_out() -> None:
    body = {
        "metadata": {"name": "ai"},
        "spec": {"app": "a", "intent": {"allOf": [{"clusterProvider": "p", "cluster": "c"}]}},
    }
    assert shapes.APP_INTENT.to_json(shapes.APP_INTENT.to_stored(body)) == body


@pytest.mark.parametrize(
    "event,status,resume,expected",
    [
        ("Instantiate", "Created", False, True),
        ("Instantiate", "Instantiating", False, True),
        ("Instantiate", "Terminated", True, False),
        ("Terminate", "Terminated", True, False),
        ("Update", "Instantiating", False, False),
        ("Update", "Instantiating", True, True),
        ("UpdateDelete", "Updating", False, False),
        ("UpdateDelete", "Updating", True, True),
    ],
)
def test_events_and_the_statuses_they_may_start_from(event: str, status: str, resume: bool, expected: bool) -> None:
    assert events.allowed(event, status, resume=resume) is expected


def test_a_queue_holds_its_last_event_unless_it_failed() -> None:
    queue = read_queue(
        {"AcQueue": [{"event": "Instantiate", "status": "Done"}, {"event": "Update", "uCID": "7", "status": "Pending"}]}
    )
    assert holds(queue, event="Update", other="7")
    assert not holds(queue, event="Instantiate", other="")
    assert not holds([QueueItem("Update", "7", "Error")], event="Update", other="7")
    assert not holds([], event="Update", other="7")


def test_values_are_written_as_go_writes_them() -> None:
    assert go_json({"a": "<&>ü"}) == '{"a":"\\u003c\\u0026\\u003eü"}'.encode()


def test_a_state_survives_its_stored_form_and_its_contexts_are_named_once() -> None:
    state = created(now()).then(Action("Instantiated", "7", now(), 1), Action("Terminated", "7", now(), 1))
    assert read_state(state.to_stored(), what="x") == state
    assert (state.contexts(), state.revision) == (["7"], 1)


def test_a_record_without_a_state_is_an_error_of_the_server() -> None:
    with pytest.raises(ApiError) as caught:
        read_state(None, what="logical cloud lc2")
    assert caught.value.status == 500


def test_a_chart_is_rendered_with_the_values_of_profile_and_group() -> None:
    found = render_chart(
        bench.chart(), profile=bench.profile(), overrides={"a": "<2>"}, release="r1", namespace="default"
    )
    assert [item.name for item in found] == ["r1-cm+ConfigMap", "r1-web+Deployment"]
    assert found[0].manifest == (
        '# Source: app1/templates/cm.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: r1-cm\ndata:\n  a: "<2>"'
    )


@pytest.mark.parametrize(
    "template,expected",
    [
        ("{{ .Values.a.b }}", "1"),
        ('{{ .Values.none | default "x" | quote }}', '"x"'),
        ("{{ default 3 .Values.none }}", "3"),
        ("a {{- /* note */ -}} b", "ab"),
    ],
)
def test_actions_of_templates(template: str, expected: str) -> None:
    assert render(template, {"Values": {"a": {"b": 1}}}, where="t") == expected


@pytest.mark.parametrize("template", ["{{ range .Values.a }}", "{{ .Values.a | upper }}", '{{ include "x" . }}'])
def test_what_is_not_understood_is_refused(template: str) -> None:
    with pytest.raises(ChartError, match="not understood"):
        render(template, {"Values": {"a": "x"}}, where="t")


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(ChartError, match=r"no tar\.gz"):
        render_chart(b"nonsense", profile=None, overrides={}, release="r", namespace="n")


def test_switches() -> None:
    names = {defect.name for defect in DEFECTS}
    assert parse_defects(None).on == parse_defects("faithful").on == names
    assert parse_defects("fixed").on == frozenset()
    assert parse_defects("B1, C1").on == {"B1", "C1"}
    assert parse_defects("faithful-A12").on == names - {"A12"}
    with pytest.raises(UnknownDefect, match="Z9"):
        parse_defects("Z9")


def test_what_emco_does_not_have_is_on_only_where_it_is_named() -> None:
    seeded = {defect.name for defect in SEEDED}
    assert not seeded & parse_defects("faithful").on
    assert parse_defects(",".join(seeded)).on == seeded
    with pytest.raises(UnknownDefect, match="X1"):
        parse_defects("faithful-X1")


def _config(folder: Path, **keys: object) -> Path:
    (folder / "config.json").write_text(json.dumps(keys))
    return folder


def test_unknown_keys_and_a_missing_port_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="colour"):
        read_config(service="clm", directory=_config(tmp_path, colour="red"), environment={})
    with pytest.raises(ConfigError, match="service-port"):
        read_config(service="clm", directory=_config(tmp_path), environment={})


def test_settings(tmp_path: Path) -> None:
    keys = {"service-port": "9023", "max-retries": "3", "database-ip": "127.0.0.9"}
    folder = _config(tmp_path, **keys)
    config = read_config(service="rsync", directory=folder, environment={"RSYNC_SERVICE_PORT": "9999"})
    assert (config.http_port, config.grpc_port, config.max_retries, config.database_ip) == (9023, 9999, 3, "127.0.0.9")


def test_readiness_comes_from_replicas() -> None:
    ready = {"metadata": {"name": "web"}, "spec": {"replicas": 2}, "status": {"readyReplicas": 2}}
    waiting = {"metadata": {"name": "db"}, "status": {}}
    assert readiness({"deploymentStatuses": [ready, waiting]}) == {"web+Deployment": True, "db+Deployment": False}
