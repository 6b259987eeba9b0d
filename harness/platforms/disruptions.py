"""The seam between disruptions and wherever EMCO runs: what an experiment may do to it, by the same names anywhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from harness.faults.victim import Death, UsageError
from harness.wire.conditions import BlackHole, Condition, Refuse, Reset, Slow

Volume = Literal["kept", "lost"]

PARTITIONS = ("refused", "reset", "black-hole", "silent", "one-way", "slow", "flapping")
"""Kinds of broken links. `refused`: nobody listens; `reset`: accepted, and reset when something is asked; `black-hole`:
packets vanish, connections can neither be made nor used, and nobody is told; `silent`: connections can be made and
nothing arrives, as at a server that hangs; `one-way`: requests arrive, replies do not; `slow`: everything is late;
`flapping`: refused and healthy in turn."""


@dataclass(frozen=True, slots=True)
class Partition:
    """How links are broken.

    kind:    one of PARTITIONS
    seconds: `slow`: the delay of each piece; `flapping`: how long it is refused and how long healthy
    """

    kind: str
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in PARTITIONS:
            raise UsageError(f"there is no partition {self.kind!r}; there are {', '.join(PARTITIONS)}")
        if not 0 < self.seconds <= 60:
            raise UsageError(f"a partition's seconds lie above 0 and up to 60, not {self.seconds:g}")

    def condition(self) -> Condition:
        """What the links are set to; for `flapping` what they begin with."""
        if self.kind == "reset":
            return Reset()
        if self.kind == "black-hole":
            return BlackHole(connects=False)
        if self.kind == "silent":
            return BlackHole()
        if self.kind == "one-way":
            return BlackHole("to_source")
        return Slow(self.seconds) if self.kind == "slow" else Refuse()


class Disruptable(Protocol):
    """An EMCO that disruptions can be done to. Names are those of services (`rsync`), stores (`mongo`, `etcd`) and
    edges (`provider+cluster`). What is done to something that is not there, or does not run, raises HarnessTrouble:
    a fault that hit nothing is none."""

    @property
    def services(self) -> tuple[str, ...]: ...

    @property
    def stores(self) -> tuple[str, ...]: ...

    @property
    def edges(self) -> tuple[str, ...]: ...

    @property
    def data_key(self) -> str:
        """What services are given as EMCO_DATA_KEY at their next start; empty for none."""

    def set_data_key(self, key: str) -> None:
        """Change that. Services that run keep the one they have."""

    async def crash(self, name: str, *, volume: Volume = "kept") -> Death:
        """SIGKILL a service or a store; it stays down. volume `lost`: what a store had on disk is gone, too."""

    async def start(self, name: str) -> None:
        """Start what is down and return when it answers. Raises ServiceDown with its log when it does not."""

    async def silent(self, name: str, *, limit: float) -> str:
        """Why a service does not answer a request of its own kind within `limit` seconds; empty when it does: something
        that its API looks up in mongo, or, without an API, a ping at its gRPC port."""

    async def down(self) -> tuple[str, ...]:
        """Services and stores of the harness that do not run; paused ones do."""

    async def pause(self, name: str) -> None:
        """Stop it from running without ending it (SIGSTOP)."""

    async def resume(self, name: str) -> None:
        """Let it run again."""

    async def begin_overlap(self, service: str) -> str:
        """Start a second instance of a service beside the one at work, as where a pod is replaced, and return when it
        answers: the older one keeps its connections, new ones are led to the newer one. Which two, in words."""

    async def end_overlap(self, service: str) -> Death:
        """SIGKILL the older of the two."""

    async def make_whole(self, name: str = "*", *, services: bool = True) -> tuple[str, ...]:
        """End the older of two instances, resume what is paused, heal what is broken, let workloads run on edges, start
        what is down, of all or of one; what was done, in words.

        services: whether services that are down are started, too; not for a clean slate, which starts them all
        """

    async def partition(self, source: str, target: str, how: Partition) -> int:
        """Break all links from source to target (patterns, `*` for any); how many."""

    async def cut(self, source: str, target: str, sent: bytes, *, times: int = 1, then: Partition | None = None) -> int:
        """Reset the connection on which a source sends these bytes, instead of their arriving; on how many links.

        times: so often, on each link;  then: what the link is afterwards, healthy when nothing is said
        """

    async def heal(self, source: str, target: str) -> int:
        """Make the links healthy again that were broken; how many."""

    async def wipe(self) -> tuple[str, ...]:
        """Destroy services, stores and their data, as a deleted namespace does; what was destroyed, in words.

        Edges are not touched: they are other clusters."""

    async def shrink(self, store: str, megabytes: int) -> None:
        """Move a store to a volume of this size; it is stopped and started again. `make_whole` moves it back."""

    async def fill(self, store: str) -> int:
        """Fill what is left of a store's small volume; how many bytes."""

    async def free(self, store: str) -> int:
        """Give that space back; how many bytes."""

    async def bring_up(self, *, services: bool = True) -> None:
        """Start the stores that are down and, unless told otherwise, the services."""


class Policies(Protocol):
    """Partitions by NetworkPolicy. What cannot be done raises HarnessTrouble."""

    async def unenforced(self) -> str:
        """Why nothing can be partitioned by them there, tried out once; empty where it can."""

    async def deny(self, edge: str) -> str:
        """Keep rsync from an edge, once it was tried out that this works, and leave it so; the proof."""

    async def allow(self, edge: str) -> None:
        """Let it be reached again."""


@runtime_checkable
class InCluster(Protocol):
    """What an EMCO in a cluster has beside that. What cannot be done raises HarnessTrouble, as with Disruptable."""

    @property
    def kubeconfig(self) -> tuple[Path, str]:
        """A file, and the context in it, with which the cluster is reached."""

    @property
    def namespace(self) -> str:
        """EMCO's, the only one in which experiments may act themselves."""

    async def retain_volumes(self) -> tuple[str, ...]:
        """Give the stores, empty, volumes as EMCO's charts make them; their names. `make_whole` takes them away."""

    async def stale_volumes(self) -> tuple[str, ...]:
        """Volumes whose claim is gone, which no other claim is bound to."""

    async def reclaim_volumes(self) -> tuple[str, ...]:
        """Let new claims have them, with what is in them; their names."""

    async def disconnect(self, edge: str) -> str:
        """Take an edge that is a cluster off the network, and leave it so; where it was."""

    async def reconnect(self, edge: str) -> None:
        """Put it on the network again, and return when its API answers."""

    @property
    def policies(self) -> "Policies":
        """What NetworkPolicies can do there."""

    async def restart_node(self, edge: str) -> None:
        """Switch the machine of an edge off and on, and return when its API answers."""

    async def restart_hub(self) -> str:
        """Switch the machine that EMCO runs on off and on, and return when all of it is reached and answers again, and
        what ran runs; what became of its pods, in words."""

    def pods(self, name: str) -> tuple[str, ...]:
        """The pods of a service or a store as the cluster knows them: name and uid of each."""

    def selector(self, name: str) -> tuple[str, str]:
        """The namespace of these pods, and what of their labels selects them and no others."""
