"""The cluster's certificate authority: signs certificate signing requests that were approved."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Json = dict[str, Any]

_USAGES = {"client auth": ExtendedKeyUsageOID.CLIENT_AUTH, "server auth": ExtendedKeyUsageOID.SERVER_AUTH}
_DEFAULT_SECONDS = 365 * 24 * 3600


def parse_request(csr: Json) -> x509.CertificateSigningRequest:
    """The PKCS#10 request of a CertificateSigningRequest object. Raises ValueError with a sentence."""
    try:
        pem = base64.b64decode(csr["spec"]["request"], validate=True)
        return x509.load_pem_x509_csr(pem)
    except (KeyError, TypeError, binascii.Error, ValueError) as error:
        raise ValueError("must be a PEM certificate request, base64 encoded") from error


class Signer:
    """An authority with a key of its own, made when first used."""

    def __init__(self, name: str) -> None:
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} emulated cluster CA"[:64])])
        self._key: ec.EllipticCurvePrivateKey | None = None

    def sign(self, csr: Json, *, now: float) -> str:
        """The certificate for an approved CSR object, as `status.certificate` holds it: PEM, base64 encoded.

        now: wall clock in seconds. Raises ValueError when the request cannot be read.
        """
        self._key = self._key or ec.generate_private_key(ec.SECP256R1())
        request = parse_request(csr)
        start = datetime.fromtimestamp(now, UTC)
        seconds = csr["spec"].get("expirationSeconds") or _DEFAULT_SECONDS
        usages = [_USAGES[usage] for usage in csr["spec"].get("usages", ()) if usage in _USAGES]
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(self._subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            # Clocks of clients may be a little behind.
            .not_valid_before(start - timedelta(minutes=5))
            .not_valid_after(start + timedelta(seconds=seconds))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return base64.b64encode(certificate.public_bytes(serialization.Encoding.PEM)).decode()
