"""Header blocks that are read once mean what they mean to somebody who reads each."""

import pytest
from hpack import Decoder, Encoder
from hpack.struct import NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from harness.wire.decoding import DecodeError
from harness.wire.header_blocks import HeaderBlocks

ASKED = {":method": "POST", ":path": "/etcdserverpb.KV/Range", "te": "trailers"}

texts = st.sampled_from(["a", "b", "x" * 60, "grpc-timeout", "1999931u", "0"])
fields = st.tuples(texts, texts, st.booleans())


def test_the_same_again_is_read_once_it_is_in_the_table() -> None:
    encoder, blocks = Encoder(), HeaderBlocks()
    first, second, third = (encoder.encode(ASKED.items()) for _ in range(3))
    assert first != second == third
    assert blocks.read(first) == ASKED
    assert blocks.read(second) == ASKED
    assert blocks.read(third) is blocks.read(second)


def test_the_same_bytes_mean_something_else_once_the_table_has_changed() -> None:
    encoder, blocks = Encoder(), HeaderBlocks()
    for value in ("one", "one", "two", "two"):
        assert blocks.read(encoder.encode([("name", value)])) == {"name": value}
    assert encoder.encode([("name", "two")]) == b"\xbe"


@given(st.lists(st.lists(fields, max_size=6), max_size=30), st.sampled_from([64, 200, 4096]))
def test_any_series_of_blocks(series: list[list[tuple[str, str, bool]]], size: int) -> None:
    """sensitive ones are literals, which no table keeps; a small table forgets."""
    encoder, plain, blocks = Encoder(), Decoder(), HeaderBlocks()
    encoder.header_table_size = size
    for headers in series:
        named = [NeverIndexedHeaderTuple(name, value) if secret else (name, value) for name, value, secret in headers]
        block = encoder.encode(named)
        assert blocks.read(block) == {name.decode(): value.decode() for name, value in plain.decode(block, raw=True)}


@pytest.mark.parametrize("block", [b"\x80", b"\xfe", b"\xff", b"\x40"])
def test_what_is_no_block_is_refused_each_time(block: bytes) -> None:
    blocks = HeaderBlocks()
    for _ in range(2):
        with pytest.raises(DecodeError, match="cannot be read"):
            blocks.read(block)
