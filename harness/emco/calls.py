"""The mutating API calls of a workload as values: what is sent to whom, what undoes it, what may repair it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from harness.emco.services import ROUTES, service_registered_as
from harness.emco.workload import Document, FilePart

Repeat = Literal["same", "refused", "again"]

METHODS = MappingProxyType({"create": "POST", "replace": "PUT", "delete": "DELETE"})
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")

# What a repeated call is meant to do: nothing new, be refused, or act once more. Control runs measure what it does.
REPEATS: Mapping[str, Repeat] = MappingProxyType(
    {"replace": "same", "approve": "same", "update": "again", "rollback": "again"}
)


@dataclass(frozen=True, slots=True)
class Multipart:
    """The form of a multipart call: the field `metadata` with this JSON, and the files."""

    metadata: Mapping[str, Any]
    files: tuple[FilePart, ...]


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the repair ladder: calls made one after the other."""

    name: str
    calls: "tuple[Call, ...]"


@dataclass(frozen=True, slots=True)
class Call:
    """One mutating API call.

    name:    stable id in a workload: `dcm/logical-clouds/create-lc2`
    verb:    create, replace, delete, or the lifecycle verb
    kind:    last segment of the collection: `logical-clouds`
    label:   what names call that resource: its name, with `-2` where another one has it, too
    target:  path under /v2/ of the resource that is created, changed, deleted or run
    path:    with /v2
    json:    the body; None for none, and where there is a multipart form
    undo:    calls that undo it, in order; empty where emcoctl's rules know of none
    repeat:  what repeating it is meant to do
    setup:   it is made, but has no crash points of its own
    """

    name: str
    service: str
    verb: str
    kind: str
    label: str
    target: str
    method: str
    path: str
    json: Mapping[str, Any] | None = None
    multipart: Multipart | None = None
    undo: "tuple[Call, ...]" = field(default=(), repr=False)
    ladder: tuple[Rung, ...] = field(default=(), repr=False)
    repeat: Repeat = "refused"
    setup: bool = False
    file: str = field(default="", repr=False)
    line: int = field(default=0, repr=False)

    @property
    def lifecycle(self) -> bool:
        """Whether it runs a resource rather than creating, changing or deleting it."""
        return self.verb not in METHODS


@dataclass(frozen=True, slots=True)
class Resource:
    """What a resource is made of at one moment; enough to create, replace or delete it."""

    service: str
    collection: str
    target: str
    label: str
    body: Mapping[str, Any]
    files: tuple[FilePart, ...]
    file: str
    line: int

    @property
    def kind(self) -> str:
        return self.collection.rsplit("/", 1)[-1]

    def call(self, verb: str) -> Call:
        """The call without undo and ladder."""
        call = Call(
            name=call_name(self.service, self.kind, verb, self.label),
            service=self.service,
            verb=verb,
            kind=self.kind,
            label=self.label,
            target=self.target,
            method=METHODS[verb],
            path=f"/v2/{self.collection if verb == 'create' else self.target}",
            repeat=REPEATS.get(verb, "refused"),
            file=self.file,
            line=self.line,
        )
        if verb == "delete":
            return call
        if self.files:
            return replace(call, multipart=Multipart(self.body, self.files))
        return replace(call, json=self.body)


def call_name(service: str, kind: str, verb: str, label: str) -> str:
    """`dcm/logical-clouds/create-lc2`; what a name of a test or a file cannot hold becomes a dash."""
    return f"{_UNSAFE.sub('-', service)}/{_UNSAFE.sub('-', kind)}/{verb}-{_UNSAFE.sub('-', label)}"


def resource_of(document: Document) -> Resource:
    """What a document of the workload creates."""
    target = f"{document.anchor}/{document.name}"
    if document.anchor.endswith("/composite-apps"):
        target += f"/{(document.spec or {})['compositeAppVersion']}"
    return Resource(
        service=document.service,
        collection=document.anchor,
        target=target,
        label=document.name,
        body=document.body,
        files=document.files,
        file=document.file,
        line=document.line,
    )


def lifecycle_call(
    service: str, target: str, verb: str, body: Mapping[str, Any] | None = None, *, file: str = "", line: int = 0
) -> Call:
    """A lifecycle call on the resource at a path."""
    segments = target.split("/")
    # A composite app's path ends in its version; what is run has a name, and its collection before it.
    kind, label = (segments[-2], segments[-1]) if len(segments) > 1 else ("", segments[-1])
    return Call(
        name=call_name(service, kind, verb, label),
        service=service,
        verb=verb,
        kind=kind,
        label=label,
        target=target,
        method="POST",
        path=f"/v2/{target}/{verb}",
        json=body or None,
        repeat=REPEATS.get(verb, "refused"),
        file=file,
        line=line,
    )


def clusters(calls: Iterable[Call]) -> tuple[tuple[str, str], ...]:
    """(cluster provider, cluster) of every cluster that the calls register with a kubeconfig, in order."""
    found = dict.fromkeys(
        (call.target.split("/")[1], call.target.split("/")[3])
        for call in calls
        if call.service == "clm" and call.kind == "clusters" and call.verb == "create" and call.multipart is not None
    )
    return tuple(found)


def services(calls: Iterable[Call]) -> tuple[str, ...]:
    """Names of the services that the calls need: those that are called and those that are registered as controllers."""
    found: dict[str, None] = {}
    for call in calls:
        found.setdefault(call.service)
        if call.kind in ("controllers", "clm-controllers", "dtc-controllers") and call.verb == "create":
            registered = service_registered_as(call.target.rsplit("/", 1)[-1])
            if registered is not None:
                found.setdefault(registered)
    return tuple(found)


def not_tested(calls: Iterable[Call]) -> tuple[str, ...]:
    """The mutating routes of the known services that none of the calls takes, as `orchestrator PUT /v2/projects/{}`."""
    made = {(call.service, call.method, call.path) for call in calls}
    return tuple(str(route) for route in ROUTES if not any(route.matches(*call) for call in made))
