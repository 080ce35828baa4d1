"""What documents hold that concerns a plan; the rest of a Kubernetes bundle is skipped."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from plimsoll_operator.api import ACCELERATOR_KIND, API_VERSION, KIND
from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.validate import InvalidSpecError, parse_document
from plimsoll_operator.planning.accelerators import overrides, verdicts
from plimsoll_operator.planning.documents import Document
from plimsoll_operator.render.revision import KIND as REVISION
from plimsoll_operator.resource import Key, Resource, parse_resource
from plimsoll_operator.revisions.kept_plan import as_deployment
from plimsoll_planner.accelerator import Accelerator

DEFAULT_NAMESPACE = "default"


class BundleError(Exception):
    """What is wrong with documents: one problem a line, each with file, line and field."""


@dataclass(frozen=True)
class Declared:
    """One LLMDeployment of a bundle; `namespace` is empty where the document names none."""

    document: Document
    namespace: str
    spec: LLMDeploymentSpec
    resource: Resource

    @property
    def title(self) -> str:
        """`ml/chat`, or `chat` without a namespace."""
        name = self.resource.name
        return f"{self.namespace}/{name}" if self.namespace else name


@dataclass(frozen=True)
class Bundle:
    """LLMDeployments in the order of their documents, what they refer to, and the Accelerators,
    which go before the catalogue."""

    deployments: tuple[Declared, ...]
    config_maps: Mapping[Key, Mapping[str, Any]]
    accelerators: tuple[Accelerator, ...] = ()

    def config_map(self, namespace: str, name: str) -> Mapping[str, Any]:
        """The data of a ConfigMap; empty where the bundle has none of that name."""
        return self.config_maps.get((namespace, name), {})


def bundle_of(documents: Iterable[Document]) -> Bundle:
    """Sorts documents by kind. Raises BundleError with every problem of what is ours."""
    deployments: dict[Key, Declared] = {}
    config_maps: dict[Key, Mapping[str, Any]] = {}
    accelerators: list[Document] = []
    problems: list[str] = []
    for document in map(_of_then, documents):
        kind = _kind(document)
        if kind == "ConfigMap":
            data = document.content.get("data")
            config_maps[_key(document.content)] = data if isinstance(data, Mapping) else {}
        elif kind == ACCELERATOR_KIND and document.content.get("apiVersion") == API_VERSION:
            accelerators.append(document)
        elif kind == KIND:
            declared = _declared(document, problems)
            if declared is None:
                continue
            first = deployments.setdefault(declared.resource.key, declared)
            if first is not declared:
                problems.append(
                    f"{document.where('metadata.name')}: metadata.name: {declared.title} is "
                    f"declared at {first.document.where('metadata.name')} already: plan one of them"
                )
    known = _accelerators(accelerators, problems)
    if problems:
        raise BundleError("\n".join(problems))
    return Bundle(tuple(deployments.values()), config_maps, known)


def _accelerators(documents: list[Document], problems: list[str]) -> tuple[Accelerator, ...]:
    """What they say of products; one that would not be used is a problem."""
    named: dict[str, Document] = {}
    for document in documents:
        name = _key(document.content)[1]
        if not name:
            where = document.where("metadata")
            problems.append(f"{where}: an {ACCELERATOR_KIND} without metadata.name: give it one")
        named[name] = document
    found = verdicts(document.content for name, document in named.items() if name)
    problems += [
        f"{named[item.name].where('spec')}: Accelerator {item.name}: {item.message}"
        for item in found
        if item.accelerator is None
    ]
    return overrides(found)


def _of_then(document: Document) -> Document:
    """A plan that a cluster keeps counts as the LLMDeployment that it was made for."""
    if _kind(document) != REVISION:
        return document
    content = as_deployment(document.content)
    return document if content is None else replace(document, content=content)


def _kind(document: Document) -> str | None:
    """Its kind; one without, in a file that was named, was meant to be an LLMDeployment."""
    content = document.content
    kind = content.get("kind") if isinstance(content, Mapping) else None
    if kind is None:
        return KIND if document.named else None
    return str(kind)


def _declared(document: Document, problems: list[str]) -> Declared | None:
    try:
        name, spec = parse_document(document.content)
    except InvalidSpecError as error:
        problems += [f"{document.where(problem.path)}: {problem}" for problem in error.problems]
        return None
    content = document.content
    metadata = content["metadata"]
    namespace = str(metadata.get("namespace") or "")
    generation = metadata.get("generation")
    known = {
        "namespace": namespace or DEFAULT_NAMESPACE,
        "name": name,
        "uid": str(metadata.get("uid", "")),
        "generation": generation if isinstance(generation, int) else 0,
    }
    return Declared(document, namespace, spec, parse_resource({**content, "metadata": known}))


def _key(content: Mapping[str, Any]) -> Key:
    metadata = content.get("metadata")
    known = metadata if isinstance(metadata, Mapping) else {}
    return (str(known.get("namespace") or DEFAULT_NAMESPACE), str(known.get("name") or ""))
