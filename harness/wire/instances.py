"""Which instance of a source may talk.

Where a source is replaced rather than restarted, as a pod is, the old instance and the new one live side by side for a
while. Each has an address of its own. At most one instance of a source is let in at any time, two where that is asked
for; the next one waits, its connections accepted and unread, until it is; one that was retired is turned away.

The addresses are learned from the links that only one source uses. A source connects to its stores before it does
anything else, so whoever comes from the same address is known by then.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from harness.wire.links import Address, Arrival

UNKNOWN = "?"
# An address may be given to somebody else later on; networks hand out all others first, which takes far longer.
_RETIRED_SECONDS = 60.0
_MOST_WAITING = 256


@dataclass(slots=True)
class _State:
    present: str = ""
    older: str = ""  # of two that are let in
    wanted: bool = False
    waiting: list[Arrival] = field(default_factory=list)


class Instances:
    """The instances of some sources.

    clock:   seconds
    changed: is called with the source when another instance of it was let in
    """

    def __init__(self, sources: Iterable[str], *, clock: Callable[[], float], changed: Callable[[str], None]) -> None:
        self._states = {source: _State() for source in sources}
        self._retired: dict[str, float] = {}
        self._clock = clock
        self._changed = changed

    def address(self, source: str) -> str:
        """Where its instance is, of two the newer one; empty while there is none."""
        return self._states[source].present or self._states[source].older

    def newest(self, source: str) -> str:
        """The same; empty also while a second one was asked for and has not come."""
        return self._states[source].present

    def source_at(self, address: Address) -> str:
        """Whose instance is at an address; `?` for nobody's."""
        known = (name for name, state in self._states.items() if address[0] in (state.present, state.older))
        return next(known, UNKNOWN)

    def want(self, source: str) -> None:
        """Let the next instance in: the first one that comes, or that waits still, and was not retired."""
        state = self._states[source]
        if not state.present:
            self._await(source, state)

    def beside(self, source: str) -> None:
        """The same while there is one: that one stays, as the older of two. Does nothing where there are two."""
        state = self._states[source]
        if state.present and not state.older:
            state.older, state.present = state.present, ""
            self._await(source, state)

    def _await(self, source: str, state: _State) -> None:
        state.wanted = True
        waiting, state.waiting = state.waiting, []
        for arrival in waiting:
            if arrival.is_there():
                self._decide(source, arrival)
            else:  # it gave up, or its instance is gone
                arrival.turn_away()

    def retire(self, source: str) -> str:
        """Neither instance may talk any more, and none is let in until one is wanted; where the newer one was."""
        state = self._states[source]
        self.retire_older(source)
        address, state.present, state.wanted = state.present, "", False
        if address:
            self._retired[address] = self._clock()
        return address

    def retire_older(self, source: str) -> None:
        """The older of two may talk no more."""
        state = self._states[source]
        if state.older:
            self._retired[state.older] = self._clock()
        state.older = ""

    def ban(self, address: str) -> None:
        """Whoever is at this address is turned away from now on, also who waits already."""
        self._retired[address] = self._clock()
        for state in self._states.values():
            there = [arrival for arrival in state.waiting if arrival.address[0] == address]
            state.waiting = [arrival for arrival in state.waiting if arrival.address[0] != address]
            for arrival in there:
                arrival.turn_away()

    def close(self) -> None:
        """Turn away whoever waits."""
        for state in self._states.values():
            waiting, state.waiting = state.waiting, []
            for arrival in waiting:
                arrival.turn_away()

    def gate(self, source: str) -> Callable[[Arrival], None]:
        """For a link that only this source uses."""

        def decide(arrival: Arrival) -> None:
            self._decide(source, arrival)

        return decide

    def common_gate(self, arrival: Arrival) -> None:
        """For a link that several sources use: only what was retired is turned away."""
        if self._is_retired(arrival.address[0]):
            arrival.turn_away()
        else:
            arrival.let_in()

    def _decide(self, source: str, arrival: Arrival) -> None:
        state, address = self._states[source], arrival.address[0]
        if self._is_retired(address) or len(state.waiting) >= _MOST_WAITING:
            arrival.turn_away()
            return
        if not state.present and state.wanted:
            state.present, state.wanted = address, False
            self._changed(source)
        if address in (state.present, state.older):
            arrival.let_in()
        else:
            state.waiting.append(arrival)

    def _is_retired(self, address: str) -> bool:
        since = self._retired.get(address)
        if since is not None and self._clock() - since > _RETIRED_SECONDS:
            del self._retired[address]
            return False
        return since is not None
