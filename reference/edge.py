"""An edge's Kubernetes API, as rsync uses it: reachability, apply, delete, the ResourceBundleState and its watch."""

import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import yaml

LABEL = "emco/deployment-id"
_STATES = "/apis/k8splugin.io/v1alpha1"
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_REACH_LIMIT = 32.0
_CONNECT_LIMIT = 30.0
_ANSWER_LIMIT = 60.0

_KINDS: Mapping[tuple[str, str], tuple[str, bool]] = {
    ("v1", "ConfigMap"): ("configmaps", True),
    ("v1", "Secret"): ("secrets", True),
    ("v1", "Service"): ("services", True),
    ("v1", "ServiceAccount"): ("serviceaccounts", True),
    ("v1", "Pod"): ("pods", True),
    ("v1", "PersistentVolumeClaim"): ("persistentvolumeclaims", True),
    ("v1", "ResourceQuota"): ("resourcequotas", True),
    ("v1", "Namespace"): ("namespaces", False),
    ("apps/v1", "Deployment"): ("deployments", True),
    ("apps/v1", "StatefulSet"): ("statefulsets", True),
    ("apps/v1", "DaemonSet"): ("daemonsets", True),
    ("batch/v1", "Job"): ("jobs", True),
    ("batch/v1", "CronJob"): ("cronjobs", True),
    ("networking.k8s.io/v1", "Ingress"): ("ingresses", True),
    ("networking.k8s.io/v1", "NetworkPolicy"): ("networkpolicies", True),
    ("rbac.authorization.k8s.io/v1", "Role"): ("roles", True),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): ("rolebindings", True),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): ("clusterroles", False),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): ("clusterrolebindings", False),
}
"""Plural and whether namespaced, of the kinds that need no discovery."""


class EdgeError(Exception):
    """The edge's API refused; the message is a sentence."""


class EdgeUnreachable(EdgeError):
    """The edge's API does not answer."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a kubeconfig says: the server, headers that authenticate, TLS."""

    server: str
    headers: Mapping[str, str]
    tls: ssl.SSLContext | None


