"""Actions of Chaos Toolkit on an EMCO. Each fails when it hit nothing.

- type: action
  name: the edge goes away
  provider:
    type: python
    module: harness.chaos.actions
    func: partition
    arguments: {target: p1+c2, kind: black-hole}
"""

from typing import Any, Literal

from harness.background import inject_here
from harness.chaos.current import is_set, stage
from harness.chaos.probes import changed_since
from harness.chaos.sentences import NO_REST, in_sentences
from harness.crashpoints.model import CrashPoint, Fault
from harness.faults.victim import ServiceDown
from harness.platforms.disruptions import Partition, Volume

__all__ = [
    "attempt",
    "begin_overlap",
    "between_tries",
    "bring_up",
    "call",
    "call_until_acknowledged",
    "check_time",
    "check_unchanged",
    "crash",
    "end_overlap",
    "heal",
    "hold",
    "inject",
    "lifecycle",
    "make_whole",
    "mark",
    "meanwhile",
    "partition",
    "pause",
    "remember",
    "request",
    "resume",
    "run_workload",
    "start",
    "stop",
    "wait_for_context",
    "wait_for_goal",
    "wait_for_rest",
    "wait_for_tries",
    "wait_until_on",
    "wait_until_ready",
    "watch",
    "wipe",
]


@in_sentences
def run_workload(until: str = "", since: str = "") -> list[str]:
    """Make the workload's calls up to and with `until`, from after `since`; each must be acknowledged. Their names.

    A call is named as in `emco-chaos points`, or by the end of that name: `instantiate-dig1`.
    """
    return [made.call for made in stage().run(until=until, since=since)]


@in_sentences
def call(
    name: str,
    wait: bool = True,  # noqa: FBT001, FBT002  arguments of YAML
    expect: Literal["", "acknowledged", "refused"] = "",
) -> dict[str, Any]:
    """Make one call of the workload, once. wait: for its answer, at most 60 s. expect: acknowledged or refused."""
    if not wait:
        return {"call": stage().begin(name).name}
    made = stage().call(name)
    if expect and made.told.kind != expect:
        raise AssertionError(f"{made.call} was {made.told.kind} ({made.told.status}), not {expect}: {made.told.body}")
    return {"call": made.call, "status": made.told.status, "body": made.told.body, "seconds": made.ended - made.began}


@in_sentences
def call_until_acknowledged(name: str, limit: float = 10.0) -> int:
    """Make a call again and again until it is acknowledged; how often. Fails with the last answer after `limit` s."""
    here = stage()
    made: list[Any] = []

    def acknowledged() -> bool:
        made.append(here.call(name))
        return bool(made[-1].told.kind == "acknowledged")

    if here.within(acknowledged, limit=float(limit)) is None:
        told = made[-1].told
        raise AssertionError(f"{name} was answered {told.status or 'nothing'} for {limit:g} s: {told.body.strip()}")
    return len(made)


@in_sentences
def attempt(calls: list[str] | None = None, since: str = "") -> list[str]:
    """Make calls of the workload, once each, whatever they are answered: those named, or all after `since`.

    After each one EMCO gets the time to come to rest, and goes on without it. A line for each: name and status.
    """
    names = list(calls) if calls else stage().after(since)
    told = []
    for name in names:
        made = stage().call(name)
        stage().at_rest()
        told.append(f"{made.call.rsplit('/', 1)[-1]} {made.told.status or 'no answer'}")
    return told


@in_sentences
def request(service: str, method: str, path: str, body: Any = None, expect: int = 0) -> dict[str, Any]:
    """Send any request to a service, once. expect: the status; 0 takes any."""
    answer = stage().request(service, method, path, body)
    if expect and answer.status != expect:
        raise AssertionError(f"{method} {path} was answered {answer.status}, not {expect}: {answer.text.strip()[:300]}")
    return {"status": answer.status, "body": answer.text}


@in_sentences
def crash(name: str, volume: Volume = "kept") -> str:
    """SIGKILL a service (`rsync`) or a store (`mongo`, `etcd`); it stays down. volume: `lost` takes its data, too."""
    return stage().crash(name, volume=volume).describe()


@in_sentences
def stop(name: str) -> str:
    """End a service or a store. EMCO drains nothing when it is asked to end, so this is a SIGKILL as well."""
    return stage().crash(name).describe()


@in_sentences
def start(name: str) -> str:
    """Start a service or a store that is down and wait until it answers."""
    stage().start(name)
    return f"{name} answers"


