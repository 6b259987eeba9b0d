"""The decoder of the MongoDB wire protocol, on messages made with pymongo's bson."""

import contextlib
import itertools
import struct
import zlib
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.wire.decoding import DecodeError
from harness.wire.effects import Effect
from harness.wire.mongo import MongoCodec


class Log:
    """A sink that remembers, and stops where it is told to."""

    def __init__(self, stop_at: str = "") -> None:
        self.effects: list[Effect] = []
        self.spans: list[tuple[int, int]] = []
        self.replies: list[tuple[int, bool | None]] = []
        self.idles = 0
        self.stop_at = stop_at

    def request(self, ident: int, effect: Effect, start: int, end: int, *, droppable: bool) -> bool:
        self.effects.append(effect)
        self.spans.append((start, end))
        return effect.op == self.stop_at

    def reply_begins(self, ident: int, start: int) -> bool:
        return False

    def reply(self, ident: int, *, ok: bool | None) -> None:
        self.replies.append((ident, ok))

    def idle(self) -> None:
        self.idles += 1


def op_msg(
    ident: int, body: dict[str, Any], reply_to: int = 0, flags: int = 0, **sequences: list[dict[str, Any]]
) -> bytes:
    sections = b"\0" + bson.encode(body)
    for name, documents in sequences.items():
        payload = name.encode() + b"\0" + b"".join(bson.encode(document) for document in documents)
        sections += b"\1" + struct.pack("<i", len(payload) + 4) + payload
    checksum = b"sum!" if flags & 1 else b""
    size = 20 + len(sections) + len(checksum)
    return struct.pack("<iiiiI", size, ident, reply_to, 2013, flags) + sections + checksum


def compressed(message: bytes, compressor: int = 2) -> bytes:
    size, ident, reply_to, opcode = struct.unpack_from("<iiii", message)
    body = struct.pack("<iiB", opcode, size - 16, compressor) + zlib.compress(message[16:])
    return struct.pack("<iiii", 16 + len(body), ident, reply_to, 2012) + body


def decoded(*messages: bytes) -> list[Effect]:
    log = Log()
    MongoCodec(log).client(b"".join(messages))
    return log.effects


def effect_of(body: dict[str, Any], flags: int = 0, **sequences: list[dict[str, Any]]) -> Effect:
    (effect,) = decoded(op_msg(1, {**body, "$db": "emco"}, 0, flags, **sequences))
    return effect


def test_find_and_modify() -> None:
    body = {
        "findAndModify": "resources",
        "query": {"project": "p", "n": 3, "big": 2**40, "x": 1.5, "key": {"$exists": True}, "gone": None},
        "update": {"$set": {"data.name": "x", "keyId": 1}, "$unset": {"old": ""}, "$inc": {"count": 1}},
    }
    key = (("big", str(2**40)), ("key.$exists", "true"), ("n", "3"), ("project", "p"), ("x", "1.5"))
    assert effect_of(body) == Effect("mongo", "findAndModify", "emco.resources", key, ("count", "data", "keyId", "old"))


def test_and_in_a_filter_makes_no_difference() -> None:
    plain = {"findAndModify": "r", "query": {"a": "1", "b": "2"}}
    parts = {"findAndModify": "r", "query": {"$and": [{"a": "1"}, {"$and": [{"b": "2"}]}]}}
    either = {"findAndModify": "r", "query": {"$or": [{"a": "1"}]}}
    assert effect_of(plain) == effect_of(parts)
    assert effect_of(either).key == (("$or.0.a", "1"),)


def test_statements_in_a_sequence_and_in_the_body_mean_the_same() -> None:
    statements = [{"q": {"a": "1"}, "u": {"$set": {"x": 1}}}, {"q": {"b": {"c": "2"}}, "u": {"y": 1, "_id": 4}}]
    expected = Effect("mongo", "update", "emco.resources", (("a", "1"), ("b.c", "2")), ("x", "y"))
    assert effect_of({"update": "resources"}, updates=statements) == expected
    assert effect_of({"update": "resources", "updates": statements}) == expected
    assert effect_of({"update": "resources"}, flags=1, updates=statements) == expected


