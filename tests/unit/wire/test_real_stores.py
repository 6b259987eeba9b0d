"""The relay between real clients and real stores: SecantusDB and etcd, where their programs are installed."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpclib.client
import grpclib.const
import grpclib.exceptions
import pymongo
import pymongo.errors
import pytest
from grpclib.encoding.base import CodecBase

from harness.wire.effects import Effect
from harness.wire.links import Link, RelayError
from harness.wire.relay import Relay
from harness.wire.triggers import Trigger

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


def program(name: str) -> str:
    path = Path(sys.executable).parent / name
    if not path.exists():
        pytest.skip(f"{name} is not installed beside {sys.executable}")
    return str(path)


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        assert process.poll() is None, f"it ended with {process.returncode}"
        with socket.socket() as sock:
            if sock.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("it did not listen within 30 s")


def running(command: list[str], port: int) -> Iterator[int]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield port
        finally:
            process.kill()


@pytest.fixture(scope="module")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    storage = str(tmp_path_factory.mktemp("mongo"))
    options = ["--standalone", "--sync-on-commit", "--cache-size", "64M"]
    yield from running(
        [program("secantusd-py"), "--host", HOST, "--port", str(port), "--storage-path", storage, *options], port
    )


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port, peers = free_port(), free_port()
    client, peer = f"http://{HOST}:{port}", f"http://{HOST}:{peers}"
    command = [program("etcd"), "--data-dir", str(tmp_path_factory.mktemp("etcd")), "--log-level", "error"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
    command += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    yield from running(command, port)


def field(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


class Raw(CodecBase):
    """A codec for grpclib that leaves messages alone."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, _message_type: Any) -> bytes:
        return message

    def decode(self, data: bytes, _message_type: Any) -> bytes:
        return data


async def call(channel: grpclib.client.Channel, method: str, message: bytes, seconds: float = 10) -> bytes:
    async with channel.request(
        f"/etcdserverpb.{method}", grpclib.const.Cardinality.UNARY_UNARY, bytes, bytes, timeout=seconds
    ) as stream:
        await stream.send_message(message, end=True)
        reply = await stream.recv_message()
        assert reply is not None
        return reply


def with_etcd(port: int) -> grpclib.client.Channel:
    return grpclib.client.Channel(HOST, port, codec=Raw())


def with_mongo(port: int) -> "pymongo.MongoClient[dict[str, Any]]":
    return pymongo.MongoClient(
        HOST, port, directConnection=True, retryWrites=False, socketTimeoutMS=1500, serverSelectionTimeoutMS=5000
    )


def upsert(port: int, name: str) -> None:
    with with_mongo(port) as client:
        client.emco.resources.find_one_and_update({"project": name}, {"$set": {"data.x": 1, "keyId": "k"}}, upsert=True)


VICTIM = """
import sys, pymongo
client = pymongo.MongoClient("127.0.0.1", int(sys.argv[1]), directConnection=True)
client.emco.resources.find_one_and_update({"project": sys.argv[2]}, {"$set": {"x": 1}}, upsert=True)
print("answered", flush=True)
"""


def stored(port: int, name: str) -> int:
    with with_mongo(port) as client:
        return client.emco.resources.count_documents({"project": name})


def of(op: str) -> Callable[[Effect], bool]:
    return lambda effect: effect.op == op


async def test_a_find_and_modify_is_seen_with_its_key_and_fields(mongo: int) -> None:
    link = Link("dcm", "mongo", "mongo", (HOST, 0), (HOST, mongo))
    async with Relay() as relay:
        await relay.open(link)
        await asyncio.to_thread(upsert, relay.address(link)[1], "seen")
        (seen,) = relay.since(0)
        assert seen.effect == Effect(
            "mongo", "findAndModify", "emco.resources", (("project", "seen"),), ("data", "keyId")
        )
        assert (seen.source, seen.target, seen.forwarded, seen.ok) == ("dcm", "mongo", True, True)
        assert seen.answered is not None
        assert relay.problems == []


