"""A Hub that speaks as much of its API as a download needs, and fails as told.

`python -c` of this very text runs it in a pod: it needs nothing but Python.
"""

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0e9e39f249a16976918f6564b8830bc894c89659"
LFS = (".safetensors",)


@dataclass
class FakeHub:
    """`files` are those of the one model that it has, org/model. Of a file in `cut` each answer
    ends after so many bytes; of one in `spoilt`, so many answers have other bytes."""

    files: dict[str, bytes]
    commit: str = COMMIT
    token: str | None = None
    status: int | None = None
    cut: dict[str, int] = field(default_factory=dict)
    spoilt: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Names of files, with the Range that was asked for."""
    talks: bool = False

    def listing(self) -> dict[str, object]:
        siblings = []
        for name, content in self.files.items():
            sibling: dict[str, object] = {"rfilename": name, "size": len(content)}
            if name.endswith(LFS):
                digest = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            else:
                git = b"blob %d\0" % len(content) + content
                sibling["blobId"] = hashlib.sha1(git, usedforsecurity=False).hexdigest()
            siblings.append(sibling)
        return {"id": "org/model", "modelId": "org/model", "sha": self.commit, "siblings": siblings}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def do_GET(self) -> None:
        hub = self.hub
        name = self.path.removeprefix(f"/org/model/resolve/{hub.commit}/")
        if hub.status is not None:
            self._answer(hub.status, b"{}")
        elif hub.token and self.headers["authorization"] != f"Bearer {hub.token}":
            self._answer(401, b"{}", {"X-Error-Code": "GatedRepo"})
        elif self.path.startswith("/api/models/org/model"):
            self._answer(200, json.dumps(hub.listing()).encode())
        elif name not in hub.files:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        else:
            self._file(name)

    def _file(self, name: str) -> None:
        hub, asked = self.hub, self.headers["range"]
        hub.asked.append((name, asked))
        if hub.talks:
            print("asked for", name, asked, flush=True)
        content = hub.files[name]
        if hub.spoilt.get(name, 0):
            hub.spoilt[name] -= 1
            content = bytes(len(content))
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        rest = content[first:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(rest)))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(rest[: hub.cut.get(name)])
        self.close_connection = name in hub.cut

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: `asked` has it."""


def _server(hub: FakeHub, host: str, port: int) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer((host, port), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    return server


@contextmanager
def serving(hub: FakeHub) -> Iterator[str]:
    """The Hub's address, for HF_ENDPOINT."""
    server = _server(hub, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main(folder: str, port: str, cut: str) -> None:
    """Serves the files of `folder`. Answers with weights end after `cut` bytes, so that a download
    takes several attempts, and those of several containers where it takes many."""
    files = {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}
    weights = {name: int(cut) for name in files if name.endswith(LFS)}
    hub = FakeHub(files, cut=weights, talks=True)
    print("serving", *sorted(files), flush=True)
    _server(hub, "", int(port)).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
