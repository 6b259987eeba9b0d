"""The certificate authority of edges behind TLS: relays, API servers and their clients show what it signed.

It is kept with what was learned: snapshots hold kubeconfigs that name it, so all runs that use these need the same.
"""

import hashlib
import ssl
from pathlib import Path
from typing import Self

import trustme
from filelock import FileLock

from harness.faults.victim import HarnessTrouble

_KEY, _CERTIFICATE = "authority.key", "authority.pem"


class Authority:
    """Signs for addresses and for users of an API server. Use open_authority()."""

    def __init__(self, authority: trustme.CA) -> None:
        self._authority = authority

    @classmethod
    def passing(cls) -> Self:
        """One that is kept nowhere."""
        return cls(trustme.CA())

    @property
    def pem(self) -> str:
        """Its certificate."""
        return self._authority.cert_pem.bytes().decode("ascii")

    @property
    def identity(self) -> str:
        """A short name of this very authority."""
        return hashlib.sha256(self._authority.cert_pem.bytes()).hexdigest()[:8]

    def server(self, host: str) -> ssl.SSLContext:
        """For a server at this address."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert(host).configure_cert(context)
        return context

    def client(self, user: str) -> ssl.SSLContext:
        """For a client that Kubernetes knows as this user, and lets do anything."""
        context = ssl.create_default_context(cadata=self.pem)
        # Go refuses a certificate without any name of a host in it.
        self._authority.issue_cert(user, common_name=user, organization_name="system:masters").configure_cert(context)
        return context

    def write_server_files(self, host: str, folder: Path) -> tuple[Path, Path, Path]:
        """Authority, certificate and key of a server at this address, as files (mode 600)."""
        issued = self._authority.issue_cert(host)
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        contents = {"ca.pem": self.pem.encode(), "server.pem": chain, "server.key": issued.private_key_pem.bytes()}
        paths = []
        for name, content in contents.items():
            _write(folder / name, content)
            paths.append(folder / name)
        return paths[0], paths[1], paths[2]


def open_authority(folder: Path) -> Authority:
    """The authority that is kept in this folder, made when it is wanted for the first time. Raises HarnessTrouble."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(folder / "authority.lock"):
        if not (folder / _CERTIFICATE).exists():
            made = trustme.CA()
            _write(folder / _KEY, made.private_key_pem.bytes())
            _write(folder / _CERTIFICATE, made.cert_pem.bytes())  # last: with it, both are complete
        try:
            kept = trustme.CA.from_pem((folder / _CERTIFICATE).read_bytes(), (folder / _KEY).read_bytes())
        except (OSError, ValueError) as error:
            raise HarnessTrouble(f"{folder}: no usable certificate authority ({error}); remove the folder") from error
    return Authority(kept)


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
