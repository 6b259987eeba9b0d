"""The shapes of EMCO's resources: the JSON that clients send and get, and the documents that mongo holds.

EMCO stores Go structs without names for the store, so a field is stored under its Go name in lower case, which is
often not its JSON name (`compositeProfile` is stored as `profile`). A `Shape` holds both names and converts in both
directions. As in Go, JSON names are matched without regard to case, unknown members are ignored, and absent ones get
the type's zero value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reference.errors import ApiError


@dataclass(frozen=True, slots=True)
class Field:
    """One member. `zero`: its value when absent; `omit_empty`: left out of replies while it has the zero value."""

    json: str
    stored: str
    zero: Any = ""
    shape: "Shape | None" = None
    many: bool = False
    omit_empty: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """A struct: its members in the order of replies and documents."""

    fields: tuple[Field, ...]

    def to_stored(self, body: Any, *, where: str = "body") -> dict[str, Any]:
        """What mongo holds for this JSON. Raises ApiError 422 when a member has the wrong type."""
        if body is None:
            body = {}
        if not isinstance(body, Mapping):
            raise ApiError(422, f"{where} must be an object")
        given = {str(name).lower(): value for name, value in body.items()}
        return {
            field.stored: _field_to_stored(field, given.get(field.json.lower()), f"{where}.{field.json}")
            for field in self.fields
        }

    def to_json(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """What a client gets for this document."""
        reply: dict[str, Any] = {}
        for field in self.fields:
            value = stored.get(field.stored, field.zero)
            if field.omit_empty and not value:
                continue
            if field.shape is not None and field.many and value is not None:
                value = [field.shape.to_json(item) for item in value]
            elif field.shape is not None and not field.many:
                value = field.shape.to_json(value or {})
            reply[field.json] = value
        return reply


def _field_to_stored(field: Field, value: Any, where: str) -> Any:
    if field.shape is not None and field.many:
        if value is None:
            return None
        if not isinstance(value, list):
            raise ApiError(422, f"{where} must be a list")
        return [field.shape.to_stored(item, where=where) for item in value]
    if field.shape is not None:
        return field.shape.to_stored(value, where=where)
    if value is None:
        return field.zero
    if field.zero is not None and not isinstance(value, type(field.zero)):
        raise ApiError(422, f"{where} must be a {_NAMES[type(field.zero)]}")
    return value


_NAMES: Mapping[type, str] = {str: "string", int: "number", dict: "map"}


def _metadata(*, omit_empty: bool = False) -> Field:
    fields = (
        Field("name", "name"),
        Field("description", "description", omit_empty=omit_empty),
        Field("userData1", "userdata1", omit_empty=omit_empty),
        Field("userData2", "userdata2", omit_empty=omit_empty),
    )
    return Field("metadata", "metadata", shape=Shape(fields))


def _spec(*fields: Field, stored: str = "spec") -> Field:
    return Field("spec", stored, shape=Shape(fields))


NAMED = Shape((_metadata(),))
CONTROLLER = Shape(
    (
        _metadata(),
        _spec(Field("host", "host"), Field("port", "port", 0), Field("type", "type"), Field("priority", "priority", 0)),
    )
)
CLUSTER = Shape(
    (
        _metadata(),
        _spec(
            Field(
                "gitOps",
                "props",
                shape=Shape(
                    (
                        Field("gitOpsType", "gitopstype"),
                        Field("gitOpsReferenceObject", "gitopsreferenceobject"),
                        Field("gitOpsResourceObject", "gitopsresourceobject"),
                    )
                ),
            )
        ),
    )
)
CLUSTER_LABEL = Shape((Field("clusterLabel", "labelname"),))
KEY_VALUE = Shape((_metadata(), _spec(Field("kv", "kv", None))))
LOGICAL_CLOUD = Shape(
    (
        _metadata(),
        _spec(
            Field("namespace", "namespace"),
            Field("labels", "labels", None),
            Field("level", "level"),
            Field("user", "user", shape=Shape((Field("userName", "username"), Field("type", "type")))),
            stored="specification",
        ),
    )
)
CLUSTER_REFERENCE = Shape(
    (
        _metadata(),
        _spec(
            Field("clusterProvider", "clusterprovider"),
            Field("cluster", "clustername"),
            Field("loadBalancerIP", "loadbalancerip"),
            Field("certificate", "certificate"),
            stored="specification",
        ),
    )
)
USER_PERMISSION = Shape(
    (
        _metadata(),
        _spec(
            Field("namespace", "namespace"),
            Field("apiGroups", "apigroups", None),
            Field("resources", "resources", None),
            Field("verbs", "verbs", None),
            stored="specification",
        ),
    )
)
CLUSTER_QUOTA = Shape((_metadata(), Field("spec", "specification", {})))
COMPOSITE_APP = Shape((_metadata(), _spec(Field("compositeAppVersion", "version"))))
APP_PROFILE = Shape((_metadata(), _spec(Field("app", "appname"))))
_OVERRIDE = Shape((Field("app", "appname"), Field("values", "valuesobj", {})))
DEPLOYMENT_INTENT_GROUP = Shape(
    (
        _metadata(),
        _spec(
            Field("compositeProfile", "profile"),
            Field("version", "version"),
            Field("overrideValues", "overridevaluesobj", None, shape=_OVERRIDE, many=True),
            Field("logicalCloud", "logicalcloud"),
        ),
    )
)
_ANY_OF = Shape(
    (
        Field("clusterProvider", "providername", omit_empty=True),
        Field("cluster", "clustername", omit_empty=True),
        Field("clusterLabel", "clusterlabelname", omit_empty=True),
    )
)
_ALL_OF = Shape((*_ANY_OF.fields, Field("anyOf", "anyofarray", None, shape=_ANY_OF, many=True, omit_empty=True)))
APP_INTENT = Shape(
    (
        _metadata(omit_empty=True),
        _spec(
            Field("app", "appname"),
            Field(
                "intent",
                "intent",
                shape=Shape(
                    (
                        Field("allOf", "allofarray", None, shape=_ALL_OF, many=True, omit_empty=True),
                        Field("anyOf", "anyofarray", None, shape=_ANY_OF, many=True, omit_empty=True),
                    )
                ),
            ),
        ),
    )
)
GROUP_INTENT = Shape((_metadata(), _spec(Field("intent", "intent", {}))))
