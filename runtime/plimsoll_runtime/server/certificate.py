"""The server's certificate for TLS, read again when its files change."""

import asyncio
import logging
import os
import ssl
from pathlib import Path

logger = logging.getLogger(__name__)

CHECK_INTERVAL = 1.0
"""Seconds between two looks at whether the files have changed."""

_WANTED = "they must be a certificate chain and its key, in PEM"
_Version = tuple[tuple[int, int, int], ...]


class CertificateError(ValueError):
    """The files cannot be used; the message names the file, never what is in a key."""


class Certificate:
    """A chain in PEM, the server's own certificate first, and its key, which may be in one file.

    `context` stays the same object: who connects after a change gets the new chain, and connections
    that are open go on by the old one. A new version that cannot be used changes nothing, and the
    log says so. Raises CertificateError at the start when the files cannot be used.
    """

    def __init__(self, certfile: Path, keyfile: Path | None = None) -> None:
        self._certfile, self._keyfile = certfile, keyfile
        self.context = _context()
        self._version = self._stat()
        self._load()

    async def keep(self) -> None:
        """Reads the files again whenever they change, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            self.refresh()

    def refresh(self) -> None:
        """Takes a version of the files that it has not seen."""
        missing: CertificateError | None = None
        try:
            version = self._stat()
        except CertificateError as error:
            version, missing = (), error
        if version == self._version:
            return
        self._version = version
        try:
            if missing is not None:
                raise missing
            self._load()
        except CertificateError as error:
            logger.error("the certificate stays as it was: %s", error)  # noqa: TRY400
            return
        logger.warning("read a new certificate from %s", self._certfile)

    def _load(self) -> None:
        # A chain whose key does not fit would leave a context with half of each: try it first.
        for context in (_context(), self.context):
            try:
                context.load_cert_chain(self._certfile, self._keyfile, password=_no_password)
            except ssl.SSLError as error:
                # What OpenSSL says of a file that is no PEM helps nobody.
                mismatch = error.reason == "KEY_VALUES_MISMATCH"
                why = "the key is not the certificate's" if mismatch else _WANTED
                raise CertificateError(f"{self._named} cannot be used: {why}") from error
            except ValueError as error:
                raise CertificateError(f"{self._named} cannot be used: {error}") from error
            except OSError as error:
                raise CertificateError(f"{self._named} cannot be read: {error.strerror}") from error

    def _stat(self) -> _Version:
        found = []
        for option, file in self._files:
            try:
                stat = os.stat(file)
            except OSError as error:
                raise CertificateError(
                    f"{option} {file} cannot be read: {error.strerror}"
                ) from error
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)

    @property
    def _named(self) -> str:
        return " with ".join(f"{option} {file}" for option, file in self._files)

    @property
    def _files(self) -> list[tuple[str, Path]]:
        found = [("--ssl-certfile", self._certfile)]
        return found if self._keyfile is None else [*found, ("--ssl-keyfile", self._keyfile)]


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    """Without it OpenSSL would ask the terminal."""
    raise ValueError("the key is encrypted: give it without a password")
