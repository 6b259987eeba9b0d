"""Experiments as chaoslib runs them: what it would let pass is a failure here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.chaos.opening import settings_of
from harness.chaos.running import Loaded, load, run_on
from harness.chaos.stage import Stage
from harness.faults.victim import UsageError

ROOT = Path(__file__).parents[3]
EDGE = "p1+c2"
CONTROL = [{"name": "emco", "provider": {"type": "python", "module": "harness.chaos.control"}}]


def step(kind: str, func: str, **arguments: Any) -> dict[str, Any]:
    provider = {"type": "python", "module": f"harness.chaos.{kind}s", "func": func, "arguments": arguments}
    return {"type": kind, "name": func, "provider": provider}


def steady(tolerance: bool = True) -> dict[str, Any]:
    return {"title": "it answers", "probes": [{**step("probe", "emco_answers"), "tolerance": tolerance}]}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def loaded(
        method: list[dict[str, Any]],
        rollbacks: list[dict[str, Any]] | None = None,
        hypothesis: Mapping[str, Any] | None = None,
        controls: list[dict[str, Any]] | None = None,
        configuration: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> Loaded:
        experiment = {
            "title": "t",
            "description": "d",
            "controls": CONTROL if controls is None else controls,
            "configuration": dict(configuration or {}),
            "method": method,
            "rollbacks": rollbacks or [],
        }
        if hypothesis:
            experiment["steady-state-hypothesis"] = dict(hypothesis)
        file = tmp_path / "experiment.yaml"
        file.write_text(yaml.safe_dump(experiment), encoding="utf-8")
        return load(file, given)

    return loaded


def test_an_experiment_whose_steps_work_is_completed(stage: Stage, write: Any) -> None:
    journal = run_on(stage, write([step("action", "mark", name="here")], hypothesis=steady()).experiment)

    assert (journal["status"], journal["deviated"], journal["problems"]) == ("completed", False, [])
    assert journal["steady_states"]["after_rollbacks"]["steady_state_met"] is True
    assert stage.marked("here").name == "here"


def test_an_action_that_hit_nothing_fails_the_experiment(stage: Stage, write: Any) -> None:
    journal = run_on(stage, write([step("action", "crash", name="nobody")]).experiment)

    assert journal["status"] == "failed"
    assert "the action 'crash' failed" in journal["problems"][0]
    assert "'nobody' is neither a service nor a store" in journal["problems"][0]


def test_a_probe_of_the_method_that_fails_fails_the_experiment(stage: Stage, write: Any) -> None:
    journal = run_on(stage, write([step("probe", "tries", target=EDGE, since="never")]).experiment)

    assert journal["status"] == "failed"
    assert journal["problems"][0].startswith("the probe 'tries' failed: nothing was marked 'never'")


@pytest.mark.parametrize("tolerance", [False, "no", 7, [1, 2, 3], {"pattern": "^no$", "type": "regex"}])
def test_a_probe_of_the_method_that_gives_what_is_not_tolerated_fails_the_experiment(
    tolerance: Any, stage: Stage, write: Any
) -> None:
    probe = {**step("probe", "context_status", group="dig1"), "tolerance": tolerance}

    journal = run_on(stage, write([probe]).experiment)

    assert journal["status"] == "failed"
    assert journal["run"][0]["tolerance_met"] is False
    assert journal["problems"] == [f"the probe 'context_status' gave '', and its tolerance is {tolerance!r}"]


@pytest.mark.parametrize("tolerance", ["", "${nothing}", {"type": "regex", "pattern": "^$"}])
def test_a_probe_of_the_method_that_gives_what_is_tolerated_fails_nothing(
    tolerance: Any, stage: Stage, write: Any
) -> None:
    probe = {**step("probe", "context_status", group="dig1"), "tolerance": tolerance}

    journal = run_on(stage, write([probe], configuration={"nothing": ""} if "${" in str(tolerance) else {}).experiment)

    assert (journal["status"], journal["problems"]) == ("completed", [])
    assert journal["run"][0]["tolerance_met"] is True


def test_what_an_experiment_leaves_behind_fails_it_where_it_asks_for_invariants(stage: Stage, write: Any) -> None:
    method = [
        step("action", "run_workload", until="create-p1"),
        step("action", "inject", call="create-c1", effect="mongo.data"),
        step("action", "start", name="clm"),
        {**step("probe", "invariants_hold"), "tolerance": True},
    ]

    journal = run_on(stage, write(method).experiment)

    assert journal["problems"] == ["the probe 'invariants_hold' gave False, and its tolerance is True"]


def test_rollbacks_are_played_whatever_happened(stage: Stage, write: Any) -> None:
    loaded = write([step("action", "crash", name="clm")], rollbacks=[step("action", "make_whole")], hypothesis=steady())

    journal = run_on(stage, loaded.experiment)

    assert journal["deviated"] is True
    assert journal["rollbacks"][0]["output"] == ["started: clm"]
    assert journal["problems"] == []
    assert stage.silent() == ()


def test_a_steady_state_that_does_not_come_back_fails_the_experiment(stage: Stage, write: Any) -> None:
    journal = run_on(stage, write([step("action", "crash", name="clm")], hypothesis=steady()).experiment)

    assert journal["status"] == "failed"
    assert journal["problems"] == ["after the rollbacks the steady state 'it answers' does not hold"]


def test_a_rollback_that_fails_fails_the_experiment(stage: Stage, write: Any) -> None:
    journal = run_on(stage, write([], rollbacks=[step("action", "heal", target="mongo")]).experiment)
    assert journal["problems"] == ["the action 'heal' failed: no link to mongo was broken"]


def test_a_configuration_that_the_experiment_does_not_know_is_refused(write: Any) -> None:
    with pytest.raises(UsageError, match=r"experiment\.yaml: its configuration has no 'kinds'; it has kind"):
        write([], configuration={"kind": "refused"}, kinds="slow")


def test_given_values_replace_the_configuration(stage: Stage, write: Any) -> None:
    loaded = write([step("action", "mark", name="${where}")], configuration={"where": "a"}, where="b")

    run_on(stage, loaded.experiment)

    assert stage.marked("b").name == "b"


@pytest.mark.parametrize(
    "file", sorted((ROOT / "scenarios").glob("*/*.yaml")), ids=lambda file: f"{file.parent.name}/{file.stem}"
)
def test_every_experiment_of_the_scenarios_is_valid_and_undoes_what_it_does(file: Path) -> None:
    experiment = load(file, {}).experiment

    assert experiment["runtime"]["rollbacks"]["strategy"] == "always"
    assert [control["provider"]["module"] for control in experiment["controls"]] == ["harness.chaos.control"]
    assert [rollback["provider"]["func"] for rollback in experiment["rollbacks"]][-1] == "make_whole"
    assert experiment["steady-state-hypothesis"]["probes"]


@pytest.mark.parametrize("story", sorted((ROOT / "scenarios").glob("*/README.md")), ids=lambda file: file.parent.name)
def test_every_story_has_an_experiment_of_the_plain_name_and_says_how_to_run_it(story: Path) -> None:
    name = story.parent.name

    assert story.with_name("experiment.yaml").is_file()
    assert f"chaos run scenarios/{name}/experiment.yaml" in story.read_text(encoding="utf-8")


def test_an_experiment_says_where_emco_is_to_run_or_the_environment_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMCO_CHAOS_PLATFORM", "kind")
    monkeypatch.setenv("EMCO_CHAOS_CLUSTER", "no-such-set")
    monkeypatch.setenv("EMCO_CHAOS_EDGES", "kind")
    monkeypatch.setenv("EMCO_CHAOS_NODE_ACCESS", "none")
    settings = settings_of({})
    assert (settings.platform, settings.kind.name, settings.kind.reuse) == ("kind", "no-such-set", False)
    assert (settings.edges, settings.node_access) == ("kind", "none")
    monkeypatch.setenv("EMCO_CHAOS_KUBECONFIG", "/of/another/platform")
    monkeypatch.setenv("EMCO_CHAOS_CONTEXT", "of-another-platform")
    named = settings_of({"platform": "process", "edges": "emulator"})
    assert (named.kubeconfig, named.context) == (None, "")
    assert (named.platform, named.edges) == ("process", "emulator")


def test_an_emco_in_a_cluster_is_named_by_the_experiment_or_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other = tmp_path / "config", tmp_path / "other"
    file.touch()
    other.touch()
    experiment = {"platform": "kubernetes", "kubeconfig": str(file), "context": "mine"}
    assert [settings_of(experiment).kubeconfig, settings_of(experiment).context] == [file, "mine"]
    monkeypatch.setenv("EMCO_CHAOS_KUBECONFIG", str(other))
    monkeypatch.setenv("EMCO_CHAOS_CONTEXT", "theirs")
    assert [settings_of(experiment).kubeconfig, settings_of(experiment).context] == [file, "mine"]
    there = settings_of({"platform": "kubernetes"})
    assert [there.kubeconfig, there.context] == [other, "theirs"]


@pytest.mark.parametrize(
    "given, missing",
    [({}, "kubeconfig and context"), ({"kubeconfig": "x"}, "context"), ({"context": "x"}, "kubeconfig")],
)
def test_a_cluster_that_is_not_named_is_refused_with_where_to_name_it(
    given: dict[str, str], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EMCO_CHAOS_KUBECONFIG", "EMCO_CHAOS_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        UsageError, match=f"needs {missing}: in the experiment's configuration, or .*EMCO_CHAOS_CONTEXT"
    ):
        settings_of({"platform": "kubernetes", **given})
