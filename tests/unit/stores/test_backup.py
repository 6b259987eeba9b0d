"""Backup files: what is written comes back, and a file in which a single byte is another one does not."""

import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stores.backup import (
    LARGEST_EXTRA,
    Backup,
    BackupError,
    Fingerprint,
    fingerprint,
    read_backup,
    read_manifest,
    write_backup,
)

SALT = b"sixteen bytes..."
PRINT = Fingerprint(SALT.hex(), "d1" * 32)


def some(**other: Any) -> Backup:
    documents = (bson.encode({"_id": 2, "x": "b"}), bson.encode({"_id": 1, "x": "a"}))
    content: dict[str, Any] = {
        "created": "2026-01-14T12:00:00+00:00",
        "versions": {"etcd": "3.5.1", "emco-chaos": "0.1.0"},
        "mongo": {"emco.resources": documents, "emco.more": documents[:1]},
        "etcd": {b"/context/1/": b'"1"', b"/\xff/": b"\0"},
        "extras": {"data-key": b"s3nt1nel"},
        "fingerprints": {"other-key": PRINT},
    }
    return Backup(**(content | other))


def written(path: Path, backup: Backup) -> bytes:
    write_backup(path, backup)
    return path.read_bytes()


def refused(path: Path, raw: bytes) -> str:
    path.write_bytes(raw)
    with pytest.raises(BackupError) as caught:
        read_backup(path)
    return str(caught.value)


# -- what is written comes back -------------------------------------------------------------------------------------

names = st.text(min_size=1, max_size=30).filter(lambda name: "\0" not in name and name.isprintable())
documents = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.integers(-9, 9) | st.binary(max_size=9)).map(bson.encode), max_size=4
).map(tuple)
backups = st.builds(
    Backup,
    created=st.just("2026-01-14T12:00:00+00:00"),
    versions=st.dictionaries(names, names, max_size=3),
    mongo=st.dictionaries(names, documents, max_size=3),
    etcd=st.dictionaries(st.binary(min_size=1, max_size=9), st.binary(max_size=600), max_size=5),
    extras=st.dictionaries(names, st.binary(max_size=600), max_size=3),
    fingerprints=st.dictionaries(names, st.just(PRINT), max_size=2),
)


@settings(deadline=None)
@given(backup=backups)
def test_what_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, backup: Backup) -> None:
    path = tmp_path_factory.mktemp("backup") / "one"
    manifest = write_backup(path, backup)
    assert read_backup(path) == backup
    assert read_manifest(path) == manifest


def test_documents_keep_their_natural_order(tmp_path: Path) -> None:
    write_backup(tmp_path / "one", some())
    assert [bson.decode(raw)["_id"] for raw in read_backup(tmp_path / "one").mongo["emco.resources"]] == [2, 1]


def test_every_tar_can_list_it_and_the_manifest_comes_first(tmp_path: Path) -> None:
    manifest = write_backup(tmp_path / "one", some())
    with tarfile.open(tmp_path / "one") as tar:
        members = {member.name: (member.size, member.mode) for member in tar}
        names = ["mongo/emco.more.bson", "mongo/emco.resources.bson", "etcd/keys.bson", "extras/data-key"]
        assert tar.getnames() == ["manifest.json", *names, "SHA256"]
        documents = tar.extractfile("mongo/emco.resources.bson")
        assert documents is not None
        assert [one["_id"] for one in bson.decode_all(documents.read())] == [2, 1]
    assert all(mode == 0o600 for _, mode in members.values())
    assert {one.name: one.bytes for one in manifest.members}.items() <= {n: s for n, (s, _) in members.items()}.items()
    assert {one.name: one.count for one in manifest.members}["mongo/emco.resources.bson"] == 2


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    assert written(tmp_path / "one", some()) == written(tmp_path / "two", some())


def test_names_that_are_no_file_names_are_kept_apart(tmp_path: Path) -> None:
    extras = {name: name.encode() for name in ("../../x", "a/b", "a%2Fb", ".hidden", "é", "x" * 300, "x" * 301)}
    write_backup(tmp_path / "one", some(extras=extras))
    assert read_backup(tmp_path / "one").extras == extras
    with tarfile.open(tmp_path / "one") as tar:
        parts = [part for name in tar.getnames() if name.startswith("extras/") for part in name.split("/")[1:]]
    assert len({*parts}) == len(extras)
    assert [part for part in parts if part.startswith(".") or len(part) > 90] == []


def test_it_is_readable_by_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_backup(tmp_path / "one", some())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600


