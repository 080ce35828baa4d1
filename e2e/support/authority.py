"""A certificate authority for tests, and Secrets of servers that it vouches for."""

import base64
import datetime
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from e2e.support.kubectl import Object

PEM = serialization.Encoding.PEM


class Authority:
    """Makes certificates that are valid for a day."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("tests")
        self._certificate = (
            self._signed_by_us("tests", self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def trusted(self) -> ssl.SSLContext:
        """For clients that trust this authority and no other."""
        return ssl.create_default_context(cadata=self._certificate.public_bytes(PEM).decode())

    def secret(self, name: str, *hosts: str) -> tuple[Object, int]:
        """A kubernetes.io/tls Secret of a new certificate for `hosts`, and its serial number."""
        certificate, key, serial = self._issued(name, hosts)
        files = {"tls.crt": certificate, "tls.key": key}
        data = {file: base64.b64encode(content).decode() for file, content in files.items()}
        kind = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls"}
        return {**kind, "metadata": {"name": name}, "data": data}, serial

    def files(self, folder: Path, *hosts: str) -> tuple[Path, Path, Path]:
        """Files of this authority, of a new certificate for `hosts` and of its key."""
        certificate, key, _ = self._issued(hosts[0], hosts)
        paths = folder / "ca.crt", folder / "tls.crt", folder / "tls.key"
        contents = (self._certificate.public_bytes(PEM), certificate, key)
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return paths

    def _issued(self, name: str, hosts: Sequence[str]) -> tuple[bytes, bytes, int]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        made = (
            self._signed_by_us(name, key.public_key())
            .add_extension(names, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return made.public_bytes(PEM), private, made.serial_number

    def _signed_by_us(self, name: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
