"""The relay's code runs where nothing but Python is installed."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.platforms.kubernetes.bundle import relay_bundle
from harness.wire.links import Address
from harness.wire.remote import RemoteRelay
from harness.wire.served_config import ServedConfig


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "relay.pyz"
    path.write_bytes(relay_bundle())
    return path


def test_it_relays_without_any_installed_package(bundle: Path, tmp_path: Path) -> None:
    control, asks, health = (("127.0.0.1", _free_port()) for _ in range(3))
    config = tmp_path / "relay.json"
    config.write_text(ServedConfig(("dcm",), (), (), control, asks, health).to_json(), encoding="utf-8")
    # -I: no user site, no environment; -S: no site-packages
    command = [sys.executable, "-I", "-S", str(bundle), str(config)]
    with subprocess.Popen(command, env={"EMCO_CHAOS_TOKEN": "t"}) as process:
        try:
            asyncio.run(_controlled(control, asks, health))
        finally:
            process.kill()


async def _listens(address: Address) -> bool:
    try:
        _, writer = await asyncio.open_connection(*address)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def _controlled(control: Address, asks: Address, health: Address) -> None:
    async with asyncio.timeout(20):
        while not await _listens(health):  # noqa: ASYNC110  it is another process, which sets no event here
            await asyncio.sleep(0.02)  # another process's start; bounded by the limit
        async with await RemoteRelay.connect(control, asks, token="t", links=()) as relay:
            await relay.synced()
            assert relay.instances == {"dcm": ""}


def test_without_a_token_it_does_not_start(bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "relay.json"
    address = ("127.0.0.1", 1)
    config.write_text(ServedConfig((), (), (), address, address, address).to_json(), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-I", "-S", str(bundle), str(config)], env={}, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr.strip()) == (1, "EMCO_CHAOS_TOKEN is not set")
