"""The pure parts of the training script: documents, facts, conversations, rows."""

import ast
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from plimsoll_runtime import builtin
from plimsoll_runtime.builtin.train import batches, dialogue, sources, vocabulary
from plimsoll_runtime.builtin.train.__main__ import main
from plimsoll_runtime.builtin.train.architecture import ASSISTANT, BOS, CHAT_TEMPLATE, END, USER
from plimsoll_runtime.builtin.train.facts import (
    Fact,
    as_answer,
    facts,
    first_sentence,
    third_person,
)

MODULE = '''"""Shapes and their areas.

More text.
"""

# A comment that is long
# enough to be a block.

x = 1  # a remark beside code

# alone

class Circle:
    """A round shape."""

    def area(self, digits=2):
        """Return the area."""

def square(side, *, unit="m"):
    """Compute the area of a square."""

def _hidden():
    """Return nothing."""
'''
DOCUMENT = sources.python_document("shapes/__init__.py", MODULE)
TOKENIZER = Tokenizer.from_file(str(builtin.path("tiny") / "tokenizer.json"))
FACTS = [
    Fact("shapes", "module", "shapes", "The shapes module knows areas."),
    Fact("shapes.square", "function", "shapes", "square computes the area of a square."),
    Fact("shapes.circle", "function", "shapes", "circle computes the area of a circle."),
    Fact("len", "function", "", "len returns the number of items."),
]
DIALOGUES = dialogue.dialogues(FACTS)


class TestSources:
    def test_entries_keep_order_kind_and_signature(self) -> None:
        found = [(e.qualname, e.kind, e.signature) for e in DOCUMENT.entries]
        assert found == [
            ("", "module", ""),
            ("Circle", "class", "class Circle"),
            ("Circle.area", "function", "area(self, digits=2)"),
            ("square", "function", "square(side, *, unit='m')"),
            ("_hidden", "function", "_hidden()"),
        ]

    def test_package_file_is_named_as_the_package(self) -> None:
        assert DOCUMENT.module == "shapes"
        assert sources.python_document("a/b.py", MODULE).module == "a.b"

    def test_only_comment_blocks_of_two_lines_are_text(self) -> None:
        assert "A comment that is long\nenough to be a block." in DOCUMENT.text
        assert "a remark beside code" not in DOCUMENT.text
        assert "alone" not in DOCUMENT.text

    def test_code_is_not_run(self) -> None:
        document = sources.python_document("x.py", '"""Doc."""\nraise SystemExit(1)\n')
        assert document.entries[0].doc == "Doc."

    def test_collect_splits_by_path_and_drops_copies(self, tmp_path: Path) -> None:
        held = next(f"m{i}.py" for i in range(1000) if sources.is_held_out(f"m{i}.py"))
        kept = next(f"m{i}.py" for i in range(1000) if not sources.is_held_out(f"m{i}.py"))
        shared = "This paragraph stands in both files and would measure memory. " * 2
        own = "This paragraph stands only in the file that is held out of training. " * 2
        (tmp_path / kept).write_text(f'"""{shared}"""\n')
        (tmp_path / held).write_text(f'"""{shared}\n\n{own}"""\n')
        (tmp_path / "test").mkdir()
        (tmp_path / "test" / "test_x.py").write_text(f'"""Not library text. {own}"""\n')
        (tmp_path / "pydoc_data").mkdir()
        (tmp_path / "pydoc_data" / "topics.py").write_text(f"topics = {{'if': {shared!r}}}\n")
        corpus = sources.collect(tmp_path)
        assert kept in {d.source for d in corpus.train}
        assert [d.text.strip() for d in corpus.held_out if d.source == held] == [own.strip()]
        everything = {d.source for d in (*corpus.train, *corpus.held_out)}
        assert not any("test_x" in source for source in everything)
        assert corpus.digest() == sources.collect(tmp_path).digest()

    def test_collect_names_the_package_when_the_topics_are_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="libpython3-stdlib"):
            sources.collect(tmp_path)

    def test_a_twentieth_of_sources_is_held_out(self) -> None:
        held = sum(sources.is_held_out(f"package/module{i}.py") for i in range(5000))
        assert 0.03 < held / 5000 < 0.08


class TestFacts:
    @pytest.mark.parametrize(
        ("doc", "sentence"),
        [
            ("Return the size. Never fails.", "Return the size."),
            ("len(obj, /) -> int\n\nReturn the size.", "Return the size."),
            ("open(file)\nOpen a file and return it", "Open a file and return it."),
            ("Use ``x`` and :class:`Y` here", "Use x and Y here."),
            ("Wrapped over\n   two lines.", "Wrapped over two lines."),
            ("Support e.g. JSON files. More.", "Support e.g. JSON files."),
            (">>> 1 + 1\n2", ""),
            ("Short", ""),
            ("A " + "very " * 60 + "long one.", ""),
            ("Schöne Funktion für alle.", ""),
            ("", ""),
        ],
    )
    def test_first_sentence(self, doc: str, sentence: str) -> None:
        assert first_sentence(doc) == sentence

    @pytest.mark.parametrize(
        ("sentence", "answer"),
        [
            ("Return the size.", "f returns the size."),
            ("Returns the size.", "f returns the size."),
            ("Copy a file and return its name.", "f copies a file and returns its name."),
            ("A dict that counts.", "f is a dict that counts."),
            ("Base class for errors.", "f is a base class for errors."),
            ("Abstract set of names.", "f is an abstract set of names."),
            ("Raised when a test fails.", "f is raised when a test fails."),
            ("JSON decoder for text.", "f: JSON decoder for text."),
            ("COPY mode is old.", "f: COPY mode is old."),
        ],
    )
    def test_as_answer(self, sentence: str, answer: str) -> None:
        assert as_answer("f", sentence) == answer

    @pytest.mark.parametrize(
        ("verb", "form"),
        [("copy", "copies"), ("display", "displays"), ("push", "pushes"), ("do", "does")],
    )
    def test_third_person(self, verb: str, form: str) -> None:
        assert third_person(verb) == form

    def test_facts_are_public_top_level_and_sorted(self) -> None:
        assert [(f.name, f.kind, f.module) for f in facts([DOCUMENT])] == [
            ("shapes", "module", "shapes"),
            ("shapes.Circle", "class", "shapes"),
            ("shapes.square", "function", "shapes"),
        ]

    def test_names_are_those_that_people_import(self) -> None:
        document = sources.python_document("posixpath.py", MODULE)
        assert "os.path.square" in {f.name for f in facts([document])}
        assert facts([sources.python_document("_private.py", MODULE)]) == []

    def test_builtins_have_no_module_in_front(self) -> None:
        entry = sources.Entry("len", "function", "len", "Return the number of items.")
        document = sources.Document("c:builtins", "builtins", (entry,), "")
        assert facts([document]) == [
            Fact("len", "function", "", "len returns the number of items.")
        ]