def test_a_pipeline_as_update() -> None:
    stages = [{"$set": {"a.b": 1}}, {"$unset": ["c.d", "e"]}, {"$unset": "f"}]
    assert effect_of({"update": "r"}, updates=[{"q": {}, "u": stages}]).fields == ("a", "c", "e", "f")


def test_insert_delete_and_commands_without_a_collection() -> None:
    documents: list[dict[str, Any]] = [{"_id": bson.ObjectId(), "a": 1}, {"_id": "me", "b": "x" * 5000}]
    assert effect_of({"insert": "r"}, documents=documents) == Effect(
        "mongo", "insert", "emco.r", (("_id", "me"),), ("a", "b")
    )
    assert effect_of({"delete": "r"}, deletes=[{"q": {"k": "v"}, "limit": 0}]).key == (("k", "v"),)
    assert effect_of({"dropDatabase": 1}) == Effect("mongo", "dropDatabase", "emco", ())
    assert effect_of({"commandOfTomorrow": "r"}).op == "commandOfTomorrow"
    assert effect_of({"findandmodify": "r", "query": {}}).op == "findAndModify"


def test_aggregate_is_an_effect_only_when_it_writes() -> None:
    assert decoded(op_msg(1, {"aggregate": "r", "pipeline": [{"$match": {"$out": 1}}], "$db": "emco"})) == []
    assert effect_of({"aggregate": "r", "pipeline": [{"$match": {}}, {"$out": "copy"}]}).op == "aggregate"
    assert effect_of({"aggregate": "r", "pipeline": [{"$merge": {"into": "x"}}]}).op == "aggregate"


def test_reads_are_under_way_until_answered_but_a_monitor_never_is() -> None:
    log = Log()
    codec = MongoCodec(log)
    codec.client(op_msg(1, {"find": "r"}) + op_msg(2, {"hello": 1}) + op_msg(3, {"getMore": 1, "maxTimeMS": 9}))
    codec.client(op_msg(4, {"getMore": 1}) + op_msg(5, {"update": "r"}, flags=2, updates=[{"q": {"w": "0"}, "u": {}}]))
    assert list(codec.pending) == [1, 4]
    assert len(log.effects) == 1
    codec.server(op_msg(9, {"ok": 1.0, "cursor": "x" * 9000}, reply_to=1))
    assert log.idles == 0
    codec.server(op_msg(9, {"ok": 1.0}, reply_to=4))
    assert (codec.pending, log.idles, log.replies) == ({}, 1, [])


@pytest.mark.parametrize(
    "reply, ok",
    [
        ({"ok": 1.0}, True),
        ({"ok": 1}, True),
        ({"ok": True, "writeErrors": []}, True),
        ({"n": 0, "writeErrors": [{"code": 11000}], "ok": 1.0}, False),
        ({"ok": 0.0, "code": 26}, False),
    ],
)
@pytest.mark.parametrize("pack", [bytes, compressed])
def test_the_reply_says_whether_it_went_well(reply: dict[str, Any], ok: bool, pack: Any) -> None:
    log = Log()
    codec = MongoCodec(log)
    codec.client(pack(op_msg(7, {"drop": "r", "$db": "emco"})))
    codec.server(pack(op_msg(8, reply, reply_to=7)))
    assert log.replies == [(7, ok)]


def test_the_legacy_handshake_is_no_effect() -> None:
    query = struct.pack("<i", 0) + b"admin.$cmd\0" + struct.pack("<ii", 0, -1) + bson.encode({"isMaster": 1})
    log = Log()
    codec = MongoCodec(log)
    codec.client(struct.pack("<iiii", 16 + len(query), 1, 0, 2004) + query)
    reply = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode({"ok": 1.0})
    codec.server(struct.pack("<iiii", 16 + len(reply), 2, 1, 1) + reply)
    assert (log.effects, codec.pending) == ([], {})


