"""Reads YAML and JSON documents from files, folders and stdin, and knows the line of each field."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import yaml

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"
# libyaml, where PyYAML was built with it, is ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class DocumentError(Exception):
    """A file cannot be read; one line, which names the file and, where it is known, the line."""


@dataclass(frozen=True)
class Document:
    """One document, or one item of a List.

    `origin` is the file as it was named, `node` what `content` was made from. `named` is False
    where the file was found in a folder, so that nobody said that it holds what is looked for.
    """

    content: Any
    node: yaml.Node
    origin: str
    named: bool = True

    def where(self, path: str = "") -> str:
        """`chat.yaml:7`: the line of the field, such as `spec.accelerators.allow[0]`.

        Of the nearest object around it where the field is absent; of the document without a path.
        """
        return f"{self.origin}:{_field(self.node, path).start_mark.line + 1}"


def read_documents(sources: Iterable[str], stdin: TextIO) -> list[Document]:
    """All documents of files, of the files in folders (not those below), and of stdin for `-`.

    Lists, as `kubectl get -o yaml` prints them, count as their items. Raises DocumentError.
    """
    found: list[Document] = []
    for source in sources:
        if source == STDIN:
            found += _parse(_text_of(stdin), "stdin")
        elif Path(source).is_dir():
            for path in _files(Path(source)):
                found += (replace(item, named=False) for item in _read(path))
        else:
            found += _read(Path(source))
    return found


def _files(folder: Path) -> list[Path]:
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    except OSError as error:
        raise DocumentError(f"{folder}: cannot be read: {error.strerror}") from error
    return [path for path in files if path.is_file()]


def _read(path: Path) -> Iterator[Document]:
    try:
        with path.open(encoding="utf-8") as file:
            text = _text_of(file, str(path))
    except OSError as error:
        raise DocumentError(f"{path}: cannot be read: {error.strerror or error}") from error
    return _parse(text, str(path))


def _text_of(file: TextIO, origin: str = "stdin") -> str:
    try:
        return file.read()
    except UnicodeDecodeError as error:
        raise DocumentError(f"{origin}: cannot be read: not UTF-8 text") from error


def _parse(text: str, origin: str) -> Iterator[Document]:
    documents: list[Document] = []
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            content = loader.construct_document(node)
            if content is not None:
                documents += _items(Document(content, node, origin))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DocumentError(_not_yaml(error, origin, text.count("\n", 0, -1) + 1)) from error
    return iter(documents)


def _not_yaml(error: Exception, origin: str, lines: int) -> str:
    mark = getattr(error, "problem_mark", None)
    line = "" if mark is None else f":{min(mark.line + 1, lines)}"
    problem = getattr(error, "problem", None)
    if problem is None:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return f"{origin}{line}: neither YAML nor JSON: {' '.join(str(problem).split())}"


def _items(document: Document) -> Iterator[Document]:
    content, node = document.content, document.node
    listed = isinstance(content, Mapping) and str(content.get("kind", "")).endswith("List")
    items = content.get("items") if listed else None
    if not isinstance(items, list):
        yield document
        return
    for item, child in zip(items, _field(node, "items").value, strict=True):
        yield replace(document, content=item, node=child)


def _field(node: yaml.Node, path: str) -> yaml.Node:
    """The node at `path`, or the last one on the way to it."""
    for part in re.findall(r"[^.\[\]]+", path):
        child = _child(node, part)
        if child is None:
            return node
        node = child
    return node


def _child(node: yaml.Node, part: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
        found: yaml.Node = node.value[int(part)]
        return found
    return None
