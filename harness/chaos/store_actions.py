"""Actions around the outage of a store. As those of harness.chaos.actions, each fails when it hit nothing.

- type: action
  name: mongo goes away
  provider:
    type: python
    module: harness.chaos.store_actions
    func: begin_outage
    arguments: {store: mongo, kind: refused}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.chaos import goals, outages
from harness.chaos.clients import Ask, ask_of
from harness.chaos.current import stage
from harness.chaos.load import with_ballast
from harness.chaos.reading import Reading
from harness.chaos.sentences import in_sentences
from harness.chaos.supervision import Restarts
from harness.faults.victim import HarnessTrouble, UsageError

__all__ = [
    "ask",
    "ask_again",
    "begin_load",
    "begin_outage",
    "check_answers",
    "crash_services",
    "create",
    "cut",
    "end_load",
    "end_outage",
    "fill_disk",
    "free_disk",
    "outage_in_call",
    "reach_goal",
    "remove_group",
    "small_disk",
    "supervise",
    "wait_for_answers",
    "wait_for_cuts",
    "wait_for_knocks",
    "wait_for_load",
    "wait_until_refused",
    "wait_until_serving",
    "wait_until_up",
]


_FIRST: Mapping[str, Any] = {}  # after rsync's first effect


@in_sentences
def begin_outage(store: str, kind: str = "refused", source: str = "*") -> str:
    """Take mongo, etcd or both away: refused, reset or black-hole (its links), paused, crashed or volume-lost (itself).

    source: broken links of this service only. Marks the moment as `outage <store>`.
    """
    return outages.begin(stage(), store, kind, source=source)


@in_sentences
def outage_in_call(
    call: str, store: str, kind: str = "refused", moment: Mapping[str, Any] = _FIRST, limit: float = 100.0
) -> str:
    """Let a client make a call, and take a store away at an effect of a service during it.

    moment: {source: rsync, at: readystatus/, nth: 1, side: after}: after the first effect of rsync with this in its
            key; before: it does not reach the store. The client gives up after `limit` seconds; `wait_for_answers` has
            what it was told.
    """
    return outages.begin_in(stage(), call, store, kind, moment=outages.moment_of(moment), limit=float(limit))


@in_sentences
def crash_services() -> list[str]:
    """SIGKILL all services of EMCO that run; they stay down. Fails where none does."""
    here = stage()
    down = here.act(lambda campaign: campaign.disruptions.down())
    if not (running := [name for name in here.services if name not in down]):
        raise AssertionError("no service of EMCO runs: there is nothing to crash")
    return [f"{name}: {here.crash(name).describe()}" for name in running]


@in_sentences
def cut(source: str, store: str, sent: str, times: int = 1) -> str:
    r"""Let the next `times` connections be reset on which a service sends this text to a store; it does not arrive.

    sent: as it stands on the wire; `"\x02find\0"` is mongo's command find, a key is one of etcd. Undone by `heal`.
    """
    links = stage().cut(store, sent.encode("latin-1"), source=source, times=int(times))
    stage().mark(f"cut {store}")
    return f"{links} links to {store} will be cut where {source} sends {sent!r}, {times} times"


@in_sentences
def wait_for_cuts(store: str, times: int = 1, limit: float = 30.0) -> int:
    """Wait until so many connections to a store were cut since `cut`; how many. Fails when they were not."""
    here = stage()
    mark = here.marked(f"cut {store}")
    if here.within(lambda: here.cuts(store, since=mark) >= int(times), limit=float(limit)) is None:
        raise AssertionError(
            f"{here.cuts(store, since=mark)} of {times} connections to {store} were cut within {limit:g} s"
        )
    return here.cuts(store, since=mark)


@in_sentences
def supervise(services: Sequence[str] = (), backoff: float = 0.5, most: float = 5.0, limit: float = 60.0) -> list[str]:
    """Start services that are down (none named: all of them), and again whenever they end, as kubelet does.

    backoff, most: seconds until they are started again, at first and at last. `wait_until_up` has what came of it.
    """
    here = stage()
    down = here.act(lambda campaign: campaign.disruptions.down())
    names = tuple(services) or tuple(name for name in here.services if name in down)
    if not names:
        raise AssertionError("no service is down: there is nothing to start")
    if missing := [name for name in names if name not in down]:
        raise AssertionError(f"{missing[0]} is not down: there is nothing to start")
    here.mark("supervised")
    here.supervision.begin(names, Restarts(float(backoff), float(most)), limit=float(limit))
    return list(names)


@in_sentences
def wait_until_up(limit: float = 60.0) -> list[str]:
    """Wait until the supervised services answer; how long each took and how often it ended before."""
    here = stage()
    up = here.supervision.wait(limit=float(limit))
    for one in up:
        here.mark(f"{one.service} up")
    return [one.describe() for one in up]


@in_sentences
def reach_goal(group: str, limit: float = 30.0) -> str:
    """Bring a group to run: wait; where it says that it failed, or says nothing new, terminate and instantiate it.

    What it took: `by itself`, `instantiate again`, `said InstantiateFailed; terminate, instantiate`.
    """
    return goals.reach(stage(), group, limit=float(limit))


@in_sentences
def end_outage(store: str, after: float = 0.0, since: str = "") -> str:
    """Bring a store back `after` seconds from the beginning of its outage. Marks the moment as `back <store>`.

    since: a mark from which the seconds count instead, `supervised` say
    """
    return outages.end(stage(), store, after=float(after), since=since)


@in_sentences
def wait_for_knocks(target: str, since: str, times: int = 1, source: str = "*", limit: float = 30.0) -> int:
    """Wait until somebody tried to reach a target so often since a mark; how often. Fails when nobody did."""
    here = stage()
    mark = here.marked(since)

    def enough() -> int | None:
        seen = len(here.knocks(source=source, target=target, since=mark))
        return seen if seen >= int(times) else None

    return here.until(enough, limit=float(limit), what=f"{times} tries of {source} to reach {target}")


@in_sentences
def ask(requests: Sequence[Mapping[str, Any]], limit: float = 60.0) -> list[str]:
    """Let clients ask for something and go on; each gives up after `limit` seconds. Their names.

    requests: {call: instantiate-dig1} for a call of the workload, {group: dig1, verb: terminate} for one of a group, or
              {service, method, path, body} for any other
    """
    asks = [_ask(one) for one in requests]
    for one in asks:
        stage().clients.begin(one, limit=float(limit))
    return [one.name for one in asks]


def _ask(given: Mapping[str, Any]) -> Ask:
    if set(given) == {"call"}:
        return ask_of(stage().named(str(given["call"])))
    if set(given) == {"group", "verb"}:
        group = stage().groups.named(str(given["group"]))
        return Ask(group.service, "POST", f"/v2/{group.target}/{given['verb']}")
    if not {"service", "method", "path"} <= set(given) <= {"service", "method", "path", "body"}:
        kinds = "{call}, {group, verb} or {service, method, path, body}"
        raise UsageError(f"a request is {kinds}, not {dict(given)}")
    return Ask(str(given["service"]), str(given["method"]), str(given["path"]), given.get("body"))


@in_sentences
def wait_for_answers(limit: float = 90.0) -> list[str]:
    """Wait until the clients were answered or gave up; what each was told. Fails when that takes longer."""
    return [one.describe() for one in stage().clients.answers(limit=float(limit))]


@in_sentences
def check_answers() -> list[str]:
    """Compare what clients were told with what took place; what is not true, a sentence each.

    It does not fail, so that the experiment goes on; the probe `answers_are_true` says whether there is any.
    """
    return list(stage().clients.lies())


@in_sentences
def ask_again(limit: float = 30.0) -> list[str]:
    """Let the clients that were refused or heard nothing ask again, until it took place; what they were told last.

    Fails when something has not taken place after `limit` seconds, and where nobody was told anything before.
    """
    clients = stage().clients
    if not clients.asked:
        raise AssertionError("no client was told anything: there is nothing to ask for again")
    told = []
    for one in clients.asked:
        if one.told.kind == "acknowledged":
            continue
        last = clients.ask_until(one.ask, lambda now: _is_there(now.ask), limit=float(limit))
        told.append(last.describe())
        if not clients.took_place(one.ask):
            raise AssertionError(f"what was refused during the outage does not work after it: {last.describe()}")
    return told


def _is_there(ask: Ask) -> bool:
    """Whether it certainly is: an answer that tells nothing, as right after an outage, is no reason to stop asking."""
    try:
        return stage().clients.took_place(ask)
    except HarnessTrouble:
        return False


@in_sentences
def create(service: str, path: str, name: str, limit: float = 10.0) -> str:
    """Create something with nothing but a name; what the client was told. Fails when it is not acknowledged in time."""
    ask = Ask(service, "POST", path, {"metadata": {"name": name}})
    asked = stage().clients.ask_until(ask, lambda one: one.told.kind == "acknowledged", limit=float(limit))
    if asked.told.kind != "acknowledged":
        raise AssertionError(asked.describe())
    return asked.describe()


@in_sentences
def remove_group(group: str, limit: float = 10.0) -> str:
    """Take a group away altogether: terminate it, delete what stands below it, and itself; what it took.

    Fails with the last refusal when it is still there after that.
    """
    return goals.remove(stage(), group, limit=float(limit))


@in_sentences
def small_disk(store: str, megabytes: int) -> str:
    """Move a store to a volume of this size of its own; it is started again there. `make_whole` moves it back."""
    here = stage()
    here.act(lambda campaign: campaign.disruptions.shrink(store, int(megabytes)))
    here.mark(outages.ended_mark(store))
    return f"{store} has {megabytes} MB"


@in_sentences
def fill_disk(store: str) -> str:
    """Fill a store's small volume to the last byte."""
    return outages.full(stage(), store)