@pytest.mark.parametrize(
    "nonsense",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack("<iiii", 5, 1, 0, 2013),
        struct.pack("<iiii", 16, 1, 0, 2013),
        struct.pack("<iiii", 30, 1, 0, 4711) + b"x" * 14,
        struct.pack("<iiiii", 30, 1, 0, 2013, 0) + b"\7" * 10,
        op_msg(1, {"drop": "r"}).replace(b"drop\0", b"dro\xff\0")[:-1] + b"\1",
        compressed(op_msg(1, {"drop": "r"}), 9),
        compressed(op_msg(1, {"drop": "r"}))[:-3] + b"abc",
    ],
)
def test_nonsense_is_refused(nonsense: bytes) -> None:
    with pytest.raises(DecodeError):
        MongoCodec(Log()).client(nonsense)


@given(st.binary(min_size=16, max_size=200))
def test_garbage_in_a_frame_never_fails_in_another_way(garbage: bytes) -> None:
    message = struct.pack("<iiiiI", 20 + len(garbage), 1, 0, 2013, 0) + garbage
    with contextlib.suppress(DecodeError):  # it may also be taken for a command
        MongoCodec(Log()).client(message)


CONVERSATION = [
    op_msg(1, {"ping": 1, "$db": "admin"}),
    op_msg(2, {"insert": "r", "$db": "emco"}, documents=[{"_id": "a", "v": "x" * 300}]),
    op_msg(3, {"find": "r", "filter": {"f": "y" * 400}, "$db": "emco"}),
    compressed(op_msg(4, {"delete": "r", "$db": "emco"}, deletes=[{"q": {"k": "v"}, "limit": 1}])),
    op_msg(5, {"findAndModify": "r", "query": {"p": "1"}, "update": {"$set": {"z": 1}}, "$db": "emco"}, flags=1),
    op_msg(6, {"count": "r", "$db": "emco"}),
]
REPLIES = [op_msg(90 + i, {"ok": 1.0, "filler": "z" * 50 * i}, reply_to=i) for i in range(1, 7)]


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(st.integers(0, 5000), max_size=30), st.lists(st.integers(0, 5000), max_size=30))
def test_any_split_of_the_stream_gives_the_same(up: list[int], down: list[int]) -> None:
    whole, split = Log(), Log()
    codec = MongoCodec(whole)
    codec.client(b"".join(CONVERSATION))
    codec.server(b"".join(REPLIES))
    pieces = MongoCodec(split)
    for piece in cut(b"".join(CONVERSATION), up):
        pieces.client(memoryview(piece))
    assert pieces.client_boundary() == sum(map(len, CONVERSATION))
    for piece in cut(b"".join(REPLIES), down):
        pieces.server(memoryview(piece))
    assert (split.effects, split.spans, split.replies) == (whole.effects, whole.spans, whole.replies)
    assert [effect.op for effect in whole.effects] == ["insert", "delete", "findAndModify"]
    assert whole.replies == [(2, True), (4, True), (5, True)]
    assert codec.pending == pieces.pending == {}
    for effect, (start, end) in zip(CONVERSATION[1::2], [whole.spans[0], whole.spans[1]], strict=False):
        assert end - start == len(effect)


@given(st.lists(st.integers(0, 5000), max_size=30))
def test_it_stops_behind_the_message_it_is_told_to_stop_at(cuts: list[int]) -> None:
    log = Log(stop_at="delete")
    codec = MongoCodec(log)
    for piece in cut(b"".join(CONVERSATION), cuts):
        codec.client(piece)
        if len(log.effects) == 2:
            break
    assert [effect.op for effect in log.effects] == ["insert", "delete"]
    assert log.spans[1] == (sum(map(len, CONVERSATION[:3])), sum(map(len, CONVERSATION[:4])))
    assert codec.client_boundary() == log.spans[1][1]
