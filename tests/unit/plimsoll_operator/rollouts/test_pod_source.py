"""An upgraded operator restarts no pod: what stands goes on by the image and rendering it has."""

from typing import Any

import pytest

from plimsoll_operator.render.deployment import deployment, pod_template
from plimsoll_operator.render.labels import PODS_ANNOTATION
from plimsoll_operator.render.rendering import NEWEST, Rendering
from plimsoll_operator.rollouts import pod_source
from plimsoll_operator.rollouts.pod_source import PodSource, source_of
from tests.unit.plimsoll_operator.played_rollouts import BAD, GOOD, Rollouts
from tests.unit.plimsoll_operator.samples import IMAGE, condition, cpu_plan, resource

NEWER = Rendering("registry.example/runtime:2", "Always")


def image(template: Any) -> str:
    return str(template["spec"]["containers"][0]["image"])


def upgraded(**spec: Any) -> Rollouts:
    """What served by the operator before."""
    rig = Rollouts(**spec)
    rig.serve()
    rig.cell.rendering = NEWER
    return rig


def test_an_upgrade_changes_nothing() -> None:
    rig = upgraded()
    before = rig.deployment
    assert rig.look().actions == ()
    assert rig.deployment == before


HUB = {"source": "hf://org/model", "revision": "0e9e39f"}
MIRROR = {"name": "engine", "image": "mirror.example/engine:7", "imagePullPolicy": "Never"}


@pytest.mark.parametrize("model", [GOOD, HUB], ids=["builtin", "hub"])
def test_nor_where_a_template_names_the_engines_image(model: dict[str, Any]) -> None:
    rig = upgraded(model=model, template={"spec": {"containers": [MIRROR]}})
    before = rig.deployment
    assert image(rig.template) == MIRROR["image"]
    assert rig.look().actions == ()
    assert rig.deployment == before


@pytest.mark.parametrize(
    "edit",
    [
        {"scaling": {"minReplicas": 2, "maxReplicas": 3}},
        {"rollout": {"paused": True}},
        {"rollout": {"progressDeadlineSeconds": 900}},
        {"revisionHistoryLimit": 3},
        {"pin": {"maxNumSeqs": 4}},
    ],
)
def test_edits_that_restart_nothing_still_do_not(edit: dict[str, Any]) -> None:
    rig = upgraded()
    before = rig.template
    rig.cell.edit(**edit)
    rig.serve()
    rig.cell.edit(rollout={})
    rig.serve()
    assert rig.template == before


def test_an_edit_of_what_pods_are_made_from_takes_the_new_image() -> None:
    rig = upgraded()
    rig.cell.edit(model={**GOOD, "servedName": "other"})
    rig.serve()
    assert image(rig.template) == NEWER.image


def test_what_somebody_changed_comes_back_as_it_was() -> None:
    rig = upgraded()
    before = rig.template
    rig.deployment["spec"]["template"]["spec"]["containers"][0]["args"].append("--quick")
    rig.settle()
    assert rig.template == before


def test_another_image_by_hand_is_replaced_by_the_newest() -> None:
    rig = upgraded()
    rig.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "by/hand:1"
    rig.settle()
    assert image(rig.template) == NEWER.image


def test_a_rollback_after_an_upgrade_goes_back_to_the_image_that_served() -> None:
    rig = upgraded()
    served = rig.template
    rig.cell.edit(model=BAD)
    rig.fail()
    assert condition(rig.cell, "Stalled")["reason"] == "RolledBack"
    assert rig.template == served
    assert image(served) == IMAGE.image


def test_a_deployment_that_is_gone_comes_back_by_the_newest() -> None:
    rig = upgraded()
    del rig.cell.world.children["Deployment", "chat"]
    rig.settle()
    assert image(rig.template) == NEWER.image


def test_an_earlier_version_of_the_rendering_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the next release had given pods one more label."""
    owner, plan = resource(), cpu_plan()
    assert owner.spec is not None
    there = deployment(owner, owner.spec, plan, IMAGE, 1)

    def later(*arguments: Any) -> dict[str, Any]:
        made = pod_template(*arguments)
        if arguments[3].version > NEWEST:
            made["metadata"]["labels"]["more"] = "yes"
        return made

    monkeypatch.setattr(pod_source, "NEWEST", NEWEST + 1)
    monkeypatch.setattr(pod_source, "pod_template", later)
    assert source_of(there, owner, owner.spec, (plan,)) == PodSource(plan, IMAGE)
    template = later(owner, owner.spec, plan, Rendering(IMAGE.image, version=NEWEST + 1))
    there["spec"]["template"] = template
    there["metadata"]["annotations"][PODS_ANNOTATION] = pod_source.digest(template)
    found = source_of(there, owner, owner.spec, (plan,))
    assert found is not None
    assert found.rendering.version == NEWEST + 1


@pytest.mark.parametrize(
    "broken", [{}, {"template": []}, {"template": {"spec": {"containers": [{"name": "engine"}]}}}]
)
def test_what_cannot_be_read_is_by_nothing(broken: dict[str, Any]) -> None:
    owner, plan = resource(), cpu_plan()
    assert owner.spec is not None
    there = deployment(owner, owner.spec, plan, IMAGE, 1) | {"spec": broken}
    assert source_of(there, owner, owner.spec, (plan,)) is None


@pytest.mark.parametrize(
    "kept", [None, {}, "x", {**NEWER.plain(), "version": NEWEST + 1}, {**NEWER.plain(), "image": 1}]
)
def test_a_revision_of_another_version_says_nothing(kept: object) -> None:
    assert Rendering.read(kept) is None
    assert Rendering.read(NEWER.plain()) == NEWER
