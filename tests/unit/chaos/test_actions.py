"""Actions and probes on a real EMCO of processes: each does what it says, and fails when it hit nothing."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain, cycle, repeat
from typing import cast

import pytest
from chaoslib.exceptions import ActivityFailed

from harness.campaign import Campaign
from harness.chaos import actions, probes
from harness.chaos.attempts import tries
from harness.chaos.stage import Stage
from harness.chaos.watching import Seen, gone
from harness.emco.services import DATA_KEY
from harness.emco.status import NOTHING_SAID
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.disruptions import PARTITIONS
from harness.platforms.process.lab import ProcessLab
from harness.pytest_stages import Stages

EDGE = "p1+c2"


def test_without_an_emco_an_action_says_what_is_missing() -> None:
    with pytest.raises(ActivityFailed, match=r"needs the control `harness\.chaos\.control`"):
        actions.crash("rsync")


def test_a_crashed_service_is_down_until_it_is_started(stage: Stage) -> None:
    assert probes.emco_answers()

    assert actions.crash("clm").startswith("SIGKILL reaped")

    assert not probes.emco_answers()
    assert stage.silent() == ("clm does not run",)
    with pytest.raises(ActivityFailed, match="did not run any more"):
        actions.crash("clm")
    assert actions.start("clm") == "clm answers"
    assert probes.emco_answers()


@pytest.mark.parametrize("act", [actions.crash, actions.stop, actions.start, actions.pause, actions.resume])
def test_what_is_not_there_cannot_be_hit(stage: Stage, act: object) -> None:
    with pytest.raises(ActivityFailed, match="'nobody' is neither a service nor a store"):
        act("nobody")  # type: ignore[operator]  # all take a name


def test_two_instances_are_at_work_and_new_connections_are_led_to_the_newer_one(stage: Stage) -> None:
    actions.run_workload(until="create-p1")
    path = "/v2/cluster-providers/p1"

    told = actions.begin_overlap("clm")

    assert told.startswith("two instances of clm are at work, pids ")
    actions.pause("clm")  # the newer one
    assert stage.silent(limit=0.3) == ("clm does not answer within 0.3 s",)
    actions.resume("clm")
    actions.request("clm", "GET", path, expect=200)
    with pytest.raises(ActivityFailed, match="two instances of clm are at work already"):
        actions.begin_overlap("clm")
    older = told.partition("pids ")[2].partition(" ")[0]
    assert actions.end_overlap("clm") == f"the older SIGKILL reaped (pid {older})"
    actions.request("clm", "GET", path, expect=200)
    with pytest.raises(ActivityFailed, match="there is no older instance of clm"):
        actions.end_overlap("clm")


def test_of_two_instances_what_is_made_whole_ends_the_older_one_and_a_new_emco_has_one(stage: Stage) -> None:
    actions.begin_overlap("clm")
    assert actions.make_whole() == ["the older clm is ended"]
    assert actions.make_whole() == []
    actions.begin_overlap("clm")  # where the first one was
    actions.crash("clm")
    assert stage.silent() == ("clm does not run",)
    stage.empty()
    assert stage.silent() == ()
    with pytest.raises(ActivityFailed, match="there is no older instance of clm"):
        actions.end_overlap("clm")


def test_a_second_instance_has_the_data_key_of_the_first_one_and_the_next_emco_that_of_then(stage: Stage) -> None:
    async def keys(campaign: Campaign) -> tuple[str, str]:
        env = cast("ProcessLab", campaign.lab).services["clm"].spec.env
        return env.get(DATA_KEY, ""), campaign.disruptions.data_key

    async def give(campaign: Campaign) -> None:
        campaign.disruptions.set_data_key("a")

    stage.act(give)
    actions.begin_overlap("clm")
    assert stage.act(keys) == ("a", "a")
    actions.end_overlap("clm")
    stage.empty()
    assert stage.act(keys) == ("", "")


@pytest.mark.parametrize(
    "name, why",
    [("mongo", "mongo is a store"), ("nobody", "nobody is not among the services"), ("clm", "does not run")],
)
def test_there_are_no_two_of_what_is_a_store_or_not_there(stage: Stage, name: str, why: str) -> None:
    actions.crash("clm")
    with pytest.raises(ActivityFailed, match=why):
        actions.begin_overlap(name)


def test_a_paused_service_is_there_and_answers_nothing(stage: Stage) -> None:
    actions.pause("orchestrator")

    assert stage.silent(limit=0.3) == ("orchestrator does not answer within 0.3 s",)

    actions.resume("orchestrator")
    assert stage.silent() == ()


def test_a_paused_rsync_answers_nothing_although_its_kernel_takes_connections(stage: Stage) -> None:
    mark = stage.mark("here")
    assert stage.silent() == ()
    assert (stage.history(mark), stage.knocks(since=mark)) == ((), ())

    actions.pause("rsync")

    assert stage.silent(limit=0.3) == ("rsync does not answer within 0.3 s",)
    assert not probes.emco_answers()
    actions.resume("rsync")
    assert probes.emco_answers()


def test_emco_does_not_answer_while_it_cannot_read_the_contexts_that_it_has(stage: Stage) -> None:
    actions.run_workload(until="approve-dig1")
    assert stage.reading().read == ("dcm lc1",)
    actions.partition("etcd")

    assert stage.silent() == ()
    (why,) = stage.reading(limit=0.3).silent
    assert why == "dcm does not answer GET /v2/projects/proj1/logical-clouds/lc1/status within 0.3 s"
    assert not probes.emco_answers()
    actions.heal("etcd")
    assert stage.within(probes.emco_answers, limit=20)


def test_a_store_that_crashes_keeps_its_data_and_one_that_loses_its_volume_does_not(stage: Stage) -> None:
    actions.run_workload(until="create-proj1")
    before = stage.snapshot().mongo["emco.resources"]

    actions.crash("mongo")
    actions.start("mongo")
    assert stage.snapshot().mongo["emco.resources"] == before

    actions.crash("mongo", volume="lost")
    actions.start("mongo")
    assert "emco.resources" not in stage.snapshot().mongo


def test_a_service_has_no_volume_to_lose(stage: Stage) -> None:
    with pytest.raises(ActivityFailed, match="rsync has no volume to lose"):
        actions.crash("rsync", volume="lost")
    assert probes.emco_answers()


def test_a_wiped_emco_comes_up_empty_and_works(stage: Stage) -> None:
    actions.run_workload(until="create-p1")

    destroyed = actions.wipe()

    assert [line.split(" (")[0] for line in destroyed] == [
        "4 services",
        "mongo with its volume",
        "etcd with its volume",
    ]
    assert not probes.emco_answers()
    actions.bring_up()
    documents = stage.snapshot().documents("emco.resources")
    assert [document for document in documents if "project" in document or "clusterProvider" in document] == []
    actions.run_workload(until="create-p1")


@pytest.mark.parametrize("kind", PARTITIONS)
def test_each_kind_of_partition_is_run_into_and_healed(stage: Stage, kind: str) -> None:
    actions.run_workload(until="approve-dig1")
    assert actions.partition(EDGE, kind, source="rsync", seconds=0.2) == f"1 links to {EDGE} are broken: {kind}"

    actions.call("instantiate-dig1", expect="acknowledged")
    actions.wait_for_tries(EDGE, since=f"partition {EDGE}", times=1, limit=20)
    if kind not in ("slow", "flapping"):
        assert not probes.workload_ready("dig1")

    actions.heal(EDGE)
    actions.wait_until_ready("dig1", limit=20)
    assert probes.context_status("dig1") == "Instantiated"
    assert probes.connectivity("dig1", EDGE) == "Available"


def test_what_is_to_flap_once_it_was_tried_refuses_until_then(stage: Stage) -> None:
    actions.run_workload(until="approve-dig1")
    actions.partition(EDGE, "flapping", source="rsync", seconds=0.2, held=True)
    assert actions.hold(EDGE, since=f"partition {EDGE}", seconds=1.0) == "1 s"  # for five turns, were it flapping
    with pytest.raises(UsageError, match=f"nothing was marked 'flaps {EDGE}'".replace("+", r"\+")):
        stage.marked(f"flaps {EDGE}")

    actions.call("instantiate-dig1", expect="acknowledged")
    actions.hold(EDGE, since=f"partition {EDGE}", seconds=10.0)
    before = stage.knocks(target=EDGE, since=stage.marked(f"partition {EDGE}"), until=stage.marked(f"flaps {EDGE}"))
    assert tries(before).fewest >= 1
    actions.heal(EDGE)
    actions.wait_until_ready("dig1", limit=20)


def test_a_link_is_broken_once_and_one_that_is_not_there_cannot_be(stage: Stage) -> None:
    with pytest.raises(ActivityFailed, match="no link goes from 'rsync' to 'p9"):
        actions.partition("p9+c9", source="rsync")
    with pytest.raises(ActivityFailed, match="there is no partition 'torn'"):
        actions.partition(EDGE, "torn")
    with pytest.raises(ActivityFailed, match=rf"no link to {EDGE.replace('+', '.')} was broken"):
        actions.heal(EDGE)
    actions.partition(EDGE, "black-hole")
    with pytest.raises(ActivityFailed, match="broken already"):
        actions.partition(EDGE, "refused")


def test_a_fault_at_an_effect_leaves_the_service_down(stage: Stage) -> None:
    actions.run_workload(until="create-p1")

    how = actions.inject("create-c1", "mongo.data")

    assert "SIGKILL reaped" in how
    assert stage.silent() == ("clm does not run",)


def test_a_fault_may_be_at_an_effect_of_a_service_that_works_beside_the_call(stage: Stage) -> None:
    actions.run_workload(until="approve-dig1")

    how = actions.inject("instantiate-dig1", "edge.POST:api/v1/namespaces/default/configmaps", victim="rsync")

    assert "SIGKILL reaped" in how
    assert stage.silent() == ("rsync does not run",)


def test_a_fault_at_an_effect_that_does_not_come_up_is_none(stage: Stage) -> None:
    actions.run_workload(until="create-p1")
    with pytest.raises(ActivityFailed, match="the fault is not proven"):
        actions.inject("create-c1", "mongo.nothing")


def test_make_whole_undoes_whatever_was_done_and_does_nothing_twice(stage: Stage) -> None:
    actions.pause("clm")
    actions.crash("rsync")
    actions.partition("mongo", "black-hole", source="dcm")

    told = actions.make_whole()

    assert told == ["clm runs again", "1 links are healthy again", "started: rsync"]
    assert probes.emco_answers()
    assert actions.make_whole() == []


def test_on_a_stage_that_is_left_nothing_goes_on_and_it_serves_whoever_comes_next(stages: Stages, stage: Stage) -> None:
    actions.run_workload(until="create-dig1")
    stage.groups.watch("dig1")
    actions.pause("clm")

    stages.leave()

    assert stage.act(_running) == frozenset()
    with pytest.raises(UsageError, match="dig1 is not watched"):
        stage.groups.watched("dig1")

    stage.empty()

    assert probes.emco_answers()
    assert stage.act(_running) == {"orchestrator", "clm", "dcm", "rsync"}


async def _running(campaign: Campaign) -> frozenset[str]:
    return campaign.lab.running


def test_a_call_that_is_not_acknowledged_ends_a_workload(stage: Stage) -> None:
    actions.run_workload(until="create-proj1")
    with pytest.raises(ActivityFailed, match=r"create-proj1 was answered 409"):
        actions.run_workload(until="create-proj1")


def test_an_answer_that_was_not_expected_fails(stage: Stage) -> None:
    with pytest.raises(ActivityFailed, match="was refused"):
        actions.call("create-c1", expect="acknowledged")
    with pytest.raises(ActivityFailed, match="was answered 200, not 404"):
        actions.request("orchestrator", "GET", "/v2/projects", expect=404)


def test_effects_since_a_mark_are_counted(stage: Stage) -> None:
    actions.mark("begin")
    actions.run_workload(until="create-proj1")
    assert len(probes.effects("begin", source="orchestrator", target="mongo")) == 1
    with pytest.raises(ActivityFailed, match="nothing was marked 'never'"):
        probes.effects("never")


def test_what_is_asked_of_a_link_that_is_not_there_is_refused_with_those_that_are(stage: Stage) -> None:
    asked: list[Callable[[], object]] = [
        lambda: probes.tries("no-such-edge", since="empty"),
        lambda: probes.tries(EDGE, since="empty", source="clm"),
        lambda: probes.effects("empty", target="nope"),
        lambda: probes.effects("empty", source="nope"),
        lambda: actions.hold("nope", since="empty", seconds=0.1),
        lambda: actions.between_tries("nope", since="empty"),
        lambda: actions.wait_for_tries("nope", since="empty", times=0, limit=0.1),
    ]
    for ask in asked:
        with pytest.raises(ActivityFailed, match=r"no link goes from .*; there are .*rsync -> p1\+c2"):
            ask()
    assert probes.effects("empty", source="orchestrator", target="rsync") == []


def test_tries_are_counted_within_a_window_without_what_else_knocks(stage: Stage) -> None:
    actions.run_workload(until="approve-dig1")
    actions.partition(EDGE, "reset", source="rsync")
    actions.call("instantiate-dig1")
    actions.wait_for_tries(EDGE, since=f"partition {EDGE}", times=3, limit=30)
    actions.mark("looked")
    knocks = stage.knocks(target=EDGE, since=stage.marked(f"partition {EDGE}"), until=stage.marked("looked"))

    counted = probes.tries(EDGE, since=f"partition {EDGE}", until="looked")

    assert counted == 3 < len(knocks)
    actions.wait_for_tries(EDGE, since=f"partition {EDGE}", times=4, limit=30)
    assert probes.tries(EDGE, since=f"partition {EDGE}", until="looked") == 3
    assert probes.tries(EDGE, since=f"partition {EDGE}") >= 4
    actions.mark("later")
    with pytest.raises(ActivityFailed, match="'looked' was marked before 'later'"):
        probes.tries(EDGE, since="later", until="looked")


def test_between_two_tries_means_after_one_more_and_where_nothing_is_tried_there_is_no_wait(stage: Stage) -> None:
    actions.run_workload(until="approve-dig1")
    actions.partition(EDGE)
    assert actions.between_tries(EDGE, since=f"partition {EDGE}") == "nothing is tried any more"
    actions.call("instantiate-dig1")
    actions.wait_for_tries(EDGE, since=f"partition {EDGE}", times=3, limit=30)
    before = stage.tries(EDGE, since=stage.marked(f"partition {EDGE}"))
    assert actions.between_tries(EDGE, since=f"partition {EDGE}", share=0.25) == "25% of the time between two tries"
    assert stage.tries(EDGE, since=stage.marked(f"partition {EDGE}")).at[-1] > before.at[-1]


GONE = Seen(0.0, replace(NOTHING_SAID, deployed="Terminated"), {EDGE: {}})
LEFT = replace(GONE, edges={EDGE: {"ConfigMap/a": "1"}})
UNANSWERED = replace(GONE, status=NOTHING_SAID)


def looks(stage: Stage, monkeypatch: pytest.MonkeyPatch, seen: Iterable[Seen]) -> None:
    """What is seen of a group, look by look; each is marked."""
    coming = enumerate(seen)

    def now() -> Seen:
        number, one = next(coming)
        stage.mark(f"look {number}")
        return one

    monkeypatch.setattr(stage.groups, "looking", lambda _: now)
    monkeypatch.setattr(stage.groups, "missing", lambda *_: gone)


def test_a_goal_has_to_stay_and_counts_from_when_it_did(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    looks(stage, monkeypatch, chain([LEFT, GONE, LEFT], repeat(GONE)))
    assert stage.wait_for_goal("dig1", "gone", limit=20) == GONE
    assert stage.marked("look 2").at < stage.marked("gone dig1").at


@pytest.mark.parametrize("left, moves", [(UNANSWERED, False), (replace(LEFT, status=NOTHING_SAID), True)])
def test_a_look_without_an_answer_counts_by_what_the_edges_hold(
    left: Seen, moves: bool, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks(stage, monkeypatch, chain([GONE, left], repeat(GONE)))
    assert stage.wait_for_goal("dig1", "gone", limit=20) == GONE
    assert (stage.marked("gone dig1").at > stage.marked("look 1").at) == moves


def test_a_goal_of_which_nothing_is_said_in_the_end_is_not_reached(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks(stage, monkeypatch, chain([GONE], repeat(UNANSWERED)))
    with pytest.raises(HarnessTrouble, match=r"dig1 (does not stay|is not) gone.*: the AppContext is without a status"):
        stage.wait_for_goal("dig1", "gone", limit=0.5)


def test_a_goal_that_comes_and_goes_is_not_reached(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    looks(stage, monkeypatch, cycle([GONE, LEFT]))
    with pytest.raises(HarnessTrouble, match=r"dig1 (does not stay|is not) gone"):
        stage.wait_for_goal("dig1", "gone", limit=0.5)
    assert "gone dig1" not in [one.name for one in stage.marks]
