from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.crashpoints.model import Change, Grade, Outcome
from harness.reporting.difference import change_lines, difference_lines
from harness.reporting.findings import Finding, call_rows, count, findings, merged, replay_command

if TYPE_CHECKING:
    from tests.unit.reporting.conftest import Make


def test_counts(make: Make) -> None:
    summary = make.usual()
    counts = count(summary)
    assert (counts.planned, counts.ran, counts.not_run, counts.proven, counts.findings) == (5, 5, 0, 5, 3)
    seen = {outcome: number for outcome, number in counts.by_outcome.items() if number}
    assert seen == {
        Outcome.ATOMIC: 1,
        Outcome.RETRY_HEALS: 1,
        Outcome.LEAKS: 1,
        Outcome.NEEDS_REPAIR: 1,
        Outcome.STUCK: 1,
    }
    assert counts.by_grade == {Grade.PASS: 2, Grade.WARN: 1, Grade.FAIL: 1, Grade.BLOCKER: 1, Grade.ERROR: 0}


def test_points_without_a_result_are_counted(make: Make) -> None:
    summary = make.summary(make.result(), plan=make.plan(make.point(), make.point(effect="mongo.state")))
    counts = count(summary)
    assert (counts.planned, counts.ran, counts.not_run) == (2, 1, 1)


def test_findings_are_all_that_is_not_a_pass_worst_first(make: Make) -> None:
    found = findings(make.usual().results)
    assert [each.outcome for each in found] == [Outcome.STUCK, Outcome.NEEDS_REPAIR, Outcome.LEAKS]
    assert found[0].replay == "emco-chaos replay 'dcm/create@after:mongo.state.crash'"
    assert isinstance(found[0], Finding)
    assert found[0].difference == (make.change,)


def test_the_replay_command_of_a_result_is_the_one_of_its_settings(make: Make) -> None:
    own = replace(make.result(), replay="emco-chaos replay 'x' --reference fixed")

    assert replay_command(own) == "emco-chaos replay 'x' --reference fixed"


def test_rows_are_in_the_order_of_the_plan(make: Make) -> None:
    rows = call_rows(make.usual().plan, make.usual().results)
    worst = [(row.name, row.points, row.worst, row.seconds) for row in rows]
    assert worst == [("dcm/create", 3, Outcome.STUCK, 1.5), ("clm/delete", 2, Outcome.NEEDS_REPAIR, 1.0)]


def test_of_several_results_of_a_point_the_worst_counts_and_the_plan_gives_the_order(make: Make) -> None:
    first, second = make.point(), make.point(effect="mongo.state")
    one, two, three = make.result(point=second), make.bad(point=first), make.result(point=first)
    assert merged([one, two, three], make.plan(first, second)) == (two, one)


def test_a_difference_names_the_members_that_differ(make: Make) -> None:
    expected = (
        "differs     mongo emco.resources {logicalCloud,project} proj1/lc1",
        '    stateInfo  missing, expected {"actions": [{"state": "Created"}]}',
        '    level  expected "1", found "0"',
        '    password  unexpected "s3nt1nel"',
    )
    actual = change_lines(make.change)
    assert expected == actual


def test_a_difference_tells_types_and_list_items_apart() -> None:
    change = Change("etcd /x", "differs", expected=[1, {"a": True}], actual=[1, {"a": 1}, "more"])
    assert change_lines(change) == (
        "differs     etcd /x",
        "    [1].a  expected true, found 1",
        '    [2]  unexpected "more"',
    )


def test_whole_documents_and_long_differences_are_cut_and_counted(make: Make) -> None:
    missing = Change("etcd /a", "missing", expected="x" * 300)
    unexpected = Change("etcd /b", "unexpected", actual=1)
    lines = difference_lines([missing, unexpected, make.change], limit=2, width=20)
    assert lines == (
        "missing     etcd /a",
        '    expected "' + "x" * 19 + "... (302 characters)",
        "unexpected  etcd /b",
        "    found 1",
        "... and 1 more",
    )
