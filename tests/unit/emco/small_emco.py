"""A small EMCO at rest, written by hand, and what a few calls make of it."""

from __future__ import annotations

import json
from typing import Any

import bson

from harness.stores.snapshot import Snapshot

CLOUD, DIG, NEXT, OTHER = "1000000001", "2000000002", "3000000003", "4000000004"
APP = "app/app1/"
CLUSTER = f"{APP}cluster/p1+c1/"
CM, WEB = "r1-cm+ConfigMap", "r1-web+Deployment"
QUEUE = "rsync/AppContextEventQueue/"


class Emco:
    """A small EMCO at rest: one cluster, a logical cloud of each level, one application that runs."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = [
            schema(),
            record({"project": "proj1"}),
            record({"controllerGroup": "orchestrator", "controller": "rsync"}),
            record({"clusterProvider": "p1"}),
            record({"clusterProvider": "p1", "cluster": "c1"}, stateInfo=told("Created")),
            config("0", "default"),
            cloud("lc1", "0", told("Created", ("Instantiated", CLOUD))),
            record(
                {"project": "proj1", "logicalCloud": "lc1", "clusterReference": "ref1"},
                data={"specification": {"clusterprovider": "p1", "clustername": "c1"}},
                references=[{"key": {"cluster": "c1", "clusterProvider": "p1"}, "keyid": "{cluster,clusterProvider}"}],
            ),
            cloud("lc2", "1", told("Created"), privatekey={"keyvalue": "LS0t"}),
            record({"project": "proj1", "logicalCloud": "lc2", "clusterReference": "ref2"},
                   data={"specification": {"clusterprovider": "p1", "clustername": "c1"}}),
            record(V1),
            record({**V1, "app": "app1"}, appcontent={"filecontent": "H4s"}),
            record({**V1, "compositeProfile": "cp1"}),
            record(
                {**V1, "compositeProfile": "cp1", "appProfile": "prof1"},
                data={"spec": {"appname": "app1"}},
                profilecontent={"profile": "H4s"},
                app="app1",
            ),
            group("dig1", told("Created", "Approved", ("Instantiated", DIG))),
        ]  # fmt: skip
        self.etcd: dict[str, Any] = {}
        cloud_keys = {
            "app/instruction/order/": json.dumps({"apporder": ["logical-cloud"]}),
            "app/logical-cloud/": "logical-cloud",
            "app/logical-cloud/cluster/p1+c1/": "p1+c1",
            "app/logical-cloud/cluster/p1+c1/resource/instruction/order/": json.dumps({"resorder": []}),
        }
        self.context(CLOUD, cloud_keys)
        self.context(DIG, workload())
        self.edge: list[dict[str, Any]] = [
            thing("ConfigMap", "r1-cm", DIG),
            thing("Deployment", "r1-web", DIG),
            thing("ResourceBundleState", f"{DIG}-app1", DIG),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "of-somebody-else"}},
        ]

    def context(self, name: str, keys: dict[str, Any], *events: dict[str, Any], status: str = "Instantiated") -> Emco:
        """A context that rsync worked off."""
        queue = events or ({"event": "Instantiate", "status": "Done"},)
        common: dict[str, Any] = {
            "": name,
            "meta/": {"ChildContextIDs": None},
            "stopflag/": False,
            "status/": {"Status": status},
            QUEUE: {"AcQueue": list(queue)},
            "rsync/state/CurrentState/": {"Status": status},
            "rsync/state/DesiredState/": {"Status": status},
            "rsync/state/PendingTerminateFlag/": False,
        }
        self.etcd |= {f"/context/{name}/{key}": value for key, value in (common | keys).items()}
        return self

    def put(self, context: str, key: str, value: Any) -> Emco:
        self.etcd[f"/context/{context}/{key}"] = value
        return self

    def add(self, document: dict[str, Any]) -> Emco:
        self.records.append(document)
        return self

    def apply(self, kind: str, name: str, context: str) -> Emco:
        self.edge.append(thing(kind, name, context))
        return self

    def drop(self, context: str, prefix: str = "") -> Emco:
        self.etcd = {
            key: value for key, value in self.etcd.items() if not key.startswith(f"/context/{context}/{prefix}")
        }
        return self

    def find(self, name: str) -> dict[str, Any]:
        """The record with a key field of this value, the first without a longer key."""
        fitting = [one for one in self.records if name in one.values()]
        return min(fitting, key=lambda one: len(one["keyId"]))

    def tell(self, name: str, *actions: str | tuple[str, str]) -> Emco:
        """Further actions of a record."""
        self.find(name)["stateInfo"]["actions"] += told(*actions)["actions"]
        return self

    def status(self, context: str, status: str) -> Emco:
        for key in ("status/", "rsync/state/CurrentState/", "rsync/state/DesiredState/"):
            self.put(context, key, {"Status": status})
        return self

    def updated(self) -> Emco:
        """dig1 after POST update, as EMCO leaves it: the second context applies under the first one's name."""
        self.tell("dig1", ("Updated", DIG), ("Instantiated", NEXT))
        pending = {"event": "UpdateDelete", "status": "Pending", "uCID": NEXT}
        self.put(DIG, QUEUE, {"AcQueue": [{"event": "Instantiate", "status": "Done"}, pending]})
        self.etcd[f"/activecontext/{DIG}/"] = DIG
        keys = workload(CM="Pending", WEB="Pending") | {"statusappctxid/": DIG}
        return self.context(NEXT, keys, {"event": "Update", "status": "Done", "uCID": DIG})

    def migrated(self, *, target: bool = True) -> Emco:
        """dig1 after it was migrated to dig2."""
        self.updated()
        self.find("dig1")["stateInfo"]["actions"].pop()
        if target:
            self.records.append(group("dig2", told("Created", "Approved", ("Instantiated", NEXT))))
        return self

    def snapshot(self) -> Snapshot:
        documents = tuple(bson.encode(one) for one in self.records)
        etcd = {key.encode(): json.dumps(value).encode() for key, value in self.etcd.items()}
        return Snapshot("here", {"emco.resources": documents}, etcd, {"p1+c1": tuple(self.edge)})


