"""One watch: which changes its client is told, and how."""

from collections.abc import Callable
from typing import Any

from harness.platforms.edge_emulator import problems, routes
from harness.platforms.edge_emulator.api import Api, render
from harness.platforms.edge_emulator.problems import ApiError
from harness.platforms.edge_emulator.routes import Call
from harness.platforms.edge_emulator.selectors import selector
from harness.platforms.edge_emulator.storage import Change

Json = dict[str, Any]


class Watch:
    """A watch on a collection or on one object. Raises ApiError for a request that makes no sense.

    seconds: how long the client wants it, 0 when it does not say
    """

    def __init__(self, api: Api, call: Call) -> None:
        routes.check_acceptable(call.accept)
        self._storage = api.storage
        self._target = routes.parse_target(api.registry, call.path)
        self._selected = selector(call.query)
        self._bookmarks = call.query.get("allowWatchBookmarks") == "true"
        self._initial = call.query.get("sendInitialEvents") == "true"
        self._from = _number(call.query, "resourceVersion")
        self.seconds = _number(call.query, "timeoutSeconds")

    def begin(self, offer: Callable[[Json | None], None]) -> Callable[[], None]:
        """Offer what has happened and, from now on, what happens; None is the end. Returns what stops it."""
        if self._from and not self._initial:
            try:
                missed = self._storage.since(self._from)
            except ApiError as error:
                offer({"type": "ERROR", "object": error.status()})
                offer(None)
                return lambda: None
            for change in missed:
                self._tell(change, offer)
        else:
            for obj in self._present():
                offer({"type": "ADDED", "object": render(self._target, obj)})
            if self._initial:
                offer(self._bookmark({"k8s.io/initial-events-end": "true"}))
        return self._storage.listen(lambda change: self._tell(change, offer))

    def farewell(self) -> list[Json]:
        """What is said before the end that the client asked for."""
        return [self._bookmark({})] if self._bookmarks else []

    def _present(self) -> list[Json]:
        resource = self._target.resource
        found = sorted(self._storage.select(resource.group, resource.plural, self._target.namespace))
        return [obj for key, obj in found if self._target.name in ("", key.name) and self._selected(obj)]

    def _tell(self, change: Change, offer: Callable[[Json | None], None]) -> None:
        key, resource = change.key, self._target.resource
        if (key.group, key.plural) != (resource.group, resource.plural):
            return
        if self._target.namespace not in ("", key.namespace) or self._target.name not in ("", key.name):
            return
        was = change.old is not None and self._selected(change.old)
        still = change.kind != "deleted" and self._selected(change.new)
        # An object that comes under or leaves the selector appears or goes, for this client.
        kind = {(False, True): "ADDED", (True, True): "MODIFIED", (True, False): "DELETED"}.get((was, still))
        if kind is not None:
            offer({"type": kind, "object": render(self._target, change.new)})

    def _bookmark(self, annotations: dict[str, str]) -> Json:
        resource = self._target.resource
        metadata: Json = {"resourceVersion": str(self._storage.version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        version = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return {"type": "BOOKMARK", "object": version}


def _number(query: Any, name: str) -> int:
    text = query.get(name) or "0"
    if not text.isdecimal():
        raise problems.bad_request(f"{name}: {text!r} is no number")
    return int(text)
