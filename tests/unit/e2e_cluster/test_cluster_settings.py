"""A cluster's addresses, ports and folders: from the name alone, and never shared by two slots."""

import dataclasses
import itertools
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.cluster.settings import DEFAULT_NAME, SLOTS, Settings, settings_for, slot_of

HOME = {"HOME": "/home/ada"}
LINUX_EPHEMERAL_PORTS = range(32768, 61000)


def at_slot(slot: int) -> Settings:
    return dataclasses.replace(settings_for("any", HOME), slot=slot)


def test_default_name_has_kubernetes_usual_addresses() -> None:
    settings = settings_for(DEFAULT_NAME, HOME)
    assert settings.pod_range == IPv4Network("10.244.0.0/16")
    assert str(settings.kubernetes_service) == "10.96.0.1"
    assert settings.api_url == "https://127.0.0.1:20000"


def test_folders_follow_xdg() -> None:
    environment = {**HOME, "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/c"}
    assert settings_for("a", environment).state == Path("/s/plimsoll/clusters/a")
    assert settings_for("a", environment).cache == Path("/c/plimsoll")
    assert settings_for("a", HOME).state == Path("/home/ada/.local/state/plimsoll/clusters/a")
    assert settings_for("a", HOME).cache == Path("/home/ada/.cache/plimsoll")


@pytest.mark.parametrize(("one", "two"), list(itertools.combinations(range(0, SLOTS, 5), 2)))
def test_slots_share_no_address_and_no_port(one: int, two: int) -> None:
    first, second = at_slot(one), at_slot(two)
    for a, b in itertools.product(
        (first.pod_range, first.held_range), (second.pod_range, second.held_range)
    ):
        assert not a.overlaps(b)
    assert not {first.api_port, *first.node_ports} & {second.api_port, *second.node_ports}


@given(st.integers(0, SLOTS - 1))
def test_ranges_of_one_slot_fit_together(slot: int) -> None:
    settings = at_slot(slot)
    assert settings.real_pod_range.subnet_of(settings.pod_range)
    assert settings.fake_pod_range.subnet_of(settings.pod_range)
    assert not settings.real_pod_range.overlaps(settings.fake_pod_range)
    assert settings.service_range.subnet_of(settings.held_range)
    assert not settings.pod_range.overlaps(settings.held_range)
    assert settings.pod_range.is_private
    assert settings.held_range.is_private


@given(st.integers(0, SLOTS - 1))
def test_no_service_can_get_the_nodes_address(slot: int) -> None:
    settings = at_slot(slot)
    assert settings.node_address in settings.held_range
    assert settings.node_address not in settings.service_range


@given(st.integers(0, SLOTS - 1))
def test_ports_are_unprivileged_and_not_ephemeral(slot: int) -> None:
    settings = at_slot(slot)
    for port in (settings.api_port, *settings.node_ports):
        assert 1024 < port < LINUX_EPHEMERAL_PORTS.start


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?", fullmatch=True))
def test_any_other_name_leaves_the_default_slot_alone(name: str) -> None:
    settings = settings_for(name, HOME)
    assert settings.slot == slot_of(name)
    assert (settings.slot == 0) == (name == DEFAULT_NAME)
    assert settings.slot < SLOTS


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "-a", "a-", "a" * 33, "a b", "a\n"])
def test_names_that_are_no_host_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cluster name"):
        settings_for(name, HOME)


def test_too_deep_a_state_folder_is_refused_before_containerd_fails_on_it() -> None:
    with pytest.raises(ValueError, match="XDG_STATE_HOME"):
        settings_for("a", {"HOME": "/" + "h" * 100})
