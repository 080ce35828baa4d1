"""A download ends with the very bytes that the Hub has, or says why it does not."""

import dataclasses
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from e2e.support.fake_hub import COMMIT, FakeHub, serving
from plimsoll_runtime.hub import transfer
from plimsoll_runtime.hub.errors import HubError, HubUnreachableError
from plimsoll_runtime.hub.fetch import PART, fetch
from plimsoll_runtime.hub.record import NAME, Record, read

CHANCE = random.Random(1)
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model-00001-of-00002.safetensors": CHANCE.randbytes(300_000),
    "model-00002-of-00002.safetensors": CHANCE.randbytes(70_000),
    "1_Pooling/config.json": b"{}",
    "special_tokens_map.json": b"",
}
NOT_OURS = {"modeling.py": b"import os", "pytorch_model.bin": b"pickle", "README.md": b"#"}
WEIGHTS = "model-00001-of-00002.safetensors"
At = Callable[[FakeHub], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[At]:
    """Makes the Hub's client speak to a fake one, until the test's end."""
    monkeypatch.setattr(transfer, "PAUSE_SECONDS", 0.0)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    running = []

    def go(hub: FakeHub) -> None:
        server = serving(hub)
        url = server.__enter__()
        running.append(server)
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    yield go
    for server in running:
        server.__exit__(None, None, None)


def quiet(_: str) -> None:
    pass


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".plimsoll")
    }


def test_what_an_engine_needs_comes_and_no_code(at: At, tmp_path: Path) -> None:
    at(FakeHub(FILES | NOT_OURS))
    said: list[str] = []
    assert fetch("org/model", None, tmp_path / "here", said.append) == COMMIT
    assert contents(tmp_path / "here") == FILES
    assert read(tmp_path / "here").commit == COMMIT
    assert "(0 %)" in said[0]
    assert f"org/model at {COMMIT}: 6 files, 361.4 KiB, verified" in said[-1]


def test_a_commit_that_is_here_is_not_asked_for_again(at: At, tmp_path: Path) -> None:
    hub = FakeHub(FILES)
    at(hub)
    fetch("org/model", COMMIT, tmp_path, quiet)
    hub.status, asked = 500, len(hub.asked)
    assert fetch("org/model", COMMIT, tmp_path, quiet) == COMMIT
    assert len(hub.asked) == asked


def test_a_branch_that_is_here_serves_while_the_hub_is_away(at: At, tmp_path: Path) -> None:
    hub = FakeHub(FILES)
    at(hub)
    fetch("org/model", "main", tmp_path, quiet)
    hub.status = 500
    said: list[str] = []
    assert fetch("org/model", "main", tmp_path, said.append) == COMMIT
    assert f"going on with commit {COMMIT}" in said[0]
    with pytest.raises(HubUnreachableError, match="the Hub answered 500"):
        fetch("org/model", "main", tmp_path / "elsewhere", quiet)


def test_a_branch_that_moved_brings_what_changed(at: At, tmp_path: Path) -> None:
    hub = FakeHub(FILES)
    at(hub)
    fetch("org/model", "main", tmp_path, quiet)
    hub.asked.clear()
    hub.commit = "f" * 40
    hub.files = {**FILES, "tokenizer.json": b'{"new": 1}'}
    del hub.files["1_Pooling/config.json"]
    assert fetch("org/model", "main", tmp_path, quiet) == "f" * 40
    assert contents(tmp_path) == hub.files
    assert hub.asked == [("tokenizer.json", None)]


@pytest.mark.parametrize("there", [0, 1, 100_000, 299_999, 300_000])
def test_an_interrupted_file_goes_on_where_it_was(at: At, tmp_path: Path, there: int) -> None:
    hub = FakeHub(FILES)
    at(hub)
    (tmp_path / (WEIGHTS + PART)).write_bytes(FILES[WEIGHTS][:there])
    fetch("org/model", None, tmp_path, quiet)
    assert contents(tmp_path) == FILES
    asked = [range_ for name, range_ in hub.asked if name == WEIGHTS]
    assert asked == ([] if there == 300_000 else [f"bytes={there}-" if there else None])


