"""Walk over a BSON document without decoding it.

pymongo's `bson` turns whole documents into objects. Here only the names and a few scalars of a command are wanted, next
to payloads of megabytes that nobody looks at; so elements are skipped by their sizes (bsonspec.org, version 1.1).
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from harness.wire.decoding import DecodeError

_INT32 = struct.Struct("<i")
_INT64 = struct.Struct("<q")
_DOUBLE = struct.Struct("<d")

DOCUMENT = 0x03
ARRAY = 0x04
_STRING = 0x02
_FIXED = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0xFF: 0, 0x7F: 0}
_STRINGS = frozenset({_STRING, 0x0D, 0x0E})  # string, JavaScript, symbol: length, bytes, NUL
_TOTALS = frozenset({DOCUMENT, ARRAY, 0x0F})  # the length counts itself


class Element(NamedTuple):
    """One element: where its value lies in the buffer."""

    name: str
    type: int
    at: int
    end: int


def document_end(data: bytes, at: int) -> int:
    """Where the document at `at` ends; raises DecodeError if it does not fit the buffer."""
    if at + 5 > len(data):
        raise DecodeError("a BSON document is cut short")
    size: int = _INT32.unpack_from(data, at)[0]
    if size < 5 or at + size > len(data) or data[at + size - 1] != 0:
        raise DecodeError(f"a BSON document says it has {size} bytes, which cannot be")
    return at + size


def elements(data: bytes, at: int) -> Iterator[Element]:
    """The elements of the document at `at`, in order. Raises DecodeError on nonsense."""
    end = document_end(data, at) - 1
    position = at + 4
    while position < end:
        kind = data[position]
        stop = data.find(b"\0", position + 1, end)
        if stop < 0:
            raise DecodeError("a BSON element has no end of its name")
        name = data[position + 1 : stop].decode("utf-8", "backslashreplace")
        value = stop + 1
        position = value + _size(data, kind, value, end)
        if position > end:
            raise DecodeError(f"the BSON element {name!r} is longer than its document")
        yield Element(name, kind, value, position)


def _size(data: bytes, kind: int, at: int, end: int) -> int:
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return fixed
    if kind == 0x0B:  # regular expression: two C strings
        first = data.find(b"\0", at, end)
        second = data.find(b"\0", first + 1, end) if first >= 0 else -1
        if second < 0:
            raise DecodeError("a BSON regular expression has no end")
        return second + 1 - at
    if at + 4 > end:
        raise DecodeError("a BSON element is cut short")
    size: int = _INT32.unpack_from(data, at)[0]
    if size < 0:
        raise DecodeError("a BSON element has a negative size")
    if kind in _STRINGS:
        return 4 + size
    if kind in _TOTALS:
        return size
    if kind == 0x05:  # binary: size, subtype, bytes
        return 5 + size
    if kind == 0x0C:  # DBPointer: string, object id
        return 4 + size + 12
    raise DecodeError(f"BSON has no element type {kind:#04x}")


def scalar(data: bytes, element: Element) -> str | None:
    """Strings, numbers, booleans and object ids as text; None for everything else."""
    kind, at = element.type, element.at
    if kind == _STRING:
        return data[at + 4 : element.end - 1].decode("utf-8", "backslashreplace")
    if kind == 0x10:
        return str(_INT32.unpack_from(data, at)[0])
    if kind == 0x12:
        return str(_INT64.unpack_from(data, at)[0])
    if kind == 0x01:
        return f"{_DOUBLE.unpack_from(data, at)[0]:g}"
    if kind == 0x08:
        return "true" if data[at] else "false"
    if kind == 0x07:
        return data[at : at + 12].hex()
    return None
