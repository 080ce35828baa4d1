"""API keys: from the command line, and from a file with a name for each.

A line of the file is `NAME:KEY`, without spaces; empty lines and those that begin with `#` are
skipped. The name is the tenant's. A tenant may have several keys, so that one can be replaced
while the other still works; a key belongs to one tenant.
"""

import logging
import os
import re
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 2**20
MIN_KEY_LENGTH = 8
CHECK_INTERVAL = 1.0
"""Seconds between two looks at whether the file has changed."""

LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):([!-~]+)")


class KeyFileError(ValueError):
    """The key file cannot be used; the message names the line, never a key."""


class Key(NamedTuple):
    """A key by its SHA-256, so that all are compared at the same length; None is nobody's."""

    tenant: str | None
    digest: bytes


def parse_keys(text: str) -> list[Key]:
    """The keys of a file's text. Raises KeyFileError."""
    keys: dict[bytes, Key] = {}
    for number, each in enumerate(text.splitlines(), start=1):
        line = each.strip()
        if not line or line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise KeyFileError(
                f"line {number} is not NAME:KEY: the name has letters, digits, dots, dashes and "
                "underscores, at most 64, the key has no spaces"
            )
        if len(match[2]) < MIN_KEY_LENGTH:
            raise KeyFileError(f"line {number}: the key is shorter than {MIN_KEY_LENGTH}")
        key = Key(match[1], sha256(match[2].encode()).digest())
        if keys.setdefault(key.digest, key).tenant != key.tenant:
            raise KeyFileError(f"line {number}: the key is another tenant's too")
    return list(keys.values())


class ApiKeys:
    """All keys that open the API; nothing does when there are none.

    `single` is a key without a tenant. `file` is read again when it changes, within
    CHECK_INTERVAL; while a new version cannot be used, the last one stands and the log says so.
    Raises KeyFileError at the start when the file cannot be used or has no key.
    """

    def __init__(
        self,
        single: str | None = None,
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._single = [] if single is None else [Key(None, sha256(single.encode()).digest())]
        self._file = file
        self._clock = clock
        self._named: list[Key] = []
        self._version: tuple[int, int, int] | None = None
        self._checked = clock()
        if file is not None:
            self._version = _version(file)
            self._named = _read(file)
            if not self._named:
                raise KeyFileError(f"{file} has no key: add a line NAME:KEY")

    def find(self, given: bytes) -> Key | None:
        """The key that equals `given`. Every key is compared, so the time tells nothing."""
        self._refresh()
        digest = sha256(given).digest()
        found: Key | None = None
        for key in [*self._single, *self._named]:
            if secrets.compare_digest(key.digest, digest):
                found = key
        return found

    def _refresh(self) -> None:
        now = self._clock()
        if self._file is None or now - self._checked < CHECK_INTERVAL:
            return
        self._checked = now
        try:
            version = _version(self._file)
            if version == self._version:
                return
            self._version = version
            self._named = _read(self._file)
        except KeyFileError as error:
            logger.error("the API keys stay as they were: %s", error)  # noqa: TRY400
            return
        logger.warning("read %d API keys from %s", len(self._named), self._file)


def _version(file: Path) -> tuple[int, int, int]:
    try:
        stat = os.stat(file)
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read: {error.strerror}") from error
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _read(file: Path) -> list[Key]:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise KeyFileError(f"{file} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return parse_keys(data.decode("ascii"))
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{file} is not ASCII text") from error
    except KeyFileError as error:
        raise KeyFileError(f"{file}: {error}") from error
