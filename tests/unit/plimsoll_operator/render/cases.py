"""What is rendered in tests: models by where they come from, with their plans."""

from typing import Any

from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.render.children import children
from plimsoll_operator.render.rendering import Rendering
from tests.unit.plimsoll_operator.samples import IMAGE, cpu_plan, gpu_plan, resource

CONFIG = {"configMapKeyRef": {"name": "facts"}}
CASES: dict[str, tuple[dict[str, Any], PlanStatus]] = {
    "cpu-builtin": ({"source": "builtin://tiny"}, cpu_plan()),
    "cpu-two-ranks": (
        {"source": "builtin://tiny"},
        cpu_plan(cpu_cores="2", tensor_parallel_size=2, memory_bytes=3 * 2**30),
    ),
    "gpu-hf": (
        {"source": "hf://org/model", "revision": "0123abc", "servedName": "org/model-8b"},
        gpu_plan(),
    ),
    "gpu-mig": (
        {"source": "pvc://claim/models/llama", "configFrom": CONFIG},
        gpu_plan(
            accelerator="NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
            resource_name="nvidia.com/mig-1g.10gb",
            tensor_parallel_size=1,
        ),
    ),
    "gpu-pvc": ({"source": "pvc://claim/models/llama", "configFrom": CONFIG}, gpu_plan()),
    "gpu-oci": (
        {"source": "oci://registry.example/models/llama:1", "configFrom": CONFIG},
        gpu_plan(tensor_parallel_size=1),
    ),
    "cpu-tls": ({"source": "builtin://tiny"}, cpu_plan()),
    "gpu-draft-oci": ({"source": "pvc://claim/models/llama", "configFrom": CONFIG}, gpu_plan()),
    "gpu-secrets-template": (
        {
            "source": "hf://org/model",
            "revision": "0123abc",
            "tokenFrom": {"secretKeyRef": {"name": "hub"}},
            "cache": {"claimName": "models"},
        },
        gpu_plan(),
    ),
}
TEMPLATES: dict[str, dict[str, Any]] = {
    "cpu-tls": {"tls": {"certificateFrom": {"secretRef": {"name": "shown"}}}},
    "gpu-secrets-template": {
        "authentication": {"apiKeysFrom": {"secretKeyRef": {"name": "clients"}}},
        "template": {
            "metadata": {"labels": {"team": "ml"}, "annotations": {"scrape": "no"}},
            "spec": {
                "nodeSelector": {"pool": "llm"},
                "tolerations": [{"key": "dedicated", "value": "llm", "effect": "NoSchedule"}],
                "imagePullSecrets": [{"name": "registry"}],
                "priorityClassName": "serving",
                "containers": [
                    {"name": "engine", "env": [{"name": "NCCL_DEBUG", "value": "WARN"}]},
                    {"name": "log", "image": "registry.example/log:1"},
                ],
                "volumes": [{"name": "spool", "emptyDir": {}}],
            },
        },
    },
}
DRAFTS: dict[str, dict[str, Any]] = {
    "gpu-draft-oci": {"source": "oci://registry.example/llama-1b:1", "configFrom": CONFIG},
}


def rendered(
    case: str, replicas: int = 2, rendering: Rendering = IMAGE
) -> tuple[dict[str, Any], ...]:
    model, plan = CASES[case]
    spec: dict[str, Any] = {"model": model, **TEMPLATES.get(case, {})}
    if case in DRAFTS:
        spec["speculation"] = {"method": "DraftModel", "draftModel": DRAFTS[case]}
    owner = resource(spec=spec)
    assert owner.spec is not None, owner.invalid
    return children(owner, owner.spec, plan, rendering, replicas)


def engine(case: str) -> dict[str, Any]:
    (container,) = (each for each in pod(case)["containers"] if each["name"] == "engine")
    assert isinstance(container, dict)
    return container


def pod(case: str) -> dict[str, Any]:
    (deployment,) = (child for child in rendered(case) if child["kind"] == "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec
