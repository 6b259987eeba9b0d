"""A snapshot: everything the stores and edges held at one quiet moment, exactly as they held it."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import msgspec

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Raw content, as restored later.

    environment: id of the environment it was taken in; contents hold that environment's addresses
    mongo: `database.collection` -> raw BSON documents
    etcd:  key -> value, both as bytes
    edges: edge's name -> Kubernetes objects
    """

    environment: str
    mongo: Mapping[str, tuple[bytes, ...]]
    etcd: Mapping[bytes, bytes]
    edges: Mapping[str, tuple[dict[str, Any], ...]]

    def documents(self, collection: str) -> list[dict[str, Any]]:
        """Decoded documents of one collection."""
        return [bson.decode(raw) for raw in self.mongo.get(collection, ())]


class SnapshotError(Exception):
    """A snapshot that cannot be read, or does not belong here."""


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Store as one JSON file (BSON and bytes in base64), replaced atomically."""
    content = {
        "format": FORMAT,
        "environment": snapshot.environment,
        "mongo": {name: [_text(raw) for raw in documents] for name, documents in snapshot.mongo.items()},
        "etcd": [[_text(key), _text(value)] for key, value in sorted(snapshot.etcd.items())],
        "edges": {name: list(objects) for name, objects in snapshot.edges.items()},
    }
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(content))
    temporary.replace(path)


def read_snapshot(path: Path) -> Snapshot:
    """Read what write_snapshot wrote. Raises SnapshotError with the file's name."""
    try:
        content = msgspec.json.decode(path.read_bytes())
        if content["format"] != FORMAT:
            raise SnapshotError(
                f"{path}: snapshot format {content['format']}, this version reads {FORMAT}; learn again"
            )
        return Snapshot(
            environment=content["environment"],
            mongo={
                name: tuple(base64.b64decode(raw) for raw in documents) for name, documents in content["mongo"].items()
            },
            etcd={base64.b64decode(key): base64.b64decode(value) for key, value in content["etcd"]},
            edges={name: tuple(objects) for name, objects in content["edges"].items()},
        )
    except (OSError, msgspec.DecodeError, AttributeError, KeyError, ValueError, TypeError) as error:
        raise SnapshotError(f"{path}: no readable snapshot ({error})") from error


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
