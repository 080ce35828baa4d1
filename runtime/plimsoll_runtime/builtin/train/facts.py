"""Facts about the standard library: a name and one sentence that answers "what is it?".

The sentence is the first one of the object's docstring, turned from the
imperative that docstrings use ("Return the ...") into an answer ("It returns
the ..."). Everything here is a pure function of the documents.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plimsoll_runtime.builtin.train.sources import Document, Entry

# Where the library defines something is not always where people import it from.
_PUBLIC_NAME = {"posixpath": "os.path", "posix": "os", "_pydecimal": "decimal",
                "_pydatetime": "datetime", "_collections_abc": "collections.abc"}  # fmt: skip

_SENTENCE_END = re.compile(r"(?<=[a-z0-9)\]'\"][.!?])(?<!e\.g\.)(?<!i\.e\.) (?=[A-Z])")
_MIN_SENTENCE, _MAX_SENTENCE = 12, 180

_VERBS = frozenset(
    """
accept add allow append apply assert bind build calculate call cancel change check clean clear
close combine compare compile compress compute concatenate connect construct convert copy count
create decode decompress decorate define delete describe determine disable display do download
dump emulate enable encode ensure enter escape evaluate execute expand extract fetch fill filter
find finish fold force format generate get give guess handle implement import increase indicate
insert install invoke iterate join kill leave list load locate log lookup make map mark merge move
normalize open override parse perform pop prepare print process produce provide push put query
quote raise read rebuild receive recursively register release reload remove rename repeat replace
report represent reset resize resolve restore retrieve return reverse run save scan search select
send set shift show shuffle skip sort split start stop store strip sum suspend swap test tokenize
transform translate truncate try turn unquote update use validate verify wait walk warn wrap write
yield
""".split()  # noqa: SIM905 - a list of words is easier to read and to keep sorted
)

_VOWELS = "aeiou"


@dataclass(frozen=True, slots=True)
class Fact:
    """One documented object and the sentence that says what it is or does."""

    name: str  # as a person writes it: "json", "os.path.join", "len"
    kind: str  # "module", "class" or "function"
    module: str  # the public module that holds it, "" for builtins
    answer: str


def facts(documents: Iterable[Document]) -> list[Fact]:
    """Return the facts in `documents`, one per public name, sorted by name."""
    found: dict[str, Fact] = {}
    for document in documents:
        for fact in _document_facts(document):
            found.setdefault(fact.name, fact)
    return [found[name] for name in sorted(found)]


def _document_facts(document: Document) -> Iterator[Fact]:
    module = _PUBLIC_NAME.get(document.module, document.module)
    if not module or any(part.startswith("_") for part in module.split(".")):
        return
    for entry in document.entries:
        if "." in entry.qualname or entry.qualname.startswith("_"):
            continue
        answer = _answer(module, entry)
        if answer:
            holder = "" if module == "builtins" else module
            name = ".".join(part for part in (holder, entry.qualname) if part) or module
            yield Fact(name, entry.kind, holder, answer)


def _answer(module: str, entry: Entry) -> str:
    sentence = first_sentence(entry.doc)
    if not sentence:
        return ""
    if entry.kind != "module":
        return as_answer(entry.qualname, sentence)
    words = sentence.split()
    if words[:2] == ["This", "module"]:
        return " ".join(["The", module, "module", *words[2:]])
    # "json - JSON encoder", "json: JSON encoder", "json module -- JSON encoder"
    name = re.escape(module)
    sentence = re.sub(rf"^{name}(\.py)?( module)?\s*(:|--?)\s*", "", sentence, flags=re.IGNORECASE)
    return as_answer(f"The {module} module", sentence, noun=f"The {module} module: ")


def first_sentence(doc: str) -> str:
    """Return the first sentence of the docstring `doc`, or "" if it is not prose."""
    paragraphs = re.split(r"\n\s*\n", doc.strip())
    if paragraphs and re.match(r"^[\w.]+\(.*(->.*)?$", paragraphs[0].split("\n")[0]):
        rest = "\n".join(paragraphs[0].split("\n")[1:]).strip()
        paragraphs = [rest, *paragraphs[1:]] if rest else paragraphs[1:]
    if not paragraphs:
        return ""
    text = re.sub(r"``([^`]+)``|:\w+:`([^`]+)`|`([^`']+)['`]", r"\1\2\3", paragraphs[0])
    text = " ".join(text.split())
    text = _SENTENCE_END.split(text, maxsplit=1)[0].rstrip(" :;,-")
    if not _MIN_SENTENCE <= len(text) <= _MAX_SENTENCE or not text.isascii():
        return ""
    if not text[0].isalpha() or " " not in text or "  -" in text or "$Id" in text:
        return ""
    return text if text[-1] in ".!?" else text + "."


def as_answer(subject: str, sentence: str, *, noun: str = "") -> str:
    """Return `sentence`, a docstring's first, as a statement about `subject`.

    "Return the X." becomes "SUBJECT returns the X.", "A dict that ..." becomes
    "SUBJECT is a dict that ...". What fits neither form is kept and prefixed
    with `noun`, by default "SUBJECT: ".
    """
    first, _, rest = sentence.partition(" ")
    word = first.lower().rstrip(",")
    if word in _VERBS and first[1:] == first[1:].lower():
        rest = re.sub(r"\band (return|open|close|write|read)\b", _second_verb, rest)
        return f"{subject} {third_person(word)} {rest}"
    if word in {third_person(verb) for verb in _VERBS} and first[1:] == first[1:].lower():
        return f"{subject} {word} {rest}"
    if first in {"A", "An", "The"}:
        return f"{subject} is {word} {rest}"
    if first in {"Base", "Abstract", "Exception", "Context"} and rest[:1].islower():
        article = "an" if word[0] in _VOWELS else "a"
        return f"{subject} is {article} {word} {rest}"
    if first == "Raised":
        return f"{subject} is raised {rest}"
    return f"{noun or subject + ': '}{sentence}"


def _second_verb(match: re.Match[str]) -> str:
    return f"and {third_person(match[1])}"


def third_person(verb: str) -> str:
    """Return the English third person singular of `verb`: "copy" gives "copies"."""
    if verb == "recursively":
        return "recursively does this:"
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return verb[:-1] + "ies"
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return verb + "es"
    return verb + "s"
