"""What must not be in the source tree."""

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import kopf
import pytest

from plimsoll_operator.kube.handlers import kopf_settings, registry
from plimsoll_operator.kube.kinds import WATCHED

ROOT = Path(__file__).parents[3]
SOURCES = sorted(
    path
    for root in ("operator", "runtime")
    for path in (ROOT / root).rglob("*.py")
    if "__pycache__" not in path.parts
)
FORBIDDEN_CALLS = {"eval", "exec", "compile", "torch.load", "yaml.load", "os.system"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "subprocess"}
# Python and modules of ours, and the compiler when the package is installed: no command that
# anybody could bring.
STARTS_PROCESSES = {
    "operator/plimsoll_operator/plan_service/plan_process.py",
    "runtime/csrc/build.py",
    "runtime/plimsoll_runtime/engine/child.py",
    "runtime/plimsoll_runtime/engine/grammar_trial.py",
    "runtime/plimsoll_runtime/engine/ranks.py",
}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls_and_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            yield dotted(node.func)
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_source_roots_are_not_packages() -> None:
    # operator/__init__.py would shadow the standard library's module and stop Python.
    for root in ("operator", "runtime"):
        assert list((ROOT / root).glob("*.py")) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_from_data(path: Path) -> None:
    found = set(calls_and_imports(path))
    if str(path.relative_to(ROOT)) in STARTS_PROCESSES:
        found.remove("subprocess")
    assert not found & FORBIDDEN_CALLS
    assert not found & FORBIDDEN_MODULES
    assert "trust_remote_code=True" not in path.read_text("utf-8")


class Deaf:
    """Stands where handlers would tell what they see; registering them calls nothing."""


def test_handlers_never_need_a_finalizer() -> None:
    handlers = registry(Deaf(), asyncio.Event())  # type: ignore[arg-type]
    assert handlers._changing._handlers == []
    assert handlers._spawning._handlers == []
    assert handlers._indexing._handlers == []
    assert len(handlers._watching._handlers) == len(WATCHED)
    names = {str(handler.id) for handler in handlers._watching._handlers}
    assert names == {kind.plural for kind in WATCHED}


def test_watches_cannot_go_deaf() -> None:
    watching = kopf_settings().watching
    assert watching.inactivity_timeout <= 70
    assert isinstance(watching.server_timeout, int)
    assert watching.client_timeout is not None
    assert watching.client_timeout > watching.server_timeout
    assert isinstance(kopf_settings(), kopf.OperatorSettings)
