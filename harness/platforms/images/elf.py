"""What a program for Linux needs beside itself: its loader and shared libraries, as its ELF headers say."""

import struct
from dataclasses import dataclass

_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian
_HEADER, _SEGMENT, _ENTRY = struct.Struct("<16xHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ"), struct.Struct("<qQ")
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS, _RPATH, _RUNPATH = 1, 5, 15, 29
_MOST_SEGMENTS, _MOST_ENTRIES, _LONGEST_TEXT = 256, 4096, 4096


class ElfError(ValueError):
    """Not a program for 64-bit little-endian Linux, or a damaged one."""


@dataclass(frozen=True, slots=True)
class Elf:
    """loader: path of the program that has to start it, empty for a static one;  paths: where it wants its libraries
    to be searched, beside the usual places;  needed: their names."""

    loader: str
    needed: tuple[str, ...]
    paths: tuple[str, ...]


def read_elf(data: bytes) -> Elf:
    """Raises ElfError."""
    if not data.startswith(_MAGIC) or len(data) < _HEADER.size:
        raise ElfError("it is no program for 64-bit Linux")
    _, _, _, _, table, _, _, _, size, count, *_ = _HEADER.unpack_from(data)
    if size != _SEGMENT.size or count > _MOST_SEGMENTS:
        raise ElfError("its header cannot be read")
    segments = [_SEGMENT.unpack_from(_cut(data, table + number * size, size)) for number in range(count)]
    loader, dynamic = "", b""
    for kind, _, offset, _, _, length, _, _ in segments:
        if kind == _INTERPRETER:
            loader = _cut(data, offset, length).split(b"\0")[0].decode("utf-8", "replace")
        elif kind == _DYNAMIC:
            dynamic = _cut(data, offset, min(length, _MOST_ENTRIES * _ENTRY.size))
    entries = list(_ENTRY.iter_unpack(dynamic[: len(dynamic) // _ENTRY.size * _ENTRY.size]))
    strings = next((_offset(segments, value) for tag, value in entries if tag == _STRINGS), 0)

    def texts(*tags: int) -> tuple[str, ...]:
        return tuple(_text(data, strings + value) for tag, value in entries if tag in tags)

    paths = tuple(path for text in texts(_RPATH, _RUNPATH) for path in text.split(":") if path)
    return Elf(loader, texts(_NEEDED), paths)


def _offset(segments: list[tuple[int, ...]], address: int) -> int:
    """Where in the file is what will be at an address."""
    for kind, _, offset, start, _, length, _, _ in segments:
        if kind == _LOAD and start <= address < start + length:
            return offset + address - start
    raise ElfError("its table of names lies nowhere")


def _cut(data: bytes, offset: int, length: int) -> bytes:
    if offset + length > len(data):
        raise ElfError("it ends before what its header names")
    return data[offset : offset + length]


def _text(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset, offset + _LONGEST_TEXT)
    if end < 0:
        raise ElfError("it holds a name without an end")
    return data[offset:end].decode("utf-8", "replace")
