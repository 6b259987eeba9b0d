"""What EMCO encrypts in mongo: kubeconfigs and private keys, where it is given a data key (EMCO_DATA_KEY).

EMCO hands a value that it cannot decrypt on as it is (D3): with a lost key a kubeconfig is garbage, and every service
takes work as if nothing were wrong. Without that defect a service that cannot read what is stored does not start.
"""

import hashlib
from typing import Protocol

_NONCE = bytes(12)  # EMCO's is constant, too: equal values are equal in mongo
SECRETS = (("config", "config"), ("privatekey", "keyvalue"))
"""Where the encrypted values are: tag and member."""


class Encryption(Protocol):
    """How a value gets into mongo and out of it."""

    def sealed(self, value: str) -> str: ...

    def opened(self, value: str) -> str | None:
        """None for what was not sealed with this key."""


class _Plain:
    """Without a data key. What was sealed with one is hexadecimal, and nothing that EMCO keeps there is."""

    def sealed(self, value: str) -> str:
        return value

    def opened(self, value: str) -> str | None:
        try:
            bytes.fromhex(value)
        except ValueError:
            return value
        return None if value else value


class _WithKey:
    """AES-GCM, as hexadecimal digits."""

    def __init__(self, key: str) -> None:
        # Only a service that is given a key pays for loading this.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        self._cipher = AESGCM(hashlib.sha256(key.encode()).digest())

    def sealed(self, value: str) -> str:
        return self._cipher.encrypt(_NONCE, value.encode(), None).hex()

    def opened(self, value: str) -> str | None:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  as above

        try:
            return self._cipher.decrypt(_NONCE, bytes.fromhex(value), None).decode()
        except (InvalidTag, ValueError):
            return None


def encryption(key: str) -> Encryption:
    """With this data key; empty for none."""
    return _WithKey(key) if key else _Plain()
