"""The reference's answers and effects are those that were recorded on the real services, call by call."""

import asyncio
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from harness.wire.effects import Observation

from . import bench

TRACES = json.loads((Path(__file__).parent / "traces.json").read_text())
FILES = {
    "cluster": ({"metadata": {"name": "c1"}}, lambda b: b.kubeconfig()),
    "app": ({"metadata": {"name": "app1"}}, lambda _: bench.chart()),
    "profile": ({"metadata": {"name": "prof1"}, "spec": {"app": "app1"}}, lambda _: bench.profile()),
}
_ID = re.compile(r"^/(?:active)?context/(\d+)/")


def test_answers_and_effects_are_those_of_the_traces() -> None:
    asyncio.run(_replay())


async def _replay() -> None:
    async with bench.running(defects="faithful", monitor=False) as running:
        await running.wait_schema()
        await running.quiet()
        for call in TRACES["calls"]:
            await _one(running, call)
            if call["step"] == "instantiate":
                await _compare_state(running)
        assert running.relay.problems == []


async def _one(running: bench.Bench, call: dict[str, Any]) -> None:
    body, file, reply = call["body"], None, call["reply"]
    if call["step"] in FILES:
        body, content = FILES[call["step"]]
        file = content(running)  # type: ignore[no-untyped-call]  # a table of two kinds of functions
    if call["step"] == "ctl-rsync":
        body = {**body, "spec": {"host": running.address(41), "port": 9031}}
        reply = {**reply, "spec": {**reply["spec"], "host": running.address(41)}}
    began = running.relay.seq()
    answer = await running.call(call["service"], call["method"], call["path"], body, file=file)
    await running.quiet()
    assert answer.status == call["status"], (call["step"], answer)
    told = answer.json if isinstance(reply, dict) else answer.text.strip()
    assert told == (reply or ""), call["step"]
    seen = [_seen(item) for item in running.relay.since(began) if item.effect.store in ("mongo", "etcd")]
    _compare_effects(call, _masked(seen), [_recorded(effect) for effect in call["effects"]])


def _compare_effects(call: dict[str, Any], seen: list[Any], recorded: list[Any]) -> None:
    called = call["service"]
    assert [item for item in seen if item[0] == called] == [item for item in recorded if item[0] == called], call[
        "step"
    ]
    assert Counter(item for item in seen) == Counter(item for item in recorded), call["step"]


def _seen(item: Observation) -> tuple[str, ...]:
    effect = item.effect
    if effect.store == "etcd":
        return (item.source, effect.op, dict(effect.key)["key"])
    # The recordings have no keys of updates and deletes, and none of the name of the key.
    fields = {name.rsplit(".", 1)[-1]: value for name, value in effect.key if "keyId" not in name}
    key = json.dumps(fields if effect.op == "findAndModify" else {}, sort_keys=True)
    return (item.source, effect.op, key, ",".join(effect.fields) if effect.op == "findAndModify" else "")


def _recorded(effect: dict[str, Any]) -> tuple[str, ...]:
    if effect["store"] == "etcd":
        return (effect["service"], effect["op"], re.sub("<context-\\d>", "<context>", effect["key"]))
    return (
        effect["service"],
        effect["op"],
        json.dumps(effect["key"], sort_keys=True),
        ",".join(effect.get("sets", ())),
    )


def _masked(seen: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [tuple(re.sub(r"^(/(?:active)?context/)\d+/", r"\1<context>/", part) for part in item) for item in seen]


async def _compare_state(running: bench.Bench) -> None:
    """Documents and keys are those that were recorded, apart from ids, times and what was shortened."""
    recorded = TRACES["state_after_instantiate"]
    documents = {_name(item): _plain(item) for item in await running.documents() if "SegmentId" not in item}
    expected = {_name(item): _plain(item) for item in recorded["mongo"] if "SegmentId" not in item}
    for item in (documents, expected):
        controller = item["{controller,controllerGroup} rsync/orchestrator"]
        controller["data"]["spec"]["host"] = ""
    assert documents == expected
    keys = await running.keys()
    assert _by_suffix(keys) == _by_suffix({key: _loaded(value) for key, value in recorded["etcd"].items()})


def _name(document: dict[str, Any]) -> str:
    names = document["keyId"].strip("{}").split(",")
    return f"{document['keyId']} {'/'.join(document[name] for name in names)}"


def _plain(value: Any, name: str = "") -> Any:
    if name in ("timestamp", "contextid", "statuscontextid", "config", "keyvalue", "filecontent", "profile"):
        return bool(value) if not isinstance(value, dict) else {key: bool(item) for key, item in value.items()}
    if isinstance(value, dict):
        return {key: _plain(item, key) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _by_suffix(keys: dict[str, Any]) -> Counter[tuple[str, str]]:
    ids = {found[1] for key in keys if (found := _ID.match(key))}
    masked = Counter[tuple[str, str]]()
    for key, value in keys.items():
        text = json.dumps(value, sort_keys=True)
        for number in ids:
            text = text.replace(number, "<id>")
        name = _ID.sub(lambda found: found[0].replace(found[1], "<id>"), key)
        shortened = name.endswith(("/meta/", "+Deployment/"))
        masked[(name, "" if shortened else text)] += 1
    return masked


def _loaded(value: str) -> Any:
    return value if value.startswith("<") else json.loads(value)
