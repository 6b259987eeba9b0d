"""What is read from a recording, on hand-written looks and effects."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from harness.chaos.recording import Recording
from harness.chaos.watching import Content, Seen
from harness.emco.status import GroupStatus
from harness.platforms.disruptions import Partition
from harness.wire.effects import Effect, Observation
from harness.wire.knocks import Knock

THERE, AWAY = {"ConfigMap/a": "1"}, dict[str, str]()
WANTED: Mapping[str, Content] = {"c1": THERE, "c2": THERE}
_Q = "AppContextEventQueue"
CONFIG_MAPS = "/api/v1/namespaces/n/configmaps"


def look(at: float, said: str, c2: Content = AWAY) -> Seen:
    return Seen(at, GroupStatus(said, "", {}, {}, ()), {"c1": THERE, "c2": c2})


def wrote(op: str, path: str, *, edge: str = "c2", ok: bool | None = True, name: str = "a") -> Observation:
    effect = Effect("edge", op, edge, (("path", path),), value=name)
    return Observation(0, "rsync", edge, effect, 1.0, 2.0, forwarded=True, ok=ok)


def recorded(
    *seen: Seen,
    effects: tuple[Observation, ...] = (),
    knocks: tuple[float, ...] = (),
    marks: Mapping[str, float] | None = None,
) -> Recording:
    return Recording(
        group="dig1",
        target="c2",
        how=Partition("refused", 1.0),
        edges=("c1", "c2"),
        marks={"partition c2": 0.0, "heal c2": 30.0, **(marks or {})},
        seen=seen or (look(0.0, ""),),
        knocks=tuple(Knock(at, "rsync", "c2", "connect") for at in knocks),
        effects=effects,
    )


@pytest.mark.parametrize(
    "seen, at",
    [
        # nothing is said yet, then that it is done, which it is not
        ([look(0.0, ""), look(1.0, "Instantiated"), look(9.0, "Instantiated", THERE)], 1.0),
        ([look(0.0, ""), look(1.0, "Instantiating"), look(2.0, "Instantiated"), look(9.0, "Instantiated", THERE)], 2.0),
        # EMCO did not answer for a moment
        ([look(0.0, "Instantiating"), look(1.0, ""), look(2.0, "Instantiated")], 2.0),
        ([look(0.0, ""), look(1.0, "Instantiating"), look(9.0, "Instantiated", THERE)], None),
        ([look(0.0, ""), look(1.0, "Instantiated", THERE)], None),
        # before an update EMCO says of the last call that it is done, and goes on to say so until rsync begins
        ([look(0.0, "Instantiated"), look(1.0, "Instantiating"), look(9.0, "Instantiated", THERE)], None),
        ([look(0.0, "Instantiated"), look(1.0, "Updating"), look(2.0, "Instantiated")], 2.0),
        ([look(0.0, "Instantiated"), look(1.0, ""), look(2.0, "Instantiated")], None),
    ],
)
def test_a_status_is_premature_where_the_edges_are_not_there_yet(seen: list[Seen], at: float | None) -> None:
    assert recorded(*seen).premature("Instantiated", lambda one: one.edges == WANTED) == at


def test_an_object_is_created_twice_where_both_posts_had_success() -> None:
    once = wrote("POST", CONFIG_MAPS)
    assert recorded(effects=(once, once)).created_twice() == (f"{CONFIG_MAPS}/a on c2: 2 times",)


@pytest.mark.parametrize(
    "second",
    [
        wrote("POST", "/apis/apps/v1/namespaces/n/deployments"),
        wrote("POST", CONFIG_MAPS, edge="c1"),
        wrote("POST", CONFIG_MAPS, ok=False),
        wrote("POST", CONFIG_MAPS, ok=None),
        wrote("PUT", CONFIG_MAPS),
        wrote("POST", CONFIG_MAPS, name="b"),  # two of one chart
    ],
)
def test_anything_else_is_no_second_creation(second: Observation) -> None:
    assert recorded(effects=(wrote("POST", CONFIG_MAPS), second)).created_twice() == ()


def test_where_no_name_is_told_two_of_a_kind_count_as_one() -> None:
    nameless = wrote("POST", CONFIG_MAPS, name="")
    assert recorded(effects=(nameless, nameless)).created_twice() == (f"{CONFIG_MAPS} on c2: 2 times",)


@pytest.mark.parametrize(
    "moments, proof",
    [
        ((1.0,), True),  # refused from 0 to 2 s, healthy to 4 s, refused to 6 s
        ((5.0,), True),
        ((3.0, 7.0, 11.0), False),
        ((1.9, 2.1), False),  # at the turn
    ],
)
def test_a_link_flaps_where_somebody_knocked_while_it_was_refused(moments: tuple[float, ...], *, proof: bool) -> None:
    flapping = replace(recorded(knocks=moments), how=Partition("flapping", 2.0))
    assert bool(flapping.proof()) == proof


@pytest.mark.parametrize(
    "moments, flaps, proof",
    [
        ((0.01, 0.4, 1.1, 2.42), 2.5, True),  # two of them are not a watch's
        ((0.01, 1.009, 2.9), 9.0, False),  # all may be a watch's
        ((0.01, 1.009, 2.9, 6.0, 8.0, 10.0), 5.0, False),  # tries, but after the link has begun to flap
        ((0.01, 0.4, 1.1, 2.42), None, False),  # it never did
        ((5.3, 5.6, 6.3, 7.7), 8.0, True),  # everything on a slow machine
    ],
)
def test_a_link_that_a_call_meets_flaps_where_tries_were_refused_first(
    moments: tuple[float, ...], flaps: float | None, *, proof: bool
) -> None:
    marks = {"held c2": 0.0, **({} if flaps is None else {"flaps c2": flaps})}
    seen = replace(recorded(knocks=moments, marks=marks), how=Partition("flapping", 2.3))
    assert bool(seen.proof()) == proof


def test_rsync_says_with_its_last_event_that_it_tries_no_more() -> None:
    def wrote_at(at: float, key: str) -> Observation:
        return replace(
            wrote("put", ""), target="etcd", requested=at, effect=Effect("etcd", "put", key, (("key", key),))
        )

    wrote_them = tuple(
        wrote_at(at, f"/context/1/rsync/{key}/") for at, key in ((1.0, _Q), (5.0, _Q), (6.0, "status"), (9.0, _Q))
    )
    assert recorded(effects=wrote_them).events_written(until=7.0) == 5.0
    assert recorded(effects=wrote_them).events_written(until=0.5) is None


def test_a_report_on_the_workload_may_be_made_again() -> None:
    report = wrote("POST", "/apis/k8splugin.io/v1alpha1/namespaces/n/resourcebundlestates")
    assert recorded(effects=(report, report)).created_twice() == ()


def test_tries_after_a_moment_end_at_another_one() -> None:
    rec = recorded(knocks=(0.1, 2.1, 4.1, 6.1, 8.1, 20.0, 22.0, 24.0))
    assert rec.tries_after("c2", 7.0, until=12.0) == 1
    assert rec.tries_after("c2", 9.0, until=12.0) == 0
    assert rec.tries_after("c2", 12.0) == 2  # the third may be a watch's
