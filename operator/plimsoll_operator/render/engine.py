"""The engine's command line and container."""

import json
import math
from decimal import Decimal
from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec, Speculation, SpeculationMethod
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.api.template_rules import ENGINE
from plimsoll_operator.extended_resources import GPU
from plimsoll_operator.render import admin_trust
from plimsoll_operator.render.labels import ADMIN_PORT, HTTP, HTTPS, PORT
from plimsoll_operator.render.model_mount import CACHE_PATH, ModelMount
from plimsoll_operator.render.quantity import cpu_quantity, memory_quantity
from plimsoll_operator.render.rendering import Rendering
from plimsoll_operator.render.secrets import secret_mounts, secret_options
from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.quantization import Quantization

CPU = "cpu"
SHUTDOWN_SECONDS = 45
PRE_STOP_SECONDS = 3
GRACE_SECONDS = 60
"""Longer than the wait before SIGTERM and the drain after it together."""
PROBE_SECONDS = 2
SHM_BYTES_PER_GPU = 2**30
"""What NCCL may take of /dev/shm for each rank; a container without the mount has 64 MiB in all."""
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
"""What Pod Security `restricted` asks of a container."""
_HOST_CORES_PER_GPU = 1
_HOST_MEMORY_PER_GPU = 4 * 2**30
_DTYPES = {"BF16": "bfloat16", "FP32": "float32"}
_QUANTIZATIONS = {"INT8": Quantization.INT8}
"""What weights are made on loading, on `cpu`, unless they are published so; all else is in BF16
beside them."""
_KV_CACHE_DTYPES = {"INT8": KVCacheDtype.INT8}
"""Those that are not the weights'."""
_METHODS = {SpeculationMethod.N_GRAM: "ngram", SpeculationMethod.DRAFT_MODEL: "draft_model"}


def arguments(name: str, spec: LLMDeploymentSpec, plan: PlanStatus, mount: ModelMount) -> list[str]:
    """Arguments of `plimsoll`, each value bound to its option so that none can pass for another."""
    device = "cpu" if plan.accelerator == CPU else "cuda"
    formats = plan.precision
    quantization = _QUANTIZATIONS.get(formats.weights) if device == CPU else None
    options: dict[str, object] = {
        "served-model-name": spec.model.served_name or name,
        "host": "0.0.0.0",  # noqa: S104 - pods are reached at their own address
        "port": PORT,
        "admin-host": "0.0.0.0",  # noqa: S104 - as above; who comes must show a token
        "admin-port": ADMIN_PORT,
        "admin-trust-file": f"{admin_trust.MOUNT_PATH}/{admin_trust.FILE}",
        "device": device,
        "dtype": _DTYPES["BF16"] if quantization else _DTYPES.get(formats.weights, "auto"),
        "max-model-len": plan.max_model_len,
        "max-num-seqs": plan.max_num_seqs,
        "max-num-batched-tokens": plan.max_num_batched_tokens,
        "kv-cache-memory-bytes": plan.kv_cache_bytes,
        "shutdown-timeout": SHUTDOWN_SECONDS,
    }
    if quantization and not formats.published:
        options["quantization"] = quantization
    if formats.kv_cache in _KV_CACHE_DTYPES:
        options["kv-cache-dtype"] = _KV_CACHE_DTYPES[formats.kv_cache]
    if plan.tensor_parallel_size > 1:
        options["tensor-parallel-size"] = plan.tensor_parallel_size
    if plan.cpu_cores is not None:
        options["threads"] = _threads(plan)
    if spec.speculation.method is not SpeculationMethod.DISABLED:
        options["speculative-config"] = _speculative_config(spec.speculation, mount)
    options |= secret_options(spec)
    return ["serve", mount.argument, *(f"--{key}={value}" for key, value in options.items())]


def _speculative_config(speculation: Speculation, mount: ModelMount) -> str:
    """As JSON with the engine's, that is vLLM's, names."""
    config: dict[str, object] = {
        "method": _METHODS[speculation.method],
        "num_speculative_tokens": speculation.num_tokens,
        "disable_by_batch_size": speculation.max_sequences,
    }
    draft = speculation.draft_model
    if draft is not None:
        config["model"] = mount.draft_argument
    return json.dumps(config)


def container(
    name: str,
    spec: LLMDeploymentSpec,
    plan: PlanStatus,
    mount: ModelMount,
    rendering: Rendering,
) -> dict[str, Any]:
    """The container `engine`."""
    mounts = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod
        {"name": "cache", "mountPath": CACHE_PATH},
        admin_trust.mount(),
        *mount.mounts,
        *secret_mounts(spec),
    ]
    port = HTTP if spec.tls is None else HTTPS
    if plan.accelerator != CPU:
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108 - of the pod
    return {
        "name": ENGINE,
        "image": rendering.image,
        "imagePullPolicy": rendering.pull_policy,
        "command": ["plimsoll"],
        "args": arguments(name, spec, plan, mount),
        "env": _environment(plan),
        "ports": [
            {"name": port, "containerPort": PORT, "protocol": "TCP"},
            {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        "resources": _resources(plan),
        "startupProbe": _probe(port, "/startupz", math.ceil(mount.startup_seconds / PROBE_SECONDS)),
        "livenessProbe": _probe(port, "/livez", 30),
        "readinessProbe": _probe(port, "/readyz", 3),
        # What a crash printed last is in the pod's status, and so in the resource's.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "securityContext": {**RESTRICTED, "readOnlyRootFilesystem": True},
        "volumeMounts": mounts,
    }


def gpus_per_replica(plan: PlanStatus) -> int:
    """GPUs of one pod."""
    return plan.tensor_parallel_size * plan.pipeline_parallel_size


def resource_of(plan: PlanStatus) -> str:
    """The extended resource that its pods ask for."""
    return plan.resource_name or GPU


def _environment(plan: PlanStatus) -> list[dict[str, str]]:
    environment = [{"name": "HOME", "value": CACHE_PATH}]
    if plan.cpu_cores is not None:
        environment += [
            {"name": "OMP_NUM_THREADS", "value": str(_threads(plan))},
            # Replicas share cores: a thread that spins while it waits takes the core from the
            # thread that it waits for.
            {"name": "OMP_WAIT_POLICY", "value": "PASSIVE"},
        ]
    return environment


def _threads(plan: PlanStatus) -> int:
    return max(1, math.ceil(Decimal(plan.cpu_cores or "1")))


def _resources(plan: PlanStatus) -> dict[str, dict[str, str]]:
    if plan.cpu_cores is not None:
        memory = memory_quantity(plan.memory_bytes)
        return {
            "requests": {"cpu": cpu_quantity(Decimal(plan.cpu_cores)), "memory": memory},
            "limits": {"memory": memory},
        }
    gpus, resource = gpus_per_replica(plan), resource_of(plan)
    return {
        "requests": {
            "cpu": cpu_quantity(Decimal(_HOST_CORES_PER_GPU * gpus)),
            "memory": memory_quantity(_HOST_MEMORY_PER_GPU * gpus),
            resource: str(gpus),
        },
        "limits": {resource: str(gpus)},
    }


def _probe(port: str, path: str, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": port, "scheme": port.upper()},
        "periodSeconds": PROBE_SECONDS,
        # Above the period, because an engine that is short of cores answers late and yet serves.
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