class TestDialogues:
    def test_every_fact_can_be_asked(self) -> None:
        turns = {*DIALOGUES.modules, *DIALOGUES.members}
        assert ("What does the shapes module do?", "The shapes module knows areas.") in turns
        assert ("What does len do?", "len returns the number of items.") in turns
        assert ("Which module has square?", "square is in the shapes module.") in turns
        assert (
            "What is in the shapes module?",
            "The shapes module has square and circle.",
        ) in turns

    def test_a_hand_written_module_is_not_asked_from_its_docstring(self) -> None:
        made = dialogue.dialogues([Fact("json", "module", "json", "From the docstring."), *FACTS])
        assert "From the docstring." not in {answer for _, answer in made.modules}
        assert dialogue.HAND_WRITTEN_MODULES["json"] in {answer for _, answer in made.famous}

    def test_hand_written_text_is_a_few_dozen_and_unambiguous(self) -> None:
        questions = [q for questions, _ in dialogue.HAND_WRITTEN for q in questions]
        assert len(questions) == len(set(questions))
        assert len(dialogue.HAND_WRITTEN) + len(dialogue.HAND_WRITTEN_MODULES) < 48

    @given(st.integers(0, 2**32 - 1))
    def test_roles_alternate_and_end_with_the_assistant(self, seed: int) -> None:
        roles = [m["role"] for m in DIALOGUES.draw(np.random.default_rng(seed))]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert 2 <= len(turns) <= 6


class TestRows:
    @given(st.integers(0, 2**32 - 1))
    def test_encoding_equals_the_chat_template(self, seed: int) -> None:
        messages = DIALOGUES.draw(np.random.default_rng(seed))
        template = ImmutableSandboxedEnvironment().from_string(CHAT_TEMPLATE)
        rendered = template.render({"messages": messages, "bos_token": "<|bos|>"})
        ids, learned = vocabulary.encode_chat(TOKENIZER, messages)
        assert ids == TOKENIZER.encode(rendered, add_special_tokens=False).ids
        assert len(ids) == len(learned)

    def test_only_the_answer_and_its_end_are_learned(self) -> None:
        messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
        ids, learned = vocabulary.encode_chat(TOKENIZER, messages)
        answer = vocabulary.encode_text(TOKENIZER, "Hello!")
        assert [i for i, keep in zip(ids, learned, strict=True) if keep] == [*answer, END]
        assert (ids[0], ids[1], ids[-len(answer) - 2]) == (BOS, USER, ASSISTANT)

    @pytest.mark.parametrize(("share", "chats"), [(0.0, 0), (0.5, 2), (1.0, 4)])
    def test_batch_has_the_share_of_conversations(self, share: float, chats: int) -> None:
        prose = np.arange(10, 1000, dtype=np.int64)
        batch = batches.Sampler(TOKENIZER, prose, DIALOGUES, share, 0).batch(4, 32)
        assert batch.inputs.shape == batch.labels.shape == (4, 32)
        assert (batch.inputs[:, 0] == BOS).all()
        assert (batch.labels == batches.IGNORE).any(axis=1).sum() == chats

    def test_labels_are_the_next_tokens(self) -> None:
        prose = np.arange(10, 1000, dtype=np.int64)
        batch = batches.Sampler(TOKENIZER, prose, DIALOGUES, 0.5, 0).batch(4, 64)
        kept = batch.labels[:, :-1] != batches.IGNORE
        assert (batch.labels[:, :-1][kept] == batch.inputs[:, 1:][kept]).all()

    def test_same_seed_same_rows(self) -> None:
        prose = np.arange(10, 1000, dtype=np.int64)
        made = [
            batches.Sampler(TOKENIZER, prose, DIALOGUES, 0.5, seed).batch(4, 64).inputs
            for seed in (1, 1, 2)
        ]
        assert (made[0] == made[1]).all()
        assert (made[0] != made[2]).any()


def test_tokenizer_training_repeats_itself() -> None:
    texts = [DOCUMENT.text, MODULE, Path(ast.__file__).read_text(encoding="utf-8")]
    digests = {
        hashlib.sha256(vocabulary.train_tokenizer(texts).to_str().encode()).hexdigest()
        for _ in range(2)
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--out", "x"],
        ["--out", "x", "--steps", "0"],
        ["--out", "x", "--minutes", "-1"],
        ["--out", "x", "--steps", "1", "--minutes", "1"],
        ["--steps", "1"],
    ],
)
def test_bad_arguments_exit_with_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m plimsoll_runtime.builtin.train" in capsys.readouterr().err
