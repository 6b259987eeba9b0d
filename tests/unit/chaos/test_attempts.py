"""How many tries knocks come to; the numbers are those of the real rsync."""

from collections.abc import Sequence

import pytest

from harness.chaos.attempts import Tries, bursts, goes_on, going_on, tried, tries
from harness.wire.knocks import Knock

# rsync asks every 2 s; beside that a watch waits longer each time.
REFUSED = (0.16, 0.16, 1.14, 2.17, 2.92, 4.17, 6.17, 7.21, 8.17, 10.18, 12.18, 14.18)


def refused(moments: Sequence[float]) -> list[Knock]:
    return [Knock(at, "rsync", "p1+c2", "connect") for at in moments]


def asked(moments: Sequence[float], what: str) -> list[Knock]:
    return [Knock(at, "rsync", "p1+c2", "connect", what) for at in moments]


def test_where_nothing_can_be_asked_tries_are_evenly_spaced() -> None:
    seen = tries(refused(REFUSED))
    assert seen == Tries((0.16, 2.17, 4.17, 6.17, 8.17, 10.18, 12.18, 14.18), 4, (7, 8))
    assert seen.period == pytest.approx(2.0, abs=0.02)


def test_where_the_request_is_seen_it_tells_and_what_a_client_repeats_is_one_try() -> None:
    first, second = [0.1 + n for n in range(11)], [12.1 + n for n in range(3)]
    watch = [0.1 + n for n in range(11)]
    knocks = sorted(
        [*asked([*first, *second], "GET /version"), *asked(watch, "GET /apis/x")], key=lambda knock: knock.at
    )
    assert tries(knocks) == Tries((0.1, 12.1), 23)


def test_a_watch_alone_is_no_try() -> None:
    assert tries(asked([0.1, 1.3, 3.9], "GET /apis/x")) == Tries((), 3)


def test_a_watch_that_waits_longer_each_time_is_no_try() -> None:
    assert tries(refused([0.0, 0.86, 3.88, 8.59, 17.43, 35.75])) == Tries((), 6, (0, 2))


def test_knocks_of_a_watch_halfway_between_tries_are_none() -> None:
    assert tries(refused([0.0, 0.0, 1.07, 2.1, 3.2, 4.2])).at == (0.0, 2.1, 4.2)


def test_few_knocks_may_be_tries_or_not() -> None:
    assert tries(refused([0.1])) == Tries((), 1, (0, 1))
    assert tries(refused([0.1, 0.1, 0.11])) == Tries((0.1,), 2)
    assert tries([]) == Tries((), 0)
    assert Tries((), 0).period == 0.0


# The first knocks of a watch beside them; the third try, or the fourth, came 0.35 s late.
ON_TIME, THIRD_LATE, LAST_LATE = (0.51, 2.61, 4.62, 6.63), (0.51, 2.61, 4.96, 6.97), (0.514, 2.61, 4.62, 6.97)
WATCH = (0.52, 1.4, 3.037)


@pytest.mark.parametrize("watch", [(), WATCH])
@pytest.mark.parametrize("series", [ON_TIME, THIRD_LATE, LAST_LATE])
def test_a_try_may_be_late(series: tuple[float, ...], watch: tuple[float, ...]) -> None:
    seen = tries(refused([*series, *watch]), ended=series[-1] + 0.05)
    assert seen.most == 4
    assert seen.fewest == 4 or not watch  # without a watch each of them may be one of its
    assert seen.at[1:] == series[1:]  # who of the two knocked first, a moment apart, does not matter
    assert len(seen.at) == 4


def test_a_late_try_is_told_by_the_end_of_all_tries_and_by_nothing_else() -> None:
    knocks = refused([*THIRD_LATE, *WATCH])
    assert tries(knocks).doubt == (3, 4)  # the last may be the watch's
    assert tries(knocks, ended=7.0).doubt is None
    assert tries(knocks, ended=9.5) == Tries((), 7, (0, 6))  # what tried to the end is not among these


@pytest.mark.parametrize("early", [1.9, 1.5])
def test_no_try_comes_before_its_pause_is_over(early: float) -> None:
    assert tries(refused([0.0, 0.0, early, early, 2 * early, 3 * early])).most < 4


def test_tries_of_two_contexts_are_two_series() -> None:
    one, other = (0.1, 2.1, 4.11, 6.12), (0.9, 2.95, 4.96)
    seen = tries(refused([*one, *other, 0.1, 1.2]))
    assert (seen.at, seen.others) == (one, 5)


def test_what_nothing_explains_is_no_number() -> None:
    seen = tries(refused([0.1 * n for n in range(12)]))
    assert (seen.at, seen.fewest) == ((), 0)
    assert goes_on(refused([0.1 * n for n in range(12)]), after=0.5) is None


