"""TLS on the API port: no plain HTTP, and a new certificate cuts nobody off."""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from cryptography import x509
from fastapi import FastAPI

from plimsoll_runtime.server import certificate as certificate_module
from plimsoll_runtime.server.certificate import Certificate, CertificateError
from plimsoll_runtime.server.command import main
from plimsoll_runtime.server.process import ServerProcess
from tests.unit.certificates import pair


class Files(NamedTuple):
    """As the kubelet shows a Secret: links into a folder that is exchanged as a whole."""

    folder: Path

    @property
    def cert(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self.folder / "tls.key"

    def put(self, version: str, cert: bytes, key: bytes) -> None:
        data = self.folder / f"..{version}"
        data.mkdir()
        (data / "tls.crt").write_bytes(cert)
        (data / "tls.key").write_bytes(key)
        (self.folder / "..new").symlink_to(data.name)
        os.replace(self.folder / "..new", self.folder / "..data")
        for file in (self.cert, self.key):
            if not file.is_symlink():
                file.symlink_to(f"..data/{file.name}")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.put("1", *pair(1))
    return files


class Serving(NamedTuple):
    process: ServerProcess
    port: int

    def client(self, files: Files) -> httpx.AsyncClient:
        """One that trusts the certificate as it is now."""
        trusted = ssl.create_default_context(cafile=str(files.cert))
        return httpx.AsyncClient(base_url=f"https://127.0.0.1:{self.port}", verify=trusted)

    async def serial(self) -> int:
        """Of the certificate that the server shows to who connects now."""
        text = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", self.port))
        return x509.load_pem_x509_certificate(text.encode()).serial_number


@pytest.fixture
async def serving(
    app: FastAPI, files: Files, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Serving]:
    monkeypatch.setattr(certificate_module, "CHECK_INTERVAL", 0.01)
    process = ServerProcess(app, certificate=Certificate(files.cert, files.key))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        task = asyncio.ensure_future(process.serve([listener]))
        while not process.started:
            await asyncio.sleep(0.001)
        yield Serving(process, listener.getsockname()[1])
        process.should_exit = process.force_exit = True
        await task


async def test_https_is_spoken_and_nothing_else(serving: Serving, files: Files) -> None:
    async with serving.client(files) as client:
        assert (await client.get("/livez")).text == "ok\n"
        asked = {"prompt": [9] * 4, "max_tokens": 1}
        assert (await client.post("/v1/completions", json=asked)).status_code == 200
    async with httpx.AsyncClient() as plain:
        with pytest.raises(httpx.RemoteProtocolError):
            await plain.get(f"http://127.0.0.1:{serving.port}/livez")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with httpx.AsyncClient(verify=old) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"https://127.0.0.1:{serving.port}/livez")


async def test_a_new_certificate_is_shown_to_who_connects_and_nobody_is_cut_off(
    serving: Serving, files: Files
) -> None:
    async with serving.client(files) as client:
        assert (await client.get("/livez")).text == "ok\n"
        stream = (await client.get("/livez")).extensions["network_stream"]
        assert await serving.serial() == 1
        files.put("2", *pair(2))
        async with asyncio.timeout(5):
            while await serving.serial() != 2:
                await asyncio.sleep(0.01)
        # The connection of before, which a client that trusts the old one alone could not renew.
        again = await client.get("/livez")
        assert again.extensions["network_stream"] is stream
    async with serving.client(files) as client:
        assert (await client.get("/livez")).text == "ok\n"


async def test_who_has_connected_is_answered_though_the_listener_closes(
    serving: Serving, files: Files
) -> None:
    serving.process.begin_drain()
    trusted = ssl.create_default_context(cafile=str(files.cert))
    # Let in by the kernel; the loop has had no turn to notice.
    with socket.create_connection(("127.0.0.1", serving.port), timeout=5) as raw:
        while serving.process.servers[0].is_serving():
            serving.process.should_exit = True
            await asyncio.sleep(0.001)

        def ask() -> bytes:
            with trusted.wrap_socket(raw, server_hostname="127.0.0.1") as client:
                client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                data = b""
                while not data.endswith(b"ok\n") and (more := client.recv(4096)):
                    data += more
                return data

        assert (await asyncio.to_thread(ask)).startswith(b"HTTP/1.1 200")


def test_what_cannot_be_used_changes_nothing_and_is_said_once(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    certificate = Certificate(files.cert, files.key)
    (before,) = _chain(certificate)
    mixed = (pair(2)[0], pair(3)[1])
    for version, bad in (("2", mixed), ("3", (b"", b"")), ("4", pair(4, b"secret"))):
        files.put(version, *bad)
        caplog.clear()
        for _ in range(2):
            certificate.refresh()
        (told,) = caplog.messages
        assert told.startswith(f"the certificate stays as it was: --ssl-certfile {files.cert} with")
        assert _chain(certificate) == [before]
    files.cert.unlink()
    caplog.clear()
    for _ in range(2):
        certificate.refresh()
    (told,) = caplog.messages
    assert told.endswith("cannot be read: No such file or directory")
    files.put("5", *pair(5))
    certificate.refresh()
    assert _chain(certificate) != [before]


def _chain(certificate: Certificate) -> list[bytes]:
    """What is shown in a handshake through memory."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = certificate.context.wrap_bio(up, down, server_side=True)
    theirs = client.wrap_bio(down, up)
    for _ in range(3):
        for end in (theirs, ours):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = theirs.getpeercert(binary_form=True)
    assert shown is not None
    return [shown]


def test_chain_and_key_may_be_one_file(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join(pair(7)))
    assert _chain(Certificate(both))


@pytest.mark.parametrize(
    ("cert", "key", "told"),
    [
        (pair(2)[0], pair(3)[1], "cannot be used: the key is not the certificate's"),
        (*pair(4, b"secret"), "cannot be used: the key is encrypted: give it without a password"),
        (b"no PEM", b"", "cannot be used: they must be a certificate chain and its key, in PEM"),
    ],
    ids=["mixed", "encrypted", "no PEM"],
)
def test_the_server_does_not_start_with_what_it_cannot_use(
    tmp_path: Path, cert: bytes, key: bytes, told: str
) -> None:
    files = Files(tmp_path)
    files.put("1", cert, key)
    with pytest.raises(CertificateError, match=told):
        Certificate(files.cert, files.key)


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["builtin://tiny", "--port=0"]
    assert main([*base, f"--ssl-certfile={tmp_path / 'tls.crt'}"]) == 2
    assert "tls.crt cannot be read: No such file or directory" in capsys.readouterr().err
    assert main([*base, "--ssl-keyfile=key"]) == 2
    assert "--ssl-keyfile needs --ssl-certfile" in capsys.readouterr().err
