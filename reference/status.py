"""Status replies: what rsync did (`deployed`), and what the edges say of it (`ready`)."""

import json
from collections.abc import Mapping
from typing import Any

from reference.contexts import Contexts
from reference.errors import ApiError
from reference.records import Key
from reference.state import StateInfo

_KINDS_WITH_PRESENCE = frozenset(
    {"ConfigMap", "Service", "DaemonSet", "Deployment", "Job", "Pod", "StatefulSet", "CertificateSigningRequest"}
)
_GROUPS: Mapping[str, tuple[str, str]] = {
    "ConfigMap": ("", "v1"),
    "Service": ("", "v1"),
    "Pod": ("", "v1"),
    "Deployment": ("apps", "v1"),
    "StatefulSet": ("apps", "v1"),
    "DaemonSet": ("apps", "v1"),
    "Job": ("batch", "v1"),
}


async def group_status(
    key: Key, data: Mapping[str, Any], state: StateInfo, *, query: Any, contexts: Contexts
) -> dict[str, Any]:
    """The status of a deployment intent group. Raises ApiError 400 when its context is not there, StoreError."""
    head: dict[str, Any] = {
        "project": key["project"],
        "compositeApp": key["compositeApp"],
        "compositeAppVersion": key["compositeAppVersion"],
        "compositeProfile": data["spec"]["profile"],
        "name": data["metadata"]["name"],
        "states": state.to_json(),
    }
    context = query.get("instance") or state.last.context or next(reversed(state.contexts()), "")
    if not context:
        return head
    return {**head, **await context_status(context, state.status_context, query=query, contexts=contexts)}


async def context_status(context: str, status_context: str, *, query: Any, contexts: Contexts) -> dict[str, Any]:
    """The part of a status that comes from an AppContext. Raises as group_status does."""
    tree = await contexts.tree(context)
    if not tree or "status/" not in tree:
        raise ApiError(400, "AppContext for status query not found")
    reports = tree if status_context in ("", context) else await contexts.tree(status_context)
    wanted = query.get("status") or ("ready" if query.get("type") == "cluster" else "deployed")
    apps = _apps(tree, reports, wanted=wanted, query=query)
    listed = _listing(apps, query)
    if listed is not None:
        return listed
    resources = [item for app in apps for cluster in app["clusters"] for item in cluster["resources"]]
    counts: dict[str, int] = {}
    for item in resources:
        value = item[f"{wanted}Status"]
        counts[value] = counts.get(value, 0) + 1
    bad = counts.get("NotReady", 0) + counts.get("NotPresent", 0)
    reply: dict[str, Any] = {
        "deployedStatus": tree["status/"]["Status"],
        # With nothing to count EMCO says Ready, too.
        "readyStatus": "NotReady" if bad else "Ready",
        f"{wanted}Counts": counts,
    }
    if query.get("type"):
        reply = {"status": reply["deployedStatus"], f"{'cluster' if wanted == 'ready' else 'rsync'}Status": counts}
    if query.get("output") == "summary":
        return reply
    return {**reply, "apps": apps}


def clusters_of(tree: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """App, cluster and resources in order, of every cluster of a context."""
    order = json.loads(tree.get("app/instruction/order/", "{}")).get("apporder", [])
    found = []
    for app in order:
        prefix = f"app/{app}/cluster/"
        clusters = [path[len(prefix) : -1] for path in tree if path.startswith(prefix) and path.count("/") == 4]
        for cluster in clusters:
            names = tree.get(f"{prefix}{cluster}/resource/instruction/order/")
            found.append((app, cluster, list(json.loads(names)["resorder"]) if names else []))
    return found


def _apps(tree: Mapping[str, Any], reports: Mapping[str, Any], *, wanted: str, query: Any) -> list[dict[str, Any]]:
    apps: dict[str, dict[str, Any]] = {}
    only_apps, only_clusters = query.getall("app", []), query.getall("cluster", [])
    only_resources = query.getall("resource", [])
    for app, cluster, names in clusters_of(tree):
        if (only_apps and app not in only_apps) or (only_clusters and cluster not in only_clusters):
            continue
        path = f"app/{app}/cluster/{cluster}/"
        present = _reported(reports.get(path + "status/"))
        resources = []
        for name in names:
            short, kind = name.rsplit("+", 1)
            if only_resources and short not in only_resources:
                continue
            group, version = _GROUPS.get(kind, ("", ""))
            item: dict[str, Any] = {"GVK": {"Group": group, "Version": version, "Kind": kind}, "name": short}
            if wanted == "deployed":
                noted = f"{path}resource/{name}/status/"
                status = reports.get(noted) or tree.get(noted, {"Status": "Pending"})
                item["deployedStatus"] = status["Status"]
            else:
                item["readyStatus"] = _ready(present, kind, short)
            resources.append(item)
        provider, _, short_cluster = cluster.partition("+")
        entry = apps.setdefault(app, {"name": app, "clusters": []})
        entry["clusters"].append(
            {
                "clusterProvider": provider,
                "cluster": short_cluster,
                # As what edges report, it is read where status is collected, also after an update (R21).
                "connectivity": reports.get(path + "readystatus/") or tree.get(path + "readystatus/", "Unknown"),
                "resources": resources,
            }
        )
    return list(apps.values())


def _reported(raw: Any) -> dict[tuple[str, str], Any]:
    """What the edge's ResourceBundleState says, by kind and name."""
    found: dict[tuple[str, str], Any] = {}
    for member, value in (json.loads(raw) if raw else {}).items():
        if member.endswith("Statuses") and isinstance(value, list):
            kind = member.removesuffix("Statuses").lower()
            for item in value:
                found[(kind, item.get("metadata", {}).get("name", ""))] = item
    return found


def _ready(present: Mapping[tuple[str, str], Any], kind: str, name: str) -> str:
    item = present.get((kind.lower(), name))
    if item is None:
        return "NotPresent" if kind in _KINDS_WITH_PRESENCE else "Ready"
    status = item.get("status") or {}
    if kind in ("Deployment", "StatefulSet"):
        wanted = (item.get("spec") or {}).get("replicas", 1)
        return "Ready" if status.get("readyReplicas", 0) >= wanted else "NotReady"
    if kind == "Pod":
        return "Ready" if status.get("phase") in ("Running", "Succeeded") else "NotReady"
    return "Ready"


def _listing(apps: list[dict[str, Any]], query: Any) -> dict[str, Any] | None:
    if "apps" in query:
        return {"apps": [app["name"] for app in apps]}
    if "clusters" in query:
        names = [
            {"clusterProvider": cluster["clusterProvider"], "cluster": cluster["cluster"]}
            for app in apps
            for cluster in app["clusters"]
        ]
        return {"clusters": [name for number, name in enumerate(names) if name not in names[:number]]}
    if "resources" in query:
        names = [
            {"GVK": item["GVK"], "name": item["name"]}
            for app in apps
            for cluster in app["clusters"]
            for item in cluster["resources"]
        ]
        return {"resources": names}
    return None
