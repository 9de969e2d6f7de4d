"""Certificates of a test: a CA, and what it signs for servers and for clients."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY: Final = timedelta(days=1)


class Authority:
    """A CA, whose certificate is in `file`."""

    def __init__(self, file: Path) -> None:
        self.file: Final = file
        self._key: Final = ec.generate_private_key(ec.SECP256R1())
        self._name: Final = _name("a CA of a test")
        own = self._certificate(self._name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        file.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def sign(
        self, name: str, *, addresses: Sequence[str] = (), age: timedelta = DAY, life: timedelta = 2 * DAY
    ) -> bytes:
        """A key and its certificate as PEM, for a client with this name, or for a server at these addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        wanted = self._certificate(_name(name), key, age, life)
        if addresses:
            here = x509.SubjectAlternativeName([x509.IPAddress(ip_address(each)) for each in addresses])
            wanted = wanted.add_extension(here, False)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return private + wanted.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _certificate(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, age: timedelta = DAY, life: timedelta = 2 * DAY
    ) -> x509.CertificateBuilder:
        began = datetime.now(UTC) - age
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(began)
            .not_valid_after(began + life)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
