"""Where everything listens, and who is at the other end of a connection."""

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.emco.services import SERVICES
from harness.faults.victim import HarnessTrouble
from harness.platforms.linux import socket_inode
from harness.platforms.process import layout
from harness.platforms.process.layout import ETCD_PORT, MONGO_PORT, Block, Layout, SocketOwners, isolated_layout

# ca-certs has ports that nps and sds have, too: EMCO itself cannot run them on one machine.
NAMES = [name for name in SERVICES if name != "ca-certs"]


def own(one: Layout) -> list[tuple[str, int]]:
    """Addresses that the harness and the stores listen on."""
    found = [one.etcd_peer]
    for port in (MONGO_PORT, ETCD_PORT):
        found += [one.store(port), *(one.store_relay(index, port) for index in range(len(NAMES)))]
    found += [one.grpc_relay(name) for name in NAMES if SERVICES[name].grpc_port is not None]
    return found + [address for index in range(8) for address in (one.edge(index), one.edge_relay(index))]


def of_services(one: Layout) -> list[int]:
    """Ports that services listen on, on all addresses of the machine."""
    return [one.http(name)[1] for name in NAMES] + [
        one.grpc(name)[1] for name in NAMES if SERVICES[name].grpc_port is not None
    ]


@pytest.fixture
def family() -> str:
    """Blocks apart from those that runs and other tests on this machine hold."""
    return f"emco-chaos test {uuid.uuid4()}"


@pytest.fixture
def blocks(family: str) -> Iterator[list[Layout]]:
    """Every block there is, all held at once."""
    held: list[Block] = []
    while len(held) < len(layout._BLOCKS):
        held.append(Block(family))
    yield [block.layout for block in held]
    for block in held:
        block.close()


def test_no_two_blocks_share_an_address_or_a_port_of_a_service(blocks: list[Layout]) -> None:
    addresses = [address for one in blocks for address in own(one)]
    ports = [port for one in blocks for port in of_services(one)]
    assert len(addresses) == len(set(addresses))
    assert len(ports) == len(set(ports))
    assert not {port for _, port in addresses} & set(ports)
    assert max(port for _, port in addresses) < 65536
    assert all(host.startswith("127.") for host, _ in addresses)


def test_in_a_namespace_nothing_collides_either() -> None:
    one = isolated_layout()
    addresses, ports = own(one), of_services(one)
    assert len({*addresses, *ports}) == len(addresses) + len(ports)
    assert not {port for _, port in addresses} & set(ports)


def test_a_service_without_grpc_has_no_address_for_it() -> None:
    with pytest.raises(HarnessTrouble, match="clm has no gRPC port"):
        isolated_layout().grpc("clm")


def test_a_block_is_given_to_one_at_a_time(family: str) -> None:
    with closing(Block(family)) as one, closing(Block(family)) as two:
        assert (one.layout.name, two.layout.name) == ("block-20", "block-21")
        one.close()
        with closing(Block(family)) as three:
            assert three.layout == one.layout


def test_when_all_blocks_are_taken_that_is_said(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_BLOCKS", range(20, 22))
    with (
        closing(Block(family)),
        closing(Block(family)),
        pytest.raises(HarnessTrouble, match="all 2 blocks of loopback addresses are in use"),
    ):
        Block(family)


def test_a_block_is_free_again_when_its_process_was_killed(family: str) -> None:
    code = f"""
from harness.platforms.process.layout import Block
block = Block({family!r})
print(block.layout.name, flush=True)
input()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "block-20\n"
        with closing(Block(family)) as mine:
            assert mine.layout.name == "block-21"
        other.kill()
        other.wait(10)
    with closing(Block(family)) as mine:
        assert mine.layout.name == "block-20"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as another user")
def test_a_block_is_taken_for_all_users_of_the_machine(family: str) -> None:
    """Loopback addresses are the machine's, so the lock is, too."""
    reading, writing = os.pipe()
    with closing(Block(family)) as mine:
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            os.write(writing, Block(family).layout.name.encode())
            os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        with os.fdopen(reading, "rb") as answer:
            assert (mine.layout.name, answer.read()) == ("block-20", b"block-21")


# -- who is it ------------------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


CONNECT = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); sys.stdin.read()"


def test_a_connection_is_known_by_the_process_that_holds_it(listener: socket.socket) -> None:
    local = listener.getsockname()
    command = [sys.executable, "-c", CONNECT, str(local[1])]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE) as one,
        subprocess.Popen(command, stdin=subprocess.PIPE) as two,
    ):
        accepted = [listener.accept() for _ in (one, two)]
        owners = SocketOwners()
        owners.pids = {"down": (), "dcm": (one.pid,), "rsync": (two.pid,)}
        assert sorted(owners.of(peer, local) for _, peer in accepted) == ["dcm", "rsync"]
        owners.pids = {"down": ()}
        assert owners.of(accepted[0][1], local) == "?"
        for sock, _ in accepted:
            sock.close()
        one.kill()
        two.kill()


def test_a_process_that_is_gone_owns_nothing(listener: socket.socket) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait(10)
    owners = SocketOwners()
    owners.pids = {"gone": (gone.pid,)}
    with socket.create_connection(listener.getsockname()) as mine:
        assert owners.of(mine.getsockname(), listener.getsockname()) == "?"


def test_the_inode_is_that_of_the_sockets_own_file(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as mine:
        link = Path(f"/proc/self/fd/{mine.fileno()}").readlink().name
        assert f"socket:[{socket_inode(mine.getsockname(), listener.getsockname())}]" == link


def test_a_connection_that_does_not_exist_has_no_inode() -> None:
    assert socket_inode(("127.0.0.1", 1), ("127.0.0.1", 2)) == 0
