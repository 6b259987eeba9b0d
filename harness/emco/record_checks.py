"""Checks of EMCO's records in mongo: is each whole and there once, is what it stands below and refers to there."""

from collections.abc import Iterator, Mapping
from typing import Any

from harness.emco.schema import key_id
from harness.emco.view import COLLECTION, Record, View

Found = Iterator[tuple[str, str]]
"""Places where an invariant is broken, and a sentence for each."""

# What a kind of record holds beside `data`, and what EMCO needs it for.
_CONTENT = {"app": ("appcontent", "filecontent"), "appProfile": ("profilecontent", "profile")}
_LOOKED_UP_BY_APP = ("appProfile", "genericAppPlacementIntent")
_WITH_STATE = ("cluster", "deploymentIntentGroup", "logicalCloud")
_STATES = frozenset(
    {
        "Created",
        "Approved",
        "Applied",
        "Instantiated",
        "Updated",
        "Terminated",
        "InstantiateStopped",
        "TerminateStopped",
    }
)
# A field by which a record is looked up and which is no part of its key, although it is called as one.
_EXTRA_FIELD = "app"
_CLOUD_CONFIG = key_id(("cloudConfigCluster", "cloudConfigClusterProvider", "level", "namespace"))


def data(view: View) -> Found:
    """I1: a record has its data."""
    for record in view.records:
        if record.kind and not isinstance(record.part("data"), Mapping):
            there = sorted(name for name, value in record.document.items() if isinstance(value, Mapping))
            yield record.where, f"it has no data, only {', '.join(there) or 'its key'}"


def state(view: View) -> Found:
    """I1: what has a life cycle has a state, one that EMCO knows."""
    for record in view.records:
        if not record.actions and record.name in _WITH_STATE:
            yield record.where, "it has no stateInfo with at least one action"
        found = record.part("stateInfo", "actions")
        if isinstance(found, list) and not all(isinstance(one, Mapping) for one in found):
            yield record.where, "one of the actions of its stateInfo is none"
        if record.actions and record.last.state not in _STATES:
            yield record.where, f"its last state is {record.last.state or 'empty'}: EMCO knows no such state"


def private_key(view: View) -> Found:
    """I1: a user's logical cloud has the key with which its users' certificates are asked for."""
    for record in view.of("logicalCloud"):
        if _level(record) == "1" and not record.part("privatekey", "keyvalue"):
            yield record.where, "it is of level 1 and has no private key"


def content(view: View) -> Found:
    """I2: an app has its chart, a profile its files."""
    for record in view.of(*_CONTENT):
        if not record.part(*_CONTENT[record.name]):
            yield record.where, f"it has no {_CONTENT[record.name][0]}"


def app_field(view: View) -> Found:
    """I2: what is looked up by its app says which one."""
    for record in view.of(*_LOOKED_UP_BY_APP):
        named = record.part("data", "spec", "appname")
        if record.part(_EXTRA_FIELD) != named:
            yield record.where, f"its field app is {record.part(_EXTRA_FIELD)!r}, its data name {named!r}"


def cloud_config(view: View) -> Found:
    """I3: a cluster has what it takes to reach it."""
    for record in view.of("cluster"):
        key = dict(record.key)
        config = _config(view, key["clusterProvider"], key["cluster"], "0", "default")
        gitops = record.part("data", "spec", "props", "gitopstype")
        if config is None:
            yield record.where, "it has no cloud config: rsync cannot reach it"
        elif gitops and not config.part("meta"):
            yield record.where, f"it is configured for {gitops}, but its cloud config has no meta"
        elif not gitops and not config.part("config", "config"):
            yield record.where, "its cloud config holds no kubeconfig"


def cloud_config_owner(view: View) -> Found:
    """I3: nothing keeps the credentials of a cluster that is not there."""
    for record in view.records:
        if record.key_id == _CLOUD_CONFIG:
            key = dict(record.key)
            cluster = {"cluster": key["cloudConfigCluster"], "clusterProvider": key["cloudConfigClusterProvider"]}
            if not view.has(cluster):
                yield record.where, "there is no such cluster"


def parent(view: View) -> Found:
    """I6: a record stands below one that is there."""
    for record in view.records:
        if record.kind and record.kind.parent:
            key = {name: value for name, value in record.key if name in record.kind.parent}
            if not view.has(key):
                yield record.where, f"what it stands below is not there: {_shown(key)}"


def reference(view: View) -> Found:
    """I6: what a record refers to is there."""
    for record in view.records:
        found = record.part("references")
        for one in found if isinstance(found, list) else ():
            key = one.get("key") if isinstance(one, Mapping) else None
            if not isinstance(key, Mapping) or one.get("keyid") != key_id(map(str, key)):
                yield record.where, "one of its references has no key that fits its key id"
            elif not view.has({str(name): str(value) for name, value in key.items()}):
                yield record.where, f"what it refers to is not there: {_shown(key)}"


def once(view: View) -> Found:
    """I7: a key is there once."""
    for record in {(record.key_id, record.key): record for record in view.records}.values():
        count = view.keys[record.key_id, record.key]
        if count > 1 and record.key:
            yield record.where, f"it is there {count} times"


def key_of_record(view: View) -> Found:
    """I9: a record's keyId is made of the names of its key fields, sorted, and the schema knows it."""
    known = view.schema.names() - {_EXTRA_FIELD}
    for record in view.records:
        names = [name for name, _ in record.key]
        missing = [name for name in names if not isinstance(record.part(name), str)]
        more = sorted(name for name in known - set(names) if isinstance(record.part(name), str))
        if not names or record.key_id != key_id(names):
            yield record.where, f"its keyId {record.key_id!r} is no sorted list of names"
        elif missing or more:
            what = [f"it has no {name}" for name in missing] + [f"it also has {name}" for name in more]
            yield record.where, f"its keyId does not fit its fields: {', '.join(what)}"
        elif record.kind is None and "data" in record.document and not view.schema.builtin:
            yield record.where, "the schema does not know such records, EMCO takes none"


def user_config(view: View) -> Found:
    """I11: a user's logical cloud at work has its credentials for each of its clusters."""
    for record in view.of("clusterReference"):
        key = dict(record.key)
        for cloud in view.of("logicalCloud"):
            at_work = _level(cloud) == "1" and cloud.last.state in ("Instantiated", "Updated")
            if not at_work or dict(cloud.key) != {name: key[name] for name in ("logicalCloud", "project")}:
                continue
            cluster = [
                str(record.part("data", "specification", name) or "") for name in ("clusterprovider", "clustername")
            ]
            namespace = str(cloud.part("data", "specification", "namespace") or "")
            if _config(view, cluster[0], cluster[1], "1", namespace) is None:
                yield record.where, f"the logical cloud is {cloud.last.state} and has no cloud config of level 1 for it"


def schema(view: View) -> Found:
    """I12: there is one schema, and it fits together."""
    for problem in view.schema_problems:
        yield f"mongo {COLLECTION} {{SegmentId}}", problem


def _level(record: Record) -> str:
    return str(record.part("data", "specification", "level") or "")


def _config(view: View, provider: str, cluster: str, level: str, namespace: str) -> Record | None:
    wanted = {
        "cloudConfigClusterProvider": provider,
        "cloudConfigCluster": cluster,
        "level": level,
        "namespace": namespace,
    }
    return next((one for one in view.records if one.key_id == _CLOUD_CONFIG and dict(one.key) == wanted), None)


def _shown(key: Mapping[Any, Any]) -> str:
    names = sorted(map(str, key))
    return f"{key_id(names)} {'/'.join(str(key[name]) for name in names)}"
