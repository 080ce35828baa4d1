"""Argo CD, Flux and whoever knows kstatus see the same, in every phase of a resource's life."""

from collections.abc import Mapping
from typing import Any

import celpy
import pytest
import yaml
from celpy.adapter import json_to_cel
from lupa.lua51 import LuaRuntime

from plimsoll_operator.accelerator_keeper import status_of
from plimsoll_operator.planning.accelerators import verdicts
from plimsoll_operator.render.model_mount import model_mount
from tests.unit.manifests.kstatus import kstatus
from tests.unit.manifests.life_phases import life_phases
from tests.unit.manifests.shipped import MANIFESTS, documents
from tests.unit.plimsoll_operator.samples import NOW, resource

ARGOCD = MANIFESTS / "argocd"
FLUX = MANIFESTS / "flux"
PHASES = life_phases()
PROGRESSING = ("InProgress", "Progressing", "InProgress")
HEALTHY = ("Current", "Healthy", "Current")
FAILED = ("Failed", "Degraded", "Failed")
DELETING = ("Terminating", "Progressing", "InProgress")
# By kstatus, Argo CD and Flux.
WANTED = {
    # kstatus alone cannot tell an object that nobody has seen from one that needs no status.
    "created": ("Current", "Progressing", "Unknown"),
    "planning": PROGRESSING,
    "applying": PROGRESSING,
    "rolling out": PROGRESSING,
    "no pod ready in time": FAILED,
    "serving": HEALTHY,
    "edited, not seen": PROGRESSING,
    "edited, applying": PROGRESSING,
    "edited, rolling out": PROGRESSING,
    "edited, serving": HEALTHY,
    "limits edited, not seen": PROGRESSING,
    "limits edited, being sent": PROGRESSING,
    "limits edited, not taken": PROGRESSING,
    "limits edited, serving": HEALTHY,
    "infeasible, the earlier plan serves": FAILED,
    "infeasible, nothing serves": FAILED,
    "infeasible, serving by best effort": HEALTHY,
    "no config of the model": FAILED,
    "invalid": FAILED,
    "rolled back": FAILED,
    "paused, an edit waits": ("InProgress", "Suspended", "InProgress"),
    "paused, nothing waits": HEALTHY,
    "serving, one more on the way": HEALTHY,
    "being deleted": DELETING,
    "edited and deleted": DELETING,
}


def argocd(script: str, raw: Mapping[str, Any]) -> tuple[str, str]:
    """Status and message, by Lua 5.1 as Argo CD has it, without the libraries it leaves out."""
    lua = LuaRuntime(register_eval=False, register_builtins=False, unpack_returned_tuples=True)
    for name in ("io", "os", "debug", "package", "require", "dofile", "loadfile"):
        lua.globals()[name] = None
    lua.globals().obj = lua.table_from(raw, recursive=True)
    health = lua.execute((ARGOCD / script).read_text("utf-8"))
    return str(health.status), str(health.message)


def flux(raw: Mapping[str, Any]) -> str:
    """By the expressions. Where one fails Flux asks again, until the Kustomization's timeout."""
    (document,) = documents(FLUX / "kustomization.yaml")
    (expressions,) = (
        each
        for each in document["spec"]["healthCheckExprs"]
        if each["kind"] == raw.get("kind", "LLMDeployment")
    )
    if "status" not in raw:
        return "Unknown"  # cel-go, other than celpy, fails where a variable has no value
    environment = celpy.Environment()
    activation = {name: json_to_cel(value) for name, value in raw.items()}
    for name, verdict in (
        ("inProgress", "InProgress"),
        ("failed", "Failed"),
        ("current", "Current"),
    ):
        program = environment.program(environment.compile(expressions[name]))
        if program.evaluate(activation):
            return verdict
    return "InProgress"


@pytest.mark.parametrize("phase", PHASES)
def test_all_see_the_same(phase: str) -> None:
    raw = PHASES[phase]
    status, message = argocd("llmdeployment.lua", raw)
    assert (kstatus(raw), status, flux(raw)) == WANTED[phase]
    assert message


def test_every_phase_is_judged() -> None:
    assert set(WANTED) == set(PHASES)


@pytest.mark.parametrize("phase", PHASES)
def test_healthy_means_that_this_generation_serves(phase: str) -> None:
    raw = PHASES[phase]
    status, _ = argocd("llmdeployment.lua", raw)
    conditions = {
        item["type"]: item["status"] for item in raw.get("status", {}).get("conditions", ())
    }
    seen = raw.get("status", {}).get("observedGeneration") == raw["metadata"]["generation"]
    serves = seen and conditions.get("Ready") == "True"
    gone = "deletionTimestamp" in raw["metadata"]
    assert (status == "Healthy") is (serves and not gone)


def test_argocd_says_why() -> None:
    _, message = argocd("llmdeployment.lua", PHASES["infeasible, nothing serves"])
    assert message.startswith("Infeasible: TTFT p95 640ms is above 1ms")


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"products": ["H200"], "pricePerHour": "4.2"}, ("Healthy", "Current")),
        ({"products": ["Acme-X1"]}, ("Degraded", "Failed")),
    ],
)
def test_accelerators(spec: dict[str, Any], wanted: tuple[str, str]) -> None:
    raw: dict[str, Any] = {
        "kind": "Accelerator",
        "metadata": {"name": "a", "generation": 1, "creationTimestamp": NOW},
        "spec": spec,
    }
    assert (argocd("accelerator.lua", raw)[0], flux(raw)) == ("Progressing", "Unknown")
    (verdict,) = verdicts([raw])
    raw["status"] = status_of(verdict, raw, NOW)
    assert (argocd("accelerator.lua", raw)[0], flux(raw)) == wanted
    raw["metadata"]["generation"] = 2
    assert (argocd("accelerator.lua", raw)[0], flux(raw)) == ("Progressing", "InProgress")


def test_the_component_names_its_files_by_group_and_kind() -> None:
    component = yaml.safe_load((ARGOCD / "kustomization.yaml").read_text("utf-8"))
    (generator,) = component["configMapGenerator"]
    named = dict(entry.split("=") for entry in generator["files"])
    kinds = {
        item["spec"]["names"]["kind"]
        for item in documents(*(ARGOCD.parents[1] / "crds").glob("plimsoll*"))
    }
    assert set(named) == {f"resource.customizations.health.plimsoll.dev_{kind}" for kind in kinds}
    assert set(named.values()) == {path.name for path in ARGOCD.glob("*.lua")}


def test_examples_wait_as_long_as_a_model_may_take() -> None:
    (document,) = documents(FLUX / "kustomization.yaml")
    assert document["spec"]["timeout"] == "70m"
    owner = resource(spec={"model": {"source": "hf://org/model", "revision": "0123abc"}})
    assert owner.spec is not None
    mount = model_mount(owner.spec)
    assert mount.download_seconds + mount.startup_seconds <= 65 * 60
