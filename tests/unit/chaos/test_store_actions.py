"""Actions around a store on a real EMCO of processes: each does what it says, and fails when it hit nothing."""

import pytest
from chaoslib.exceptions import ActivityFailed

from harness.chaos import probes
from harness.chaos import store_actions as actions
from harness.chaos.clients import Ask, Asked
from harness.chaos.outages import OUTAGES
from harness.chaos.stage import Stage
from harness.crashpoints.model import Told

PROJECT = {"service": "orchestrator", "method": "POST", "path": "/v2/projects", "body": {"metadata": {"name": "new"}}}


def test_an_unknown_outage_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ActivityFailed, match="needs the control"):
        actions.begin_outage("mongo")
    assert "volume-lost" in OUTAGES


@pytest.mark.parametrize("kind", ["refused", "reset", "black-hole", "paused", "crashed"])
def test_a_store_is_away_until_it_is_brought_back(stage: Stage, kind: str) -> None:
    actions.begin_outage("mongo", kind)
    actions.ask([PROJECT], limit=20)
    actions.end_outage("mongo", after=0.2)
    told = actions.wait_for_answers(limit=30)
    assert actions.check_answers() == []
    actions.ask_again(limit=20)
    assert stage.clients.took_place(stage.clients.asked[0].ask), told
    assert actions.wait_until_serving("mongo", limit=20) >= 0


def test_emco_serves_again_when_it_can_read_etcd_and_not_before(stage: Stage) -> None:
    stage.mark("back etcd")
    with pytest.raises(ActivityFailed, match="nothing shows whether EMCO can read etcd"):
        actions.wait_until_serving("etcd", limit=5)
    stage.run(until="approve-dig1")
    actions.begin_outage("etcd", "refused")
    with pytest.raises(ActivityFailed, match=r"0\.1 s after etcd came back: dcm does not answer GET .*lc1/status"):
        actions.wait_until_serving("etcd", limit=0.1)
    actions.end_outage("etcd")
    assert actions.wait_until_serving("etcd", limit=20) >= 0


def test_what_was_not_away_cannot_be_brought_back(stage: Stage) -> None:
    stage.mark("outage etcd")
    with pytest.raises(ActivityFailed, match="etcd was not away"):
        actions.end_outage("etcd")
    with pytest.raises(ActivityFailed, match="there is no outage 'gone'; there are refused, reset"):
        actions.begin_outage("etcd", "gone")
    with pytest.raises(ActivityFailed, match="a crashed store is away for everybody"):
        actions.begin_outage("etcd", "crashed", source="rsync")


def test_a_link_is_cut_where_a_text_is_sent(stage: Stage) -> None:
    actions.cut("orchestrator", "mongo", "\x02find\0", times=2)
    actions.ask([PROJECT], limit=20)
    actions.wait_for_answers(limit=30)
    assert actions.wait_for_cuts("mongo", times=2, limit=5) == 2
    with pytest.raises(ActivityFailed, match="2 of 3 connections to mongo were cut"):
        actions.wait_for_cuts("mongo", times=3, limit=0.1)


def test_services_are_started_again_until_their_store_is_there(stage: Stage) -> None:
    with pytest.raises(ActivityFailed, match="clm is not down"):
        actions.supervise(["clm"])
    stage.crash("clm")
    actions.begin_outage("mongo", "crashed")
    actions.supervise(["clm"], backoff=0.05, most=0.1, limit=30)
    assert stage.within(lambda: len(stage.knocks(source="clm", target="mongo")) > 3, limit=20)
    actions.end_outage("mongo")
    (up,) = actions.wait_until_up(limit=30)
    assert up.startswith("clm after ")
    assert " exit" in up
    assert actions.create("clm", "/v2/cluster-providers", "p", limit=10)


def test_what_finds_nothing_to_act_on_fails(stage: Stage) -> None:
    assert [line.split(":")[0] for line in actions.crash_services()] == ["orchestrator", "clm", "dcm", "rsync"]
    with pytest.raises(ActivityFailed, match="no service of EMCO runs"):
        actions.crash_services()
    stage.make_whole()
    with pytest.raises(ActivityFailed, match="no service is down"):
        actions.supervise()
    with pytest.raises(ActivityFailed, match="no service is supervised"):
        actions.wait_until_up()
    with pytest.raises(ActivityFailed, match="there is no load that could end"):
        actions.end_load()
    with pytest.raises(ActivityFailed, match="no client waits for an answer"):
        actions.wait_for_answers()
    with pytest.raises(ActivityFailed, match="no client was told anything"):
        actions.ask_again()


def test_load_ends_once(stage: Stage) -> None:
    actions.begin_load([PROJECT])
    actions.wait_for_load(2, limit=20)
    assert actions.end_load().endswith("0 refused, 0 open")
    with pytest.raises(ActivityFailed, match="there is no load that could end"):
        actions.end_load()


def test_a_full_disk_is_noticed_by_who_is_told_of_it_and_not_by_who_did_something_wrong(stage: Stage) -> None:
    mark = stage.mark("outage mongo").at

    def told(status: int, body: str, began: float = mark + 1) -> None:
        ask = Ask("orchestrator", "POST", "/v2/projects", {"metadata": {"name": "new"}})
        stage.load.asked.append(Asked(ask, Told(status, body), began, began + 1))

    told(500, "before it was full", mark - 1)
    told(409, "Project already exists")
    told(404, "no such thing")
    with pytest.raises(ActivityFailed, match="that anybody notices the full disk of mongo"):
        actions.wait_until_refused("mongo", limit=0.1)
    told(409, "cannot write: No space left on device")
    assert "No space left" in actions.wait_until_refused("mongo", limit=0.1)
    stage.load.asked.pop()
    told(500, "Error")
    assert "500" in actions.wait_until_refused("mongo", limit=0.1)


def test_only_a_small_disk_can_be_filled_and_what_was_written_survives_it(stage: Stage) -> None:
    with pytest.raises(ActivityFailed, match="mongo has no small volume"):
        actions.fill_disk("mongo")
    actions.create("orchestrator", "/v2/projects", "before", limit=10)
    actions.small_disk("mongo", 64)
    with pytest.raises(ActivityFailed, match="the volume of mongo was not filled"):
        actions.free_disk("mongo")
    assert "MB were free" in actions.fill_disk("mongo")
    with pytest.raises(ActivityFailed, match="was full before"):
        actions.fill_disk("mongo")
    assert "is started" in actions.free_disk("mongo")
    assert "mongo has a large volume again" in stage.make_whole()
    documents = stage.snapshot().mongo["emco.resources"]
    assert any(b"before" in raw for raw in documents)


def test_requests_are_named_as_the_workload_does_or_in_full(stage: Stage) -> None:
    with pytest.raises(ActivityFailed, match=r"a request is \{call\}, \{group, verb\} or"):
        actions.ask([{"path": "/v2/projects"}])
    with pytest.raises(ActivityFailed, match="carries files"):
        actions.ask([{"call": "create-c1"}])


def test_whether_answers_are_true_is_asked_of_clients_that_were_told_something(stage: Stage) -> None:
    with pytest.raises(ActivityFailed, match="no client was told anything"):
        probes.answers_are_true()
    with pytest.raises(ActivityFailed, match="no client was told anything"):
        actions.check_answers()
    actions.ask([PROJECT], limit=20)
    actions.wait_for_answers(limit=30)
    assert probes.answers_are_true()
    stage.request("orchestrator", "DELETE", "/v2/projects/new")
    assert not probes.answers_are_true()
    assert actions.check_answers() == [
        "orchestrator POST /v2/projects new was acknowledged (201) and did not take place"
    ]
