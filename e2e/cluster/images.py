"""The project's images: built by buildah from its Dockerfiles, handed to containerd.

Only what changed is done again. An image is known by the hash of everything
that goes into it, and has that hash as a second tag; its dependency layer is
built again only when its lock file changes; and containerd gets only layers
that it does not have. Layers are kept uncompressed: compressing gigabytes to
read them once on the same disk costs minutes.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import oci, packages
from e2e.cluster.binaries import Programs
from e2e.cluster.containerd import NAMESPACE, PAUSE_IMAGE, ctr
from e2e.cluster.locks import only_one
from e2e.cluster.namespaces import inside
from e2e.cluster.processes import ClusterError, Command, run
from e2e.cluster.progress import say, step
from e2e.cluster.settings import REPOSITORY, Settings

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
SUITE = "bookworm"
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates", "libgomp1")
BASE_IMAGE = f"localhost/plimsoll-base:{SUITE}"
KEPT_BUILDS = 5
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
SOURCES = ("operator", "runtime")


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the project: folder of its Dockerfile, lock file, and what it takes once.

    `needs_bytes` of disk are taken while the first build runs; about half of that stay.
    """

    name: str
    first_time: str
    needs_bytes: float

    @property
    def dockerfile(self) -> Path:
        return REPOSITORY / self.name / "Dockerfile"

    @property
    def lock(self) -> Path:
        return REPOSITORY / f"{self.name}.lock"

    @property
    def reference(self) -> str:
        return f"docker.io/plimsoll/{self.name}:dev"


OPERATOR = Image("operator", "about a minute", 2e9)
RUNTIME = Image("runtime", "about 7 minutes: it holds the CUDA build of PyTorch, 6 GB", 30e9)
ALL = (OPERATOR, RUNTIME)


def ensure_pause(settings: Settings, built: Programs) -> None:
    """Give containerd the image of pod sandboxes, one static program."""
    if PAUSE_IMAGE in names(settings):
        return
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    archive = settings.state / "pause.tar"
    archive.write_bytes(oci.one_file_image(built["pause"], [PAUSE_IMAGE], architecture))
    ctr(settings, "images", "import", "--snapshotter", "overlayfs", archive)
    archive.unlink()


def names(settings: Settings) -> set[str]:
    """Names of all images that containerd has."""
    return set(ctr(settings, "images", "list", "--quiet").split())


def load(settings: Settings, archive: Path) -> None:
    """Import an image archive of Docker's or OCI's format."""
    with step(f"import of {archive.name}"):
        ctr(settings, "images", "import", "--snapshotter", "overlayfs", archive.absolute())


def inputs_hash(image: Image, base: str) -> str:
    """Short hash of all that decides what an image holds."""
    digest = hashlib.sha256(base.encode())
    files = [image.dockerfile, image.lock, REPOSITORY / "pyproject.toml"]
    for source in SOURCES:
        files += [path for path in (REPOSITORY / source).rglob("*") if path.is_file()]
    for file in sorted(files):
        if "__pycache__" in file.parts:
            continue
        digest.update(file.relative_to(REPOSITORY).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def ensure(settings: Settings, images: tuple[Image, ...] = ALL) -> list[str]:
    """Build and import what changed; returns the references by hash, in the order given.

    Each image is then known as `docker.io/plimsoll/NAME:dev` and `:HASH`.
    """
    references = []
    for image in images:
        base = os.environ.get("PLIMSOLL_BASE_IMAGE") or BASE_IMAGE
        reference = image.reference.replace(":dev", f":{inputs_hash(image, base)}")
        references.append(reference)
        if reference in names(settings):
            # The tag `dev` may stand on an older or newer build.
            ctr(settings, "images", "tag", "--force", reference, image.reference)
            say(f"image {image.name} is up to date")
            continue
        packages.ensure_images()
        _warn_of_a_full_disk(settings, image)
        with only_one(settings, "image-builds"):
            layout = _build(settings, image, base)
            _import(settings, layout, [image.reference, reference])
    return references


def _warn_of_a_full_disk(settings: Settings, image: Image) -> None:
    free = shutil.disk_usage(settings.cache).free
    if free < image.needs_bytes and not (settings.cache / "layouts" / image.name).exists():
        say(
            f"only {free / 1e9:.0f} GB are free in {settings.cache}: the first build of image "
            f"{image.name} takes up to {image.needs_bytes / 1e9:.0f} GB while it runs"
        )


def _buildah(settings: Settings, *arguments: str | Path) -> list[str]:
    storage = settings.cache / "buildah"
    return [
        *("env", "BUILDAH_ISOLATION=chroot", f"TMPDIR={settings.cache / 'tmp'}"),
        *("buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run")),
        *("--storage-driver", "overlay"),
        *(str(word) for word in arguments),
    ]


