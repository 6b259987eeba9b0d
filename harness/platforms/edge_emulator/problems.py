"""What the API refuses, as Kubernetes says it: a Status object with a reason that clients act upon."""

from typing import Any

Json = dict[str, Any]


class ApiError(Exception):
    """A refusal. `code` is the HTTP status, `reason` the word that clients match (NotFound, AlreadyExists, ...)."""

    def __init__(self, code: int, reason: str, message: str, *, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}

    def status(self) -> Json:
        """The Status object that is the body of the answer."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }


def success(*, group: str, plural: str, name: str, uid: str) -> Json:
    """The Status object that answers a DELETE."""
    details = {"name": name, "group": group, "kind": plural, "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def not_found(group: str, plural: str, name: str) -> ApiError:
    """There is no such object."""
    return ApiError(
        404, "NotFound", f'{_qualified(group, plural)} "{name}" not found', details=_of(group, plural, name)
    )


def no_such_path() -> ApiError:
    """There is no such resource, group or version: what a RESTMapper takes for "not served here"."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(group: str, plural: str, name: str) -> ApiError:
    """A create over an existing object."""
    message = f'{_qualified(group, plural)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details=_of(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str) -> ApiError:
    """The writer saw another version of the object, or meant another object."""
    message = f'Operation cannot be fulfilled on {_qualified(group, plural)} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_of(group, plural, name))


def invalid(group: str, kind: str, name: str, field: str, why: str) -> ApiError:
    """The object breaks a rule of its kind; `field` is the dotted path of what is wrong."""
    qualified = f"{kind}.{group}" if group else kind
    causes = [{"reason": "FieldValueInvalid", "message": why, "field": field}]
    details = {"name": name, "group": group, "kind": kind, "causes": causes}
    return ApiError(422, "Invalid", f'{qualified} "{name}" is invalid: {field}: {why}', details=details)


def bad_request(message: str) -> ApiError:
    """The request itself makes no sense."""
    return ApiError(400, "BadRequest", message)


def forbidden(group: str, plural: str, name: str, why: str) -> ApiError:
    """The object is not to be touched that way."""
    message = f'{_qualified(group, plural)} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, details=_of(group, plural, name))


def method_not_allowed() -> ApiError:
    """The resource is there, the verb is not."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message)


def unsupported_media_type(accepted: str) -> ApiError:
    """The body came in a format that this server does not read (protobuf, CBOR)."""
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return ApiError(415, "UnsupportedMediaType", message)


def too_large(limit: int) -> ApiError:
    """The body has more bytes than this server takes."""
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def not_acceptable() -> ApiError:
    """The client takes none of the formats that this server writes."""
    message = "only the following media types are accepted: application/json"
    return ApiError(406, "NotAcceptable", message)


def expired(asked: int, oldest: int) -> ApiError:
    """A watch that would have to start at a version that is no longer, or not, in the history."""
    return ApiError(410, "Expired", f"too old resource version: {asked} ({oldest})")


def _qualified(group: str, plural: str) -> str:
    return f"{plural}.{group}" if group else plural


def _of(group: str, plural: str, name: str) -> Json:
    return {"name": name, "group": group, "kind": plural}
