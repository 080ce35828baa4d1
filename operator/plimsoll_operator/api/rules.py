"""Rules across fields of specs, each stated once.

The CRD generator puts `cel` into `x-kubernetes-validations` of the schema node at `path`, so that
`kubectl apply` refuses; `validate.py` evaluates `holds` for whoever has no API server to ask. Both
forms of a rule stand side by side here, so that a change of one meets the other.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

COMMIT_PATTERN = "^[0-9a-f]{7,40}$"
_ZERO = "^0[0.]*[a-zA-Z]*$"


@dataclass(frozen=True)
class Rule:
    """What must hold at one node of the spec.

    `path` names the node, such as `spec.scaling`; `field` the field below it that is to blame, as
    `fieldPath` in CEL (`.maxReplicas`), or empty for the node itself. `cel` sees the node as
    `self`, with defaults filled in; `holds` sees the pydantic object of the same node, or the
    plain value where the node is a string, and is asked only where the node is present.
    """

    path: str
    field: str
    cel: str
    message: str
    holds: Callable[[Any], bool]


def _above_zero(text: str) -> bool:
    return re.search(_ZERO, text) is None


def _positive(path: str, example: str) -> Rule:
    return Rule(
        path=path,
        field="",
        # What is no number at all is told by the format alone.
        cel=f"!self.matches('{_ZERO}')",
        message=f"must be greater than zero, such as {example}",
        holds=_above_zero,
    )


def _p95_not_below_mean(path: str) -> Rule:
    return Rule(
        path=path,
        field=".p95",
        cel="!has(self.p95) || self.p95 >= self.mean",
        message="p95 must be at least mean: raise p95, or leave it out for twice the mean",
        holds=lambda lengths: lengths.p95 is None or lengths.p95 >= lengths.mean,
    )


def _pinned_or_moving(model: Any) -> bool:
    if not model.source.startswith("hf://") or model.allow_moving_revision:
        return True
    return model.revision is not None and re.search(COMMIT_PATTERN, model.revision) is not None


def _source_rules(path: str) -> tuple[Rule, ...]:
    """What holds of every model's source."""
    return (
        Rule(
            path=path,
            field=".revision",
            cel="!self.source.startsWith('hf://') || self.allowMovingRevision || "
            f"(has(self.revision) && self.revision.matches('{COMMIT_PATTERN}'))",
            message="an hf:// source needs a commit as revision, 7 to 40 hexadecimal digits; a "
            "branch or tag moves: set allowMovingRevision to true to accept one, or none",
            holds=_pinned_or_moving,
        ),
        Rule(
            path=path,
            field=".revision",
            cel="!has(self.revision) || self.source.startsWith('hf://')",
            message="revision is only for hf:// sources: remove it, and name the version in the "
            "source",
            holds=lambda model: model.revision is None or model.source.startswith("hf://"),
        ),
        Rule(
            path=path,
            field=".configFrom",
            cel="has(self.configFrom) || "
            "!(self.source.startsWith('pvc://') || self.source.startsWith('oci://'))",
            message="pvc:// and oci:// sources need configFrom, a ConfigMap with the model's "
            "config.json, since planning cannot read the volume or image",
            holds=lambda model: (
                model.config_from is not None or not model.source.startswith(("pvc://", "oci://"))
            ),
        ),
    )


def _only_for_downloads(field: str, value: Callable[[Any], object]) -> Rule:
    return Rule(
        path="spec.model",
        field=f".{field}",
        cel=f"!has(self.{field}) || self.source.startsWith('hf://')",
        message=f"{field} is only for hf:// sources, which are downloaded: remove it",
        holds=lambda model: value(model) is None or model.source.startswith("hf://"),
    )


