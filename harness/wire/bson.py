"""BSON documents out of the middle of a message, by pymongo's `bson`.

Its C code decodes a command of usual size in a few microseconds, less than Python needs to find one element in it.
"""

from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from harness.wire.decoding import DecodeError

Document = dict[str, Any]
# Nothing that is well-formed on the wire may fail to decode.
_OPTIONS: CodecOptions[Document] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="backslashreplace"
)


def document(data: bytes, at: int, limit: int) -> tuple[Document, int]:
    """The document at `at`, which may reach up to `limit`, and where it ends. Raises DecodeError on nonsense."""
    size = int.from_bytes(data[at : at + 4], "little", signed=True) if at + 5 <= limit else 0
    if size < 5 or at + size > limit:
        raise DecodeError("a BSON document is cut short")
    try:
        return bson.decode(memoryview(data)[at : at + size], _OPTIONS), at + size
    except BSONError as error:
        raise DecodeError(f"a BSON document cannot be read: {error}") from error


def all_documents(data: bytes, at: int, end: int) -> list[Document]:
    """The documents that fill the space from `at` to `end`. Raises DecodeError on nonsense."""
    try:
        return bson.decode_all(memoryview(data)[at:end], _OPTIONS)
    except BSONError as error:
        raise DecodeError(f"BSON documents in a row cannot be read: {error}") from error
