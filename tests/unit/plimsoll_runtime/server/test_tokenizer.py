import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime import builtin
from plimsoll_runtime.server.tokenizer import Tokenizer, TokenizerError, load_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(builtin.path("tiny") / name, tmp_path)
    return tmp_path


def write(folder: Path, name: str, **values: object) -> None:
    path = folder / name
    old = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(old | values))


def test_reads_ids_special_tokens_and_the_end_of_an_answer(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    assert tokenizer.decode(tokenizer.encode("a b", add_special_tokens=False)) == "a b"
    assert tokenizer.special_tokens["bos_token"] == "<|bos|>"
    assert tokenizer.eos_token_ids == {1, 5}
    assert not tokenizer.has_text(5)
    assert tokenizer.has_text(5, skip_special_tokens=False)
    assert not tokenizer.has_text(10**6)


@given(text=st.text(max_size=300))
def test_the_lower_bound_is_one(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.longest_token > 0
    assert tokenizer.fewest_tokens(text) <= len(tokenizer.encode(text, add_special_tokens=False))


def test_the_lower_bound_holds_for_the_longest_token(tokenizer: Tokenizer) -> None:
    longest = max(tokenizer.hf.get_vocab(), key=len)
    text = tokenizer.decode([tokenizer.hf.token_to_id(longest)], False) * 100
    count = len(tokenizer.encode(text, add_special_tokens=False))
    assert 0 < tokenizer.fewest_tokens(text) <= count


def test_special_tokens_may_be_objects(folder: Path) -> None:
    write(folder, "tokenizer_config.json", eos_token={"content": "<|user|>", "lstrip": False})
    write(folder, "generation_config.json", eos_token_id=7)
    tokenizer = load_tokenizer(folder)
    assert tokenizer.special_tokens["eos_token"] == "<|user|>"
    assert tokenizer.hf.token_to_id("<|user|>") in tokenizer.eos_token_ids
    assert 7 in tokenizer.eos_token_ids


def test_a_template_file_wins_over_the_config(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("from the file")
    template = load_tokenizer(folder).chat_template
    assert template is not None
    assert template.render([], {}) == "from the file"


def test_named_templates_give_the_default_one(folder: Path) -> None:
    named = [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]
    write(folder, "tokenizer_config.json", chat_template=named)
    template = load_tokenizer(folder).chat_template
    assert template is not None
    assert template.render([], {}) == "d"


def test_a_named_template_is_the_one_for_tools(folder: Path) -> None:
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    write(folder, "tokenizer_config.json", chat_template=named)
    tokenizer = load_tokenizer(folder)
    with_tools, without = tokenizer.template(with_tools=True), tokenizer.template(with_tools=False)
    assert with_tools is not None
    assert without is not None
    assert (with_tools.render([], {}), without.render([], {})) == ("t", "d")
    (folder / "chat_template.jinja").write_text("file")
    assert load_tokenizer(folder).tool_template is None
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("file for tools")
    own = load_tokenizer(folder).tool_template
    assert own is not None
    assert own.render([], {}) == "file for tools"


def test_tokens_are_spelled_as_in_the_vocabulary(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode("two words", add_special_tokens=False)
    assert [tokenizer.hf.token_to_id(each) for each in tokenizer.tokens(ids)] == ids
    assert tokenizer.tokens([10**6]) == [""]
    assert tokenizer.is_special(["nothing", "<|user|>"])
    assert not tokenizer.is_special(["nothing", "two"])


def test_no_template_is_none(folder: Path) -> None:
    write(folder, "tokenizer_config.json", chat_template=None)
    assert load_tokenizer(folder).chat_template is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", None, "no tokenizer.json"),
        ("tokenizer.json", "{", "not a tokenizer"),
        ("tokenizer_config.json", "{", "not JSON"),
        ("tokenizer_config.json", "[]", "not a JSON object"),
        ("chat_template.jinja", "{% if %}", "chat template: line 1"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, name: str, content: str | None, message: str) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(folder)
