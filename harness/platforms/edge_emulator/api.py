"""The verbs of the API over the storage. Knows nothing of HTTP transport: one call in, one answer out, at once."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from harness.platforms.edge_emulator import patches, problems, routes
from harness.platforms.edge_emulator.behaviour import status_of, with_defaults
from harness.platforms.edge_emulator.kinds import CRD_GROUP, CRD_PLURAL, VERSION, Registry, bundle_state_definition
from harness.platforms.edge_emulator.monitor import Monitor
from harness.platforms.edge_emulator.routes import Call, Target
from harness.platforms.edge_emulator.rules import check
from harness.platforms.edge_emulator.selectors import selector
from harness.platforms.edge_emulator.signer import Signer
from harness.platforms.edge_emulator.storage import Change, Key, Storage

Json = dict[str, Any]
Answer = tuple[int, Json]

_DEFAULT_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
# Kinds whose DELETE answers with the object; all others answer with a Status.
_ANSWERS_OBJECT = frozenset({"Pod", "Service", "ServiceAccount", "PersistentVolumeClaim", "ResourceQuota"})
_SET_BY_SERVER = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")


class Api:
    """A cluster's API as plain calls.

    ready:   whether workloads become ready (at once) or never
    monitor: whether ResourceBundleState objects get their status
    now:     wall clock in seconds;  new_uid: a fresh unique id
    """

    def __init__(
        self, name: str, *, ready: bool, monitor: bool, now: Callable[[], float], new_uid: Callable[[], str]
    ) -> None:
        self.storage = Storage()
        self.registry = Registry()
        self.is_ready = ready
        self._now = now
        self._new_uid = new_uid
        self._signer = Signer(name)
        self._pristine: dict[Key, Json] = {}
        self.storage.listen(self._on_change)
        if monitor:
            self.storage.listen(Monitor(self.storage).on_change)
        self._add_defaults()

    # -- what the harness asks ---------------------------------------------------------------------------------------

    def client_objects(self) -> list[Json]:
        """Everything that clients made or changed, as copies."""
        return [deepcopy(obj) for key, obj in self.storage.items() if self._pristine.get(key) != obj]

    def restore(self, objects: Iterable[Json]) -> None:
        """Hold exactly these objects and the defaults. Raises ValueError, and changes nothing, if one does not fit."""
        given = [deepcopy(obj) for obj in objects]
        definitions = [obj for obj in given if obj.get("kind") == "CustomResourceDefinition"]
        registry = Registry()
        registry.rebuild([*self._definitions(self._pristine.items()), *definitions])
        placed = {_key(registry, obj): obj for obj in given}
        for key, obj in placed.items():
            if not str(obj["metadata"].get("resourceVersion", "")).isdecimal() or not obj["metadata"].get("uid"):
                raise ValueError(f"{key.plural} {key.namespace}/{key.name} has no uid or no numeric resourceVersion")
        self.storage.replace_all({**self._pristine, **placed}.items())
        self.registry.rebuild(self._definitions(self.storage.items()))

    def set_ready(self, *, ready: bool) -> None:
        """From now on workloads are ready or not; those that exist change, too."""
        self.is_ready = ready
        for key, obj in self.storage.items():
            resource = self.registry.of_kind(obj["apiVersion"], obj["kind"])
            if resource is None or not resource.strategic:
                continue
            status = status_of(obj["kind"], obj, ready=ready, now=self._stamp())
            if status is not None and status != obj.get("status"):
                self.storage.put(key, {**obj, "status": status})

    def delete(self, obj: Json) -> None:
        """Delete an object as a client would. Raises ValueError when it is not there, or not one of a known kind."""
        key = _key(self.registry, obj)
        if self.storage.get(key) is None:
            raise ValueError(f"there is no {obj['kind']} {key.namespace}/{key.name}")
        self._remove(key, {})

    # -- calls -------------------------------------------------------------------------------------------------------

    def answer(self, call: Call) -> Answer:
        """Status code and body for anything but a watch. Raises ApiError for a refusal."""
        routes.check_acceptable(call.accept)
        if call.method == "GET" and (document := self._document(call.path)) is not None:
            return 200, document
        target = routes.parse_target(self.registry, call.path)
        level = "subresource" if target.subresource else "object" if target.name else "collection"
        verbs: dict[tuple[str, str], Callable[[Target, Call], Answer]] = {
            ("collection", "GET"): self._list,
            ("collection", "POST"): self._post,
            ("collection", "DELETE"): self._delete_collection,
            ("object", "GET"): self._get,
            ("object", "PUT"): self._put,
            ("object", "PATCH"): self._patch,
            ("object", "DELETE"): self._delete,
            ("subresource", "GET"): self._get,
            ("subresource", "PUT"): self._put,
            ("subresource", "PATCH"): self._patch,
        }
        verb = verbs.get((level, call.method))
        if verb is None:
            raise problems.method_not_allowed()
        return verb(target, call)

    def _document(self, path: str) -> Json | None:
        parts = path.strip("/").split("/")
        if parts == ["version"]:
            return VERSION
        if parts == ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        if parts == ["apis"]:
            return self.registry.api_groups()
        if parts[0] == "api" and len(parts) == 2:
            return self.registry.api_resources("", parts[1])
        if parts[0] == "apis" and len(parts) == 2:
            return self.registry.api_group(parts[1])
        if parts[0] == "apis" and len(parts) == 3:
            return self.registry.api_resources(parts[1], parts[2])
        return None

    def _list(self, target: Target, call: Call) -> Answer:
        chosen = selector(call.query)
        found = sorted(self.storage.select(target.resource.group, target.resource.plural, target.namespace))
        items = [render(target, obj) for _, obj in found if chosen(obj)]
        return 200, self._listed(target, items)

    def _get(self, target: Target, call: Call) -> Answer:  # noqa: ARG002 - verbs share a signature
        return 200, render(target, self._existing(target))

    def _post(self, target: Target, call: Call) -> Answer:
        obj = routes.parse_object(call, target.resource)
        return 201, self._create(target, obj, dry=_dry_run(call))

    def _put(self, target: Target, call: Call) -> Answer:
        obj = routes.parse_object(call, target.resource)
        if obj["metadata"].setdefault("name", target.name) != target.name:
            raise problems.bad_request("the name of the object does not match the name on the URL")
        return 200, self._update(target, self._existing(target), obj, dry=_dry_run(call))

    def _patch(self, target: Target, call: Call) -> Answer:
        kind = routes.media_type(call.content_type)
        accepted = (
            routes.PATCHES
            if target.resource.strategic
            else tuple(patch for patch in routes.PATCHES if patch != routes.STRATEGIC)
        )
        if kind == routes.APPLY:
            return self._apply(target, call)
        patch = routes.parse_body(call, accepted=accepted)
        old = self._existing(target)
        if kind == routes.JSON_PATCH:
            new = patches.json_patch(old, patch)
        elif not isinstance(patch, dict):
            raise problems.bad_request("a merge patch is an object")
        elif kind == routes.STRATEGIC:
            new = patches.strategic_merge_patch(old, patch, kind=target.resource.kind)
        else:
            new = patches.merge_patch(old, patch)
        if (new.get("kind"), (new.get("metadata") or {}).get("name")) != (old["kind"], target.name):
            raise problems.bad_request("a patch must not change kind or name")
        return 200, self._update(target, old, {**new, "apiVersion": old["apiVersion"]}, dry=_dry_run(call))

    def _apply(self, target: Target, call: Call) -> Answer:
        manager = call.query.get("fieldManager", "")
        if not manager:
            raise problems.invalid(
                "meta.k8s.io", "PatchOptions", "", "fieldManager", "Required value: is required for apply patch"
            )
        applied = routes.parse_object(call, target.resource, accepted=(routes.APPLY,))
        if applied["metadata"].setdefault("name", target.name) != target.name:
            raise problems.bad_request("the name of the object does not match the name on the URL")
        old, dry = self.storage.get(target.key()), _dry_run(call)
        if old is None and target.subresource:
            raise problems.not_found(target.resource.group, target.resource.plural, target.name)
        if old is None:
            return 201, self._create(target, self._managed(applied, manager), dry=dry)
        merged = patches.apply_patch(old, {**applied, "apiVersion": old["apiVersion"]}, kind=target.resource.kind)
        known = any(entry.get("manager") == manager for entry in old["metadata"].get("managedFields", ()))
        if merged != old or not known:
            merged = self._managed(merged, manager)
        return 200, self._update(target, old, merged, dry=dry)

    def _delete(self, target: Target, call: Call) -> Answer:
        old, options = self._existing(target), self._delete_options(call)
        self._check_deletable(target.key(), old, options.get("preconditions") or {})
        if not _dry_run(call, options):
            self._remove(target.key(), options)
        remains = self.storage.get(target.key())
        if target.resource.kind in _ANSWERS_OBJECT or remains is not None:
            return 200, render(target, remains or old)
        resource = target.resource
        return 200, problems.success(
            group=resource.group, plural=resource.plural, name=target.name, uid=old["metadata"]["uid"]
        )

    def _delete_collection(self, target: Target, call: Call) -> Answer:
        if target.resource.kind == "Namespace" or (target.resource.namespaced and not target.namespace):
            raise problems.method_not_allowed()
        options, chosen = self._delete_options(call), selector(call.query)
        found = self.storage.select(target.resource.group, target.resource.plural, target.namespace)
        doomed = [(key, obj) for key, obj in sorted(found) if chosen(obj)]
        for key, obj in doomed:
            self._check_deletable(key, obj, {})
        if not _dry_run(call, options):
            for key, _ in doomed:
                # One may have gone with another that owned it.
                if self.storage.get(key) is not None:
                    self._remove(key, options)
        return 200, self._listed(target, [render(target, obj) for _, obj in doomed])

    # -- writes ------------------------------------------------------------------------------------------------------

    def _create(self, target: Target, obj: Json, *, dry: bool) -> Json:
        resource, given = target.resource, obj["metadata"]
        if given.get("resourceVersion"):
            raise problems.bad_request("resourceVersion should not be set on objects to be created")
        self._check_place(target, given)
        name = given.get("name") or (f"{given['generateName']}{self._new_uid()[:5]}" if "generateName" in given else "")
        metadata = {field: value for field, value in given.items() if field not in _SET_BY_SERVER}
        metadata |= {"name": name, "uid": self._new_uid(), "creationTimestamp": self._stamp()}
        if resource.namespaced:
            metadata["namespace"] = target.namespace
        if resource.has_status or not resource.strategic:
            metadata["generation"] = 1
        new = {**obj, "metadata": metadata}
        if resource.has_status:
            new.pop("status", None)
        check(resource, new, old=None)
        if self.storage.get(target.key(name)) is not None:
            raise problems.already_exists(resource.group, resource.plural, name)
        return render(target, self._commit(target.key(name), self._completed(target, new, old=None), dry=dry))

    def _update(self, target: Target, old: Json, given: Json, *, dry: bool) -> Json:
        key = target.key()
        _check_preconditions(target, old["metadata"], given.get("metadata") or {})
        if target.subresource:
            new = _with_part(old, given, target.subresource)
        else:
            new = self._completed(target, _replaced(target, old, given), old=old)
            check(target.resource, new, old=old)
        stored = self._commit(key, new, dry=dry)
        if not dry and "deletionTimestamp" in stored["metadata"] and not stored["metadata"].get("finalizers"):
            # The last finalizer has gone.
            self._remove(key, {})
        return render(target, stored)

    def _completed(self, target: Target, new: Json, *, old: Json | None) -> Json:
        """`new` with defaults, the right generation and the status that controllers give it."""
        kind = target.resource.kind
        if not target.resource.strategic:
            if old is not None and _intent(new) != _intent(old):
                new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
            return new
        new = with_defaults(kind, new, old=old, taken=self._cluster_addresses)
        changed = old is None or _intent(new) != _intent(old)
        if changed and old is not None and "generation" in new["metadata"]:
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if changed and (status := status_of(kind, new, ready=self.is_ready, now=self._stamp())) is not None:
            new["status"] = status
        return new

    def _commit(self, key: Key, new: Json, *, dry: bool) -> Json:
        old = self.storage.get(key)
        # A write that changes nothing makes no new version and no event, as in the real API.
        return new if dry else old if old == new and old is not None else self.storage.put(key, new)

    def _remove(self, key: Key, options: Json) -> None:
        """Delete an object; one that finalizers hold, or a namespace with such objects, is marked instead."""
        obj = self.storage.get(key)
        assert obj is not None, f"removing {key}, which is not there"
        namespace = (key.group, key.plural) == ("", "namespaces")
        if not namespace and not obj["metadata"].get("finalizers"):
            self._finish_removal(key, options)
            return
        if "deletionTimestamp" not in obj["metadata"]:
            times = {"deletionTimestamp": self._stamp(), "deletionGracePeriodSeconds": 0}
            marked = {**obj, "metadata": {**obj["metadata"], **times}}
            self.storage.put(key, {**marked, "status": {"phase": "Terminating"}} if namespace else marked)
        if namespace:
            for inside in [k for k, _ in self.storage.items() if k.namespace == key.name]:
                if self.storage.get(inside) is not None:
                    self._remove(inside, options)
            self._finish_namespace(key.name)

    def _finish_namespace(self, name: str) -> None:
        """Take out a namespace that is to go, once nothing is in it any more."""
        key = Key("", "namespaces", "", name)
        metadata = (self.storage.get(key) or {"metadata": {}})["metadata"]
        going = "deletionTimestamp" in metadata and not metadata.get("finalizers")
        if going and all(k.namespace != name for k, _ in self.storage.items()):
            self._finish_removal(key, {})

    def _finish_removal(self, key: Key, options: Json) -> None:
        last = self.storage.remove(key)
        if options.get("propagationPolicy") != "Orphan":
            self._remove_dependents(last["metadata"]["uid"], options)
        if (key.group, key.plural) == (CRD_GROUP, CRD_PLURAL):
            for instance, _ in self.storage.select(last["spec"]["group"], last["spec"]["names"]["plural"]):
                self._remove(instance, options)
        if key.namespace:
            self._finish_namespace(key.namespace)

    def _remove_dependents(self, uid: str, options: Json) -> None:
        alive = {obj["metadata"]["uid"] for _, obj in self.storage.items()}
        for key, obj in self.storage.items():
            owners = {owner["uid"] for owner in obj["metadata"].get("ownerReferences") or ()}
            if uid in owners and not owners & alive and self.storage.get(key) is not None:
                self._remove(key, options)

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _existing(self, target: Target) -> Json:
        obj = self.storage.get(target.key())
        if obj is None:
            raise problems.not_found(target.resource.group, target.resource.plural, target.name)
        return obj

    def _check_place(self, target: Target, metadata: Json) -> None:
        if not target.resource.namespaced:
            return
        if not target.namespace:
            raise problems.method_not_allowed()
        if metadata.get("namespace", target.namespace) != target.namespace:
            raise problems.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        namespace = self.storage.get(Key("", "namespaces", "", target.namespace))
        if namespace is None:
            raise problems.not_found("", "namespaces", target.namespace)
        if "deletionTimestamp" in namespace["metadata"]:
            why = f"unable to create new content in namespace {target.namespace} because it is being terminated"
            raise problems.forbidden(target.resource.group, target.resource.plural, metadata.get("name", ""), why)

    def _check_deletable(self, key: Key, obj: Json, preconditions: Json) -> None:
        if key in self._pristine:
            raise problems.forbidden(key.group, key.plural, key.name, "this object may not be deleted")
        for field in ("uid", "resourceVersion"):
            if preconditions.get(field, obj["metadata"][field]) != obj["metadata"][field]:
                why = f"Precondition failed: {field} is {obj['metadata'][field]}, not {preconditions[field]}"
                raise problems.conflict(key.group, key.plural, key.name, why)

    def _delete_options(self, call: Call) -> Json:
        options = routes.parse_body(call) if call.body else {}
        if not isinstance(options, dict):
            raise problems.bad_request("the body of a DELETE is a DeleteOptions object")
        policy = options.get("propagationPolicy") or call.query.get("propagationPolicy", "Background")
        return {**options, "propagationPolicy": policy}

    def _managed(self, obj: Json, manager: str) -> Json:
        others = [entry for entry in obj["metadata"].get("managedFields", ()) if entry["manager"] != manager]
        entry = {"manager": manager, "operation": "Apply", "apiVersion": obj["apiVersion"], "time": self._stamp()}
        return {**obj, "metadata": {**obj["metadata"], "managedFields": [*others, entry]}}

    def _listed(self, target: Target, items: list[Json]) -> Json:
        kind, version = f"{target.resource.kind}List", target.resource.api_version
        metadata = {"resourceVersion": str(self.storage.version)}
        return {"kind": kind, "apiVersion": version, "metadata": metadata, "items": items}

    def _cluster_addresses(self) -> set[str]:
        return {obj["spec"].get("clusterIP", "") for _, obj in self.storage.select("", "services")}

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _on_change(self, change: Change) -> None:
        key = change.key
        if (key.group, key.plural) == (CRD_GROUP, CRD_PLURAL):
            self.registry.rebuild(self._definitions(self.storage.items()))
        if key.plural == "certificatesigningrequests" and change.kind == "updated":
            self._sign_if_approved(key, change.new)

    def _sign_if_approved(self, key: Key, csr: Json) -> None:
        status = csr.get("status") or {}
        granted = {c["type"] for c in status.get("conditions") or () if c.get("status", "True") == "True"}
        if "Approved" in granted and not granted & {"Denied", "Failed"} and not status.get("certificate"):
            certificate = self._signer.sign(csr, now=self._now())
            self.storage.put(key, {**csr, "status": {**status, "certificate": certificate}})

    @staticmethod
    def _definitions(objects: Iterable[tuple[Key, Json]]) -> list[Json]:
        return [obj for key, obj in objects if (key.group, key.plural) == (CRD_GROUP, CRD_PLURAL)]

    def _add_defaults(self) -> None:
        resource = self.registry.find("", "v1", "namespaces")
        definitions = self.registry.find(CRD_GROUP, "v1", CRD_PLURAL)
        assert resource is not None, "namespaces are built in"
        assert definitions is not None, "definitions are built in"
        for name in _DEFAULT_NAMESPACES:
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            self._create(Target(resource), namespace, dry=False)
        self._create(Target(definitions), bundle_state_definition(), dry=False)
        self._pristine = dict(self.storage.items())


def render(target: Target, obj: Json) -> Json:
    """The object in the version that the request asked for."""
    version = target.resource.api_version
    return obj if obj["apiVersion"] == version else {**obj, "apiVersion": version}


def _dry_run(call: Call, options: Json | None = None) -> bool:
    asked = call.query.get("dryRun") or ",".join((options or {}).get("dryRun") or ())
    if asked not in ("", "All"):
        raise problems.bad_request(f'dryRun: Unsupported value: "{asked}": supported values: "All"')
    return asked == "All"


def _intent(obj: Json) -> Json:
    return {name: value for name, value in obj.items() if name not in ("apiVersion", "metadata", "status")}


def _check_preconditions(target: Target, present: Json, asked: Json) -> None:
    resource = target.resource
    if asked.get("uid", present["uid"]) != present["uid"]:
        why = f"Precondition failed: UID in precondition: {asked['uid']}, UID in object meta: {present['uid']}"
        raise problems.conflict(resource.group, resource.plural, target.name, why)
    if (asked.get("resourceVersion") or present["resourceVersion"]) != present["resourceVersion"]:
        why = "the object has been modified; please apply your changes to the latest version and try again"
        raise problems.conflict(resource.group, resource.plural, target.name, why)
    if asked.get("namespace", target.namespace) != target.namespace:
        raise problems.bad_request("the namespace of the object does not match the namespace on the request")


def _replaced(target: Target, old: Json, given: Json) -> Json:
    """`given` with what a client cannot change taken from `old`."""
    present, asked = old["metadata"], given.get("metadata") or {}
    metadata = {name: value for name, value in asked.items() if name not in _SET_BY_SERVER and value is not None}
    kept = (*_SET_BY_SERVER, "name", "namespace", "resourceVersion")
    metadata |= {name: present[name] for name in kept if name in present}
    if "managedFields" in present:
        metadata.setdefault("managedFields", present["managedFields"])
    new = {**given, "metadata": metadata}
    if target.resource.has_status:
        new.pop("status", None)
        new |= {"status": old["status"]} if "status" in old else {}
    return new


def _with_part(old: Json, given: Json, subresource: str) -> Json:
    """`old` with the one part that a write to `subresource` may change."""
    if subresource == "finalize":
        return {**old, "spec": given.get("spec", {})}
    status = given.get("status") or {}
    if subresource == "approval":
        status = {**(old.get("status") or {}), "conditions": status.get("conditions") or []}
    return {**old, "status": status}


def _key(registry: Registry, obj: Json) -> Key:
    resource = registry.of_kind(str(obj.get("apiVersion")), str(obj.get("kind")))
    if resource is None:
        raise ValueError(f"a {obj.get('kind')} of {obj.get('apiVersion')} is not served here")
    metadata = obj["metadata"]
    return Key(resource.group, resource.plural, metadata.get("namespace", ""), metadata["name"])