@in_sentences
def begin_overlap(name: str) -> str:
    """Start a second instance of a service beside the one at work, as where a pod is evicted: the older one goes on
    with what it has in hand and with its connections, new ones are led to the newer one. Marks the moment."""
    told = stage().begin_overlap(name)
    stage().mark(f"two {name}")
    return told


@in_sentences
def end_overlap(name: str) -> str:
    """SIGKILL the older of two instances. Fails where there are no two."""
    told = stage().end_overlap(name).describe()
    stage().mark(f"one {name}")
    return f"the older {told}"


@in_sentences
def pause(name: str) -> str:
    """Stop a service or a store from running, without ending it: it is there and answers nothing."""
    stage().pause(name)
    return f"{name} is paused"


@in_sentences
def resume(name: str) -> str:
    """Let it run again; marks the moment."""
    stage().mark(f"resume {name}")
    stage().resume(name)
    return f"{name} runs"


@in_sentences
def inject(
    call: str,
    effect: str,
    side: Literal["before", "after"] = "after",
    fault: Fault = "crash",
    occurrence: int = 1,
    victim: str = "",
) -> str:
    """Make a call and, at one of its effects, crash the called service (it stays down) or hang up as its client.

    effect: as in a crash point's id, such as `mongo.stateInfo`, or `answer`. Fails when that is not proven.
    victim: a service that works beside the call, such as rsync, at an effect of its own; it is crashed instead
    """
    known = stage().named(call)
    point = CrashPoint(known.name, known.service, side, effect, int(occurrence), 0, fault, victim)
    injected = stage().act(lambda campaign: inject_here(campaign, point))
    return injected.proof.how


@in_sentences
def partition(
    target: str,
    kind: str = "refused",
    source: str = "*",
    seconds: float = 1.0,
    held: bool = False,  # noqa: FBT001, FBT002  arguments of YAML
) -> str:
    """Break the links to an edge (`p1+c1`), a store or a service; source: of one service only (`rsync`).

    kind: refused, reset, black-hole, silent, one-way, slow or flapping; seconds: delay or period of the last two;
    held: what flaps does so only when `hold` has seen it tried, and is refused until then.
    """
    links = stage().partition(target, Partition(kind, float(seconds)), source=source, held=held)
    stage().mark(f"partition {target}")
    return f"{links} links to {target} are broken: {kind}"


@in_sentences
def heal(target: str = "*", source: str = "*") -> str:
    """Make broken links healthy again. Fails when none was broken."""
    stage().mark(f"heal {target}")  # before: what waited for it arrives at once
    links = stage().heal(target, source=source)
    if not links:
        raise AssertionError(f"no link to {target} was broken")
    return f"{links} links to {target} are healthy"


@in_sentences
def wipe() -> list[str]:
    """Destroy services, stores and volumes of EMCO, as deleting its namespace does. Edges stay."""
    stage().mark("wiping")
    destroyed = stage().wipe()
    stage().mark("wipe")
    return list(destroyed)


@in_sentences
def bring_up(services: bool = True, even_if_it_fails: bool = False) -> str:  # noqa: FBT001, FBT002  arguments of YAML
    """Start the stores that are down, empty when they lost their volume, and the services.

    even_if_it_fails: a service that does not start is an answer, too: why it does not
    """
    try:
        stage().bring_up(services=services)
    except ServiceDown as down:
        if not even_if_it_fails:
            raise
        return f"{down}: {down.log.strip().splitlines()[-1] if down.log.strip() else 'no log'}"
    stage().mark("up")
    return "EMCO is up" if services else "the stores are up"


@in_sentences
def remember(name: str) -> str:
    """Take a snapshot of stores and edges, for probes and assertions that compare with it."""
    snapshot = stage().remember(name)
    return f"{sum(map(len, snapshot.mongo.values()))} documents and {len(snapshot.etcd)} keys"


@in_sentences
def check_time(since: str, limit: float) -> float:
    """Seconds since a mark. Fails when they are more than `limit`."""
    seconds = stage().since(since)
    if seconds > float(limit):
        raise AssertionError(f"{seconds:.1f} s since {since!r}, more than {float(limit):g} s")
    return seconds


@in_sentences
def check_unchanged(since: str, within: str = "", or_as_in: str = "") -> str:
    """Fail when something is not as in a snapshot that was remembered, or in a backup.

    within: mongo, etcd or edge, for that alone;  or_as_in: another snapshot that it may be as instead
    """
    if not (changed := changed_since(since, within)):
        return f"everything is as in {since!r}"
    if or_as_in and not changed_since(or_as_in, within):
        return f"everything is as in {or_as_in!r}"
    raise AssertionError(f"{len(changed)} places are not as in {since!r}: {'; '.join(changed[:5])}")


