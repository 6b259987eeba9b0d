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

from harness.chaos import outages
from harness.chaos.clients import Ask, ask_of, untrue
from harness.chaos.current import stage
from harness.chaos.sentences import in_sentences
from harness.faults.victim import UsageError

__all__ = [
    "ask",
    "ask_again",
    "begin_outage",
    "check_answers",
    "end_outage",
    "keep_snapshot",
    "wait_for_answers",
    "wait_until_serving",
]


@in_sentences
def begin_outage(store: str, kind: str = "refused", source: str = "*") -> str:
    """Take mongo or etcd away: refused, reset or black-hole (its links), paused, crashed or volume-lost (itself).

    source: broken links of this service only. Marks the moment as `outage <store>`.
    """
    return outages.begin(stage(), store, kind, source=source)


@in_sentences
def end_outage(store: str, after: float = 0.0) -> str:
    """Bring a store back `after` seconds from the beginning of its outage. Marks the moment as `back <store>`."""
    return outages.end(stage(), store, after=float(after))


@in_sentences
def ask(requests: Sequence[Mapping[str, Any]], limit: float = 60.0) -> list[str]:
    """Let clients ask for something and go on; each gives up after `limit` seconds. Their names.

    requests: {call: instantiate-dig1} for a call of the workload, or {service, method, path, body} for any other
    """
    asks = [_ask(one) for one in requests]
    for one in asks:
        stage().clients.begin(one, limit=float(limit))
    return [one.name for one in asks]


def _ask(given: Mapping[str, Any]) -> Ask:
    if set(given) == {"call"}:
        return ask_of(stage().named(str(given["call"])))
    if not {"service", "method", "path"} <= set(given) <= {"service", "method", "path", "body"}:
        raise UsageError(f"a request is {{call}} or {{service, method, path, body}}, not {dict(given)}")
    return Ask(str(given["service"]), str(given["method"]), str(given["path"]), given.get("body"))


@in_sentences
def wait_for_answers(limit: float = 90.0) -> list[str]:
    """Wait until the clients were answered or gave up; what each was told. Fails when that takes longer."""
    return [one.describe() for one in stage().clients.answers(limit=float(limit))]


@in_sentences
def check_answers() -> list[str]:
    """Compare what clients were told with what took place; what is not true, a sentence each."""
    clients = stage().clients
    there = {one.ask.name: clients.took_place(one.ask) for one in clients.asked}
    return list(untrue(clients.asked, there))


@in_sentences
def ask_again(limit: float = 30.0) -> list[str]:
    """Let the clients that were refused or heard nothing ask again, until it took place; what they were told last.

    Fails when something has not taken place after `limit` seconds.
    """
    clients = stage().clients
    told = []
    for one in clients.asked:
        if one.told.kind == "acknowledged":
            continue
        last = clients.ask_until(one.ask, lambda now: clients.took_place(now.ask), limit=float(limit))
        told.append(last.describe())
        if not clients.took_place(one.ask):
            raise AssertionError(f"what was refused during the outage does not work after it: {last.describe()}")
    return told


@in_sentences
def wait_until_serving(store: str, limit: float = 30.0) -> float:
    """Wait until every service answers a request of its own kind; seconds since the store came back.

    Fails with who does not answer within `limit` seconds.
    """
    here = stage()
    if here.within(lambda: not here.silent(), limit=float(limit)) is None:
        raise AssertionError(f"not within {limit:g} s after {store} came back: {'; '.join(here.silent())}")
    return here.mark(f"serving after {store}").at - here.marked(outages.ended_mark(store)).at


@in_sentences
def keep_snapshot(name: str) -> str:
    """Remember what stores and edges hold now, for assertions."""
    snapshot = stage().keep(name)
    documents = sum(len(found) for found in snapshot.mongo.values())
    return f"{documents} documents, {len(snapshot.etcd)} keys"
