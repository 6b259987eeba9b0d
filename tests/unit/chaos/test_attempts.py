"""How many tries knocks come to; the numbers are those of the real rsync."""

from collections.abc import Sequence

import pytest

from harness.chaos.attempts import Tries, beside_a_watch, bursts, evenly_spaced, goes_on, going_on, tried, tries
from harness.wire.knocks import Knock

# rsync asks every 2 s; beside that a watch waits longer each time.
REFUSED = (0.16, 0.16, 1.14, 2.17, 2.92, 4.17, 6.17, 7.21, 8.17, 10.18, 12.18, 14.18)


def refused(moments: Sequence[float]) -> list[Knock]:
    return [Knock(at, "rsync", "p1+c2", "connect") for at in moments]


def asked(moments: Sequence[float], what: str) -> list[Knock]:
    return [Knock(at, "rsync", "p1+c2", "connect", what) for at in moments]


def test_where_nothing_can_be_asked_tries_are_evenly_spaced() -> None:
    seen = tries(refused(REFUSED))
    assert seen == Tries((0.16, 2.17, 4.17, 6.17, 8.17, 10.18, 12.18, 14.18), 4)
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
    assert tries(refused([0.0, 0.86, 3.88, 8.59, 17.43, 35.75])) == Tries((), 6)


def test_knocks_of_a_watch_halfway_between_tries_are_none() -> None:
    assert tries(refused([0.0, 0.0, 1.07, 2.1, 3.2, 4.2])) == Tries((0.0, 2.1, 4.2), 3)


def test_few_knocks_are_all_tries() -> None:
    assert tries(refused([0.1, 0.1, 0.11])) == Tries((0.1,), 2)
    assert tries([]) == Tries((), 0)
    assert Tries((), 0).period == 0.0


@pytest.mark.parametrize("late", [0.0, 0.1, -0.1])
def test_a_try_may_be_a_little_late(late: float) -> None:
    assert evenly_spaced([0.0, 2.0, 4.0 + late, 6.0]) == (0.0, 2.0, 4.0 + late, 6.0)


def test_bursts_begin_after_a_pause() -> None:
    assert bursts([3.0, 0.0, 0.5, 1.0], pause=1.5) == (0.0, 3.0)
    assert bursts([], pause=1.0) == ()


def test_whether_tries_go_on_after_a_moment() -> None:
    before = tries(refused([at for at in REFUSED if at < 6.5]))
    assert goes_on(before, refused(REFUSED), after=6.5) == 4
    assert goes_on(before, refused([at for at in REFUSED if at < 6.5] + [7.21, 12.9]), after=6.5) == 0


@pytest.mark.parametrize(
    "later, number",
    [
        ([10.1, 12.1, 14.1, 16.1], 4),  # one did not come
        ([8.7, 10.7, 12.7], 3),  # one was late
        ([9.0, 12.0, 15.0, 18.0], 4),  # slower
        ([10.1, 12.1], 0),  # so few may be a watch's
        ([7.4, 8.3, 11.3, 16.0, 24.9], 0),  # a watch
    ],
)
def test_tries_go_on_where_they_are_out_of_step(later: list[float], number: int) -> None:
    before = [0.1, 2.1, 4.1, 6.1]
    assert goes_on(tries(refused(before)), refused([*before, *later]), after=7.0) == number


def test_whether_they_go_on_is_told_by_the_request_where_it_is_seen() -> None:
    before = asked([0.1, 1.1, 12.1], "GET /version")
    watch = asked([14.0, 16.0, 18.0], "GET /apis/x")
    assert goes_on(tries(before), [*before, *watch], after=13.0) == 0
    assert goes_on(tries(before), [*before, *asked([14.2, 17.0], "GET /version")], after=13.0) == 2


def test_three_tries_as_far_apart_as_those_of_rsync_count_however_much_a_watch_knocks() -> None:
    watch = (0.3, 1.1, 2.7, 4.9)
    assert evenly_spaced(sorted((0.0, 2.1, 4.0, *watch))) == (0.0, 2.1, 4.0)
    assert evenly_spaced((0.0, 0.4, 1.4, 2.8, 3.3, 5.0)) == ()


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
    "moments, tries",
    [
        # measured in a black hole on a busy machine: tries and a watch, which wait 30 s each
        ((1.2, 1.3, 32.3, 33.5, 64.1, 66.5), (1.3, 33.5, 66.5)),
        ((1.2, 32.3, 64.1), ()),  # one of the two alone
        ((), ()),
    ],
)
def test_what_a_watch_cannot_have_made_are_tries(moments: tuple[float, ...], tries: tuple[float, ...]) -> None:
    assert beside_a_watch(moments, lasts=29.0) == tries
