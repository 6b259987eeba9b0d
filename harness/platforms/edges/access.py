"""Kubeconfigs: how the harness reaches a cluster, read from a user's file, and what EMCO is given instead."""

import base64
import binascii
import hashlib
import ipaddress
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from harness.faults.victim import UsageError

Json = dict[str, Any]

# Ways to authenticate that need a program or a person; a relay can pass none of them on.
_NOT_CARRIED = ("exec", "auth-provider", "username", "password", "impersonate", "as")


@dataclass(frozen=True, slots=True)
class Access:
    """How an API server is reached.

    address: host and port;  tls: towards it, with the client's certificate if it asks for one; None: plain HTTP
    token:   a bearer token, "" without one. EMCO has to send it itself: a relay never alters what passes
    identity: changes when a snapshot that holds a kubeconfig for this server would not fit any more
    """

    address: tuple[str, int]
    tls: ssl.SSLContext | None
    token: str = field(default="", repr=False)
    identity: str = ""

    @property
    def url(self) -> str:
        """`https://host:port`."""
        host, port = self.address
        return f"{'https' if self.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def read_kubeconfig(path: Path, context: str, *, anywhere: bool = False) -> Access:
    """How a context of a kubeconfig reaches its cluster; with an empty name the file's only context.

    anywhere: also by a name, or in no private network. An edge may not be there: EMCO gets the access to it, and does
    there what the experiments make it do.

    Raises UsageError with a sentence for what cannot be read, is not near, or cannot go through a relay.
    """
    where, cluster, user = _sections(path, context)
    address, secure = _server(where, str(cluster.get("server", "")), anywhere=anywhere)
    token = _token(where, path, user)
    tls = _tls(where, path, cluster, user) if secure else None
    return Access(address, tls, token, hashlib.sha256(f"{address} {token}".encode()).hexdigest()[:8])


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """A context's server, and what a client shows and trusts there, each as a file (PEM); None: there is none.

    verified: whether the server has to show a certificate that is trusted;  token: a bearer token, "" without one
    """

    url: str
    authority: Path | None
    certificate: Path | None
    key: Path | None
    verified: bool = True
    token: str = field(default="", repr=False)


def read_hub(path: Path, context: str) -> Access:
    """How the cluster is reached in which EMCO is: only the harness goes there, into namespaces that are labelled for
    it, so it may be anywhere. Raises UsageError as read_kubeconfig."""
    return read_kubeconfig(path, context, anywhere=True)


def write_client_files(path: Path, context: str, folder: Path) -> ClientFiles:
    """For programs that take no kubeconfig, into a folder (files of mode 600). Raises UsageError as read_kubeconfig."""
    where, cluster, user = _sections(path, context)
    contents = {
        "authority": _pem(path, cluster, "certificate-authority"),
        "certificate": _pem(path, user, "client-certificate"),
        "key": _pem(path, user, "client-key"),
    }
    files: dict[str, Path] = {}
    for name, content in contents.items():
        if content:
            files[name] = folder / f"{name}.pem"
            files[name].touch(mode=0o600)
            files[name].write_bytes(content)
    return ClientFiles(
        str(cluster["server"]),
        files.get("authority"),
        files.get("certificate"),
        files.get("key"),
        not cluster.get("insecure-skip-tls-verify"),
        _token(where, path, user),
    )


def _sections(path: Path, context: str) -> tuple[str, Json, Json]:
    """Where it is, for sentences; the cluster and the user of a context. Raises UsageError."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        contexts = {str(item["name"]): item["context"] for item in config["contexts"]}
        clusters = {str(item["name"]): item["cluster"] for item in config["clusters"]}
        users = {str(item["name"]): item.get("user") or {} for item in config.get("users") or ()}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the kubeconfig cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: this is no kubeconfig: {' '.join(str(error).split())}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: this is no kubeconfig: it has not clusters, users and contexts by name") from error
    chosen = _chosen(path, context, contexts)
    where = f"{path}, context {chosen}"
    named = contexts[chosen]
    cluster, user = clusters.get(str(named.get("cluster"))), users.get(str(named.get("user", "")), {})
    if cluster is None:
        raise UsageError(f"{where}: its cluster {named.get('cluster')!r} is not in the file")
    _check(where, cluster, user)
    return where, cluster, user


def write_kubeconfig(name: str, server: str, *, authority: str, token: str = "") -> str:
    """A kubeconfig (YAML) for a server whose certificate this authority (PEM) made."""
    encoded = base64.b64encode(authority.encode()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": encoded}}],
        "users": [{"name": "emco", "user": {"token": token} if token else {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "emco"}}],
        "current-context": name,
    }
    return yaml.safe_dump(config, sort_keys=False)


def _chosen(path: Path, context: str, contexts: Mapping[str, Any]) -> str:
    """Never the current context: that is whatever somebody worked with last."""
    if context in contexts:
        return context
    if context:
        raise UsageError(f"{path}: there is no context {context!r}; there are {', '.join(contexts) or 'none'}")
    if len(contexts) != 1:
        raise UsageError(
            f"{path}: {len(contexts)} contexts ({', '.join(contexts)}); name the one to use: {path}#CONTEXT"
        )
    return next(iter(contexts))


def _check(where: str, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> None:
    """Refuse what a relay cannot stand in for."""
    for name in _NOT_CARRIED:
        if user.get(name):
            raise UsageError(f"{where}: its user authenticates by {name!r}; a client certificate or a token is needed")
    for name in ("tls-server-name", "proxy-url"):
        if cluster.get(name):
            raise UsageError(f"{where}: its cluster has {name!r}, which the harness's relay does not support")


def _server(where: str, text: str, *, anywhere: bool) -> tuple[tuple[str, int], bool]:
    try:
        parts = urlsplit(text)
        host, port, secure = parts.hostname or "", parts.port, parts.scheme == "https"
    except ValueError as error:
        raise UsageError(f"{where}: its server {text!r} is no address") from error
    if not host or parts.scheme not in ("http", "https") or parts.path.strip("/"):
        raise UsageError(f"{where}: its server is {text!r}; https://host:port is expected")
    if not anywhere and not _is_near(host):
        raise UsageError(
            f"{where}: {host} is neither on this machine nor in a private network, as kind's is; "
            "the harness breaks things and stays near"
        )
    return (host, port or (443 if secure else 80)), secure


def _is_near(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private


def _token(where: str, path: Path, user: Mapping[str, Any]) -> str:
    if user.get("token"):
        return str(user["token"])
    if file := user.get("tokenFile"):
        try:
            return (path.parent / str(file)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{where}: its token cannot be read: {error}") from error
    return ""


def _tls(where: str, path: Path, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    try:
        authority = _pem(path, cluster, "certificate-authority")
        context = ssl.create_default_context(cadata=authority.decode("ascii") if authority else None)
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        certificate, key = _pem(path, user, "client-certificate"), _pem(path, user, "client-key")
        if certificate and key:
            with tempfile.NamedTemporaryFile() as file:  # mode 600; ssl reads from files only
                file.write(certificate + b"\n" + key)
                file.flush()
                context.load_cert_chain(file.name)
    except (OSError, ValueError, binascii.Error) as error:  # ssl.SSLError is an OSError
        raise UsageError(f"{where}: its certificates cannot be used: {error}") from error
    return context


def _pem(path: Path, section: Mapping[str, Any], name: str) -> bytes:
    if data := section.get(f"{name}-data"):
        return base64.b64decode(str(data), validate=True)
    return (path.parent / str(section[name])).read_bytes() if section.get(name) else b""
