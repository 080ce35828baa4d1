"""Keys from a file: each opens the API for its tenant, and the file may change."""

import os
from pathlib import Path

import pytest

from plimsoll_runtime.server.api_keys import (
    CHECK_INTERVAL,
    MAX_FILE_BYTES,
    ApiKeys,
    KeyFileError,
    parse_keys,
)

TEXT = """# platform team
chat:sk-chat-0001
  batch:sk-batch-0001

chat:sk-chat-0002
"""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def tenant(keys: ApiKeys, given: str) -> str | None:
    """The tenant whose key this is; "-" for a key without one, None for no key."""
    key = keys.find(given.encode())
    return None if key is None else key.tenant or "-"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(TEXT)
    return path


def test_every_key_is_its_tenants(file: Path) -> None:
    keys = ApiKeys("sesame", file)
    assert tenant(keys, "sk-chat-0001") == tenant(keys, "sk-chat-0002") == "chat"
    assert tenant(keys, "sk-batch-0001") == "batch"
    assert tenant(keys, "sesame") == "-"
    for wrong in ("", "sk-chat-000", "sk-chat-00011", "chat:sk-chat-0001", "chat", "SK-CHAT-0001"):
        assert tenant(keys, wrong) is None


def test_without_any_key_nothing_opens() -> None:
    assert ApiKeys().find(b"") is None


def test_keys_are_not_kept(file: Path) -> None:
    assert "sk-chat-0001" not in repr(vars(ApiKeys("sesame", file)))


def test_every_key_is_compared(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr("secrets.compare_digest", compare)
    keys = ApiKeys("sesame", file)
    for given in ("sesame", "sk-chat-0002", "nothing"):
        compared.clear()
        keys.find(given.encode())
        assert len(compared) == 4
        assert {len(each) for pair in compared for each in pair} == {32}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sk-chat-0001", "line 1 is not NAME:KEY"),
        ("\n\nchat sk-chat-0001", "line 3 is not NAME:KEY"),
        ("chat: sk-chat-0001", "line 1 is not NAME:KEY"),
        (":sk-chat-0001", "line 1 is not NAME:KEY"),
        (f"{'a' * 65}:sk-chat-0001", "line 1 is not NAME:KEY"),
        ("chat:short", "line 1: the key is shorter than 8"),
        ("a:sk-chat-0001\nb:sk-chat-0001", "line 2: the key is another tenant's too"),
    ],
)
def test_a_line_that_is_none_is_named_without_its_key(text: str, message: str) -> None:
    with pytest.raises(KeyFileError, match=message) as caught:
        parse_keys(text)
    assert "sk-chat" not in str(caught.value)
    assert "short" not in str(caught.value).replace("shorter", "")


def test_a_key_may_be_there_twice_and_may_have_colons() -> None:
    (key,) = parse_keys("a:sk:chat:0001\na:sk:chat:0001\n")
    assert key.tenant == "a"


def test_a_file_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    with pytest.raises(KeyFileError, match="keys cannot be read: No such file"):
        ApiKeys(file=path)
    for data, message in (
        (b"# nobody\n", "has no key: add a line NAME:KEY"),
        (b"chat:caf\xc3\xa9caf\xc3\xa9", "is not ASCII text"),
        (b"#" * (MAX_FILE_BYTES + 1), "is larger than 1048576 bytes"),
        (b"nonsense", "keys: line 1 is not NAME:KEY"),
    ):
        path.write_bytes(data)
        with pytest.raises(KeyFileError, match=message):
            ApiKeys(file=path)


def test_a_changed_file_is_read_again(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    keys = ApiKeys(None, file, clock)
    file.write_text("chat:sk-chat-0003\n")
    assert tenant(keys, "sk-chat-0003") is None, "not looked at yet"
    clock.now += CHECK_INTERVAL
    assert tenant(keys, "sk-chat-0003") == "chat"
    assert tenant(keys, "sk-chat-0001") is None
    assert "read 1 API keys" in caplog.text


def test_a_replaced_link_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes updates a mounted Secret."""
    for version, key in (("1", "sk-chat-0001"), ("2", "sk-chat-0002")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys").write_text(f"chat:{key}\n")
        os.utime(tmp_path / version / "keys", (1, 1))
    (tmp_path / "data").symlink_to("1")
    clock = Clock()
    keys = ApiKeys(None, tmp_path / "data" / "keys", clock)
    assert tenant(keys, "sk-chat-0001") == "chat"
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "data")
    clock.now += CHECK_INTERVAL
    assert tenant(keys, "sk-chat-0002") == "chat"
    assert tenant(keys, "sk-chat-0001") is None


@pytest.mark.parametrize("broken", [b"nonsense", None])
def test_a_broken_version_leaves_the_last_one_in_force(
    file: Path, broken: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    keys = ApiKeys(None, file, clock)
    if broken is None:
        file.unlink()
    else:
        file.write_bytes(broken)
    clock.now += CHECK_INTERVAL
    assert tenant(keys, "sk-chat-0001") == "chat"
    assert "the API keys stay as they were" in caplog.text
    assert "nonsense" not in caplog.text


def test_an_emptied_file_shuts_everybody_out(file: Path) -> None:
    clock = Clock()
    keys = ApiKeys(None, file, clock)
    file.write_text("# all revoked\n")
    clock.now += CHECK_INTERVAL
    assert tenant(keys, "sk-chat-0001") is None
