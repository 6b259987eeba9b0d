"""Header blocks of HTTP/2, read by `hpack`.

A client that asks the same again sends the same block: after the first time each of its fields is one byte, a number in
the table that both sides keep. Such a block means the same until the table changes, and is read once.
"""

from collections.abc import Mapping

from hpack import Decoder, HPACKError

from harness.wire.decoding import DecodeError

LONGEST_BLOCK = 1024 * 1024
"""Bytes of a header block at the most."""

_MOST_KNOWN = 64  # blocks; an EMCO service asks etcd in fewer ways


class HeaderBlocks:
    """The blocks of one direction of a connection, in their order."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=LONGEST_BLOCK)
        self._known: dict[bytes, Mapping[str, str]] = {}

    def read(self, block: bytes) -> Mapping[str, str]:
        """The next block's headers. Raises DecodeError for what is none."""
        if (known := self._known.get(block)) is not None:
            return known
        try:
            decoded = self._decoder.decode(block, raw=True)
        except HPACKError as error:
            raise DecodeError(f"a header block of HTTP/2 cannot be read: {error!r}") from error
        headers = {_text(name): _text(value) for name, value in decoded}
        if not _only_numbers(block) or len(self._known) == _MOST_KNOWN:
            self._known.clear()  # it may have changed the table
        else:
            self._known[block] = headers
        return headers

    def allow_table(self, size: int) -> None:
        """What the other side said that the table may have, bytes."""
        self._decoder.max_allowed_table_size = max(size, self._decoder.max_allowed_table_size)


def _only_numbers(block: bytes) -> bool:
    """Whether each byte is a field of the table (RFC 7541, 6.1): the highest bit and a number of one byte."""
    return bool(block) and min(block) > 0x80 and max(block) < 0xFF


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")
