"""Keys and certificates of one control plane: an authority of its own, and identities signed by it. They live in the
plane's folder and are worth nothing outside of it.
"""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = timedelta(days=30)
SKEW = timedelta(minutes=5)
SERVER_NAMES = ("kubernetes.default.svc", "kubernetes.default", "kubernetes", "localhost")
SERVER_ADDRESSES = ("127.0.0.1", "::1", "10.0.0.1")


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key, in PEM files."""

    certificate: Path
    key: Path

    def encoded(self) -> dict[str, str]:
        """Return it as a kubeconfig's user holds it."""
        return {
            "client-certificate-data": base64.b64encode(self.certificate.read_bytes()).decode(),
            "client-key-data": base64.b64encode(self.key.read_bytes()).decode(),
        }


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a signing key: the files of its private and its public half."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return _write(folder / f"{name}.key", _pem(key)), _write(folder / f"{name}.pub", public)


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._folder = folder
        self._key = key
        self._certificate = certificate
        self.file = folder / "ca.crt"

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Make an authority in an empty folder."""
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "control plane for tests")])
        usage = _usage(signs_certificates=True)
        certificate = (
            _builder(name, name, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, SHA256())
        )
        authority = cls(folder, key, certificate)
        _write(authority.file, certificate.public_bytes(Encoding.PEM))
        return authority

    def encoded(self) -> str:
        """Return the certificate as a kubeconfig's cluster holds it."""
        return base64.b64encode(self.file.read_bytes()).decode()

    def issue(self, file: str, *, name: str, groups: tuple[str, ...] = (), server: bool = False) -> Identity:
        """Issue a certificate for a user of Kubernetes, that with `server` may be shown by a server on loopback too."""
        key = ec.generate_private_key(ec.SECP256R1())
        parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer_key = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if server else [])]
        builder = (
            _builder(subject, self._certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key),
                critical=False,
            )
        )
        if server:
            names: list[x509.GeneralName] = [x509.DNSName(each) for each in SERVER_NAMES]
            names += [x509.IPAddress(ipaddress.ip_address(each)) for each in SERVER_ADDRESSES]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, SHA256())
        return Identity(
            _write(self._folder / f"{file}.crt", certificate.public_bytes(Encoding.PEM)),
            _write(self._folder / f"{file}.key", _pem(key)),
        )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
