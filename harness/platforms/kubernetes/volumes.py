"""Volumes of the stores as EMCO's charts make them: on a path of the node, and kept when their claim is gone."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from harness.platforms.edges.client import MERGE_PATCH, ApiClient, gone
from harness.platforms.kubernetes.install import apply, render
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE

Json = dict[str, Any]
RETAINED: Mapping[str, str] = MappingProxyType({store: f"emco-chaos-{store}" for store in ("mongo", "etcd")})
"""Stores, with the name of the volume, and of the storage class that nothing else has."""
_FOLDER = "/var/lib/emco-chaos"
_VOLUMES = "/api/v1/persistentvolumes"
_GONE_LIMIT = 120.0


class RetainedVolumes:
    """Those of one cluster. remove_on_node: removes a folder on the node that they are on."""

    def __init__(self, api: ApiClient, remove_on_node: Callable[[str], Awaitable[None]]) -> None:
        self._api = api
        self._remove_on_node = remove_on_node

    async def make(self) -> None:
        """Have one for each store, unclaimed and empty."""
        for store, name in RETAINED.items():
            await apply(self._api, render("volumes", {"name": name, "path": f"{_FOLDER}/{store}"}))

    async def stale(self) -> tuple[str, ...]:
        """Names of those whose claim is gone, so that no new one gets them."""
        return tuple(one["metadata"]["name"] for one in await self._there() if one["status"].get("phase") == "Released")

    async def reclaim(self) -> tuple[str, ...]:
        """Let new claims have what gone claims have left, with what is in it; the names of the volumes."""
        stale = await self.stale()
        for name in stale:
            await self._api.ask("PATCH", f"{_VOLUMES}/{name}", {"spec": {"claimRef": None}}, content=MERGE_PATCH)
        return stale

    async def remove(self) -> bool:
        """Remove the stores that use them, the volumes, and what is in them; False where there is none."""
        if not (there := await self._there()):
            return False
        await remove_stores(self._api)
        for one in there:
            path = f"{_VOLUMES}/{one['metadata']['name']}"
            await self._api.ask("DELETE", path, accept=(404,))
            await gone(self._api, path, limit=_GONE_LIMIT)
        await self._remove_on_node(_FOLDER)
        return True

    async def _there(self) -> list[Json]:
        listed = await self._api.ask("GET", _VOLUMES, query="labelSelector=emco-chaos/volume%3Dretained")
        return list(listed.get("items") or ())


async def remove_stores(api: ApiClient) -> None:
    """Remove the stores with their claims, whatever becomes of the volumes."""
    sets = f"/apis/apps/v1/namespaces/{EMCO_NAMESPACE}/statefulsets"
    claims = f"/api/v1/namespaces/{EMCO_NAMESPACE}/persistentvolumeclaims"
    for store in RETAINED:
        await api.ask("DELETE", f"{sets}/{store}", {"propagationPolicy": "Foreground"}, accept=(404,))
    for store in RETAINED:
        await api.ask("DELETE", f"{claims}/data-{store}-0", accept=(404,))
    for store in RETAINED:
        await gone(api, f"{sets}/{store}", limit=_GONE_LIMIT)
        await gone(api, f"{claims}/data-{store}-0", limit=_GONE_LIMIT)