@pytest.mark.parametrize("left", [b"?" * 5_000, b"?" * 400_000], ids=["wrong bytes", "too many"])
def test_what_is_left_of_another_file_does_no_harm(at: At, tmp_path: Path, left: bytes) -> None:
    at(FakeHub(FILES))
    (tmp_path / (WEIGHTS + PART)).write_bytes(left)
    (tmp_path / "tokenizer.json").write_bytes(b"??")
    fetch("org/model", None, tmp_path, quiet)
    assert contents(tmp_path) == FILES


def test_a_connection_that_breaks_is_taken_up_again(at: At, tmp_path: Path) -> None:
    hub = FakeHub(FILES, cut={WEIGHTS: 64_000})
    at(hub)
    fetch("org/model", None, tmp_path, quiet)
    assert contents(tmp_path) == FILES
    assert len([name for name, _ in hub.asked if name == WEIGHTS]) == 5


def test_a_connection_that_brings_nothing_is_given_up(at: At, tmp_path: Path) -> None:
    hub = FakeHub(FILES, cut={WEIGHTS: 0})
    at(hub)
    with pytest.raises(HubUnreachableError, match="5 attempts brought nothing: RemoteProtocolErr"):
        fetch("org/model", None, tmp_path, quiet)
    del hub.cut[WEIGHTS]
    fetch("org/model", None, tmp_path, quiet)
    assert contents(tmp_path) == FILES


def test_wrong_bytes_are_asked_for_again_and_then_refused(at: At, tmp_path: Path) -> None:
    hub = FakeHub(FILES, spoilt={WEIGHTS: 1})
    at(hub)
    fetch("org/model", None, tmp_path / "one", quiet)
    assert contents(tmp_path / "one") == FILES
    hub.spoilt[WEIGHTS] = 2
    with pytest.raises(HubError, match=f"{WEIGHTS} came 2 times with another hash"):
        fetch("org/model", None, tmp_path / "two", quiet)
    assert WEIGHTS not in contents(tmp_path / "two")
    assert read(tmp_path / "two").commit is None


def test_a_gated_model_says_so_and_comes_with_the_token(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(FakeHub(FILES, token="hf_secret"))
    with pytest.raises(HubError, match=r"hf://org/model is gated: accept its terms .* HF_TOKEN"):
        fetch("org/model", None, tmp_path, quiet)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch("org/model", None, tmp_path, quiet)
    assert contents(tmp_path) == FILES


def test_a_disk_that_is_too_small_is_said_before_anything_comes(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = FakeHub(FILES)
    at(hub)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("plimsoll_runtime.hub.fetch.shutil.disk_usage", lambda _: usage)
    with pytest.raises(HubError, match=r"361.4 KiB are missing, and only 1000 bytes are free"):
        fetch("org/model", None, tmp_path, quiet)
    assert hub.asked == []


def test_a_record_that_nobody_can_read_costs_no_more_than_hashing(at: At, tmp_path: Path) -> None:
    hub = FakeHub(FILES)
    at(hub)
    fetch("org/model", None, tmp_path, quiet)
    hub.asked.clear()
    for text in ("", "[]", "{", '{"commit": "x", "files": 3}'):
        (tmp_path / NAME).write_text(text)
        assert read(tmp_path) == Record()
        fetch("org/model", None, tmp_path, quiet)
    assert hub.asked == []


def test_two_at_once_download_it_once(at: At, tmp_path: Path) -> None:
    hub = FakeHub(FILES)
    at(hub)
    both = [threading.Thread(target=fetch, args=("org/model", None, tmp_path, quiet)) for _ in "ab"]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert contents(tmp_path) == FILES
    assert sorted(name for name, _ in hub.asked) == sorted(name for name in FILES if FILES[name])


@pytest.mark.parametrize("name", ["../../evil.safetensors", "/etc/evil.safetensors"])
def test_a_file_outside_of_the_folder_is_refused(at: At, tmp_path: Path, name: str) -> None:
    at(dataclasses.replace(FakeHub(FILES), files={**FILES, name: b"x"}))
    with pytest.raises(HubError, match="lists a file outside of the model"):
        fetch("org/model", None, tmp_path, quiet)


@pytest.mark.parametrize("name", ["model", "a/b/c", "/b", "a/"])
def test_names_that_the_hub_cannot_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="is hf://ORG/NAME"):
        fetch(name, None, tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_repository_without_a_model(at: At, tmp_path: Path) -> None:
    at(FakeHub({"README.md": b"#"}))
    with pytest.raises(HubError, match=r"has no config\.json"):
        fetch("org/model", None, tmp_path, quiet)