@in_sentences
def free_disk(store: str) -> str:
    """Give the space back and start the store again, as somebody does who finds its disk full."""
    return outages.freed(stage(), store)


@in_sentences
def wait_until_refused(store: str, limit: float = 60.0) -> str:
    """Wait until a client under load is refused with an error of the server, or with words of a disk that is full, or
    the store has ended; which. Fails when none of it happens: a name that is taken (409) has nothing to do with it."""
    here = stage()

    def noticed() -> str | None:
        since = here.marked(outages.began_mark(store)).at
        for one in tuple(here.load.asked):
            if one.began >= since and outages.blames_the_store(one.told):
                return one.describe()
        return f"{store} has ended" if store in here.act(lambda campaign: campaign.disruptions.down()) else None

    return here.until(noticed, limit=float(limit), what=f"that anybody notices the full disk of {store}")


@in_sentences
def begin_load(requests: Sequence[Mapping[str, Any]], clients: int = 1, ballast_kb: int = 1) -> list[str]:
    """Let clients ask for something again and again, so many for each request; names of what is created get numbers.

    requests: as for `ask`, where the text `ballast` stands for so many kilobytes
    """
    asks = tuple(with_ballast(_ask(one), int(ballast_kb) * 1024) for one in requests)
    stage().mark("load")
    stage().load.begin(asks, clients=int(clients))
    return [one.name for one in asks]


