"""The node's configuration, its cgroup, its packages, and what counts as left behind."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import cgroups, containerd, fake_gpus, namespaces, node, packages, residue
from e2e.cluster.processes import ClusterError
from e2e.cluster.settings import Settings

SETTINGS = Settings("unit", 2, Path("/state/unit"), Path("/cache"))


def test_pods_get_addresses_of_the_real_half_only() -> None:
    plugins: Any = node.network_configuration(SETTINGS)["plugins"]
    assert plugins[0]["ipam"]["ranges"] == [[{"subnet": "10.242.0.0/17"}]]
    assert plugins[0]["ipam"]["dataDir"].startswith("/state/unit/")


def test_kubelet_never_deletes_an_image_that_exists_nowhere_else() -> None:
    configuration: Any = node.kubelet_configuration(SETTINGS)
    assert configuration["imageGCHighThresholdPercent"] == 100
    assert set(configuration["evictionHard"].values()) == {"0%"}


def test_kubelet_lets_nobody_in_without_asking_the_api_server() -> None:
    configuration: Any = node.kubelet_configuration(SETTINGS)
    assert configuration["authentication"]["anonymous"] == {"enabled": False}
    assert configuration["authorization"] == {"mode": "Webhook"}
    assert configuration["cgroupRoot"] == "/plimsoll-unit"


def test_containerd_keeps_images_in_the_cache_and_the_rest_in_its_own_folders() -> None:
    parsed = tomllib.loads(containerd.configuration(SETTINGS, Path("/usr/lib/cni")))
    assert parsed["root"] == "/cache/containerd/unit"
    assert parsed["grpc"]["address"] == "/state/unit/containerd.sock"
    cri = parsed["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["restrict_oom_score_adj"] is True
    assert cri["cni"] == {"bin_dir": "/usr/lib/cni", "conf_dir": "/state/unit/cni"}


def test_missing_plugins_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(node, "CNI_FOLDERS", (tmp_path,))
    with pytest.raises(ClusterError, match="containernetworking-plugins"):
        node.cni_folder()
    for plugin in node.CNI_PLUGINS:
        (tmp_path / plugin).touch()
    assert node.cni_folder() == tmp_path


def test_a_command_inside_needs_a_cluster_that_is_up(tmp_path: Path) -> None:
    down = Settings("unit", 2, tmp_path, tmp_path)
    with pytest.raises(ClusterError, match=r"python -m e2e\.cluster up --name unit"):
        namespaces.inside(down, ["true"])


def test_only_missing_packages_are_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "here").touch(mode=0o755)
    monkeypatch.setattr(packages, "SEARCHED", str(tmp_path))
    monkeypatch.setattr(packages, "CNI_FOLDERS", (tmp_path,))
    wanted = {"here": "package-a", "absent": "package-b"}
    assert packages.missing(wanted, plugins=False) == ["package-b"]
    assert packages.missing(wanted, plugins=True) == ["package-b", "containernetworking-plugins"]


def version_1(root: Path) -> None:
    for controller in ("cpu", "cpuset", "memory"):
        (root / controller).mkdir()
    (root / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (root / "cpuset" / "cpuset.mems").write_text("0\n")


def test_a_cpuset_of_version_1_admits_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version_1(tmp_path)
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    cgroups.create("mine")
    assert (tmp_path / "cpuset" / "mine" / "cpuset.cpus").read_text() == "0-1\n"
    assert cgroups.present("mine") == [tmp_path / c / "mine" for c in ("cpu", "cpuset", "memory")]


def test_version_2_hands_its_controllers_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    cgroups.create("mine")
    assert cgroups.present("mine") == [tmp_path / "mine"]
    for folder in (tmp_path, tmp_path / "mine"):
        assert (folder / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


def test_cgroups_go_from_the_bottom_up_and_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    (tmp_path / "cpu" / "mine" / "kubepods" / "pod1").mkdir(parents=True)
    (tmp_path / "cpu" / "yours").mkdir()
    assert cgroups.remove("mine") == []
    assert (tmp_path / "cpu" / "yours").is_dir()


def test_a_busy_cgroup_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    (tmp_path / "cpu" / "mine").mkdir(parents=True)
    (tmp_path / "cpu" / "mine" / "cannot-be-removed").touch()
    assert cgroups.remove("mine", seconds=0) == [tmp_path / "cpu" / "mine"]


def test_residue_sees_rules_and_interfaces_of_this_cluster_only() -> None:
    listing = "\n".join(
        [
            "-A KUBE-SVC -d 10.98.0.1/32 -j DNAT",
            "-A KUBE-SVC -d 10.96.0.1/32 -j DNAT",
            "-A CNI -s 10.242.3.4/32 -j ACCEPT",
            "-A OTHER -s 110.242.3.4/32 -m comment --comment 999.10.98.1 -j ACCEPT",
        ]
    )
    assert residue.addresses(SETTINGS, listing, "rule") == [
        "rule -A KUBE-SVC -d 10.98.0.1/32 -j DNAT",
        "rule -A CNI -s 10.242.3.4/32 -j ACCEPT",
    ]


def test_residue_sees_mounts_of_this_cluster_only() -> None:
    table = (
        "tmpfs /state/unit/kubelet/pods/1/volumes/x tmpfs rw 0 0\n"
        "tmpfs /state/unit-2/kubelet/x tmpfs rw 0 0\n"
        "overlay /merged overlay rw,lowerdir=/cache/containerd/unit/snapshots/1/fs 0 0\n"
    )
    assert residue.mounts(SETTINGS, table) == [
        "mount /state/unit/kubelet/pods/1/volumes/x",
        "mount /merged",
    ]


def test_a_fake_node_looks_like_a_gpu_node_and_keeps_other_pods_away() -> None:
    made: Any = fake_gpus.node(fake_gpus.FakeGpus("NVIDIA-H200", 143771, 8), 3)
    assert made["metadata"]["name"] == "fake-nvidia-h200-3"
    assert made["metadata"]["annotations"]["kwok.x-k8s.io/node"] == "fake"
    labels = made["metadata"]["labels"]
    assert labels["nvidia.com/gpu.product"] == "NVIDIA-H200"
    assert labels["nvidia.com/gpu.memory"] == "143771"
    assert labels["nvidia.com/gpu.count"] == "8"
    assert made["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert made["spec"]["taints"] == [
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    ]
    assert json.loads(json.dumps(made)) == made
