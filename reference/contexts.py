"""AppContexts in etcd: what one is made of, how it is built, in which order its keys are written, how it is read."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reference.errors import StoreError
from reference.etcd import Etcd

ACTIVE = "/activecontext/"


@dataclass(frozen=True, slots=True)
class Placement:
    """One app on one cluster (`provider+cluster`): resources by name (`r1-cm+ConfigMap`), in the order of applying."""

    cluster: str
    group: str
    resources: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AppPlan:
    """One app and where it goes."""

    app: str
    placements: Sequence[Placement]


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One event of rsync's queue for a context. `other`: the context that an update comes from or goes to."""

    event: str
    other: str
    status: str

    def to_json(self) -> dict[str, str]:
        other = {"uCID": self.other} if self.other else {}
        return {"event": self.event, **other, "status": self.status}


def go_json(value: Any) -> bytes:
    """JSON as Go writes it: no blanks, and the characters that matter to HTML escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e").encode()


def new_id() -> str:
    """A context id: a random positive 63-bit number."""
    return str(secrets.randbits(62) + 1)


def meta(
    *,
    project: str,
    logical_cloud: str,
    namespace: str = "",
    level: str = "",
    composite_app: str = "",
    version: str = "",
    release: str = "",
    group: str = "",
) -> dict[str, Any]:
    """What a context belongs to."""
    return {
        "Project": project,
        "CompositeApp": composite_app,
        "Version": version,
        "Release": release,
        "DeploymentIntentGroup": group,
        "Namespace": namespace,
        "Level": level,
        "ChildContextIDs": None,
        "LogicalCloud": logical_cloud,
        "LogicalCloudNamespace": "",
        "LogicalCloudLevel": "",
    }


def root(context: str) -> str:
    """The prefix of all keys of a context."""
    return f"/context/{context}/"


def cluster_path(app: str, cluster: str) -> str:
    """Where an app on a cluster is kept, below the root of its context."""
    return f"app/{app}/cluster/{cluster}/"


def resource_path(app: str, cluster: str, resource: str) -> str:
    """Where a resource of an app on a cluster is kept, below the root of its context."""
    return f"{cluster_path(app, cluster)}resource/{resource}/"


class Contexts:
    """All AppContexts of one etcd. Every method raises StoreError."""

    def __init__(self, etcd: Etcd) -> None:
        self.etcd = etcd

    async def get(self, context: str, path: str) -> Any:
        """The value at a path below the context, None when there is none."""
        raw = await self.etcd.get(root(context) + path)
        return None if raw is None else json.loads(raw)

    async def put(self, context: str, path: str, value: Any) -> None:
        await self.etcd.put(root(context) + path, go_json(value))

    async def exists(self, context: str) -> bool:
        return await self.etcd.get(root(context)) is not None

    async def status(self, context: str) -> str | None:
        """The status that rsync gave the context; None before rsync saw it, or when it is gone."""
        value = await self.get(context, "status/")
        return None if value is None else str(value["Status"])

    async def delete(self, context: str) -> None:
        await self.etcd.delete(root(context))

    async def forget(self, context: str) -> None:
        """Delete everything of a context that came to nothing, rsync's note of it included."""
        await self.etcd.delete(root(context))
        await self.etcd.delete(f"{ACTIVE}{context}/")

    async def queue(self, context: str) -> list[QueueItem]:
        """rsync's queue of the context, oldest first."""
        return read_queue(await self.get(context, "rsync/AppContextEventQueue/"))

    async def accepted(self, context: str, *, event: str, other: str = "") -> bool:
        """Whether rsync's last event of the context is this one, and it did not fail."""
        return holds(await self.queue(context), event=event, other=other)

    async def tree(self, context: str) -> dict[str, Any]:
        """All keys of a context, below its root, with their values."""
        prefix = root(context)
        found = await self.etcd.list(prefix)
        return {key.removeprefix(prefix): json.loads(value) for key, value in found.items()}

    async def build(self, context: str, about: Mapping[str, Any], apps: Sequence[AppPlan]) -> None:
        """Write the context of a deployment intent group. Where that fails at its apps it is removed, as EMCO does."""
        await self.put(context, "", context)
        await self.put(context, "meta/", about)
        try:
            await self._build_apps(context, apps)
        except StoreError:
            await self.delete(context)
            raise

    async def _build_apps(self, context: str, apps: Sequence[AppPlan]) -> None:
        for plan in apps:
            await self.put(context, f"app/{plan.app}/", plan.app)
            for place in plan.placements:
                path = cluster_path(plan.app, place.cluster)
                await self.put(context, path, place.cluster)
                await self.put(context, path + "!@#metaGrp/", place.group)
                for name, manifest in place.resources.items():
                    await self.put(context, resource_path(plan.app, place.cluster, name), manifest)
                await self._put_order(context, path + "resource/", "resorder", list(place.resources))
        await self._put_order(context, "app/", "apporder", [plan.app for plan in apps])
        dependency = {plan.app: "go" for plan in apps}
        await self.put(context, "app/instruction/dependency/", go_json(dependency).decode())

    async def build_logical_cloud(self, context: str, about: Mapping[str, Any], clusters: Sequence[str]) -> None:
        """Write the context of a level 0 logical cloud: its clusters, nothing to apply."""
        app = "logical-cloud"
        await self.put(context, "", context)
        await self.put(context, f"app/{app}/", app)
        await self.put(context, "meta/", about)
        for cluster in clusters:
            await self.put(context, cluster_path(app, cluster), cluster)
            await self._put_order(context, cluster_path(app, cluster) + "resource/", "resorder", [])
        await self._put_order(context, "app/", "apporder", [app])

    async def _put_order(self, context: str, path: str, name: str, items: list[str]) -> None:
        # The order is JSON in a JSON string.
        await self.put(context, path + "instruction/order/", go_json({name: items}).decode())


def read_queue(value: Any) -> list[QueueItem]:
    """The queue as stored."""
    items = (value or {}).get("AcQueue") or []
    return [QueueItem(item["event"], item.get("uCID", ""), item["status"]) for item in items]


def holds(queue: Sequence[QueueItem], *, event: str, other: str) -> bool:
    """Whether the last event of the queue is this one, pending or done."""
    if not queue:
        return False
    last = queue[-1]
    return (last.event, last.other) == (event, other) and last.status in ("Pending", "Done")
