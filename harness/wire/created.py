"""The name of what a request to an edge creates: only its body has it, the path ends at the kind."""

import json

_LONGEST = 2_000_000  # bytes: more than an API server takes


class Body:
    """The body of a request that creates something, put together from its pieces."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        """Take a piece; of one that is too long nothing is kept."""
        self._size += len(piece)
        if self._size > _LONGEST:
            self._pieces.clear()
        else:
            self._pieces.append(piece)

    def name(self) -> str:
        """`metadata.name` of the object; empty where the body is no JSON that has one."""
        try:
            found = json.loads(b"".join(self._pieces))["metadata"]["name"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""  # protobuf, a review that has no name, or an object that is named by the edge
        return found if isinstance(found, str) else ""