def _ensure_base(settings: Settings) -> None:
    """A minimal Debian with Python as the base image, for machines that reach no registry."""
    found = subprocess.run(
        _buildah(settings, "inspect", "--type", "image", BASE_IMAGE),
        capture_output=True,
        check=False,
    )
    if found.returncode == 0:
        return
    archive = settings.cache / "base" / f"{SUITE}-{'+'.join(BASE_PACKAGES)}.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    if not archive.exists():
        with step("base image (Debian with Python; about a minute, once)"):
            part = archive.with_suffix(".part.tar")
            include = f"--include={','.join(BASE_PACKAGES)}"
            run(["mmdebstrap", "--variant=minbase", include, SUITE, part], timeout=1200)
            part.rename(archive)
    container = run(_buildah(settings, "from", "scratch")).strip()
    run(_buildah(settings, "add", container, archive, "/"))
    run(_buildah(settings, "commit", "--rm", container, BASE_IMAGE))


def _build(settings: Settings, image: Image, base: str) -> Path:
    """Build an image and return the OCI layout that holds it."""
    (settings.cache / "tmp").mkdir(parents=True, exist_ok=True)
    if base == BASE_IMAGE:
        _ensure_base(settings)
    layout = settings.cache / "layouts" / image.name
    layout.parent.mkdir(parents=True, exist_ok=True)
    say(f"building image {image.name}: the first time {image.first_time}")
    with tempfile.TemporaryDirectory(dir=settings.cache / "tmp") as scratch:
        context = Path(scratch)
        shutil.copy(image.lock, context)
        # A cache of its own: root's files in that of the person behind sudo would break it.
        cache = ("--cache-dir", settings.cache / "uv")
        run(["uv", "build", *cache, "-q", "--wheel", "--out-dir", context / "dist", REPOSITORY])
        (context / "dist" / ".gitignore").unlink(missing_ok=True)
        local = f"localhost/plimsoll-{image.name}:dev"
        with step(f"buildah bud ({image.name})"), _nothing_left_mounted(settings):
            run(
                _buildah(
                    settings,
                    *("bud", "--layers", "--network", "host"),
                    *(["--pull-never"] if base == BASE_IMAGE else []),
                    *("--format", "oci", "--build-arg", f"BASE={base}"),
                    *_build_time_settings(),
                    *("--file", image.dockerfile, "--tag", local, context),
                ),
                timeout=3600,
            )
        storage = settings.cache / "buildah"
        with step(f"layers of {image.name}"):
            (layout / "index.json").unlink(missing_ok=True)
            run(
                [
                    *("skopeo", "--insecure-policy", "--tmpdir", settings.cache / "tmp"),
                    *("copy", "--quiet", "--dest-oci-accept-uncompressed-layers"),
                    f"containers-storage:[overlay@{storage / 'root'}+{storage / 'run'}]{local}",
                    f"oci:{layout}:dev",
                ],
                timeout=3600,
            )
    _forget_old(settings, layout)
    return layout


@contextlib.contextmanager
def _nothing_left_mounted(settings: Settings) -> Iterator[None]:
    """Remove the half-built container of a build that failed, its mount and its gigabytes."""
    try:
        yield
    except BaseException:
        subprocess.run(_buildah(settings, "rm", "--all"), capture_output=True, check=False)
        raise