def read_kubeconfig(text: bytes) -> Access:
    """The access of the current context. Raises EdgeError when the kubeconfig cannot be used."""
    try:
        config = yaml.load(text, Loader=_LOADER)  # noqa: S506 - it is the safe one, in C
        contexts = {item["name"]: item["context"] for item in config["contexts"]}
        context = contexts[config["current-context"]]
        cluster = {item["name"]: item["cluster"] for item in config["clusters"]}[context["cluster"]]
        users = {item["name"]: item.get("user") or {} for item in config.get("users") or []}
        user = users.get(context.get("user", ""), {})
        server = str(cluster["server"]).rstrip("/")
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise EdgeError(f"the kubeconfig cannot be used: {error!r}") from error
    headers = {"Authorization": f"Bearer {user['token']}"} if user.get("token") else {}
    return Access(server, headers, _tls(cluster, user) if server.startswith("https:") else None)


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    authority = cluster.get("certificate-authority-data")
    context = ssl.create_default_context(cadata=base64.b64decode(authority).decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if user.get("client-certificate-data") and user.get("client-key-data"):
        with tempfile.NamedTemporaryFile() as file:
            file.write(base64.b64decode(user["client-certificate-data"]) + b"\n")
            file.write(base64.b64decode(user["client-key-data"]))
            file.flush()
            context.load_cert_chain(file.name)
    return context


class Edge:
    """One edge. Every call raises EdgeUnreachable when the API does not answer, EdgeError when it refuses.

    patient:  wait without a limit for answers, as EMCO does (R19); only for a connection it waits 30 s
    replaces: delete an object that is there and make it anew, where it could be changed (X7)
    """

    def __init__(self, *, access: Access, session: aiohttp.ClientSession, patient: bool, replaces: bool) -> None:
        self._replaces = replaces
        self._access = access
        self._session = session
        self._patient = patient

    async def reach(self) -> None:
        """Ask for the version, which says whether the edge is reachable."""
        await self._ask("GET", "/version", limit=_REACH_LIMIT)

    async def apply(self, manifest: Mapping[str, Any], *, namespace: str, deployment: str) -> None:
        """Create an object, or change it to what the manifest says, under the label of its deployment."""
        path, name = await self._path(manifest, namespace)
        if self._replaces:
            await self._ask("DELETE", f"{path}/{name}", missing_ok=True)
        body = {**manifest, "metadata": {**manifest["metadata"]}}
        body["metadata"]["labels"] = {**(body["metadata"].get("labels") or {}), LABEL: deployment}
        template = (body.get("spec") or {}).get("template")
        if isinstance(template, dict):  # pods carry the label, too
            metadata = template.setdefault("metadata", {})
            metadata["labels"] = {**(metadata.get("labels") or {}), LABEL: deployment}
        await self._create_or_change(path, name, body)

    async def delete(self, manifest: Mapping[str, Any], *, namespace: str, gone_ok: bool = True) -> None:
        """Delete an object; one that is gone is fine if that is `gone_ok`, else EdgeError is raised."""
        path, name = await self._path(manifest, namespace)
        await self._ask("DELETE", f"{path}/{name}", missing_ok=gone_ok)

    async def report(self, deployment: str, *, namespace: str) -> dict[str, Any] | None:
        """Have a ResourceBundleState for a deployment, and return it; None when the edge has no such API."""
        if await self._ask("GET", _STATES, missing_ok=True) is None:
            return None
        body = {
            "apiVersion": "k8splugin.io/v1alpha1",
            "kind": "ResourceBundleState",
            "metadata": {"name": deployment, "namespace": namespace, "labels": {LABEL: deployment}},
            "spec": {"selector": {"matchLabels": {LABEL: deployment}}},
        }
        return await self._create_or_change(f"{_STATES}/namespaces/{namespace}/resourcebundlestates", deployment, body)

    async def end_report(self, deployment: str, *, namespace: str) -> None:
        """Delete the ResourceBundleState of a deployment; one that is gone is fine."""
        path = f"{_STATES}/namespaces/{namespace}/resourcebundlestates/{deployment}"
        await self._ask("DELETE", path, missing_ok=True)

    async def reports(self) -> AsyncIterator[tuple[dict[str, Any], bool]]:
        """Every ResourceBundleState, first as it is and then whenever it changes, until the connection ends.

        The second value: whether it is one that was there when the watch began.
        """
        found = await self._ask("GET", f"{_STATES}/resourcebundlestates", missing_ok=True)
        if found is None:
            return
        for item in found.get("items") or []:
            yield item, True
        version = (found.get("metadata") or {}).get("resourceVersion", "")
        url = f"{self._access.server}{_STATES}/resourcebundlestates"
        parameters = {"watch": "1", "resourceVersion": version}
        forever = aiohttp.ClientTimeout(total=None)
        try:
            async with self._session.get(
                url, params=parameters, headers=self._access.headers, ssl=self._access.tls or True, timeout=forever
            ) as reply:
                if reply.status >= 400:
                    raise EdgeError(f"the edge answered {reply.status} to a watch")
                async for line in reply.content:
                    event = json.loads(line)
                    if event.get("type") in ("ADDED", "MODIFIED"):
                        yield event["object"], False
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise EdgeUnreachable(f"the watch ended: {error}") from error

    async def _create_or_change(self, path: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        if await self._ask("GET", f"{path}/{name}", missing_ok=True) is None:
            made = await self._ask("POST", path, body=body, conflict_ok=True)
            if made is not None:
                return made
        changed = await self._ask("PATCH", f"{path}/{name}", body=body)
        return changed or {}

    async def _path(self, manifest: Mapping[str, Any], namespace: str) -> tuple[str, str]:
        version, kind = str(manifest.get("apiVersion", "")), str(manifest.get("kind", ""))
        metadata = manifest.get("metadata") or {}
        plural, namespaced = _KINDS.get((version, kind)) or await self._discover(version, kind)
        base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        if namespaced:
            base += f"/namespaces/{metadata.get('namespace') or namespace}"
        return f"{base}/{plural}", str(metadata["name"])

    async def _discover(self, version: str, kind: str) -> tuple[str, bool]:
        base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        listed = await self._ask("GET", base, missing_ok=True)
        for item in (listed or {}).get("resources") or []:
            if item["kind"] == kind and "/" not in item["name"]:
                return item["name"], bool(item["namespaced"])
        raise EdgeError(f'no matches for kind "{kind}" in version "{version}"')

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        missing_ok: bool = False,
        conflict_ok: bool = False,
        limit: float = _ANSWER_LIMIT,
    ) -> dict[str, Any] | None:
        headers = dict(self._access.headers)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            async with self._session.request(
                method,
                self._access.server + path,
                data=data,
                headers=headers,
                ssl=self._access.tls or True,
                timeout=aiohttp.ClientTimeout(total=None if self._patient else limit, sock_connect=_CONNECT_LIMIT),
            ) as reply:
                raw = await reply.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise EdgeUnreachable(f"{method} {path}: {str(error) or type(error).__name__}") from error
        if (reply.status == 404 and missing_ok) or (reply.status == 409 and conflict_ok):
            return None
        if reply.status >= 400:
            raise EdgeError(f"{method} {path} was answered {reply.status}: {raw[:200].decode(errors='replace')}")
        try:
            answer: dict[str, Any] = json.loads(raw)
        except ValueError as error:
            raise EdgeError(f"{method} {path} was not answered in JSON") from error
        return answer
