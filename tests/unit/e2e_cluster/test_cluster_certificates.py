"""The authority signs what the cluster's parts show each other, and kubeconfigs carry it."""

import base64
import datetime
import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from e2e.cluster.certificates import identities, write_all
from e2e.cluster.settings import Settings

NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("cluster")
    made = Settings("unit", 3, folder / "state", folder / "cache")
    made.state.mkdir()
    write_all(made, NOW)
    return made


def certificate(settings: Settings, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((settings.certificates / f"{name}.crt").read_bytes())


def policy(settings: Settings, at: datetime.datetime = NOW) -> PolicyBuilder:
    return PolicyBuilder().store(Store([certificate(settings, "ca")])).time(at)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.99.0.1", "10.99.255.254"])
def test_api_server_is_trusted_at_every_address_it_is_reached_at(
    settings: Settings, host: str
) -> None:
    verifier = policy(settings).build_server_verifier(x509.IPAddress(ipaddress.ip_address(host)))
    assert len(verifier.verify(certificate(settings, "apiserver"), [])) == 2


def test_api_server_is_trusted_by_its_dns_name(settings: Settings) -> None:
    name = x509.DNSName("kubernetes.default.svc")
    policy(settings).build_server_verifier(name).verify(certificate(settings, "apiserver"), [])


def test_kubelet_is_trusted_at_the_nodes_address(settings: Settings) -> None:
    name = x509.IPAddress(ipaddress.ip_address(str(settings.node_address)))
    policy(settings).build_server_verifier(name).verify(certificate(settings, "kubelet"), [])


def test_nothing_is_trusted_after_its_lifetime(settings: Settings) -> None:
    late = NOW + datetime.timedelta(days=366)
    verifier = policy(settings, late).build_server_verifier(x509.DNSName("kubernetes"))
    with pytest.raises(x509.verification.VerificationError):
        verifier.verify(certificate(settings, "apiserver"), [])


def test_subjects_are_the_users_and_groups_of_the_built_in_roles(settings: Settings) -> None:
    subjects = {}
    for identity in identities(settings):
        subject = certificate(settings, identity.file).subject
        user = subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        groups = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        subjects[user] = [group.value for group in groups]
    assert subjects["admin"] == ["system:masters"]
    assert subjects["system:node:unit-node"] == ["system:nodes"]
    assert subjects["system:kube-controller-manager"] == []
    assert subjects["system:kube-scheduler"] == []
    assert subjects["system:kube-proxy"] == []


def test_private_keys_belong_to_their_certificates_and_are_private(settings: Settings) -> None:
    for identity in identities(settings):
        path = settings.certificates / f"{identity.file}.key"
        key = load_pem_private_key(path.read_bytes(), password=None)
        assert key.public_key() == certificate(settings, identity.file).public_key()
        assert path.stat().st_mode & 0o077 == 0


def read_kubeconfig(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def test_the_persons_kubeconfig_goes_through_loopback(settings: Settings) -> None:
    config = read_kubeconfig(settings.kubeconfig)
    assert config["clusters"][0]["cluster"]["server"] == f"https://127.0.0.1:{settings.api_port}"
    assert config["current-context"] == "plimsoll-unit"
    assert settings.kubeconfig.stat().st_mode & 0o077 == 0
    shown = base64.b64decode(config["users"][0]["user"]["client-certificate-data"])
    assert x509.load_pem_x509_certificate(shown) == certificate(settings, "admin")


@pytest.mark.parametrize("part", ["controller-manager", "scheduler", "proxy", "kubelet"])
def test_the_clusters_own_parts_stay_inside(settings: Settings, part: str) -> None:
    config = read_kubeconfig(settings.certificates / f"{part}.kubeconfig")
    server = config["clusters"][0]["cluster"]["server"]
    assert server == f"https://{settings.node_address}:6443"