def test_what_is_there_is_not_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("mine")
    with pytest.raises(BackupError, match="is there already"):
        write_backup(tmp_path / "one", some())
    with pytest.raises(BackupError, match="cannot be written: No such file or directory"):
        write_backup(tmp_path / "none" / "one", some())
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert (tmp_path / "one").read_text() == "mine"


def test_extras_are_for_small_files(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="extras are for small files"):
        write_backup(tmp_path / "one", some(extras={"dump": bytes(LARGEST_EXTRA + 1)}))
    assert list(tmp_path.iterdir()) == []


def test_a_backup_in_a_message_shows_no_content() -> None:
    assert "s3nt1nel" not in repr(some())


def test_a_fingerprint_fits_its_secret_only() -> None:
    one = fingerprint(b"key", salt=SALT)
    assert one.fits(b"key")
    assert not one.fits(b"Key")
    assert not one.fits(b"")
    assert one != fingerprint(b"key", salt=SALT[::-1])
    assert b"key".hex() not in one.digest


# -- what was damaged does not --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_any_flipped_byte_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("backup")
    raw = bytearray(written(folder / "one", data.draw(backups)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    refused(folder / "two", bytes(raw))


def test_any_other_end_is_refused(tmp_path: Path) -> None:
    raw = written(tmp_path / "one", some())
    for other in (*(raw[:size] for size in range(0, len(raw), 100)), raw + b"\0", raw + bytes(512), raw + raw):
        refused(tmp_path / "two", other)


@pytest.mark.parametrize(
    "member, inside",
    [
        ("manifest.json", b"2026-01-14"),
        ("mongo/emco.resources.bson", b"\x10_id\0\x01"),
        ("etcd/keys.bson", b"/context/1/"),
        ("extras/data-key", b"s3nt1nel"),
    ],
)
def test_the_broken_member_is_named(tmp_path: Path, member: str, inside: bytes) -> None:
    raw = written(tmp_path / "one", some())
    place = raw.rindex(inside) if member.startswith("mongo") else raw.index(inside)
    said = refused(tmp_path / "two", raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
    assert said == f"{tmp_path / 'two'}: corrupted backup: member {member}: sha256 differs"


def member(raw: bytes, name: bytes) -> tuple[int, int]:
    """Where a member begins and ends."""
    start = raw.index(name.ljust(100, b"\0"))
    size = int(raw[start + 124 : start + 135], 8)
    return start, start + 512 + size + -size % 512


def test_a_member_that_was_taken_out_or_put_in_is_named(tmp_path: Path) -> None:
    raw = written(tmp_path / "one", some())
    start, end = member(raw, b"etcd/keys.bson")
    assert refused(tmp_path / "two", raw[:start] + raw[end:]).endswith("member etcd/keys.bson: missing")
    other = written(tmp_path / "three", some(extras={"more": b"x"}))
    more = other[slice(*member(other, b"extras/more"))]
    assert "member extras/more: the manifest does not know it" in refused(
        tmp_path / "two", raw[:end] + more + raw[end:]
    )


def test_members_in_another_order_are_refused(tmp_path: Path) -> None:
    raw = written(tmp_path / "one", some())
    (start, middle), (_, end) = member(raw, b"mongo/emco.more.bson"), member(raw, b"mongo/emco.resources.bson")
    swapped = raw[:start] + raw[middle:end] + raw[start:middle] + raw[end:]
    assert "sha256 of the whole differs" in refused(tmp_path / "two", swapped)


@pytest.mark.parametrize("raw", [b"", b"\x1f\x8b\x08 gzip", bytes(1024), b"{}" * 600])
def test_what_is_no_backup_is_called_so(tmp_path: Path, raw: bytes) -> None:
    assert "this is no backup of emco-chaos" in refused(tmp_path / "two", raw)


def test_a_tar_of_somebody_else_is_no_backup(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with tarfile.open(tmp_path / "one", "w") as tar:
        tar.add(tmp_path / "manifest.json", "manifest.json")
    assert "this is no backup of emco-chaos" in refused(tmp_path / "two", (tmp_path / "one").read_bytes())


def test_a_later_format_is_refused_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.stores.backup.FORMAT", 2)
    write_backup(tmp_path / "one", some())
    monkeypatch.undo()
    with pytest.raises(BackupError, match="the backup has format 2, this version reads 1"):
        read_backup(tmp_path / "one")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="cannot be read: No such file"):
        read_backup(tmp_path / "none")