RULES: tuple[Rule, ...] = (
    Rule(
        path="spec.scaling",
        field=".maxReplicas",
        cel="self.minReplicas <= self.maxReplicas",
        message="maxReplicas must be at least minReplicas (minReplicas and maxReplicas are 1 "
        "where absent)",
        holds=lambda scaling: scaling.min_replicas <= scaling.max_replicas,
    ),
    Rule(
        path="spec.scaling",
        field=".schedules",
        cel="!has(self.schedules) || "
        "self.schedules.all(each, each.minReplicas <= self.maxReplicas)",
        message="minReplicas of a schedule must be at most maxReplicas",
        holds=lambda scaling: all(
            each.min_replicas <= scaling.max_replicas for each in scaling.schedules
        ),
    ),
    _p95_not_below_mean("spec.workload.promptTokens"),
    _p95_not_below_mean("spec.workload.outputTokens"),
    Rule(
        path="spec.workload",
        field=".sharedPrefixTokens",
        cel="self.sharedPrefixTokens <= (has(self.promptTokens) ? self.promptTokens.mean : 512)",
        message="sharedPrefixTokens must be at most promptTokens.mean, which is 512 where absent: "
        "the prefix is part of the prompt",
        holds=lambda workload: workload.shared_prefix_tokens <= workload.prompts.mean,
    ),
    Rule(
        path="spec.workload",
        field=".trace",
        cel="!has(self.trace) || !(has(self.promptTokens) || has(self.outputTokens) || "
        "self.sharedPrefixTokens > 0)",
        message="a trace has lengths and prefixes of its own: remove promptTokens, outputTokens "
        "and sharedPrefixTokens, or the trace",
        holds=lambda workload: (
            workload.trace is None
            or (
                workload.prompt_tokens is None
                and workload.output_tokens is None
                and not workload.shared_prefix_tokens
            )
        ),
    ),
    *_source_rules("spec.model"),
    _only_for_downloads("tokenFrom", lambda model: model.token_from),
    _only_for_downloads("cache", lambda model: model.cache),
    *_source_rules("spec.speculation.draftModel"),
    Rule(
        path="spec.speculation",
        field=".draftModel",
        cel="self.method != 'DraftModel' || has(self.draftModel)",
        message="method DraftModel needs draftModel: the source of a model with the same "
        "vocabulary",
        holds=lambda speculation: (
            speculation.method != "DraftModel" or speculation.draft_model is not None
        ),
    ),
    Rule(
        path="spec.speculation",
        field=".draftModel",
        cel="self.method == 'DraftModel' || !has(self.draftModel)",
        message="draftModel is only for method DraftModel: remove it, or set method to DraftModel",
        holds=lambda speculation: (
            speculation.method == "DraftModel" or speculation.draft_model is None
        ),
    ),
    Rule(
        path="spec",
        field=".model.maxContextLength",
        cel="!has(self.model.maxContextLength) || has(self.workload.trace) || "
        "self.model.maxContextLength >= "
        "(has(self.workload.promptTokens) ? self.workload.promptTokens.mean : 512) + "
        "(has(self.workload.outputTokens) ? self.workload.outputTokens.mean : 128)",
        message="maxContextLength must hold the mean prompt and output of spec.workload (512 and "
        "128 where absent): raise it, or lower promptTokens.mean or outputTokens.mean",
        holds=lambda spec: (
            spec.model.max_context_length is None
            or spec.workload.trace is not None
            or spec.model.max_context_length
            >= spec.workload.prompts.mean + spec.workload.outputs.mean
        ),
    ),
    Rule(
        path="spec",
        field=".pin.tensorParallelSize",
        cel="!has(self.pin.tensorParallelSize) || "
        "self.pin.tensorParallelSize <= self.accelerators.maxPerReplica",
        message="pin.tensorParallelSize must be at most accelerators.maxPerReplica (8 where "
        "absent): raise maxPerReplica or lower the pin",
        holds=lambda spec: (
            spec.pin.tensor_parallel_size is None
            or spec.pin.tensor_parallel_size <= spec.accelerators.max_per_replica
        ),
    ),
    Rule(
        path="spec.pin",
        field=".maxNumBatchedTokens",
        cel="!has(self.maxNumSeqs) || !has(self.maxNumBatchedTokens) || "
        "self.maxNumBatchedTokens >= self.maxNumSeqs",
        message="maxNumBatchedTokens must be at least maxNumSeqs: every running sequence gets a "
        "token in a step",
        holds=lambda pin: (
            pin.max_num_seqs is None
            or pin.max_num_batched_tokens is None
            or pin.max_num_batched_tokens >= pin.max_num_seqs
        ),
    ),
    Rule(
        path="spec.precision",
        field=".kvCache",
        cel="self.kvCache in ['Auto', 'INT8'] || self.kvCache == self.weights || "
        "!(self.weights in ['BF16', 'FP32'])",
        message="kvCache must be Auto, INT8 or the same as weights, since the engine keeps its KV "
        "cache in INT8 or the format of the weights: set kvCache to Auto, or weights to what "
        "kvCache is",
        holds=lambda precision: (
            precision.kv_cache in ("Auto", "INT8", precision.weights)
            or precision.weights not in ("BF16", "FP32")
        ),
    ),
    _positive("spec.workload.requestsPerSecond", "2.5 or 2500m"),
    _positive("spec.slo.timeToFirstToken.p95", "800ms"),
    _positive("spec.slo.timePerOutputToken.p95", "50ms"),
    _positive("spec.slo.maxCostPerMillionTokens", "0.60"),
    _positive("spec.scaling.scaleDownStabilization", "300s"),
    _positive("spec.pin.kvCacheMemory", "20Gi"),
)

ACCELERATOR_RULES: tuple[Rule, ...] = (
    Rule(
        path="spec",
        field=".products",
        cel="!has(self.link) || !self.products.exists(name, name.contains('-MIG-'))",
        message="a MIG slice reaches no other: remove link",
        holds=lambda spec: spec.link is None or not any("-MIG-" in name for name in spec.products),
    ),
    _positive("spec.memory", "80Gi"),
    _positive("spec.bandwidth", "3.35T"),
    _positive("spec.link.bandwidth", "450G"),
    *(
        _positive(f"spec.compute.{name}", "989T")
        for name in ("fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp4")
    ),
    *(
        _positive(f"spec.calibration.{name}Efficiency", "0.63")
        for name in ("compute", "bandwidth", "link")
    ),
)
