"""Programs are built once per set of inputs, and a person's own cluster or programs win."""

from pathlib import Path

import pytest

from e2e.cluster import binaries, handle, images
from e2e.cluster.processes import ClusterError
from e2e.cluster.settings import REPOSITORY, Settings, settings_for
from e2e.support import install

GO_MOD = (binaries.TOOLS / "kubernetes" / "go.mod").read_text()


def test_kubernetes_programs_know_their_version() -> None:
    version = binaries.required_version(GO_MOD, "k8s.io/kubernetes")
    flags = binaries.linker_flags(binaries.KUBERNETES)
    assert f"-X k8s.io/component-base/version.gitVersion={version}" in flags
    assert f"-X k8s.io/client-go/pkg/version.gitVersion={version}" in flags
    assert "gitVersion" not in binaries.linker_flags(binaries.KWOK)


def test_staging_modules_are_of_the_release_that_is_built() -> None:
    release = binaries.required_version(GO_MOD, "k8s.io/kubernetes").removeprefix("v1.")
    replaced = [line.split() for line in GO_MOD.splitlines() if " => k8s.io/" in line]
    assert len(replaced) == 33
    assert {words[-1] for words in replaced} == {f"v0.{release}"}
    assert all(words[0] == words[2] for words in replaced)


def test_every_module_is_pinned_by_sums() -> None:
    for group in (binaries.KUBERNETES, binaries.COREDNS, binaries.KWOK, binaries.KUBE_SCORE):
        assert (binaries.TOOLS / group.module / "go.sum").stat().st_size > 0


def test_an_absent_requirement_is_named() -> None:
    with pytest.raises(ClusterError, match=r"example\.org/none"):
        binaries.required_version(GO_MOD, "example.org/none")


def copy_of_tools(target: Path) -> None:
    for file in (binaries.TOOLS / "node").rglob("*"):
        if file.is_file():
            copied = target / file.relative_to(binaries.TOOLS)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(file.read_bytes())


def test_a_build_is_found_by_all_that_decides_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = binaries.inputs_hash(binaries.NODE)
    copy_of_tools(tmp_path)
    monkeypatch.setattr(binaries, "TOOLS", tmp_path)
    assert binaries.inputs_hash(binaries.NODE) == before
    with (tmp_path / "node" / "pause" / "main.go").open("a") as source:
        source.write("// changed\n")
    assert binaries.inputs_hash(binaries.NODE) != before


def test_a_cached_build_needs_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings("unit", 1, tmp_path / "state", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"Go 1\.26"):
        binaries.build(settings, binaries.NODE)
    cached = settings.cache / "bin" / f"node-{binaries.inputs_hash(binaries.NODE)}"
    cached.mkdir(parents=True)
    assert binaries.build(settings, binaries.NODE) == cached