@pytest.mark.parametrize("side, expected", [("before", 0), ("after", 1)])
async def test_mongo_is_stopped_at_the_boundary(mongo: int, side: Any, expected: int) -> None:
    link = Link("dcm", "mongo", "mongo", (HOST, 0), (HOST, mongo))
    async with Relay() as relay:
        await relay.open(link)
        armed = relay.arm(Trigger("dcm", side, of("findAndModify")))
        victim = await asyncio.create_subprocess_exec(
            sys.executable, "-c", VICTIM, str(relay.address(link)[1]), side, stdout=subprocess.PIPE
        )
        hit = await asyncio.wait_for(armed.hit, 20)
        assert hit.effect.key == (("project", side),)
        assert await asyncio.to_thread(stored, mongo, side) == expected
        victim.kill()
        told, _ = await victim.communicate()
        assert told == b""  # it never saw the reply
        total, gone = await relay.ended("dcm", limit=5)
        assert total == gone >= 1
        relay.drop("dcm")
        assert relay.history[hit.seq].forwarded is (side == "after")
        assert await asyncio.to_thread(stored, mongo, side) == expected
        await asyncio.to_thread(upsert, relay.address(link)[1], side + "again")
        assert relay.under_way() == 0


@pytest.mark.parametrize("side, expected", [("before", b""), ("after", b"value")])
async def test_etcd_is_stopped_at_the_boundary(etcd: int, side: Any, expected: bytes) -> None:
    link = Link("rsync", "etcd", "etcd", (HOST, 0), (HOST, etcd))
    async with Relay() as relay:
        await relay.open(link)
        key = f"/context/{side}/".encode()
        through, direct = with_etcd(relay.address(link)[1]), with_etcd(etcd)
        try:
            await call(through, "KV/Range", field(1, key))
            armed = relay.arm(Trigger("rsync", side, of("Put")))
            put = asyncio.create_task(call(through, "KV/Put", field(1, key) + field(2, b"value"), seconds=1.5))
            hit = await asyncio.wait_for(armed.hit, 5)
            assert hit.effect == Effect("etcd", "Put", "", (("key", key.decode()),))
            assert expected in await call(direct, "KV/Range", field(1, key))
            assert not put.done()
            with pytest.raises(asyncio.TimeoutError):
                await put
            assert await relay.gave_up("rsync", 5)
            relay.release("rsync", drop_held=True)
            await call(through, "KV/Put", field(1, b"/next/") + field(2, b"v"))  # the connection has survived
            found = await call(direct, "KV/Range", field(1, key))
            assert (b"value" in found) == (expected != b"")
        finally:
            through.close()
            direct.close()
        assert relay.problems == []
        assert [seen.effect.key for seen in relay.history] == [(("key", key.decode()),), (("key", "/next/"),)]
        assert relay.history[0].forwarded is (side == "after")


def find(port: int, name: str, **options: Any) -> Any:
    with pymongo.MongoClient(HOST, port, directConnection=True, **options) as client:
        return client.emco.resources.find_one({"project": name})


@pytest.mark.parametrize("side, expected", [("before", 0), ("after", 1)])
async def test_a_reset_at_the_boundary_takes_the_request_or_the_reply(mongo: int, side: Any, expected: int) -> None:
    link = Link("dcm", "mongo", "mongo", (HOST, 0), (HOST, mongo))
    async with Relay() as relay:
        await relay.open(link)
        port, name = relay.address(link)[1], f"reset-{side}"
        armed = relay.arm(Trigger("dcm", side, of("findAndModify")))
        write = asyncio.create_task(asyncio.to_thread(upsert, port, name))
        hit = await asyncio.wait_for(armed.hit, 20)
        relay.reset_held("dcm")
        with pytest.raises(pymongo.errors.AutoReconnect):
            await write
        assert await asyncio.to_thread(stored, mongo, name) == expected
        assert relay.history[hit.seq].forwarded is (side == "after")
        await asyncio.to_thread(upsert, port, name)  # other connections are let through
        assert relay.problems == []


