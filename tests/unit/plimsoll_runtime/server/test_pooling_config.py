"""What a folder says of embeddings, as sentence-transformers writes it."""

import json
from pathlib import Path
from typing import Any

import pytest

from plimsoll_runtime import builtin
from plimsoll_runtime.core.pooling import Pooling
from plimsoll_runtime.server.command import main
from plimsoll_runtime.server.pooling_config import PoolingConfigError, read_pooling

MODES = {
    "word_embedding_dimension": 64,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": False,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
    "pooling_mode_weightedmean_tokens": False,
    "pooling_mode_lasttoken": False,
    "include_prompt": True,
}
KIND = "sentence_transformers.models"


def write(folder: Path, config: object, modules: object = None, name: str = "1_Pooling") -> Path:
    (folder / name).mkdir()
    (folder / name / "config.json").write_text(json.dumps(config))
    if modules is not None:
        (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def modules(*kinds: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"idx": i, "name": str(i), "path": path, "type": f"{KIND}.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]


def test_a_folder_that_says_nothing_is_pooled_at_the_last_token() -> None:
    assert read_pooling(builtin.path("tiny")) is Pooling.LAST


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        (MODES | {"pooling_mode_lasttoken": True}, Pooling.LAST),
        (MODES | {"pooling_mode_cls_token": True}, Pooling.FIRST),
        (MODES | {"pooling_mode_mean_tokens": True}, Pooling.MEAN),
        ({"word_embedding_dimension": 64}, Pooling.MEAN),  # its default
        ({"pooling_mode": "lasttoken", "embedding_dimension": 64}, Pooling.LAST),
        ({"pooling_mode": "cls"}, Pooling.FIRST),
    ],
)
def test_what_it_says_is_done(tmp_path: Path, config: object, pooling: Pooling) -> None:
    assert read_pooling(write(tmp_path, config)) is pooling


def test_the_folder_is_the_one_that_modules_name(tmp_path: Path) -> None:
    listed = modules(("", "Transformer"), ("2_Pooling", "Pooling"), ("3_Normalize", "Normalize"))
    assert read_pooling(write(tmp_path, {"pooling_mode": "cls"}, listed, "2_Pooling")) is (
        Pooling.FIRST
    )


@pytest.mark.parametrize(
    ("config", "listed", "says"),
    [
        (MODES | {"pooling_mode_max_tokens": True}, None, r"pooling 'max' .* lasttoken, cls, mean"),
        (
            MODES | {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            None,
            r"pooling 'cls\+mean' is not supported",
        ),
        ({"pooling_mode": ["mean"]}, None, r"pooling \['mean'\] is not supported"),
        ([], None, r"config.json: a JSON object is expected"),
        (MODES, {"idx": 0}, r"modules.json: a list of JSON objects is expected"),
        (MODES, modules(("2_Dense", "Dense")), r"models.Dense changes embeddings"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, config: object, listed: object, says: str
) -> None:
    with pytest.raises(PoolingConfigError, match=says):
        read_pooling(write(tmp_path, config, listed))


def test_what_is_no_json_is_said(tmp_path: Path) -> None:
    write(tmp_path, {})
    (tmp_path / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(PoolingConfigError, match=r"1_Pooling/config.json: not JSON"):
        read_pooling(tmp_path)


def test_the_server_does_not_start_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for each in builtin.path("tiny").iterdir():
        (tmp_path / each.name).symlink_to(each)
    write(tmp_path, {"pooling_mode": "weightedmean"})
    assert main([str(tmp_path), "--port=0"]) == 2
    assert "pooling 'weightedmean' is not supported" in capsys.readouterr().err
