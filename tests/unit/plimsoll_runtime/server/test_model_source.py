from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import errors

from plimsoll_runtime import builtin
from plimsoll_runtime.hub.listing import FILES
from plimsoll_runtime.server.model_source import ModelSourceError, resolve_model


def http_error(kind: type[errors.HfHubHTTPError], status: int) -> errors.HfHubHTTPError:
    response = httpx2.Response(status, request=httpx2.Request("GET", "https://hub/"))
    return kind("server said no", response=response)


def test_a_folder_is_served_under_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    source = resolve_model(str(folder))
    assert (source.folder, source.name, source.root) == (folder, "my-model", "my-model")


def test_a_builtin_model() -> None:
    source = resolve_model("builtin://tiny")
    assert (source.folder, source.name) == (builtin.path("tiny"), "tiny")
    assert source.root == "builtin://tiny"


def test_a_hub_model_is_fetched_without_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def download(*args: object, **kwargs: object) -> str:
        asked.append((args, kwargs))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    source = resolve_model("hf://org/model", "abc123")
    assert (source.folder, source.name, source.root) == (tmp_path, "org/model", "hf://org/model")
    assert asked == [(("org/model",), {"revision": "abc123", "allow_patterns": list(FILES)})]
    assert not any(name.endswith((".py", ".bin", ".pt", ".pkl")) for name in FILES)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (http_error(errors.GatedRepoError, 403), "gated: accept its terms on the Hub and set HF_"),
        (http_error(errors.RepositoryNotFoundError, 401), "no such model, or a private one"),
        (http_error(errors.RevisionNotFoundError, 404), "at revision abc: no such revision"),
        (http_error(errors.HfHubHTTPError, 500), "the Hub answered 500"),
        (errors.LocalEntryNotFoundError("x"), "cannot be reached"),
        (errors.HFValidationError("x"), "not a name"),
        (httpx2.ConnectError("x"), r"the Hub cannot be reached .* \(ConnectError\)"),
        (OSError(28, "No space left"), "download failed: OSError: No space left"),
    ],
)
def test_what_the_hub_refuses_is_said(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def download(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ModelSourceError, match=message):
        resolve_model("hf://org/model", "abc")


@pytest.mark.parametrize(
    ("model", "revision", "message"),
    [
        ("hf://model", None, "is hf://ORG/NAME"),
        ("hf://a/b/c", None, "is hf://ORG/NAME"),
        ("builtin://huge", None, "builtin://tiny"),
        ("s3://bucket/model", None, "is a folder, builtin://NAME or hf://ORG/NAME"),
        ("/no/such/folder", None, "is not a folder"),
        (".", None, "has no config.json"),
        ("builtin://tiny", "main", "--revision is for models from hf://"),
    ],
)
def test_other_models_are_refused(model: str, revision: str | None, message: str) -> None:
    with pytest.raises(ModelSourceError, match=message):
        resolve_model(model, revision)
