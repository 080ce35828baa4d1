"""The training text: documentation that every Python installation carries.

Three kinds of documents, all under the PSF licence: the docstrings and comment
blocks of the standard library's Python sources, the language reference that
``help()`` shows (``pydoc_data/topics.py``), and the docstrings of a fixed list
of modules written in C.
"""

import ast
import hashlib
import importlib
import inspect
import io
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Not documentation (tests, tables), not the library (idle, demos, bundled wheels),
# or generated for one machine.
_EXCLUDED_PARTS = frozenset({
    "test", "tests", "idlelib", "idle_test", "lib2to3", "turtledemo", "site-packages",
    "dist-packages", "__pycache__", "_bundled", "encodings", "pydoc_data", "__phello__",
})  # fmt: skip
_EXCLUDED_PREFIXES = ("_sysconfigdata", "config-", "_sysconfig_vars", "sitecustomize")

C_MODULES = ("builtins", "cmath", "gc", "itertools", "math", "posix", "sys", "time", "zlib")
TOPICS = "pydoc_data/topics.py"

_MIN_COMMENT_LINES = 2
_MIN_DOCUMENT_CHARS = 80
_HELD_OUT_OF_256 = 14


@dataclass(frozen=True, slots=True)
class Entry:
    """One documented object: `qualname` is "" for the module itself."""

    qualname: str
    kind: str  # "module", "class" or "function"
    signature: str
    doc: str


@dataclass(frozen=True, slots=True)
class Document:
    """The documentation found in one source: what it describes and as plain text."""

    source: str  # path inside the standard library, or "c:MODULE"; the split hashes this
    module: str  # dotted module name, "" where there is none (a help topic)
    entries: tuple[Entry, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """All documents, split by the hash of their source.

    A held-out document repeats no paragraph of a training document: the library
    copies some docstrings, and a copy would measure memory.
    """

    train: tuple[Document, ...]
    held_out: tuple[Document, ...]

    def digest(self) -> str:
        """Return the SHA-256 of every document's source and text, in order."""
        sha = hashlib.sha256()
        for document in (*self.train, *self.held_out):
            sha.update(document.source.encode() + b"\0" + document.text.encode() + b"\0")
        return sha.hexdigest()


def is_held_out(source: str) -> bool:
    """Tell whether `source` belongs to the held-out part (about 5 % of sources)."""
    return hashlib.sha256(source.encode()).digest()[0] < _HELD_OUT_OF_256


def collect(stdlib: Path | None = None) -> Corpus:
    """Read the corpus from `stdlib`, by default the running interpreter's library.

    Modules are parsed, not imported, apart from those in `C_MODULES`.
    """
    root = stdlib or Path(sysconfig.get_paths()["stdlib"])
    found = [*_python_documents(root), *_topic_documents(root), *_c_documents()]
    documents = sorted((d for d in found if len(d.text) >= _MIN_DOCUMENT_CHARS), key=_source)
    train = tuple(d for d in documents if not is_held_out(d.source))
    seen = {p for d in train for p in d.text.split("\n\n")}
    held_out = []
    for document in documents:
        if is_held_out(document.source):
            text = "\n\n".join(p for p in document.text.split("\n\n") if p not in seen)
            if len(text) >= _MIN_DOCUMENT_CHARS:
                held_out.append(Document(document.source, document.module, document.entries, text))
    return Corpus(train, tuple(held_out))


def _source(document: Document) -> str:
    return document.source


def _python_documents(root: Path) -> Iterator[Document]:
    for file in sorted(root.rglob("*.py")):
        relative = file.relative_to(root)
        if any(_is_excluded(part) for part in relative.parts):
            continue
        try:
            code = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        yield python_document(relative.as_posix(), code)


def _is_excluded(part: str) -> bool:
    return part in _EXCLUDED_PARTS or part.startswith(_EXCLUDED_PREFIXES)


def python_document(source: str, code: str) -> Document:
    """Return the documentation in `code`, the text of the library file `source`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes in docstrings
        tree = ast.parse(code)
    entries = tuple(_walk(tree, ""))
    blocks = [_as_text(entry) for entry in entries] + list(_comments(code))
    parts = source.removesuffix(".py").split("/")
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Document(source, module, entries, "\n\n".join(blocks))


def _walk(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[Entry]:
    doc = ast.get_docstring(node)
    if isinstance(node, ast.Module) and doc:
        yield Entry("", "module", "", doc)
    for child in node.body:
        if isinstance(child, ast.ClassDef):
            qualname = prefix + child.name
            class_doc = ast.get_docstring(child)
            if class_doc:
                yield Entry(qualname, "class", f"class {child.name}", class_doc)
            yield from _walk(child, qualname + ".")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            function_doc = ast.get_docstring(child)
            if function_doc:
                signature = f"{child.name}({ast.unparse(child.args)})"
                yield Entry(prefix + child.name, "function", signature, function_doc)


def _as_text(entry: Entry) -> str:
    return f"{entry.signature}\n{entry.doc}" if entry.signature else entry.doc


def _comments(code: str) -> Iterator[str]:
    """Yield each run of comment lines at one indentation, without the marks."""
    block: list[str] = []
    last = (-1, -1)
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type != tokenize.COMMENT or token.line[: token.start[1]].strip():
            continue
        if token.start != (last[0] + 1, last[1]):
            yield from _joined(block)
            block = []
        block.append(token.string.lstrip("#").removeprefix(" ").rstrip())
        last = token.start
    yield from _joined(block)


def _joined(block: list[str]) -> Iterator[str]:
    text = "\n".join(block).strip()
    if len(block) >= _MIN_COMMENT_LINES and any(c.isalpha() for c in text):
        yield text


def _topic_documents(root: Path) -> Iterator[Document]:
    file = root / TOPICS
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing; install the whole standard library (Debian: libpython3-stdlib)"
        )
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            for name, text in sorted(ast.literal_eval(statement.value).items()):
                yield Document(f"{TOPICS}#{name}", "", (), inspect.cleandoc(text))


def _c_documents() -> Iterator[Document]:
    for name in C_MODULES:
        module = importlib.import_module(name)
        entries = [Entry("", "module", "", inspect.getdoc(module) or "")]
        for member, value in sorted(vars(module).items()):
            doc = inspect.getdoc(value) if callable(value) else None
            if doc and not member.startswith("_"):
                kind = "class" if inspect.isclass(value) else "function"
                entries.append(Entry(member, kind, member, doc))
        text = "\n\n".join(_as_text(entry) for entry in entries)
        yield Document(f"c:{name}", name, tuple(entries), text)
