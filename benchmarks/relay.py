"""What the relay costs: direct, through the relay (own process, uvloop), and through toxiproxy, interleaved in one run.

The store is a stub in a process of its own that answers at once, so that nothing hides the cost; the client is a raw
socket, and pymongo for comparison. `python benchmarks/relay.py --help`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bson
import pymongo
import uvloop
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.wire.links import Link  # noqa: E402  found by the line above
from harness.wire.relay import Relay  # noqa: E402  found by the line above

HOST = "127.0.0.1"
HEADER = struct.Struct("<iiii")
LARGE = 8 * 1024 * 1024
PING = {"ping": 1, "$db": "admin"}
MODIFY = {
    "findAndModify": "resources",
    "query": {"project": "proj1", "compositeApp": "app1", "version": "v1", "deploymentIntentGroup": "group1"},
    "update": {
        "$set": {"data": {"metadata": {"name": "group1"}, "spec": {"a": "b" * 200}}, "keyId": "k", "references": []}
    },
    "upsert": True,
    "$db": "emco",
}
HELLO = {
    "ok": 1.0,
    "isWritablePrimary": True,
    "ismaster": True,
    "helloOk": True,
    "maxBsonObjectSize": 16 * 1024 * 1024,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "minWireVersion": 0,
    "maxWireVersion": 21,
}


def message(document: dict[str, Any], ident: int = 1, reply_to: int = 0) -> bytes:
    """An OP_MSG with one body."""
    body = b"\0\0\0\0\0" + bson.encode(document)
    return HEADER.pack(16 + len(body), ident, reply_to, 2013) + body


# -- the stub ---------------------------------------------------------------------------------------------------------


def stub() -> None:
    """Answer every command at once, until killed."""
    listener = socket.create_server((HOST, 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    """Serve one connection."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    small = message({"ok": 1.0, "value": {"project": "proj1"}})[12:]
    hello = message(HELLO)[12:]
    large = message({"ok": 1.0, "cursor": {"id": 0, "ns": "a.b", "firstBatch": [{"x": b"x" * LARGE}]}})[12:]
    buffer = memoryview(bytearray(1024 * 1024))
    with contextlib.suppress(OSError):
        while size := connection.recv_into(buffer):
            total, ident = struct.unpack_from("<ii", buffer)
            legacy = bytes(buffer[12:16]) == b"\xd4\x07\0\0"
            name = bytes(buffer[26:32])
            while size < total:
                size += connection.recv_into(buffer, min(len(buffer), total - size))
            if legacy:
                body = bson.encode(HELLO)
                head = HEADER.pack(36 + len(body), 1, ident, 1) + struct.pack("<iqii", 8, 0, 0, 1)
                connection.sendall(head + body)
                continue
            reply = small
            if name.startswith((b"hello", b"ismast", b"isMast")):
                reply = hello
            elif name.startswith(b"find\0"):
                reply = large
            connection.sendall(struct.pack("<iii", len(reply) + 12, 7, ident) + reply)


# -- the relay and toxiproxy -------------------------------------------------------------------------------------


def relay(upstream: int) -> None:
    """The relay as it is used, until killed."""

    async def serve() -> None:
        async with Relay() as made:
            link = Link("service", "mongo", "mongo", (HOST, 0), (HOST, upstream))
            await made.open(link)
            print(made.address(link)[1], flush=True)
            await asyncio.Event().wait()

    uvloop.run(serve())


@contextlib.contextmanager
def child(*arguments: str) -> Iterator[int]:
    """Run this program in another role; gives the port that it says."""
    with subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextlib.contextmanager
def toxiproxy(path: str, upstream: int) -> Iterator[int]:
    """toxiproxy-server with one proxy without toxics."""
    with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as two:
        api, port = one.getsockname()[1], two.getsockname()[1]
    quiet = {"LOG_LEVEL": "error", **os.environ}
    with subprocess.Popen([path, "-host", HOST, "-port", str(api)], stdout=subprocess.DEVNULL, env=quiet) as process:
        try:
            proxy = {"name": "mongo", "listen": f"{HOST}:{port}", "upstream": f"{HOST}:{upstream}", "enabled": True}
            request = urllib.request.Request(f"http://{HOST}:{api}/proxies", json.dumps(proxy).encode())
            for attempt in range(100):
                try:
                    urllib.request.urlopen(request, timeout=5).close()  # noqa: S310  loopback
                    break
                except OSError:
                    if attempt == 99:
                        raise
                    time.sleep(0.05)
            yield port
        finally:
            process.kill()