@in_sentences
def make_whole() -> list[str]:
    """For rollbacks: heal every link, resume and start whatever is not running. Does nothing where nothing is wrong,
    nor where the experiment did not get as far as an EMCO."""
    if not is_set():
        return []
    return list(stage().make_whole())


@in_sentences
def mark(name: str) -> str:
    """Remember this moment, for probes and assertions that count from it."""
    stage().mark(name)
    return name


@in_sentences
def wait_for_rest() -> str:
    """Wait until EMCO is at rest: no effect, no request under way, nothing pending. Fails with why it does not."""
    if why := stage().at_rest():
        raise AssertionError(f"{NO_REST}: {why}")
    return "at rest"


@in_sentences
def wait_for_tries(target: str, since: str, times: int, limit: float = 60.0) -> int:
    """Wait until rsync tried to reach an edge so often since a mark; how often. Fails when it does not."""
    return stage().wait_for_tries(target, since=since, times=int(times), limit=float(limit))


@in_sentences
def hold(target: str, since: str, tries: int = 0, seconds: float = 30.0, group: str = "", goal: str = "") -> str:
    """How long a fault lasts: until rsync tried an edge so often, `seconds` are over, or a watched group is at a goal.

    What ended it; it does not fail. tries: 0 for any number; goal: as in wait_for_goal.
    """
    return stage().hold(target, since=since, tries=int(tries), seconds=float(seconds), group=group, goal=goal)


@in_sentences
def between_tries(target: str, since: str, share: float = 0.5) -> str:
    """Wait until rsync is between two tries to reach an edge: `share` of the time between them after the next one.

    The tries are those since a mark; where there are none it ends at once. With it, what is done next comes in the same
    order in every run.
    """
    return stage().between_tries(target, since=since, share=float(share))


@in_sentences
def lifecycle(group: str, verb: str, expect: int = 0) -> dict[str, Any]:
    """POST one of a group's lifecycle calls, `stop` or `terminate`, once. expect: the status; 0 takes any."""
    answer = stage().lifecycle(group, verb)
    if expect and answer.status != expect:
        raise AssertionError(
            f"{verb} of {group} was answered {answer.status}, not {expect}: {answer.text.strip()[:300]}"
        )
    return {"status": answer.status, "body": answer.text.strip()}


@in_sentences
def meanwhile(group: str, what: Literal["nothing", "stop", "terminate", "restart-rsync"] = "nothing") -> str:
    """For experiments that differ in one step only: stop or terminate the group, restart rsync, or do nothing; marks
    the moment.

    Its own mark is `meanwhile`, whatever is done.
    """
    stage().mark("meanwhile")
    if what in ("stop", "terminate"):
        return f"{what} was answered {lifecycle(group, what, expect=202)['status']}"
    stage().mark(what)
    if what == "restart-rsync":
        death = crash("rsync")
        start("rsync")
        return f"{death}; rsync answers again"
    return "nothing"


@in_sentences
def wait_for_context(group: str, status: str, limit: float = 30.0) -> str:
    """Wait until EMCO gives a group's AppContext a status, `InstantiateFailed`. Fails with what it has in `limit` s."""
    here = stage()
    if here.within(lambda: here.groups.status(group).deployed == status, limit=float(limit)) is None:
        raise AssertionError(
            f"the AppContext of {group} is {here.groups.status(group).deployed or 'nothing'}, not {status}"
        )
    here.mark(f"{status} {group}")
    return f"{group} is {status}"


@in_sentences
def watch(group: str) -> str:
    """Keep what EMCO says of a group, and what the edges hold, from now on."""
    stage().groups.watch(group)
    return f"{group} is watched"


@in_sentences
def wait_for_goal(group: str, goal: str, limit: float = 30.0) -> str:
    """Wait until a watched group is `running`, `changed` or `gone`, and stays so for longer than rsync waits between
    two tries. Fails with what is missing after `limit` s."""
    stage().wait_for_goal(group, goal, limit=float(limit))
    return f"{group} is {goal}"


@in_sentences
def wait_until_ready(group: str, limit: float = 30.0) -> str:
    """Wait until a group's workload runs, by EMCO's word and by the edges'. Fails with why it does not in `limit` s."""
    stage().groups.wait_until_ready(group, limit=float(limit))
    stage().mark(f"ready {group}")
    return f"{group} is ready"


@in_sentences
def wait_until_on(group: str, edge: str, limit: float = 30.0) -> str:
    """Wait until one edge has all of a group, reports included, whatever others lack. Fails with what it lacks."""
    stage().groups.wait_until_on(group, edge, limit=float(limit))
    return f"{edge} has all of {group}"
