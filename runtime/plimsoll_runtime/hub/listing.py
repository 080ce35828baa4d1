"""What a model's repository on the Hub holds, at one commit."""

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from plimsoll_runtime.hub.errors import HubError, told

SCHEME = "hf://"
FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "modules.json",
    "*_Pooling/config.json",
)
"""What is fetched: no code and no pickles."""
_READ_BYTES = 2**20


@dataclass(frozen=True)
class RemoteFile:
    """`size` in bytes. `digest` is the SHA-256 of a large file (`lfs`), else git's SHA-1 of it."""

    name: str
    size: int
    digest: str
    lfs: bool

    def is_at(self, path: Path) -> bool:
        """Whether the file at `path` has these very bytes."""
        return path.is_file() and path.stat().st_size == self.size and self._of(path) == self.digest

    def _of(self, path: Path) -> str:
        if self.lfs:
            hashed = hashlib.sha256()
        else:
            hashed = hashlib.sha1(usedforsecurity=False)
            hashed.update(b"blob %d\0" % self.size)  # as git hashes what it stores
        with path.open("rb") as file:
            while part := file.read(_READ_BYTES):
                hashed.update(part)
        return hashed.hexdigest()


@dataclass(frozen=True)
class Listing:
    """The files that an engine needs, at `commit`."""

    commit: str
    files: tuple[RemoteFile, ...]


def address(name: str, revision: str | None) -> str:
    """The model as messages name it. Raises HubError for what cannot be one."""
    if name.count("/") != 1 or not all(name.split("/")):
        raise HubError(f"{SCHEME}{name}: a model of the Hub is {SCHEME}ORG/NAME")
    return f"{SCHEME}{name}" + (f" at revision {revision}" if revision else "")


def list_files(name: str, revision: str | None) -> Listing:
    """Asks the Hub, as HF_ENDPOINT and HF_TOKEN say. Raises HubError."""
    from huggingface_hub import HfApi

    at = address(name, revision)
    with told(at):
        info = HfApi().model_info(name, revision=revision, files_metadata=True)
    files = []
    for found in info.siblings or ():
        if not any(fnmatch(found.rfilename, pattern) for pattern in FILES):
            continue
        path = PurePosixPath(found.rfilename)
        if path.is_absolute() or ".." in path.parts:
            raise HubError(f"{at}: the Hub lists a file outside of the model: {found.rfilename!r}")
        digest = found.lfs.sha256 if found.lfs else found.blob_id
        if found.size is None or not digest:
            raise HubError(
                f"{at}: the Hub does not say how large {found.rfilename} is, or its hash"
            )
        files.append(RemoteFile(found.rfilename, found.size, digest, bool(found.lfs)))
    if info.sha is None or not any(file.name == "config.json" for file in files):
        raise HubError(f"{at} has no config.json: it is not a model that can be served")
    return Listing(info.sha, tuple(sorted(files, key=lambda file: file.name)))