V1 = {"project": "proj1", "compositeApp": "ca1", "compositeAppVersion": "v1"}


def record(key: dict[str, str], **parts: Any) -> dict[str, Any]:
    return {**key, "data": {"metadata": {}}, "keyId": "{" + ",".join(sorted(key)) + "}", "references": [], **parts}


def schema() -> dict[str, Any]:
    parents = {
        "project": "", "controllerGroup.controller": "", "clusterProvider": "", "cluster": "clusterProvider",
        "logicalCloud": "project", "clusterReference": "logicalCloud", "compositeApp.compositeAppVersion": "project",
        "app": "compositeAppVersion", "compositeProfile": "compositeAppVersion", "appProfile": "compositeProfile",
        "deploymentIntentGroup": "compositeAppVersion", "unheardOf": "deploymentIntentGroup",
    }  # fmt: skip
    resources = [{"name": name, "parent": parent, "references": None} for name, parent in parents.items()]
    return {"SegmentId": "f653", "keyId": "{SegmentId}", "segment": {"name": "emco-base", "resources": resources}}


def told(*actions: str | tuple[str, str]) -> dict[str, Any]:
    pairs = [(one, "") if isinstance(one, str) else one for one in actions]
    return {
        "statuscontextid": next((context for _, context in pairs if context), ""),
        "actions": [{"state": state, "contextid": context} for state, context in pairs],
    }


def cloud(name: str, level: str, state: dict[str, Any], **parts: Any) -> dict[str, Any]:
    data = {"specification": {"level": level, "namespace": "default" if level == "0" else "ns2"}}
    return record({"project": "proj1", "logicalCloud": name}, data=data, stateInfo=state, **parts)


def group(name: str, state: dict[str, Any]) -> dict[str, Any]:
    references = [{"key": {"logicalCloud": "lc1", "project": "proj1"}, "keyid": "{logicalCloud,project}"}]
    return record({**V1, "deploymentIntentGroup": name}, stateInfo=state, references=references)


def config(level: str, namespace: str) -> dict[str, Any]:
    key = {"cloudConfigClusterProvider": "p1", "cloudConfigCluster": "c1", "level": level, "namespace": namespace}
    return {
        **key,
        "keyId": "{cloudConfigCluster,cloudConfigClusterProvider,level,namespace}",
        "config": {"config": "YXA="},
    }


def workload(**statuses: str) -> dict[str, Any]:
    keys: dict[str, Any] = {
        "app/instruction/order/": json.dumps({"apporder": ["app1"]}),
        APP: "app1",
        CLUSTER: "p1+c1",
        f"{CLUSTER}readystatus/": "Available",
        f"{CLUSTER}resource/instruction/order/": json.dumps({"resorder": [CM, WEB]}),
    }
    for short, name in (("CM", CM), ("WEB", WEB)):
        keys[f"{CLUSTER}resource/{name}/"] = "kind: X"
        keys[f"{CLUSTER}resource/{name}/status/"] = {"Status": statuses.get(short, "Applied")}
    return keys


def thing(kind: str, name: str, context: str) -> dict[str, Any]:
    labels = {"emco/deployment-id": f"{context}-app1"}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default", "labels": labels}}
