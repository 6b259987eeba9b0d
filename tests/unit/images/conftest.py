"""Images of EMCO's layout as archives, written by hand: a few bytes each."""

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

Members = Sequence[tarfile.TarInfo | tuple[str, bytes]]
STATIC = b"\x7fELF\x02\x01" + bytes(10) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, 0, 0, 64, 56, 0, 0, 0, 0)
"""A program without loader and libraries, as far as its header goes."""


def dynamic(loader: str, needed: Sequence[str], *, runpath: str = "") -> bytes:
    """A program or library that names a loader and libraries."""
    strings, entries = b"\0", b""
    for tag, text in [*((1, name) for name in needed), *([(29, runpath)] if runpath else [])]:
        entries += struct.pack("<qQ", tag, len(strings))
        strings += text.encode() + b"\0"
    segments = 3 if loader else 2
    start = 64 + segments * 56
    path = loader.encode() + b"\0"
    entries += struct.pack("<qQ", 5, 0x1000 + start + len(path))
    at_entries = start + len(path) + len(strings)
    total = at_entries + len(entries)
    table = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x1000, 0x1000, total, total, 1)
    table += struct.pack("<IIQQQQQQ", 2, 6, at_entries, 0, 0, len(entries), len(entries), 8)
    if loader:
        table += struct.pack("<IIQQQQQQ", 3, 4, start, 0, 0, len(path), len(path), 1)
    header = STATIC[:16] + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, segments, 0, 0, 0)
    return header + table + path + strings + entries


def entry(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    return made


def tarred(members: Members) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for one in members:
            if isinstance(one, tarfile.TarInfo):
                tar.addfile(one)
            else:
                info = entry(one[0], mode=0o755)
                info.size = len(one[1])
                tar.addfile(info, io.BytesIO(one[1]))
    return content.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def service_layer(service: str, program: bytes = STATIC, schemas: Sequence[str] = ("json-schemas",)) -> Members:
    home = f"opt/emco/{service}"
    return [
        (f"{home}/{service}", program),
        (f"{home}/config.json", b"{}"),
        *((f"{home}/{name}/a.json", b"{}") for name in schemas),
    ]


def docker_archive(
    path: Path, images: Mapping[str, Sequence[bytes]], *, config: Mapping[str, Any] | None = None
) -> Path:
    """As `docker save` writes it. images: layers by name and tag."""
    members: list[tuple[str, bytes]] = []
    manifest = []
    for name, layers in images.items():
        settings = {"rootfs": {"diff_ids": [f"sha256:{sha256(layer)}" for layer in layers]}, **(config or {})}
        data = json.dumps(settings).encode()
        names = [f"{sha256(layer)}/layer.tar" for layer in layers]
        members += [(f"{sha256(data)}.json", data), *zip(names, layers, strict=True)]
        manifest.append({"Config": f"{sha256(data)}.json", "RepoTags": [name], "Layers": names})
    members.append(("manifest.json", json.dumps(manifest).encode()))
    path.write_bytes(tarred(members))
    return path


def oci_archive(path: Path, layers: Sequence[bytes], annotations: Mapping[str, str], **platform: str) -> Path:
    """As `skopeo copy` writes it to oci-archive, with compressed layers behind an index for several platforms."""
    blobs: list[bytes] = []

    def blob(data: bytes) -> dict[str, Any]:
        blobs.append(data)
        return {"digest": f"sha256:{sha256(data)}", "size": len(data)}

    config = blob(json.dumps({"rootfs": {"diff_ids": [f"sha256:{sha256(layer)}" for layer in layers]}}).encode())
    manifest = blob(json.dumps({"config": config, "layers": [blob(gzip.compress(layer)) for layer in layers]}).encode())
    other = blob(b'{"config": {"digest": "sha256:none"}, "layers": []}')
    index = blob(
        json.dumps(
            {
                "manifests": [
                    {**manifest, "platform": platform or {"os": "linux"}},
                    {**other, "platform": {"os": "windows"}},
                ]
            }
        ).encode()
    )
    top = json.dumps({"manifests": [{**index, "annotations": dict(annotations)}]}).encode()
    members = [(f"blobs/sha256/{sha256(data)}", data) for data in blobs]
    path.write_bytes(tarred([*members, ("index.json", top)]))
    return path


@pytest.fixture
def archives(tmp_path: Path) -> Callable[..., Path]:
    """A folder with an archive for each named service."""
    folder = tmp_path / "archives"
    folder.mkdir()

    def make(*services: str, tag: str = "22.09") -> Path:
        for service in services:
            schemas = {"rsync": (), "orchestrator": ("json-schemas", "ref-schemas")}.get(service, ("json-schemas",))
            image = {"orchestrator": "emco-orch"}.get(service, f"emco-{service}")
            layer = tarred(service_layer(service, schemas=schemas))
            docker_archive(folder / f"{image}.tar", {f"some.where/else/{image}:{tag}": [layer]})
        return folder

    return make