def test_given_assets_win_and_the_rest_is_ours(tmp_path: Path) -> None:
    for folder, names in (("assets", ["etcd"]), ("ours", ["etcd", "kubelet"]), ("node", ["pause"])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    programs = binaries.Programs(tuple(tmp_path / name for name in ("assets", "ours", "node")))
    assert programs["etcd"] == tmp_path / "assets" / "etcd"
    assert programs["kubelet"] == tmp_path / "ours" / "kubelet"
    assert programs["pause"] == tmp_path / "node" / "pause"
    with pytest.raises(ClusterError, match="no program nothing"):
        programs["nothing"]


def persons_own(monkeypatch: pytest.MonkeyPatch, folder: Path, answer: str | None) -> Path:
    """A kubeconfig, with a kubectl on PATH; None where there is nobody to ask."""
    kubeconfig = folder / "config"
    kubeconfig.touch()
    (folder / "kubectl").write_text("#!/bin/sh\necho theirs\n")
    (folder / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("sys.stdin.isatty", lambda: answer is not None, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    return kubeconfig


@pytest.mark.parametrize("answer", [None, "y", "Yes "])
def test_a_persons_own_cluster_is_used_and_told(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    answer: str | None,
) -> None:
    kubeconfig = persons_own(monkeypatch, tmp_path, answer)
    found = handle.ensure_cluster("unit", {"HOME": "/h", "KUBECONFIG": str(kubeconfig)})
    assert found == handle.ClusterHandle(kubeconfig, tmp_path / "kubectl", is_ours=False)
    assert "the cluster of context 'theirs'" in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["", "n", "what?"])
def test_a_persons_own_cluster_is_left_alone_after_a_no(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str
) -> None:
    kubeconfig = persons_own(monkeypatch, tmp_path, answer)
    with pytest.raises(ClusterError, match="nothing was done; unset KUBECONFIG"):
        handle.ensure_cluster("unit", {"HOME": "/h", "KUBECONFIG": str(kubeconfig)})


def test_images_on_a_persons_own_cluster_are_to_be_named() -> None:
    foreign = handle.ClusterHandle(Path("config"), Path("kubectl"), is_ours=False)
    variables = {"PLIMSOLL_OPERATOR_IMAGE": "r/operator:1", "PLIMSOLL_RUNTIME_IMAGE": "r/runtime:1"}
    assert install.images(foreign, variables) == install.Images("r/operator:1", "r/runtime:1")
    with pytest.raises(ClusterError, match="PLIMSOLL_RUNTIME_IMAGE must name images"):
        install.images(foreign, {**variables, "PLIMSOLL_RUNTIME_IMAGE": ""})


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="names no file"):
        handle.ensure_cluster("unit", {"HOME": "/h", "KUBECONFIG": str(tmp_path / "none")})


def test_our_own_kubeconfig_does_not_make_the_cluster_foreign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[list[str]] = []

    def command(argv: list[str], **_: object) -> object:
        calls.append(argv)
        return type("Done", (), {"returncode": 0})()

    monkeypatch.setattr("e2e.cluster.handle.subprocess.run", command)
    ours = settings_for("unit", {"HOME": "/h"}).kubeconfig
    found = handle.ensure_cluster("unit", {"HOME": "/h", "KUBECONFIG": str(ours)})
    assert found.is_ours
    assert calls[0][-3:] == ["up", "--name", "unit"]


def test_an_image_is_known_by_what_goes_into_it() -> None:
    one = images.inputs_hash(images.OPERATOR, "base-a")
    assert images.inputs_hash(images.OPERATOR, "base-a") == one
    assert images.inputs_hash(images.OPERATOR, "base-b") != one
    assert images.inputs_hash(images.RUNTIME, "base-a") != one


def test_superseded_builds_go_with_their_nameless_twins() -> None:
    listing = """REF TYPE DIGEST SIZE PLATFORMS LABELS
docker.io/plimsoll/operator:old type sha256:m1 8.0 MiB linux/amd64 -
docker.io/plimsoll/operator:new type sha256:m2 8.0 MiB linux/amd64 -
docker.io/plimsoll/operator:dev type sha256:m2 8.0 MiB linux/amd64 -
docker.io/plimsoll/runtime:old type sha256:m3 8.0 MiB linux/amd64 -
sha256:config1 type sha256:m1 8.0 MiB linux/amd64 -
sha256:config2 type sha256:m2 8.0 MiB linux/amd64 -
sha256:config3 type sha256:m3 8.0 MiB linux/amd64 -
"""
    kept = {"docker.io/plimsoll/operator:new", "docker.io/plimsoll/operator:dev"}
    assert images.superseded(listing, "docker.io/plimsoll/operator", kept) == [
        "docker.io/plimsoll/operator:old",
        "sha256:config1",
    ]


@pytest.mark.parametrize("name", ["operator", "runtime"])
def test_dockerfiles_keep_dependencies_apart_from_code_and_run_as_nobody(name: str) -> None:
    lines = (REPOSITORY / name / "Dockerfile").read_text().splitlines()
    assert f"COPY {name}.lock /opt/plimsoll.lock" in lines
    assert lines.index(f"COPY {name}.lock /opt/plimsoll.lock") < lines.index(
        "COPY dist/*.whl /tmp/dist/"
    )
    assert "USER 65532:65532" in lines
    assert any("--require-hashes" in line for line in lines)


@pytest.mark.parametrize("name", ["operator", "runtime", "dev"])
def test_lock_files_are_hashed_and_name_no_host(name: str) -> None:
    text = (REPOSITORY / f"{name}.lock").read_text()
    pins = [line for line in text.splitlines() if "==" in line and not line.startswith(" ")]
    assert pins
    assert "://" not in text
    assert text.count("--hash=sha256:") >= len(pins)


def test_the_operators_image_has_no_torch() -> None:
    assert "\ntorch==" not in (REPOSITORY / "operator.lock").read_text()
    assert "\ntorch==" in (REPOSITORY / "runtime.lock").read_text()
