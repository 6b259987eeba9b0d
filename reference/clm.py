"""clm: cluster providers, clusters with their kubeconfigs, labels, key-value pairs, sync objects, clm's controllers.

A cluster is two records: its own, and the CloudConfig with the kubeconfig, which no schema ties to it. EMCO writes
the cluster first, so that a crash leaves a cluster without a kubeconfig (B1), and deletes it first, so that a crash
leaves a kubeconfig without a cluster, over which the next cluster of the name stumbles (B2). Without these defects the
kubeconfig comes first when made and goes last, a create replaces what it finds, and what was left alone is removed at
the start.
"""

import base64
from typing import Any

from aiohttp import web

from reference.crud import Crud
from reference.defects import Defects
from reference.errors import ApiError, StoreError
from reference.records import Records
from reference.resources import CLUSTER, PLAIN, cloud_config
from reference.state import created, now
from reference.web import Rest, read_multipart, reply


class Clusters(Crud):
    """The calls on clusters."""

    async def post(self, request: web.Request) -> web.Response:
        body, file = await read_multipart(request)
        key, data = self.read(request, body)
        if file is None and not data["spec"]["props"]["gitopstype"]:
            raise ApiError(400, "The kubeconfig is missing: field file")
        await self.refuse_existing(key)
        config = {"config": self.records.sealed(base64.b64encode(file or b"").decode())}
        config_key = cloud_config(key["clusterProvider"], key["cluster"])
        state = {"stateInfo": created(now()).to_stored()}
        if "B1" not in self.defects:
            if not await self.records.exists({"clusterProvider": key["clusterProvider"]}):
                raise ApiError(409, f"Parent resource not found: clusterProvider {key['clusterProvider']}")
            await self.records.set_tag(config_key, "config", config)
            await self.store(key, data, tags=state)
        else:
            await self.store(key, data, tags=state)
            if await self.records.find(config_key, "config") is not None:
                raise ApiError(500, "CloudConfig already exists")
            await self.records.set_tag(config_key, "config", config)
        return reply(201, self.resource.shape.to_json(data))

    async def get(self, request: web.Request) -> web.Response:
        if request.headers.get("Accept", "").startswith("application/octet-stream"):
            key = cloud_config(request.match_info["clusterProvider"], request.match_info["cluster"])
            stored = await self.records.find(key, "config")
            if stored is None:
                raise ApiError(404, "CloudConfig not found")
            return web.Response(body=base64.b64decode(self.records.opened(stored["config"])))
        return await super().get(request)

    async def list(self, request: web.Request) -> web.Response:
        label = request.query.get("label")
        if label is None:
            return await super().list(request)
        provider = {"clusterProvider": request.match_info["clusterProvider"]}
        found = await self.records.query(
            {**provider, "clusterLabel": label, "keyId": "{cluster,clusterLabel,clusterProvider}"},
            {"cluster": 1, "_id": 0},
        )
        return reply(200, [document["cluster"] for document in found])

    async def delete(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        await self.records.remove(key)
        try:
            await self.records.discard(cloud_config(key["clusterProvider"], key["cluster"]))
        except StoreError:
            if "B2s" not in self.defects:
                raise
        return reply(204)

    async def status(self, request: web.Request) -> web.Response:
        key = self.path_key(request)
        data = await self.data(key)
        state = await self.records.find(key, "stateInfo")
        return reply(200, {"cluster": data["metadata"]["name"], "states": _states(state)})

    async def remove_orphaned_configs(self) -> None:
        """Remove each kubeconfig that no cluster owns. Raises StoreError."""
        keys = await self.records.query(
            {"keyId": "{cloudConfigCluster,cloudConfigClusterProvider,level,namespace}", "level": "0"},
            {"cloudConfigClusterProvider": 1, "cloudConfigCluster": 1, "_id": 0},
        )
        for key in keys:
            provider, cluster = key["cloudConfigClusterProvider"], key["cloudConfigCluster"]
            if not await self.records.exists({"clusterProvider": provider, "cluster": cluster}):
                await self.records.discard(cloud_config(provider, cluster))


def _states(state: Any) -> Any:
    actions = [
        {"state": item["state"], "instance": item["contextid"], "revision": int(item["revision"])}
        for item in (state or {}).get("actions", [])
    ]
    return {"actions": actions}


class Clm:
    """The service."""

    def __init__(self, *, records: Records, defects: Defects) -> None:
        self._records = records
        self._defects = defects
        self._clusters = Clusters(CLUSTER, records=records, defects=defects)

    def mount(self, rest: Rest) -> None:
        for resource in PLAIN["clm"]:
            Crud(resource, records=self._records, defects=self._defects).mount(rest)
        self._clusters.mount(rest, without=("PUT", "DELETE"))
        rest.add("DELETE", CLUSTER.item_path, self._clusters.delete, switches=("B2",))
        rest.add("GET", CLUSTER.item_path + "/status", self._clusters.status)

    async def recover(self) -> None:
        """Finish what a crash interrupted. Raises StoreError."""
        if "B2" not in self._defects:
            await self._clusters.remove_orphaned_configs()
