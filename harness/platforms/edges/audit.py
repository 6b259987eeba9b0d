"""What an API server was asked, from its audit log."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.platforms.edge_emulator import LoggedRequest

EMCO, HARNESS = "emco", "emco-chaos"
"""Users: EMCO's services by way of the relay, and the harness itself."""

_METHODS = {"get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH"}


def policy() -> dict[str, Any]:
    """The audit policy: who asked what and was answered how, for EMCO's requests only."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "users": [EMCO]}, {"level": "None"}],
    }


def read_log(path: Path) -> tuple[LoggedRequest, ...]:
    """Answered requests and begun watches, in the order of their answers."""
    if not path.exists():
        return ()
    found = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):  # else it is being written
            event = json.loads(line)
            if (event["verb"] == "watch") == (event["stage"] == "ResponseStarted"):
                found.append(_request(event))
    return tuple(found)


def _request(event: dict[str, Any]) -> LoggedRequest:
    parts = urlsplit(event["requestURI"])
    return LoggedRequest(
        time=datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
        method=_METHODS.get(event["verb"], "DELETE"),
        path=parts.path,
        query=parts.query,
        user_agent=event.get("userAgent", ""),
        status=(event.get("responseStatus") or {}).get("code", 0),
    )