# -- the clients -------------------------------------------------------------------------------------------------


class Raw:
    """A client that costs next to nothing."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = memoryview(bytearray(1024 * 1024))

    def call(self, request: bytes) -> None:
        """One request and its whole reply."""
        self.socket.sendall(request)
        size = self.socket.recv_into(self.buffer)
        total = struct.unpack_from("<i", self.buffer)[0]
        while size < total:
            size += self.socket.recv_into(self.buffer, min(len(self.buffer), total - size))


def timed(action: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of `count` calls."""
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return seconds


def actions(port: int) -> dict[str, tuple[Callable[[], object], int]]:
    """What is measured on one way, and how often in a round."""
    raw = Raw(port)
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(HOST, port, directConnection=True)
    ping, modify, find = message(PING), message(MODIFY), message({"find": "resources", "$db": "emco"})
    insert = message({"insert": "resources", "documents": [{"_id": 1, "x": b"x" * LARGE}], "$db": "emco"})
    update: Any = MODIFY["update"]
    return {
        "ping": (lambda: raw.call(ping), 300),
        "findAndModify": (lambda: raw.call(modify), 300),
        "pymongo ping": (lambda: client.admin.command("ping"), 100),
        "pymongo findAndModify": (
            lambda: client.emco.resources.find_one_and_update({"project": "proj1"}, update, upsert=True),
            100,
        ),
        "large insert": (lambda: raw.call(insert), 4),
        "large find": (lambda: raw.call(find), 4),
    }


def measure(ports: dict[str, int], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Samples by action and way. Ways take turns within a round, and who begins changes."""
    ways = {name: actions(port) for name, port in ports.items()}
    samples: dict[str, dict[str, list[float]]] = {}
    names = list(ports)
    for number in range(rounds + 1):
        for what in ways[names[0]]:
            for position in range(len(names)):
                way = names[(position + number) % len(names)]
                action, count = ways[way][what]
                taken = timed(action, count)
                if number:  # the first round warms up
                    samples.setdefault(what, {}).setdefault(way, []).extend(taken)
    return samples


def summary(samples: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Figures by action and way: p50 and p99 in microseconds, MB/s for large documents."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for what, ways in samples.items():
        for way, seconds in ways.items():
            p50, p99 = statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]
            figures = {"p50_us": p50 * 1e6, "p99_us": p99 * 1e6}
            if what.startswith("large"):
                figures = {"MB_per_s": LARGE / 1e6 / p50}
            result.setdefault(what, {})[way] = {name: round(value, 1) for name, value in figures.items()}
    return result


def show(result: dict[str, dict[str, dict[str, float]]]) -> None:
    """The table."""
    table = Table("", "way", "p50 us", "p99 us", "MB/s", "p50 / direct")
    for what, ways in result.items():
        direct = ways["direct"]
        for way, figures in sorted(ways.items()):
            speed = figures.get("MB_per_s")
            ratio = direct["MB_per_s"] / speed if speed else figures["p50_us"] / direct["p50_us"]
            cells = [str(figures.get(name, "")) for name in ("p50_us", "p99_us", "MB_per_s")]
            table.add_row(what if way == "direct" else "", way, *cells, f"{ratio:.2f}")
    Console().print(table)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", nargs="?", choices=["stub", "relay"], help=argparse.SUPPRESS)
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--toxiproxy", metavar="PATH", help="toxiproxy-server, to be measured, too")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    if options.role == "stub":
        stub()
    elif options.role == "relay":
        relay(options.upstream)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Start everything, measure, print."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(child("stub"))
        ports = {"direct": upstream, "relay": stack.enter_context(child("relay", "--upstream", str(upstream)))}
        if options.toxiproxy:
            ports["toxiproxy"] = stack.enter_context(toxiproxy(options.toxiproxy, upstream))
        result = summary(measure(ports, options.rounds))
    show(result)
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
