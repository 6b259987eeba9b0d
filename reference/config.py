"""What a service is told at its start: config.json in the working directory, and the environment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KNOWN_KEYS = frozenset(
    {
        "database-ip",
        "database-type",
        "etcd-ip",
        "etcd-cert",
        "etcd-key",
        "etcd-ca-file",
        "zipkin-ip",
        "zipkin-port",
        "grpc-server-cert",
        "grpc-server-key",
        "grpc-ca-file",
        "grpc-enable-tls",
        "service-port",
        "log-level",
        "max-retries",
        "db-schema-backoff",
        "db-schema-max-backoff",
        "grpc-conn-ready-time",
        "grpc-conn-timeout",
        "grpc-call-timeout",
    }
)
MONGO_PORT = 27017
ETCD_PORT = 2379
GRPC_PORTS: Mapping[str, int] = {"orchestrator": 9016, "rsync": 9031, "dcm": 9078}


class ConfigError(Exception):
    """The service was told something that it cannot use; the message is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one service.

    listen:           address of the HTTP and gRPC ports
    http_port:        None for rsync without `service-port` (it serves metrics only)
    grpc_port:        None for a service that has no gRPC server
    max_retries:      tries of rsync to reach an edge, after the first; None for no limit
    schema_backoff:   seconds between looks for the schema segment, at first; doubled up to schema_max_backoff
    conn_ready:       seconds that a caller waits for its gRPC connection to become ready
    cleanup_delay:    seconds after a termination at which rsync removes its ResourceBundleState
    data_key:         what secrets in mongo are encrypted with; empty: they are not
    """

    service: str
    database_ip: str
    etcd_ip: str
    listen: str
    http_port: int | None
    grpc_port: int | None
    max_retries: int | None
    schema_backoff: float
    schema_max_backoff: float
    conn_ready: float
    cleanup_delay: float
    data_key: str = field(default="", repr=False)


def read_config(*, service: str, directory: Path, environment: Mapping[str, str]) -> Config:
    """Read the settings of `service`. Raises ConfigError with a sentence when they cannot be used."""
    raw = _read_json(directory / "config.json")
    unknown = sorted(set(raw) - KNOWN_KEYS)
    if unknown:
        raise ConfigError(f"config.json has keys that no EMCO service knows: {', '.join(unknown)}")
    http_port = _port(raw.get("service-port"), what="service-port in config.json")
    if http_port is None and service != "rsync":
        raise ConfigError("config.json needs service-port, the port of the REST API")
    retries = _number(raw.get("max-retries"), default=-1, what="max-retries in config.json")
    override = environment.get(f"{service.upper()}_SERVICE_PORT")
    grpc_port = GRPC_PORTS.get(service)
    if grpc_port is not None and override:
        grpc_port = _port(override, what=f"{service.upper()}_SERVICE_PORT")
    return Config(
        service=service,
        database_ip=str(raw.get("database-ip", "127.0.0.1")),
        etcd_ip=str(raw.get("etcd-ip", "127.0.0.1")),
        listen=environment.get("REFERENCE_EMCO_LISTEN", "127.0.0.1"),
        http_port=http_port,
        grpc_port=grpc_port,
        max_retries=None if retries < 0 else int(retries),
        # EMCO waits 5 s and more between looks; a test bench has no reason to, unless it says so.
        schema_backoff=_number(raw.get("db-schema-backoff"), default=0.02, what="db-schema-backoff"),
        schema_max_backoff=_number(raw.get("db-schema-max-backoff"), default=0.5, what="db-schema-max-backoff"),
        conn_ready=_number(raw.get("grpc-conn-ready-time"), default=1000, what="grpc-conn-ready-time") / 1000,
        cleanup_delay=_number(
            environment.get("REFERENCE_EMCO_CLEANUP_SECONDS"), default=120, what="REFERENCE_EMCO_CLEANUP_SECONDS"
        ),
        data_key=environment.get("EMCO_DATA_KEY", ""),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold one JSON object")
    return raw


def _port(value: Any, *, what: str) -> int | None:
    if value in (None, ""):
        return None
    number = _number(value, default=0, what=what)
    if not 0 < number < 65536 or number != int(number):
        raise ConfigError(f"{what} is {value!r}, which is no port number")
    return int(number)


def _number(value: Any, *, default: float, what: str) -> float:
    if value in (None, ""):
        return default
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} is {value!r}, which is no number") from error
