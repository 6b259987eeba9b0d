"""The values that come out of the decoders: effects, and when and between whom they were seen."""

from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Literal

Store = Literal["mongo", "etcd", "grpc", "edge"]
"""Where an effect lands. `grpc` is a request to another service, `edge` a write on a cluster's API."""

Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """One durable or externally visible act of a service, as decoded from its traffic.

    store:  where it lands
    op:     the wire's own name: mongo command (`findAndModify`, `update`, `delete`, `insert`), etcd method
            (`Put`, `DeleteRange`, `Txn`), gRPC method (`InstallApp`), HTTP verb (`POST`, `PUT`, `PATCH`, `DELETE`)
    target: mongo `database.collection`; gRPC the full service name (`installapp.Installapp`); edge the link's target;
            empty for etcd
    key:    what is touched, as sorted pairs. mongo: the scalar members of the filter (`("project", "proj1")`), of all
            statements of one command; etcd: `("key", ...)` and for a range `("range_end", ...)` with non-printable
            bytes escaped by backslashreplace; edge: `("path", "/api/v1/...")` without the query; gRPC: empty
    fields: mongo: top-level names set or unset by the update, sorted; empty elsewhere
    read:   whether it changes nothing: a read of a store, which is told of only where reads are watched
    value:  what is written, in short. etcd's Put: the digest of the value; POST to an edge: the name of what is
            created; empty elsewhere, and where it is not known. Two effects that differ in nothing else are equal
    """

    store: Store
    op: str
    target: str
    key: Key
    fields: tuple[str, ...] = ()
    read: bool = False
    value: str = field(default="", compare=False)

    def describe(self) -> str:
        """One readable line, for logs and errors."""
        pairs = ", ".join(f"{name}={value}" for name, value in self.key)
        sets = f" sets {','.join(self.fields)}" if self.fields else ""
        where = f" {self.target}" if self.target else ""
        return f"{self.store} {self.op}{where} ({pairs}){sets}"


@dataclass(frozen=True, slots=True)
class Observation:
    """An effect with its circumstances: who caused it, through which link, in which order, what became of it.

    seq:       position in the relay's history, from 0, one counter for all links
    source:    the service that caused it;  target: the link's target (`mongo`, `etcd`, a service, an edge)
    requested: when the request was complete at the relay, seconds of the relay's clock
    answered:  when the reply was complete at the relay; None while under way or if it never came
    forwarded: whether the request reached the target
    ok:        whether the reply said success (mongo ok:1 without writeErrors, grpc-status 0, HTTP < 400);
               None while there is none
    """

    seq: int
    source: str
    target: str
    effect: Effect
    requested: float
    answered: float | None = None
    forwarded: bool = False
    ok: bool | None = None


def digest(value: bytes) -> str:
    """Short, for telling values apart."""
    return blake2s(value, digest_size=8).hexdigest()