async def test_mongo_refuses_a_held_write_in_its_own_words(mongo: int) -> None:
    link = Link("dcm", "mongo", "mongo", (HOST, 0), (HOST, mongo))
    async with Relay() as relay:
        await relay.open(link)
        port = relay.address(link)[1]
        armed = relay.arm(Trigger("dcm", "before", of("findAndModify")))
        write = asyncio.create_task(asyncio.to_thread(upsert, port, "refused"))
        hit = await asyncio.wait_for(armed.hit, 20)
        assert await relay.refuse_held("dcm")
        with pytest.raises(pymongo.errors.PyMongoError, match="interrupted at shutdown"):
            await write
        assert await asyncio.to_thread(stored, mongo, "refused") == 0
        assert (relay.history[hit.seq].forwarded, relay.history[hit.seq].ok) == (False, False)
        assert relay.under_way() == 0
        assert relay.problems == []


async def test_mongo_refuses_a_watched_read_and_reads_are_no_effects(mongo: int) -> None:
    link = Link("rsync", "mongo", "mongo", (HOST, 0), (HOST, mongo))
    async with Relay() as relay:
        await relay.open(link)
        port = relay.address(link)[1]
        relay.watch_reads("rsync", watched=True)
        await asyncio.to_thread(upsert, mongo, "read")
        assert (await asyncio.to_thread(find, port, "read"))["project"] == "read"
        read = Effect("mongo", "find", "emco.resources", (("project", "read"),), read=True)
        assert [seen.effect for seen in relay.reads] == [read]
        assert relay.history == []
        armed = relay.arm(Trigger("rsync", "before", lambda effect: effect.read))
        asked = asyncio.create_task(asyncio.to_thread(find, port, "read"))
        assert (await asyncio.wait_for(armed.hit, 20)).effect == read
        assert await relay.refuse_held("rsync")
        with pytest.raises(pymongo.errors.ExecutionTimeout, match="time limit"):
            await asked
        relay.watch_reads("rsync", watched=False)
        assert (await asyncio.to_thread(find, port, "read"))["project"] == "read"
        assert len(relay.reads) == 2
        assert relay.problems == []


@pytest.mark.parametrize("method, status", [("Put", "UNAVAILABLE"), ("Range", "RESOURCE_EXHAUSTED")])
async def test_etcd_refuses_in_its_own_words_and_the_connection_goes_on(etcd: int, method: str, status: str) -> None:
    link = Link("rsync", "etcd", "etcd", (HOST, 0), (HOST, etcd))
    async with Relay() as relay:
        await relay.open(link)
        relay.watch_reads("rsync", watched=True)
        through, direct = with_etcd(relay.address(link)[1]), with_etcd(etcd)
        message = field(1, b"/refused/") + (field(2, b"value") if method == "Put" else b"")
        try:
            await call(through, "KV/Range", field(1, b"/other/"))
            armed = relay.arm(Trigger("rsync", "before", of(method)))
            asked = asyncio.create_task(call(through, f"KV/{method}", message))
            hit = await asyncio.wait_for(armed.hit, 5)
            assert await relay.refuse_held("rsync")
            with pytest.raises(grpclib.exceptions.GRPCError) as error:
                await asked
            assert error.value.status is grpclib.const.Status[status]
            for number in range(3):  # header compression and flow control of both sides still agree
                await call(through, "KV/Put", field(1, b"/next/") + field(2, b"%d" % number))
            assert b"2" in await call(through, "KV/Range", field(1, b"/next/"))
            assert b"value" not in await call(direct, "KV/Range", field(1, b"/refused/"))
        finally:
            through.close()
            direct.close()
        assert (relay.history[hit.seq].forwarded, relay.history[hit.seq].ok) == (False, False)
        assert relay.problems == []


async def test_what_is_not_held_before_it_was_forwarded_cannot_be_refused(etcd: int) -> None:
    link = Link("rsync", "etcd", "etcd", (HOST, 0), (HOST, etcd))
    async with Relay() as relay:
        await relay.open(link)
        through = with_etcd(relay.address(link)[1])
        try:
            with pytest.raises(RelayError, match="no effect of rsync is held"):
                await relay.refuse_held("rsync")
            armed = relay.arm(Trigger("rsync", "after", of("Put")))
            put = asyncio.create_task(call(through, "KV/Put", field(1, b"/after/") + field(2, b"v")))
            await asyncio.wait_for(armed.hit, 5)
            assert not await relay.refuse_held("rsync")
            relay.release("rsync", drop_held=False)
            await put
        finally:
            through.close()