def _build_time_settings() -> list[str]:
    """What builds need from this machine and images must not keep: its CA bundle, caches, proxies.

    A machine behind an inspecting proxy trusts a CA that the base image does not know.
    """
    settings: list[str] = []
    bundle = os.environ.get("SSL_CERT_FILE")
    if bundle and Path(bundle).is_file():
        settings += ["--volume", f"{Path(bundle).resolve()}:{CA_BUNDLE}:ro"]
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        if name in os.environ:
            settings += ["--build-arg", f"{name}={os.environ[name]}"]
    return settings


def _import(settings: Settings, layout: Path, references: list[str]) -> None:
    """Hand containerd the image, without the layers that it has, and share their disk blocks."""
    known = set(ctr(settings, "content", "list", "--quiet").split())
    address = ("--address", settings.containerd_socket, "--namespace", NAMESPACE)
    client: Command = ["ctr", *address, "images", "import", "--snapshotter", "overlayfs", "-"]
    with step(f"import of {references[0]}"), tempfile.TemporaryFile() as errors:
        importer = subprocess.Popen(
            inside(settings, client),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        assert importer.stdin is not None
        with contextlib.suppress(BrokenPipeError), importer.stdin as pipe:
            written = oci.write_archive(layout, references, known, pipe)
        if importer.wait() != 0:
            errors.seek(0)
            raise ClusterError(f"ctr images import: {errors.read().decode()[-2000:]}")
    say(f"  {written / 1e6:.0f} MB were new")
    _share_blocks(settings, layout)
    _forget_all_but_latest(settings, references)


def _forget_all_but_latest(settings: Settings, references: list[str]) -> None:
    """Remove builds but the latest few, which pods that restart may still name."""
    repository = references[0].rsplit(":", 1)[0]
    record = settings.containerd_root / f"builds-of-{repository.rsplit('/', 1)[-1]}"
    earlier = record.read_text().split() if record.exists() else []
    builds = [name for name in earlier if name not in references] + references[1:]
    record.write_text("\n".join(builds[-KEPT_BUILDS:]))
    kept = {*builds[-KEPT_BUILDS:], *references}
    old = superseded(ctr(settings, "images", "list"), repository, kept)
    if old:
        ctr(settings, "images", "remove", *old)


def superseded(listing: str, repository: str, kept: Collection[str]) -> list[str]:
    """Names to remove, from containerd's list of images (`REF TYPE DIGEST ...`, with a heading).

    These are the repository's names that are not kept, and the names by
    configuration (`sha256:...`, which Kubernetes' part of containerd gives)
    of manifests that then have no other name.
    """
    rows = [line.split()[:3] for line in listing.splitlines()[1:]]
    gone = {name for name, _, _ in rows if name.startswith(f"{repository}:") and name not in kept}
    used = {
        digest for name, _, digest in rows if not name.startswith("sha256:") and name not in gone
    }
    nameless = {name for name, _, _ in rows if name.startswith("sha256:")}
    alive = {name for name, _, digest in rows if digest in used}
    return sorted(gone | (nameless - alive))


def _share_blocks(settings: Settings, layout: Path) -> None:
    """Let containerd's blobs be hard links to the layout's, which never change either."""
    store = settings.containerd_root / "io.containerd.content.v1.content" / "blobs" / "sha256"
    for digest, blob in oci.layers(layout):
        stored = store / digest.removeprefix("sha256:")
        if not stored.exists() or stored.samefile(blob):
            continue
        if stored.stat().st_dev != blob.stat().st_dev:
            continue
        link = stored.with_suffix(".link")
        link.unlink(missing_ok=True)
        link.hardlink_to(blob)
        link.replace(stored)


def _forget_old(settings: Settings, layout: Path) -> None:
    """Drop blobs of earlier builds from the layout, and earlier builds from buildah."""
    needed = {digest.removeprefix("sha256:") for digest in oci.blobs_of(layout)}
    for blob in (layout / "blobs" / "sha256").iterdir():
        if blob.name not in needed:
            blob.unlink()
    # A build that was killed could not remove its container, which keeps images in use.
    run(_buildah(settings, "rm", "--all"), timeout=600)
    run(_buildah(settings, "rmi", "--prune"), timeout=600)