@in_sentences
def wait_for_load(acknowledged: int, limit: float = 60.0) -> int:
    """Wait until clients under load had so many more acknowledged; how many. Fails when they had not."""
    here = stage()
    since = here.mark("load counts").at

    def enough() -> int | None:
        found = here.load.acknowledged(since=since)
        return found if found >= int(acknowledged) else None

    return here.until(enough, limit=float(limit), what=f"{acknowledged} acknowledged requests under load")


@in_sentences
def end_load(limit: float = 60.0) -> str:
    """Let the clients under load stop after their present request; how many requests were acknowledged and refused.

    Fails where there is no load.
    """
    asked = stage().load.end(limit=float(limit))
    kinds = [one.told.kind for one in asked]
    return (
        f"{kinds.count('acknowledged')} acknowledged, {kinds.count('refused')} refused, {kinds.count('nothing')} open"
    )


@in_sentences
def wait_until_serving(store: str, limit: float = 30.0) -> float:
    """Wait until EMCO answers as the probe `emco_answers` wants it; seconds since the store came back.

    Fails with who does not answer within `limit` seconds, and, where etcd was away, when nothing of EMCO reads etcd.
    """
    here = stage()
    back = here.marked(outages.ended_mark(store)).at
    last = Reading((), ())

    def serves() -> bool:
        nonlocal last
        silent = here.silent()
        last = Reading((), silent) if silent else here.reading()
        return not last.silent

    if here.within(serves, limit=float(limit)) is None:
        raise AssertionError(f"not within {limit:g} s after {store} came back: {'; '.join(last.silent)}")
    if store != "mongo" and not last.read:
        raise AssertionError("no group and no logical cloud has a context: nothing shows whether EMCO can read etcd")
    return here.mark(f"serving after {store}").at - back
