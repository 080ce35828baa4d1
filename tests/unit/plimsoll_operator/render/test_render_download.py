"""Models of the Hub come before the engine starts, into the folder that it is told."""

from typing import Any

import pytest

from plimsoll_operator.render.children import children
from tests.unit.plimsoll_operator.samples import IMAGE, cpu_plan, resource

HUB = {"source": "hf://org/model", "revision": "0123abc"}
TOKEN = {"secretKeyRef": {"name": "hub", "key": "token"}}


def pod(model: dict[str, Any], **spec: Any) -> dict[str, Any]:
    owner = resource(spec={"model": model, **spec})
    assert owner.spec is not None, owner.invalid
    deployment = children(owner, owner.spec, cpu_plan(), IMAGE, 1)[-1]
    made: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return made


def drafting(draft: dict[str, Any]) -> dict[str, Any]:
    return {"method": "DraftModel", "draftModel": draft, "numTokens": 3}


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each for each in container["env"]}


def into(container: dict[str, Any]) -> str:
    (folder,) = (each for each in container["args"] if each.startswith("--into="))
    return str(folder.removeprefix("--into="))


def test_the_engine_serves_the_folder_that_the_download_fills() -> None:
    spec = pod(HUB)
    (download,), (engine,) = spec["initContainers"], spec["containers"]
    assert download["args"][:3] == ["download", "hf://org/model", "--revision=0123abc"]
    assert engine["args"][:2] == ["serve", into(download)]
    (cache,) = (each for each in download["volumeMounts"] if each["name"] == "cache")
    assert into(download).startswith(cache["mountPath"] + "/")
    assert cache in engine["volumeMounts"]
    assert download["image"] == engine["image"]
    assert download["securityContext"] == engine["securityContext"]


@pytest.mark.parametrize("source", ["builtin://tiny", "pvc://claim", "oci://registry.example/a:1"])
def test_what_is_here_is_not_downloaded(source: str) -> None:
    config = {"configFrom": {"configMapKeyRef": {"name": "facts"}}}
    assert "initContainers" not in pod(
        {"source": source, **(config if "tiny" not in source else {})}
    )


def test_only_the_download_has_the_token() -> None:
    spec = pod({**HUB, "tokenFrom": TOKEN})
    (download,), (engine,) = spec["initContainers"], spec["containers"]
    assert environment(download)["HF_TOKEN"]["valueFrom"] == TOKEN
    assert "HF_TOKEN" not in environment(engine)
    assert "HF_TOKEN" not in environment(pod(HUB)["initContainers"][0])


def test_a_model_and_its_draft_come_one_after_the_other() -> None:
    draft = {"source": "hf://org/draft", "revision": "4567def"}
    spec = pod(HUB, speculation=drafting(draft))
    both = spec["initContainers"]
    assert [each["name"] for each in both] == ["download", "download-draft"]
    assert len({into(each) for each in both}) == 2
    (config,) = (each for each in spec["containers"][0]["args"] if "speculative-config" in each)
    assert into(both[1]) in config


def test_a_model_that_drafts_for_itself_comes_once() -> None:
    assert [each["name"] for each in pod(HUB, speculation=drafting(HUB))["initContainers"]] == [
        "download"
    ]


def test_a_branch_has_a_folder_of_its_own() -> None:
    moving = {"source": "hf://org/model", "allowMovingRevision": True}
    folders = {
        into(pod({**moving, **revision})["initContainers"][0])
        for revision in ({}, {"revision": "refs/pr/1"}, {"revision": "v2"})
    }
    assert folders == {f"/cache/models/{each}/org/model" for each in ("main", "refs--pr--1", "v2")}


def test_what_the_engine_is_told_of_the_network_the_download_is_told_too() -> None:
    said = {"name": "HF_ENDPOINT", "value": "https://hub.example"}
    others = {"name": "wait", "image": "busybox", "env": [{"name": "A", "value": "1"}]}
    template = {
        "spec": {
            "containers": [{"name": "engine", "env": [said]}],
            "initContainers": [others],
        }
    }
    spec = pod({**HUB, "tokenFrom": TOKEN}, template=template)
    download, other = spec["initContainers"]
    assert environment(download)["HF_ENDPOINT"] == said
    assert "HF_TOKEN" in environment(download)
    assert environment(other) == {"A": {"name": "A", "value": "1"}}
    assert said in spec["containers"][0]["env"]


@pytest.mark.parametrize("name", ["download", "download-draft"])
def test_a_template_cannot_change_a_download(name: str) -> None:
    template = {"spec": {"initContainers": [{"name": name, "image": "other"}]}}
    owner = resource(spec={"model": HUB, "template": template})
    assert owner.spec is None
    assert f"spec.initContainers[{name}]" in str(owner.invalid)
    assert "say of the engine's" in str(owner.invalid)
