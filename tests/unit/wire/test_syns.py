"""Tries to connect that nobody accepts, read from packets."""

import asyncio
import socket
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.wire.links import RelayError
from harness.wire.syns import Syns, read_syn


def packet(source: tuple[str, int], destination: tuple[str, int], number: int, *, options: int = 0) -> bytes:
    """The headers of an IPv4 TCP packet with so many words of IP options."""
    ip = bytes([0x40 | 5 + options]) + bytes(11) + socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    return ip + bytes(4 * options) + struct.pack("!HHI", source[1], destination[1], number) + bytes(12)


@given(st.integers(0, 10), st.integers(0, 2**32 - 1), st.integers(0, 65535))
def test_a_syn_is_read_whatever_options_it_has(options: int, number: int, port: int) -> None:
    source, destination = ("127.0.0.1", port), ("127.0.5.2", 16443)
    assert read_syn(packet(source, destination, number, options=options)) == (source, destination, number)


@given(st.binary(max_size=27))
def test_a_packet_that_is_cut_short_is_none(data: bytes) -> None:
    assert read_syn(data) is None


@given(st.binary(max_size=200))
def test_garbage_never_raises(data: bytes) -> None:
    read_syn(data)


async def test_a_try_is_as_old_as_the_kernel_says_however_late_it_is_read() -> None:
    told: list[tuple[str, str, str, float]] = []
    seen = asyncio.Event()

    def knocked(source: str, target: str, host: str, ago: float) -> None:
        told.append((source, target, host, ago))
        seen.set()

    syns = Syns(knocked)
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # and nobody listens
        try:
            syns.watch({unheard.getsockname(): ("rsync", "edge")})
        except RelayError as error:
            pytest.skip(str(error))
        try:
            for _ in range(10):
                seen.clear()
                with socket.socket() as client:
                    assert client.connect_ex(unheard.getsockname()) != 0
                time.sleep(0.3)  # noqa: ASYNC251  the event loop is late
                await asyncio.wait_for(seen.wait(), 10)
                if told[-1][3] >= 0.3:
                    break  # the kernel begins to stamp packets some time after the first socket has asked for it
        finally:
            syns.close()
    source, target, host, ago = told[-1]
    assert (source, target, host) == ("rsync", "edge", "127.0.0.1")
    assert 0.3 <= ago < 10
