import io
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.planning.bundle import BundleError, bundle_of
from plimsoll_operator.planning.documents import Document, DocumentError, read_documents

LIST = """\
kind: List
items:
- kind: A
  spec:
    x: {y: [1, 2]}
- kind: B
---
---
kind: C
"""


def parsed(text: str) -> list[Document]:
    return read_documents(["-"], io.StringIO(text))


def test_lists_are_their_items_and_empty_documents_are_none() -> None:
    assert [each.content["kind"] for each in parsed(LIST)] == ["A", "B", "C"]
    assert parsed("") == []
    assert parsed("kind: List\nitems: []") == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", 3),
        ("spec.x.y[1]", 5),
        ("spec.x.y[7]", 5),
        ("spec.x.absent", 5),
        ("absent.deeper", 3),
        ("kind.deeper", 3),
    ],
)
def test_lines_of_fields(path: str, line: int) -> None:
    assert parsed(LIST)[0].where(path) == f"stdin:{line}"


def test_lines_of_later_documents_and_of_json() -> None:
    assert parsed(LIST)[2].where("kind") == "stdin:9"
    assert parsed('{\n "kind": "A",\n "spec": {\n  "x": 1}}')[0].where("spec.x") == "stdin:4"


def test_folders_give_their_own_files_in_order(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.json", "c.txt", "below/d.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("kind: X")
    found = read_documents([str(tmp_path)], io.StringIO())
    assert [(Path(each.origin).name, each.named) for each in found] == [
        ("a.json", False),
        ("b.yaml", False),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "stdin:1: neither YAML nor JSON"),
        ("a: 1\nb: {", "stdin:2: neither YAML nor JSON"),
        ("a: !!python/object:os.system {}", "stdin:1: neither YAML nor JSON"),
        ("a: 2020-99-99", "neither YAML nor JSON"),
        ("? [a]\n: 1", "neither YAML nor JSON"),
        ("[" * 5_000, "neither YAML nor JSON"),
    ],
)
def test_what_cannot_be_read_is_one_line(text: str, said: str) -> None:
    with pytest.raises(DocumentError, match=r"\Astdin:") as raised:
        parsed(text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DocumentError, match="not UTF-8"):
        read_documents([str(tmp_path / "a.yaml")], io.StringIO())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "1Gi", "800ms"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["spec", "metadata", "name", "namespace", "status", "plan", "data"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=50)
@given(
    st.fixed_dictionaries(
        {
            "apiVersion": st.just("plimsoll.dev/v1alpha1"),
            "kind": st.sampled_from(["LLMDeployment", "ConfigMap", "List", "Node"]),
        },
        optional={
            "metadata": st.just({"name": "x"}) | VALUES,
            "spec": st.just({"model": {"source": "builtin://tiny"}}) | VALUES,
            "status": VALUES,
            "data": VALUES,
            "items": VALUES,
        },
    )
)
def test_any_document_is_taken_or_told_off(content: object) -> None:
    problems = ""
    try:
        bundle_of(parsed(yaml.safe_dump(content)))
    except BundleError as error:
        problems = str(error)
    assert all(line.startswith("stdin:") for line in problems.splitlines())
