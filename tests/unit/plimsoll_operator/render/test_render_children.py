"""Renderings, byte for byte, of every version: once it is released, pods by it stay as they are.

`PLIMSOLL_UPDATE_GOLDEN=1 pytest tests/unit/plimsoll_operator/render` writes the files anew.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.api.status import PlanPrecision
from plimsoll_operator.difference import difference
from plimsoll_operator.planning.inventory import pools_from_nodes
from plimsoll_operator.render.children import child_keys, children, key_of
from plimsoll_operator.render.rendering import NEWEST
from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.quantization import Quantization
from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.server.command import parser
from plimsoll_runtime.server.speculative_config import read_speculative_config
from tests.unit.plimsoll_operator.render.cases import CASES, CONFIG, engine, pod, rendered
from tests.unit.plimsoll_operator.samples import IMAGE, cpu_plan, resource

GOLDEN = Path(__file__).parents[3] / "golden" / "render"


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, version: int) -> None:
    """Pods of a released version never change; its golden files stay when a newer one comes."""
    # By way of JSON, since YAML would write shared objects as references.
    plain = json.loads(json.dumps(rendered(case, rendering=replace(IMAGE, version=version))))
    text = yaml.safe_dump_all(plain, sort_keys=False, allow_unicode=True, width=100)
    path = GOLDEN / f"v{version}" / f"{case}.yaml"
    if os.environ.get("PLIMSOLL_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_names_labels_and_no_surprises(case: str) -> None:
    objects = rendered(case)
    assert tuple(key_of(child) for child in objects) == child_keys("chat")
    for child in objects:
        assert child["metadata"]["namespace"] == "ml"
        assert child["metadata"]["labels"] == {
            "app.kubernetes.io/name": "plimsoll-engine",
            "app.kubernetes.io/instance": "chat",
            "app.kubernetes.io/managed-by": "plimsoll",
        }
        assert difference(child, child) is None


@pytest.mark.parametrize("case", CASES)
def test_pod_security_restricted(case: str) -> None:
    spec, container = pod(case), engine(case)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert "hostNetwork" not in spec
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"] is True
    allowed = {"emptyDir", "persistentVolumeClaim", "image", "configMap", "secret"}
    for volume in spec["volumes"]:
        assert set(volume) - {"name"} <= allowed


def test_scaling_is_the_only_difference_that_scaling_makes() -> None:
    two, three = rendered("cpu-builtin", 2), rendered("cpu-builtin", 3)
    found = [where for a, b in zip(three, two, strict=True) if (where := difference(a, b))]
    assert found == [".spec.replicas"]


def test_the_hash_tells_a_field_that_is_no_longer_rendered() -> None:
    (with_gpu,) = (child for child in rendered("gpu-hf") if child["kind"] == "Deployment")
    (without,) = (child for child in rendered("cpu-builtin") if child["kind"] == "Deployment")
    assert difference(without, {**with_gpu, "spec": {**with_gpu["spec"], **without["spec"]}})


def test_cpu_plan_on_the_command_line_and_in_resources() -> None:
    container = engine("cpu-builtin")
    assert container["command"] == ["plimsoll"]
    assert container["args"] == [
        "serve",
        "builtin://tiny",
        "--served-model-name=chat",
        "--host=0.0.0.0",
        "--port=8000",
        "--admin-host=0.0.0.0",
        "--admin-port=9090",
        "--admin-trust-file=/etc/plimsoll/admin/trust.json",
        "--device=cpu",
        "--dtype=float32",
        "--max-model-len=2048",
        "--max-num-seqs=8",
        "--max-num-batched-tokens=256",
        "--kv-cache-memory-bytes=67108864",
        "--shutdown-timeout=45",
        "--threads=1",
    ]
    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": "700Mi"},
        "limits": {"memory": "700Mi"},
    }


def test_an_int8_cache_is_asked_for_where_the_plan_has_it() -> None:
    owner = resource(spec={"model": {"source": "builtin://tiny"}})
    assert owner.spec is not None
    plan = cpu_plan(precision=PlanPrecision(weights="BF16", kv_cache="INT8"))
    deployment = children(owner, owner.spec, plan, IMAGE, 1)[-1]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {"--dtype=bfloat16", "--kv-cache-dtype=int8"} <= set(container["args"])


@pytest.mark.parametrize(
    ("kv_cache", "options"),
    [
        ("BF16", {"--dtype=bfloat16", "--quantization=int8"}),
        ("INT8", {"--dtype=bfloat16", "--quantization=int8", "--kv-cache-dtype=int8"}),
    ],
)
def test_int8_weights_are_asked_for_where_the_plan_has_them(
    kv_cache: str, options: set[str]
) -> None:
    owner = resource(spec={"model": {"source": "builtin://tiny"}})
    assert owner.spec is not None
    plan = cpu_plan(precision=PlanPrecision(weights="INT8", kv_cache=kv_cache))
    (container,) = children(owner, owner.spec, plan, IMAGE, 1)[-1]["spec"]["template"]["spec"][
        "containers"
    ]
    chosen = ("--dtype", "--quantization", "--kv-cache-dtype")
    assert {each for each in container["args"] if each.startswith(chosen)} == options
    read = parser().parse_args(container["args"][1:])
    assert read.quantization is Quantization.INT8


def test_weights_that_are_published_in_int8_are_not_quantized_again() -> None:
    owner = resource(spec={"model": {"source": "builtin://tiny"}})
    assert owner.spec is not None
    precision = PlanPrecision(weights="INT8", kv_cache="INT8", published=True)
    deployment = children(owner, owner.spec, cpu_plan(precision=precision), IMAGE, 1)[-1]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    read = parser().parse_args(container["args"][1:])
    assert read.quantization is Quantization.NONE
    assert (read.dtype, read.kv_cache_dtype) == ("bfloat16", KVCacheDtype.INT8)


def test_other_weights_are_not_quantized_on_loading() -> None:
    owner = resource(spec={"model": {"source": "builtin://tiny"}})
    assert owner.spec is not None
    (container,) = children(owner, owner.spec, cpu_plan(), IMAGE, 1)[-1]["spec"]["template"][
        "spec"
    ]["containers"]
    assert not any(each.startswith("--quantization") for each in container["args"])


def speculation_argument(**speculation: object) -> list[str]:
    owner = resource(spec={"model": {"source": "builtin://tiny"}, "speculation": speculation})
    assert owner.spec is not None, owner.invalid
    deployment = children(owner, owner.spec, cpu_plan(), IMAGE, 1)[-1]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return [each for each in container["args"] if each.startswith("--speculative-config")]


def test_drafts_are_switched_on_with_what_the_engine_reads() -> None:
    assert speculation_argument() == speculation_argument(method="Disabled", numTokens=3) == []
    (argument,) = speculation_argument(method="NGram", numTokens=3)
    config = read_speculative_config(argument.partition("=")[2])
    assert config == SpeculativeConfig(SpeculativeMethod.NGRAM, 3, disable_by_batch_size=8)


def drafting_engine(
    model: dict[str, Any], draft: dict[str, Any]
) -> tuple[SpeculativeConfig, dict[str, Any], dict[str, Any]]:
    """What the engine is told of its draft model, its container and its pod."""
    speculation = {"method": "DraftModel", "draftModel": draft, "numTokens": 3}
    owner = resource(spec={"model": model, "speculation": speculation})
    assert owner.spec is not None, owner.invalid
    pod = children(owner, owner.spec, cpu_plan(), IMAGE, 1)[-1]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (argument,) = (each for each in container["args"] if each.startswith("--speculative-config"))
    return read_speculative_config(argument.partition("=")[2]), container, pod


CLAIM = {"source": "pvc://claim/models/llama-8b", "configFrom": CONFIG}
ON_SAME_CLAIM = {"source": "pvc://claim/models/llama-1b", "configFrom": CONFIG}
ON_OTHER_CLAIM = {"source": "pvc://other", "configFrom": CONFIG}
IN_IMAGE = {"source": "oci://registry.example/llama:1", "configFrom": CONFIG}
ON_HUB = {"source": "hf://org/draft", "revision": "0123abc"}
BUILTIN = {"source": "builtin://tiny"}


@pytest.mark.parametrize(
    ("model", "draft", "argument", "volumes", "startup"),
    [
        (BUILTIN, BUILTIN, "builtin://tiny", [], 600),
        (BUILTIN, ON_HUB, "/cache/models/0123abc/org/draft", [], 1200),
        (BUILTIN, ON_SAME_CLAIM, "/draft-model/models/llama-1b", ["draft-model"], 1200),
        (CLAIM, ON_SAME_CLAIM, "/models/models/llama-1b", ["model"], 1200),
        (CLAIM, ON_OTHER_CLAIM, "/draft-model", ["model", "draft-model"], 1200),
        (IN_IMAGE, IN_IMAGE, "/models", ["model"], 1200),
        (CLAIM, IN_IMAGE, "/draft-model", ["model", "draft-model"], 1200),
    ],
)
def test_a_draft_model_is_where_the_engine_is_told_that_it_is(
    model: dict[str, Any], draft: dict[str, Any], argument: str, volumes: list[str], startup: int
) -> None:
    config, container, pod = drafting_engine(model, draft)
    method = SpeculativeMethod.DRAFT_MODEL
    assert config == SpeculativeConfig(method, 3, model=argument, disable_by_batch_size=8)
    assert not any(each.startswith("--revision") for each in container["args"])
    declared = [
        volume for volume in pod["volumes"] if volume["name"] not in ("tmp", "cache", "admin")
    ]
    assert [volume["name"] for volume in declared] == volumes
    claims = [volume.get("persistentVolumeClaim") for volume in declared]
    assert claims.count({"claimName": "claim", "readOnly": True}) <= 1
    mounts = [
        item for item in container["volumeMounts"] if item["name"] not in ("tmp", "cache", "admin")
    ]
    assert [item["name"] for item in mounts] == volumes
    assert all(item["readOnly"] for item in mounts)
    if argument.startswith("/"):
        mounted = container["volumeMounts"]
        assert any(argument.startswith(item["mountPath"]) for item in mounted)
    assert container["startupProbe"]["failureThreshold"] * 2 == startup


@pytest.mark.parametrize(
    "speculation",
    [
        {"method": "DraftModel"},
        {"method": "NGram", "draftModel": BUILTIN},
        {"draftModel": BUILTIN},
        {"method": "DraftModel", "draftModel": {"source": "hf://org/draft"}},
        {"method": "DraftModel", "draftModel": {"source": "pvc://claim"}},
        {"method": "EAGLE"},
        {"method": False},  # what YAML makes of Off
        {"method": "NGram", "numTokens": 0},
        {"method": "NGram", "numTokens": 17},
        {"method": "NGram", "maxSequences": 0},
    ],
)
def test_drafts_that_cannot_be_are_refused(speculation: dict[str, Any]) -> None:
    model = {"source": "builtin://tiny"}
    assert resource(spec={"model": model, "speculation": speculation}).spec is None


def test_threads_of_cpu_engines_give_way_to_their_neighbours() -> None:
    environment = {item["name"]: item["value"] for item in engine("cpu-builtin")["env"]}
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert not any(item["name"].startswith("OMP_") for item in engine("gpu-hf")["env"])


def test_gpu_plan_asks_for_its_accelerators_and_nodes() -> None:
    spec, container = pod("gpu-hf"), engine("gpu-hf")
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert spec["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H200"}
    assert spec["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert "--tensor-parallel-size=2" in container["args"]
    (shm,) = (item["emptyDir"] for item in spec["volumes"] if item["name"] == "shm")
    assert shm == {"medium": "Memory", "sizeLimit": "2Gi"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert container["args"][1] == "/cache/models/0123abc/org/model"
    assert "--served-model-name=org/model-8b" in container["args"]
    assert "--device=cuda" in container["args"]


def test_a_slice_is_asked_for_by_its_own_resource_and_label() -> None:
    spec, container = pod("gpu-mig"), engine("gpu-mig")
    assert container["resources"]["limits"] == {"nvidia.com/mig-1g.10gb": "1"}
    assert container["resources"]["requests"]["nvidia.com/mig-1g.10gb"] == "1"
    assert spec["nodeSelector"] == {
        "nvidia.com/mig-1g.10gb.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb"
    }
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert "--device=cuda" in container["args"]


@pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute", "PreferNoSchedule"])
@pytest.mark.parametrize("key", ["nvidia.com/gpu", "maintenance"])
def test_pods_tolerate_what_nodes_are_counted_with(key: str, effect: str) -> None:
    node = {
        "metadata": {"labels": {"nvidia.com/gpu.product": "NVIDIA-H200"}},
        "spec": {"taints": [{"key": key, "value": "present", "effect": effect}]},
        "status": {"allocatable": {"nvidia.com/gpu": "8"}},
    }
    counted = bool(pools_from_nodes([node]))
    # As Kubernetes reads a toleration: what it leaves out matches anything.
    tolerated = any(
        toleration["key"] == key
        and toleration["operator"] == "Exists"
        and toleration.get("effect", effect) == effect
        for toleration in pod("gpu-hf")["tolerations"]
    )
    assert counted == (tolerated or effect == "PreferNoSchedule")


def test_sources() -> None:
    assert engine("gpu-pvc")["args"][1] == "/models/models/llama"
    (volume,) = (item for item in pod("gpu-pvc")["volumes"] if item["name"] == "model")
    assert volume["persistentVolumeClaim"] == {"claimName": "claim", "readOnly": True}
    assert engine("gpu-oci")["args"][1] == "/models"
    (volume,) = (item for item in pod("gpu-oci")["volumes"] if item["name"] == "model")
    assert volume["image"]["reference"] == "registry.example/models/llama:1"


def test_only_downloads_may_leave_the_cluster() -> None:
    ports = {}
    for case in CASES:
        (policy,) = (child for child in rendered(case) if child["kind"] == "NetworkPolicy")
        rules = policy["spec"]["egress"]
        ports[case] = sorted({port["port"] for rule in rules for port in rule["ports"]})
    assert ports.pop("gpu-hf") == ports.pop("gpu-secrets-template") == [53, 443]
    assert set(map(tuple, ports.values())) == {(53,)}
    speculation = {"method": "DraftModel", "draftModel": ON_HUB}
    owner = resource(spec={"model": BUILTIN, "speculation": speculation})
    assert owner.spec is not None, owner.invalid
    assert {"port": 443, "protocol": "TCP"} in (
        port
        for child in children(owner, owner.spec, cpu_plan(), IMAGE, 1)
        if child["kind"] == "NetworkPolicy"
        for rule in child["spec"]["egress"]
        for port in rule["ports"]
    )


@pytest.mark.parametrize(
    "model",
    [
        {"source": "builtin://tiny --trust-remote-code"},
        {"source": "pvc://claim/../../etc", "configFrom": CONFIG},
        {"source": "pvc://claim/.hidden", "configFrom": CONFIG},
        {"source": "hf://org/name; rm -rf /", "revision": "0123abc"},
        {"source": "oci://--x", "configFrom": CONFIG},
        {"source": "builtin://tiny", "servedName": "--api-key=x"},
        {"source": "builtin://tiny", "servedName": "$(HOME)"},
        {"source": "builtin://tiny", "servedName": "a\nb"},
        {"source": "hf://org/name", "revision": "--x", "allowMovingRevision": True},
        {"source": "hf://org/name", "revision": "../../x", "allowMovingRevision": True},
    ],
)
def test_injection_is_refused_by_the_schema(model: dict[str, Any]) -> None:
    assert resource(spec={"model": model}).spec is None


@given(
    cores=st.decimals(min_value="0.001", max_value=512, places=3),
    memory=st.integers(1, 2**42),
)
def test_quantities_are_as_the_server_would_write_them(cores: Any, memory: int) -> None:
    from plimsoll_operator.api.quantity import parse_quantity
    from plimsoll_operator.render.quantity import cpu_quantity, memory_quantity

    text = memory_quantity(memory)
    assert 0 <= parse_quantity(text) - memory < 2**20
    assert not (text.endswith("Mi") and int(text[:-2]) % 1024 == 0)
    cpu = cpu_quantity(cores)
    assert parse_quantity(cpu) == cores
    assert not (cpu.endswith("m") and int(cpu[:-1]) % 1000 == 0)
