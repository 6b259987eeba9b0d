"""Real stores for the tests: SecantusDB and etcd, where their programs are installed beside this Python."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pymongo
import pytest

from harness.stores.etcd import Etcd

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


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            limit = time.monotonic() + 60
            while True:
                assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
                assert time.monotonic() < limit, f"{command[0]} does not listen"
                with socket.socket() as sock:
                    if sock.connect_ex((HOST, port)) == 0:
                        break
                time.sleep(0.02)
            yield port
        finally:
            process.kill()


def mongo_command(folder: Path, port: int, *options: str) -> list[str]:
    fixed = ["--host", HOST, "--port", str(port), "--storage-path", str(folder), "--cache-size", "64M"]
    return [program("secantusd-py"), *fixed, *options]


@pytest.fixture(scope="session")
def mongo_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    with running(mongo_command(tmp_path_factory.mktemp("mongo"), port, "--standalone"), port):
        yield port


@pytest.fixture
def mongo_port(mongo_process: int) -> int:
    """An empty mongo."""
    with pymongo.MongoClient[dict[str, object]](HOST, mongo_process, directConnection=True) as client:
        for name in client.list_database_names():
            if name not in ("admin", "local", "config"):
                client.drop_database(name)
    return mongo_process


def etcd_command(folder: Path, port: int) -> list[str]:
    client, peer = f"http://{HOST}:{port}", f"http://{HOST}:{free_port()}"
    command = [program("etcd"), "--data-dir", str(folder), "--log-level", "error"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
    return [*command, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]


@pytest.fixture(scope="session")
def etcd_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    with running(etcd_command(tmp_path_factory.mktemp("etcd"), port), port):
        yield port


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Etcd]:
    etcd = Etcd(HOST, port)
    try:
        yield etcd
    finally:
        await etcd.close()


@pytest.fixture
def etcd_port(etcd_process: int) -> int:
    """An empty etcd."""

    async def empty() -> None:
        async with connected(etcd_process) as etcd:
            await etcd._call("deleterange", {"key": "AA==", "range_end": "AA=="})

    asyncio.run(empty())
    return etcd_process
