"""Image archives: every blob under its own digest, and none that the receiver has."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.cluster import oci


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def blob(files: dict[str, bytes], digest: str) -> bytes:
    return files["blobs/" + digest.replace(":", "/")]


def parsed(data: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(data)
    return value


def assert_blobs_match_their_digests(files: dict[str, bytes]) -> None:
    for name, data in files.items():
        if name.startswith("blobs/sha256/"):
            assert name.removeprefix("blobs/sha256/") == hashlib.sha256(data).hexdigest()


def test_one_file_image_is_a_complete_image(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF...")
    files = members(oci.one_file_image(program, ["docker.io/x/pause:a"], "arm64"))
    assert_blobs_match_their_digests(files)
    entry = parsed(files["index.json"])["manifests"][0]
    assert entry["annotations"] == {"io.containerd.image.name": "docker.io/x/pause:a"}
    manifest = parsed(blob(files, entry["digest"]))
    config = parsed(blob(files, manifest["config"]["digest"]))
    layer = blob(files, manifest["layers"][0]["digest"])
    assert len(layer) == manifest["layers"][0]["size"]
    assert config["architecture"] == "arm64"
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
    assert config["config"]["Entrypoint"] == ["/pause"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        held = tar.getmember("pause")
        assert held.mode & 0o111
        assert tar.extractfile(held).read() == b"\x7fELF..."  # type: ignore[union-attr]


def test_the_same_program_makes_the_same_bytes(tmp_path: Path) -> None:
    program = tmp_path / "p"
    program.write_bytes(b"same")
    assert oci.one_file_image(program, ["n"], "amd64") == oci.one_file_image(
        program, ["n"], "amd64"
    )


def make_layout(folder: Path, layers: list[bytes]) -> list[str]:
    """A layout as skopeo writes it; returns the layers' digests."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def store(media_type: str, data: bytes) -> dict[str, object]:
        descriptor = oci.describe(media_type, data)
        (blobs / descriptor.digest.removeprefix("sha256:")).write_bytes(data)
        return descriptor.as_json()

    described = [store(oci.LAYER, layer) for layer in layers]
    # Longer than any layer here, so that no layer can be the same blob.
    config = store(oci.CONFIG, b'{"architecture": "amd64", "os": "linux", "rootfs": {}}')
    body = json.dumps({"config": config, "layers": described}).encode()
    manifest = store(oci.MANIFEST, body)
    (folder / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    return [str(layer["digest"]) for layer in described]


@given(layers=st.lists(st.binary(min_size=1, max_size=40), unique=True, max_size=5), data=st.data())
def test_an_archive_leaves_out_exactly_the_known_layers(
    tmp_path_factory: pytest.TempPathFactory, layers: list[bytes], data: st.DataObject
) -> None:
    layout = tmp_path_factory.mktemp("layout")
    digests = make_layout(layout, layers)
    known = set(data.draw(st.lists(st.sampled_from(digests), unique=True))) if digests else set()
    out = io.BytesIO()
    written = oci.write_archive(layout, ["docker.io/x/y:dev", "docker.io/x/y:1"], known, out)
    files = members(out.getvalue())
    assert_blobs_match_their_digests(files)
    held = {name.replace("blobs/sha256/", "sha256:") for name in files if "blobs/" in name}
    manifest, config, *_ = oci.blobs_of(layout)
    assert held == {manifest, config, *digests} - known
    assert written == sum(len(data) for name, data in files.items() if "blobs/" in name)
    named = parsed(files["index.json"])["manifests"]
    assert {entry["digest"] for entry in named} == {manifest}
    names = [entry["annotations"]["io.containerd.image.name"] for entry in named]
    assert names == ["docker.io/x/y:dev", "docker.io/x/y:1"]


def test_manifest_and_config_always_travel(tmp_path: Path) -> None:
    make_layout(tmp_path, [b"layer"])
    everything = set(oci.blobs_of(tmp_path))
    out = io.BytesIO()
    oci.write_archive(tmp_path, ["n"], everything, out)
    assert len([name for name in members(out.getvalue()) if "blobs/" in name]) == 2


def test_a_layout_of_several_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"manifests": [{}, {}]}')
    with pytest.raises(ValueError, match="2 manifests"):
        oci.layout_manifest(tmp_path)
