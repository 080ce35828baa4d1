"""OCI image archives: made by hand for one-file images, or from a layout without what is known.

An archive is a tar of an OCI image layout (image-spec v1: `oci-layout`,
`index.json`, `blobs/sha256/...`). containerd's import does not need blobs that
its content store already has, so an archive may leave them out.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob by its digest (`sha256:...`) and size in bytes."""

    media_type: str
    digest: str
    size: int

    def as_json(self) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def describe(media_type: str, blob: bytes) -> Descriptor:
    return Descriptor(media_type, f"sha256:{hashlib.sha256(blob).hexdigest()}", len(blob))


def index_of(manifest: Descriptor, names: Sequence[str]) -> bytes:
    """An `index.json` that gives one manifest several names, as containerd reads them."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [
                {**manifest.as_json(), "annotations": {"io.containerd.image.name": name}}
                for name in names
            ],
        }
    ).encode()


def one_file_image(program: Path, names: Sequence[str], architecture: str) -> bytes:
    """The archive of an image that holds one static program, run as nobody."""
    layer_file = io.BytesIO()
    with tarfile.open(fileobj=layer_file, mode="w") as layer_tar:
        _add(layer_tar, program.name, program.read_bytes(), mode=0o755)
    layer = layer_file.getvalue()
    layer_descriptor = describe(LAYER, layer)
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [layer_descriptor.digest]},
        }
    ).encode()
    config_descriptor = describe(CONFIG, config)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config_descriptor.as_json(),
            "layers": [layer_descriptor.as_json()],
        }
    ).encode()
    manifest_descriptor = describe(MANIFEST, manifest)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        for descriptor, blob in (
            (layer_descriptor, layer),
            (config_descriptor, config),
            (manifest_descriptor, manifest),
        ):
            _add(tar, _blob_path(descriptor.digest), blob)
        _add(tar, "index.json", index_of(manifest_descriptor, names))
    return archive.getvalue()


def layout_manifest(layout: Path) -> Descriptor:
    """The one manifest of an OCI layout. Raises ValueError when there is not exactly one."""
    manifests = json.loads((layout / "index.json").read_text())["manifests"]
    if len(manifests) != 1:
        raise ValueError(f"{layout} has {len(manifests)} manifests where one was expected")
    return Descriptor(manifests[0]["mediaType"], manifests[0]["digest"], manifests[0]["size"])


def blobs_of(layout: Path) -> tuple[str, ...]:
    """Digests of all that the layout's manifest needs: itself, its config, its layers."""
    manifest = layout_manifest(layout)
    body = json.loads((layout / _blob_path(manifest.digest)).read_text())
    layers = (layer["digest"] for layer in body["layers"])
    return (manifest.digest, body["config"]["digest"], *layers)


def write_archive(
    layout: Path, names: Sequence[str], known: Collection[str], out: IO[bytes]
) -> int:
    """Write the layout's image under `names`, without the blobs in `known`.

    Returns the bytes of blobs written. The manifest and the config are always
    written: they are small, and they tell what the rest belongs to.
    """
    manifest = layout_manifest(layout)
    needed = blobs_of(layout)
    written = 0
    with tarfile.open(fileobj=out, mode="w|") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        for number, digest in enumerate(needed):
            if number >= 2 and digest in known:
                continue
            path = layout / _blob_path(digest)
            tar.add(path, arcname=_blob_path(digest), filter=_plain)
            written += path.stat().st_size
        _add(tar, "index.json", index_of(manifest, names))
    return written


def layers(layout: Path) -> Iterator[tuple[str, Path]]:
    """Digest and file of every layer."""
    for digest in blobs_of(layout)[2:]:
        yield digest, layout / _blob_path(digest)


def _blob_path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _add(tar: tarfile.TarFile, name: str, data: bytes, *, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = mode
    tar.addfile(member, io.BytesIO(data))
