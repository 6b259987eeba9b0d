"""From intents to a plan: which apps go to which clusters, rendered into resources."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from reference.charts import ChartError, Rendered, render_chart
from reference.contexts import AppPlan, Contexts, Placement, meta
from reference.errors import ApiError
from reference.records import Key, Records, key_id
from reference.state import read_state

_VERSION = ("project", "compositeApp", "compositeAppVersion")


class Planner:
    """Works out what a deployment intent group deploys, from mongo alone: the same records give the same plan."""

    def __init__(self, *, records: Records, contexts: Contexts) -> None:
        self._records = records
        self._contexts = contexts

    async def logical_cloud(self, project: str, name: str) -> dict[str, Any]:
        """The specification of an instantiated logical cloud. Raises ApiError 500, StoreError."""
        key = {"project": project, "logicalCloud": name}
        data = await self._records.find(key, "data")
        if data is None:
            raise ApiError(500, f"Logical cloud {name} not found")
        state = read_state(await self._records.find(key, "stateInfo"), what=f"logical cloud {name}")
        context = state.last.context
        status = await self._contexts.status(context) if context else None
        if status != "Instantiated":
            raise ApiError(500, f"Logical cloud {name} is not instantiated: its status is {status or 'Created'}")
        specification: dict[str, Any] = data["specification"]
        return specification

    async def plan(self, key: Key) -> tuple[dict[str, Any], list[AppPlan]]:
        """What the group's context is about and holds. Raises ApiError 500 when something is missing, StoreError."""
        group = await self._records.find(key, "data")
        if group is None:
            raise ApiError(404, f"deploymentIntentGroup not found: {key['deploymentIntentGroup']}")
        spec = group["spec"]
        cloud = await self.logical_cloud(key["project"], spec["logicalcloud"])
        about = meta(
            project=key["project"],
            logical_cloud=spec["logicalcloud"],
            namespace=cloud["namespace"],
            level=cloud["level"],
            composite_app=key["compositeApp"],
            version=key["compositeAppVersion"],
            release=spec["version"],
            group=key["deploymentIntentGroup"],
        )
        version = {name: key[name] for name in _VERSION}
        apps = await self._records.find_all(version, "data", names=("app",))
        if not apps:
            raise ApiError(500, "The composite app has no apps")
        intents = await self._app_intents(key)
        clusters = await self._cloud_clusters(key["project"], spec["logicalcloud"])
        plans = []
        for app in apps:
            name = app["metadata"]["name"]
            resources = await self._render(version, name, spec, namespace=cloud["namespace"])
            plans.append(AppPlan(name, await self._place(name, intents.get(name), clusters, resources)))
        return about, plans

    async def _app_intents(self, key: Key) -> dict[str, Mapping[str, Any]]:
        named = await self._records.find_all(key, "data", names=("groupIntent",))
        intents = [item["spec"]["intent"] for item in named]
        placement = next((item["genericPlacementIntent"] for item in intents if "genericPlacementIntent" in item), None)
        if placement is None:
            raise ApiError(500, "The group has no intent named genericPlacementIntent")
        others = sorted({name for item in intents for name in item} - {"genericPlacementIntent"})
        if others:
            raise ApiError(
                500, f"The reference EMCO calls no controllers; the group's intents name {', '.join(others)}"
            )
        # EMCO looks an app's intent up by the separately written field `app`.
        parent = {**key, "genericPlacementIntent": placement}
        ident = key_id({**parent, "genericAppPlacementIntent": ""})
        found = await self._records.query({**parent, "keyId": ident, "app": {"$exists": True}}, {"app": 1, "data": 1})
        return {item["app"]: item["data"]["spec"]["intent"] for item in found if item.get("data")}

    async def _cloud_clusters(self, project: str, cloud: str) -> set[str]:
        key = {"project": project, "logicalCloud": cloud}
        found = await self._records.find_all(key, "data", names=("clusterReference",))
        return {f"{item['specification']['clusterprovider']}+{item['specification']['clustername']}" for item in found}

    async def _place(
        self, app: str, intent: Mapping[str, Any] | None, cloud: set[str], resources: Sequence[Rendered]
    ) -> list[Placement]:
        if intent is None:
            raise ApiError(500, f"No compatible clusters: app {app} has no placement intent")
        groups: list[list[str]] = []
        for item in intent["allofarray"] or []:
            groups.extend([name] for name in await self._clusters_of(item))
            groups.extend(await self._any_group(item["anyofarray"] or []))
        groups.extend(await self._any_group(intent["anyofarray"] or []))
        manifests = {resource.name: resource.manifest for resource in resources}
        places: dict[str, Placement] = {}
        for number, group in enumerate(groups, start=1):
            usable = [name for name in group if name in cloud]
            if not usable:
                raise ApiError(500, f"No compatible clusters: none of {', '.join(group)} is in the logical cloud")
            # Of a group of which any one will do, the first is taken at once.
            places.setdefault(usable[0], Placement(usable[0], str(number), manifests))
        if not places:
            raise ApiError(500, f"No compatible clusters: the placement intent of app {app} names none")
        return list(places.values())

    async def _any_group(self, items: Sequence[Mapping[str, Any]]) -> list[list[str]]:
        names = [name for item in items for name in await self._clusters_of(item)]
        return [names] if names else []

    async def _clusters_of(self, item: Mapping[str, Any]) -> list[str]:
        provider = item["providername"]
        if item["clustername"]:
            return [f"{provider}+{item['clustername']}"]
        if not item["clusterlabelname"]:
            return []
        found = await self._records.query(
            {
                "clusterProvider": provider,
                "clusterLabel": item["clusterlabelname"],
                "keyId": "{cluster,clusterLabel,clusterProvider}",
            },
            {"cluster": 1, "_id": 0},
        )
        return sorted(f"{provider}+{document['cluster']}" for document in found)

    async def _render(self, version: Key, app: str, spec: Mapping[str, Any], *, namespace: str) -> list[Rendered]:
        chart = await self._records.find({**version, "app": app}, "appcontent")
        if chart is None:
            raise ApiError(500, f"The chart of app {app} is missing")
        profile = await self._profile(version, app, spec["profile"])
        overrides: dict[str, Any] = {}
        for item in spec["overridevaluesobj"] or []:
            if item["appname"] == app:
                overrides.update(item["valuesobj"])
        try:
            return render_chart(
                base64.b64decode(chart["filecontent"]),
                profile=base64.b64decode(profile["profile"]),
                overrides=overrides,
                release=spec["version"],
                namespace=namespace,
            )
        except ChartError as error:
            raise ApiError(500, f"The chart of app {app} cannot be rendered: {error}") from error

    async def _profile(self, version: Key, app: str, name: str) -> Mapping[str, Any]:
        ident = "{appProfile,compositeApp,compositeAppVersion,compositeProfile,project}"
        # As with intents, the lookup goes by the separately written field `app`.
        found = await self._records.query(
            {**version, "compositeProfile": name, "app": app, "keyId": ident}, {"profilecontent": 1, "_id": 0}
        )
        content: Mapping[str, Any] | None = found[0].get("profilecontent") if found else None
        if content is None:
            raise ApiError(500, f"AppProfileContent not found for app {app} in composite profile {name}")
        return content