def test_a_repeat_that_comes_late_is_no_second_try_for_certain() -> None:
    first = [0.1, 1.1, 2.1, 3.1, 4.9, 5.9]
    assert tries(asked(first, "GET /version")) == Tries((0.1, 4.9), 4, (1, 2))


def test_bursts_begin_after_a_pause() -> None:
    assert bursts([3.0, 0.0, 0.5, 1.0], pause=1.5) == (0.0, 3.0)
    assert bursts([], pause=1.0) == ()


def test_whether_tries_go_on_after_a_moment() -> None:
    assert goes_on(refused(REFUSED), after=6.5) == 3  # the last of four may be the watch's
    assert goes_on(refused([at for at in REFUSED if at < 6.5] + [7.21, 14.9]), after=6.5) == 0


@pytest.mark.parametrize(
    "later, number",
    [
        ([8.1, 10.1, 12.1, 14.1], 3),
        ([8.7, 10.7, 12.7], 2),  # one was late
        ([8.1, 10.6, 13.2, 16.5], 3),  # all were
        ([10.1, 12.1], 1),  # the other may be a watch's
        ([7.4, 15.1], 0),  # a watch
    ],
)
def test_tries_go_on_where_they_are_more_than_those_of_a_watch(later: list[float], number: int) -> None:
    knocks = refused([0.1, 0.12, 1.1, 2.1, 2.9, 4.1, 6.1, *later])
    assert goes_on(knocks, after=7.0) == number


def test_whether_they_go_on_is_told_by_the_request_where_it_is_seen() -> None:
    before = asked([0.1, 1.1, 12.1], "GET /version")
    watch = asked([14.0, 16.0, 18.0], "GET /apis/x")
    assert goes_on([*before, *watch], after=13.0) == 0
    assert goes_on([*before, *asked([14.2, 17.0], "GET /version")], after=13.0) == 2


@pytest.mark.parametrize("now, expected", [(14.0, True), (16.9, True), (18.9, True), (19.0, False), (30.0, False)])
def test_another_try_is_expected_until_it_is_long_overdue(now: float, expected: bool) -> None:
    assert going_on(Tries((10.0, 12.0, 14.0), 0), now) is expected


def test_two_tries_are_no_series_that_goes_on() -> None:
    assert not going_on(Tries((10.0, 12.0), 0), 12.1)


def test_each_source_and_target_has_a_series_of_its_own_and_only_edges_are_watched() -> None:
    knocks = [
        *refused(REFUSED),
        *(Knock(at, "rsync", "p1+c1", "connect") for at in REFUSED),
        *(Knock(at, "dcm", "etcd", "connect") for at in (0.1, 0.11, 0.3, 1.4)),
        *(Knock(at, "clm", "etcd", "connect") for at in (0.1, 0.3)),
    ]
    assert tried(knocks, ("p1+c1", "p1+c2")) == 8 + 8 + 3 + 2
    assert tried((), ("p1+c1",)) == 0


@pytest.mark.parametrize(
    "moments, fewest, most",
    [
        # measured in a black hole on a busy machine: tries and a watch, which wait 30 s each
        ((1.2, 1.3, 32.3, 33.5, 64.1, 66.5), 3, 3),
        ((1.2, 32.3, 64.1), 0, 1),  # a watch
        ((), 0, 0),
    ],
)
def test_in_a_black_hole_each_waits_for_a_connection_first(moments: tuple[float, ...], fewest: int, most: int) -> None:
    seen = tries(refused(moments), lasts=30.0)
    assert (seen.fewest, seen.most) == (fewest, most)


def test_in_a_black_hole_the_first_try_may_go_over_a_connection_that_is_there() -> None:
    """Which is seen to ask; those after it ask for a connection."""
    first = Knock(0.4, "rsync", "p1+c2", "send", "GET /version")
    assert tries([first, *refused([34.9, 67.1])], lasts=30.0) == Tries((0.4, 34.9, 67.1), 0)
    assert tries([first], lasts=30.0) == Tries((0.4,), 0)
    assert goes_on([first, *refused([34.9, 67.1])], after=1.0, lasts=30.0) == 2
    watch = Knock(0.5, "rsync", "p1+c2", "send", "GET /apis/x")
    assert tries([watch, *refused([33.1])], lasts=30.0).most < 2


def test_what_needs_much_lateness_is_not_taken_where_everything_else_is_on_time() -> None:
    seen = (0.05, 0.81, 2.05, 2.42, 4.06)  # of a busy machine: (0.05, 2.42) and a watch would be half a second late

    assert tries(refused(seen), ended=4.085).at == (0.05, 2.05, 4.06)
    assert tries(refused(seen), ended=4.085).fewest == 3
