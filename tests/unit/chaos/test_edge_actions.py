"""What runs on an edge ends, and what EMCO says of it, on a real EMCO of processes; each fails when it hits nothing."""

import pytest
from chaoslib.exceptions import ActivityFailed

from harness.campaign import Campaign
from harness.chaos import actions, edge_actions, probes
from harness.chaos.stage import Stage
from harness.faults.victim import HarnessTrouble

EDGE = "p1+c2"


@pytest.mark.parametrize("how", ["not-ready", "deleted"])
def test_what_ends_on_an_edge_does_not_count_as_running_and_emco_says_so(stage: Stage, how: str) -> None:
    actions.run_workload(until="instantiate-dig1")
    actions.wait_until_ready("dig1", limit=20)
    assert edge_actions.wait_until_told("dig1", EDGE, "Ready", limit=20).startswith(f"EMCO says of {EDGE}: ")

    told = edge_actions.spoil(EDGE, how)  # type: ignore[arg-type]  # one of both

    assert told == f"Deployment r1-web on {EDGE}: {how}"
    assert not probes.workload_ready("dig1")
    assert EDGE in stage.groups.not_ready("dig1")
    word = {"not-ready": "Deployment r1-web NotReady", "deleted": "Deployment r1-web NotPresent"}[how]
    assert word in edge_actions.wait_until_told("dig1", EDGE, "NotReady", limit=20)
    assert edge_actions.wait_until_told("dig1", "p1+c1", "Ready")
    with pytest.raises(ActivityFailed, match=rf"does not say Ready of p1\+c2, but after 0.1 s: .*{word}"):
        edge_actions.wait_until_told("dig1", EDGE, "Ready", limit=0.1)


def test_workloads_run_again_once_all_is_made_whole(stage: Stage) -> None:
    actions.run_workload(until="instantiate-dig1")
    edge_actions.spoil(EDGE)
    actions.watch("dig1")
    with pytest.raises(HarnessTrouble, match=r"Deployment r1-web on p1\+c2 has 0 of 1 replicas ready"):
        stage.wait_for_goal("dig1", "running", limit=0.1)

    assert actions.make_whole() == [f"workloads run again on {EDGE}"]

    assert probes.workload_ready("dig1")
    assert actions.make_whole() == []


def test_the_next_emco_begins_with_edges_on_which_all_runs(stage: Stage) -> None:
    actions.run_workload(until="instantiate-dig1")
    edge_actions.spoil(EDGE)
    stage.empty()
    actions.run_workload(until="instantiate-dig1")
    assert probes.workload_ready("dig1")


def test_where_nothing_runs_nothing_can_be_spoiled(stage: Stage) -> None:
    with pytest.raises(ActivityFailed, match=r"EMCO has nothing on p1\+c2 that could run"):
        edge_actions.spoil(EDGE)
    with pytest.raises(ActivityFailed, match=r"there is no edge 'p9\+c9'; there are p1\+c1"):
        edge_actions.spoil("p9+c9")
    with pytest.raises(ActivityFailed, match="how is 'eaten'; it is not-ready or deleted"):
        edge_actions.spoil(EDGE, "eaten")  # type: ignore[arg-type]  # what a file may say
    with pytest.raises(ActivityFailed, match="says is 'Fine'; it is Ready or NotReady"):
        edge_actions.wait_until_told("dig1", EDGE, "Fine")  # type: ignore[arg-type]  # what a file may say


def test_reports_are_seen_as_long_as_they_are_there(stage: Stage) -> None:
    assert edge_actions.wait_until_unreported() == "no edge reports any more"
    with pytest.raises(ActivityFailed, match="no edge reports on anything"):
        edge_actions.wait_until_reported(limit=0.1)
    actions.run_workload(until="instantiate-dig1")
    assert edge_actions.wait_until_reported() == 3
    with pytest.raises(ActivityFailed, match=r"p1\+c1 has the ResourceBundleState \d+-app1.* after 0\.1 s"):
        edge_actions.wait_until_unreported(limit=0.1)

    async def unreport(campaign: Campaign) -> None:
        edge = next(one for one in campaign.lab.edges.values() if one.name == EDGE)
        for thing in await edge.objects():
            if thing["kind"] == "ResourceBundleState":
                await edge.delete(thing)

    stage.act(unreport)
    with pytest.raises(ActivityFailed, match=r"p1\+c2 does not report within 0\.1 s"):
        edge_actions.wait_until_reported(limit=0.1)
