"""The errors that cross the parts of the reference EMCO."""


class ApiError(Exception):
    """A call is refused: HTTP status and the sentence that the client gets."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class StoreError(Exception):
    """mongo or etcd could not be reached, went away while asked, or said no."""


class RpcError(Exception):
    """Another service could not be reached or refused."""


class RpcLost(RpcError):
    """The connection to another service failed: whether the request arrived is not known."""
