"""Tries to connect that nobody accepts, read from packets."""

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from harness.wire.syns import read_syn


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
