"""How a call that needs several writes is made crash-consistent, where EMCO's defects are off.

Before its first effect the call writes its intention into the member `pending` of the record that it is about, in one
write: what it does and, where it makes an AppContext, the id that this will have. The work under that id is idempotent.
The last write of the call sets the new state and removes `pending`, as one. A service that finds a pending intention at
its start carries it out again, from its beginning, before it serves; when rsync definitely did not accept it,
everything that was made is removed and the record is what it was before.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from reference.errors import ApiError, RpcError, StoreError
from reference.records import PENDING, Key, Records, key_id


@dataclass(frozen=True, slots=True)
class Intention:
    """What a call on one record set out to do.

    op:       the call's name;  key: the record
    context:  the AppContext that it makes or works on;  old: the one that it leaves
    revision: the revision that it makes;  target: the key of the second record of a migration
    stale:    contexts that go in the end
    """

    op: str
    key: Key
    context: str = ""
    old: str = ""
    revision: int = 0
    target: Mapping[str, str] = field(default_factory=dict)
    stale: tuple[str, ...] = ()
    journaled: bool = False

    def to_stored(self) -> dict[str, Any]:
        return {
            "op": self.op,
            "context": self.context,
            "old": self.old,
            "revision": self.revision,
            "target": dict(self.target),
            "stale": list(self.stale),
        }


def read_intention(key: Key, stored: Mapping[str, Any]) -> Intention:
    """The intention as stored."""
    return Intention(
        op=stored["op"],
        key=key,
        context=stored["context"],
        old=stored["old"],
        revision=stored["revision"],
        target=stored["target"],
        stale=tuple(stored["stale"]),
        journaled=True,
    )


CarryOut = Callable[[Intention], Awaitable[None]]


class Journal:
    """The pending intentions on records of one kind. `carry_out` does the work, `roll_back` undoes what it began."""

    def __init__(
        self,
        *,
        records: Records,
        fields: tuple[str, ...],
        carry_out: CarryOut,
        roll_back: CarryOut,
        log: logging.Logger,
    ) -> None:
        self._records = records
        self._fields = fields
        self._carry_out = carry_out
        self._roll_back = roll_back
        self._log = log
        self._turns: dict[tuple[str, ...], asyncio.Lock] = {}
        self._settling: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def turn(self, key: Key, *, wanted: bool) -> AsyncIterator[None]:
        """One call on a record after the other, and none before what is pending on it is settled. Raises StoreError."""
        if not wanted:
            # EMCO has no lock: two calls on one record pass each other.
            yield
            return
        lock = self._turns.setdefault(tuple(key[name] for name in self._fields), asyncio.Lock())
        async with lock:
            stored = await self._records.find(key, PENDING)
            if stored:
                await self._settle(read_intention(key, stored))
            yield

    async def begin(self, intention: Intention) -> None:
        """Record an intention. Raises StoreError."""
        await self._records.set_members(intention.key, {PENDING: intention.to_stored()})

    async def end(self, intention: Intention, members: Mapping[str, Any]) -> None:
        """Write the result of an intention and remove it, as one. Raises StoreError."""
        await self._records.set_members(intention.key, members, unset=(PENDING,))

    async def perform(self, intention: Intention) -> None:
        """Do what is intended, journaled. Raises ApiError or RpcError when it was refused and undone, StoreError."""
        await self.begin(intention)
        await self.finish(intention)

    async def finish(self, intention: Intention) -> None:
        """Carry out an intention that was begun. Raises as perform does."""
        try:
            await self._carry_out(intention)
        except (ApiError, RpcError):
            await self._roll_back(intention)
            raise
        except StoreError:
            # A write may or may not have happened; all of them may be made again.
            try:
                await self._settle(intention)
            except StoreError:
                self._settle_later()
                raise
        except asyncio.CancelledError:
            self._settle_later()
            raise

    def _settle_later(self) -> None:
        task = asyncio.ensure_future(self.recover())
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, intention: Intention) -> None:
        try:
            await self._carry_out(intention)
        except (ApiError, RpcError) as error:
            self._log.warning("%s of %s is rolled back: %s", intention.op, dict(intention.key), error)
            await self._roll_back(intention)

    async def recover(self) -> None:
        """Settle everything that is pending. Returns when nothing is; waits for the stores as long as that takes."""
        pause = 0.05
        while True:
            try:
                for intention in await self._pending():
                    await self._settle(intention)
            except StoreError as error:
                self._log.warning("recovery waits for the stores: %s", error)
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _pending(self) -> list[Intention]:
        projection = {PENDING: 1, "_id": 0, **dict.fromkeys(self._fields, 1)}
        wanted = {"keyId": key_id(dict.fromkeys(self._fields, "")), PENDING: {"$exists": True}}
        found = await self._records.query(wanted, projection)
        return [read_intention({name: item[name] for name in self._fields}, item[PENDING]) for item in found]
