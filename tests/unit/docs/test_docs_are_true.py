"""The documentation names what there is, and leaves no module out."""

import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from plimsoll_operator.status.conditions import ORDER
from plimsoll_runtime.server import admin
from plimsoll_runtime.server.app import ROUTES
from plimsoll_runtime.server.command import parser

ROOT = Path(__file__).parents[3]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PACKAGES = (
    "operator/plimsoll_bench",
    "operator/plimsoll_operator",
    "operator/plimsoll_planner",
    "runtime/plimsoll_runtime",
    "e2e",
)
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "e2e").rglob("*.md"))
)
FOLDERS = "crds|docs|e2e|manifests|operator|runtime|tests"
# Not within a longer path or an image's name, and not a pattern or a placeholder.
PATH = re.compile(rf"(?<![\w./:~-])((?:{FOLDERS})/[\w./-]*[\w/])(?![\w*{{<:])")


def listed_modules(text: str) -> list[str]:
    """Paths in the tables under headings that are a folder, in their order."""
    folder, found = "", []
    for line in text.splitlines():
        heading = re.fullmatch(r"#+ (?:`([\w/]+/)`|.*)", line)
        if heading:
            folder = heading[1] or ""
        row = re.match(r"\| `(\w+\.py)` \| [^\s|]", line)
        if row and folder:
            found.append(folder + row[1])
    return found


def existing_modules() -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }


def links(text: str) -> list[str]:
    """Targets of relative links, without what follows `#`."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [found.partition("#")[0] for found in targets if not re.match(r"\w+:|#", found)]


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def test_every_module_is_listed_once() -> None:
    listed = listed_modules(read("docs/architecture.md"))
    assert sorted(existing_modules() - set(listed)) == [], "add a line for each"
    assert sorted(set(listed) - existing_modules()) == [], "listed, but there is none"
    assert len(listed) == len(set(listed))


def test_rows_outside_of_a_folder_do_not_count() -> None:
    text = "### `e2e/`\n| `demo.py` | a |\n| `empty.py` | |\n### Other\n| `stray.py` | b |\n"
    assert listed_modules(text) == ["e2e/demo.py"]


def test_every_option_of_serve_is_documented() -> None:
    documented = set(re.findall(r"`(--[a-z-]+)`", read("docs/architecture.md")))
    options = {text for action in parser()._actions for text in action.option_strings}
    assert sorted(options - documented - {"-h", "--help"}) == []


def test_every_path_of_the_server_is_documented() -> None:
    documented = read("docs/architecture.md")
    modules = (*ROUTES, admin)
    paths = {r.path for each in modules for r in each.router.routes if isinstance(r, APIRoute)}
    assert len(paths) >= 10
    assert [
        path for path in sorted(paths) if f"`{path.partition('/{')[0]}`" not in documented
    ] == []


def test_every_condition_is_documented() -> None:
    assert [name for name in ORDER if f"| {name} |" not in read("docs/architecture.md")] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    assert [link for link in links(read(document)) if not (folder / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_that_are_named_exist(document: str) -> None:
    named = {path.rstrip(".") for path in PATH.findall(read(document))}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_paths_are_found_in_text() -> None:
    text = (
        "See manifests/samples/chat.yaml, `docs/x.md`. Not docker.io/tests/a, e2e/*.py or a/docs/b."
    )
    assert PATH.findall(text) == ["manifests/samples/chat.yaml", "docs/x.md"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_targets_of_make_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z0-9-]+)", read(document), re.MULTILINE))
    assert sorted(named - targets) == []


def test_every_decision_is_in_the_list() -> None:
    files = {path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")}
    assert set(links(read("docs/decisions/README.md"))) == files
