"""The cluster's certificate authority, its certificates and kubeconfig files."""

import base64
import datetime
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from e2e.cluster.settings import Settings

LIFETIME = datetime.timedelta(days=365)
PEM = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a certificate names: user and groups to the API server, host names to clients."""

    file: str
    user: str
    groups: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


def identities(settings: Settings) -> tuple[Identity, ...]:
    """Every certificate of a cluster. Groups are those of the built-in RBAC roles."""
    node = str(settings.node_address)
    return (
        Identity(
            "apiserver",
            "kube-apiserver",
            hosts=(
                "127.0.0.1",
                node,
                str(settings.kubernetes_service),
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
            ),
        ),
        Identity("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",)),
        Identity("admin", "admin", ("system:masters",)),
        Identity("controller-manager", "system:kube-controller-manager"),
        Identity("scheduler", "system:kube-scheduler"),
        Identity("proxy", "system:kube-proxy"),
        Identity(
            "kubelet",
            f"system:node:{settings.node_name}",
            ("system:nodes",),
            (settings.node_name, node, "127.0.0.1"),
        ),
    )


def write_all(settings: Settings, now: datetime.datetime) -> None:
    """Make an authority, all certificates, the ServiceAccount key and the kubeconfig files."""
    folder = settings.certificates
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"plimsoll-{settings.name}", ())
    # Strict verifiers, such as Python's from 3.13 on, demand both key identifiers.
    authority_identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _builder(name, name, authority_key.public_key(), now)
        .add_extension(authority_identifier, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(authority.public_bytes(PEM))
    for identity in identities(settings):
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_name(identity.user, identity.groups), name, key.public_key(), now)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                    authority_identifier
                ),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
                ),
                critical=False,
            )
        )
        if identity.hosts:
            builder = builder.add_extension(_alternatives(identity.hosts), critical=False)
        certificate = builder.sign(authority_key, hashes.SHA256())
        (folder / f"{identity.file}.crt").write_bytes(certificate.public_bytes(PEM))
        _write_key(folder / f"{identity.file}.key", key)
    accounts = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write_key(folder / "service-accounts.key", accounts)
    for user in ("controller-manager", "scheduler", "proxy", "kubelet"):
        text = kubeconfig(settings, user, settings.internal_api_url)
        (folder / f"{user}.kubeconfig").write_text(text)
    internal = kubeconfig(settings, "admin", settings.internal_api_url)
    (folder / "admin.kubeconfig").write_text(internal)
    settings.kubeconfig.write_text(kubeconfig(settings, "admin", settings.api_url))
    settings.kubeconfig.chmod(0o600)


def kubeconfig(settings: Settings, user: str, server: str) -> str:
    """A kubeconfig (as JSON, which is YAML) with certificates inside, for `user` at `server`."""

    def inline(file: str) -> str:
        return base64.b64encode((settings.certificates / file).read_bytes()).decode()

    context = f"plimsoll-{settings.name}" if settings.name != "plimsoll" else "plimsoll"
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": context,
                    "cluster": {"server": server, "certificate-authority-data": inline("ca.crt")},
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate-data": inline(f"{user}.crt"),
                        "client-key-data": inline(f"{user}.key"),
                    },
                }
            ],
            "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
            "current-context": context,
        },
        indent=1,
    )


def _name(user: str, groups: Sequence[str]) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
