import re
from typing import Any

import pytest

from plimsoll_operator.api.rules import RULES
from plimsoll_operator.api.validate import InvalidSpecError, parse_document, parse_spec

TINY = {"source": "builtin://tiny"}
HUB = {"source": "hf://org/model", "revision": "0e9e39f"}
CONFIG = {"configMapKeyRef": {"name": "config"}}
TRACE = {"configMapKeyRef": {"name": "traffic"}}


@pytest.mark.parametrize(
    "spec",
    [
        {"model": TINY},
        {"model": HUB},
        {"model": {**HUB, "revision": "main", "allowMovingRevision": True}},
        {"model": {"source": "hf://org/model", "allowMovingRevision": True}},
        {"model": {"source": "pvc://claim/path", "configFrom": CONFIG}},
        {"model": {**TINY, "maxContextLength": 640}},
        {"model": TINY, "scaling": {"minReplicas": 3, "maxReplicas": 3}},
        {"model": TINY, "workload": {"promptTokens": {"mean": 10, "p95": 10}}},
        {"model": TINY, "workload": {"trace": TRACE}},
        {"model": TINY, "workload": {"trace": TRACE, "requestsPerSecond": "3"}},
        {"model": {**TINY, "maxContextLength": 64}, "workload": {"trace": TRACE}},
        {"model": TINY, "pin": {"tensorParallelSize": 8}},
        {"model": TINY, "replicas": 2},
        {"model": TINY, "precision": {"weights": "FP32"}},
        {"model": TINY, "precision": {"kvCache": "FP32"}},
        {"model": TINY, "precision": {"weights": "BF16", "kvCache": "Auto"}},
        {"model": TINY, "precision": {"weights": "BF16", "kvCache": "INT8"}},
        {"model": TINY, "precision": {"kvCache": "INT8"}},
        {"model": TINY, "precision": {"weights": "BF16", "kvCache": "BF16"}},
        {"model": TINY, "precision": {"weights": "FP8", "kvCache": "BF16"}},
        {"model": TINY, "pin": {"pipelineParallelSize": 2}},
    ],
)
def test_valid_specs(spec: dict[str, Any]) -> None:
    parse_spec(spec)


@pytest.mark.parametrize(
    ("spec", "path", "said"),
    [
        ({"model": TINY, "scaling": {"minReplicas": 3}}, "spec.scaling.maxReplicas", "1: "),
        (
            {"model": TINY, "workload": {"requestsPerSecond": 4.5}},
            "spec.workload.requestsPerSecond",
            '4.5: must be text: put it in quotes, "4.5"',
        ),
        (
            {"model": TINY, "slo": {"timeToFirstToken": {"p95": 800}}},
            "spec.slo.timeToFirstToken.p95",
            '800: must be text: put it in quotes, "800", with its unit if it has one, such as',
        ),
        (
            {"model": TINY, "scaling": {"minReplicas": "5"}},
            "spec.scaling.minReplicas",
            "'5': must be a whole number, without quotes",
        ),
        (
            {"model": TINY, "scaling": {"minReplicas": True}},
            "spec.scaling.minReplicas",
            "True: must be a whole number, without quotes",
        ),
        (
            {"model": TINY, "workload": {"promptTokens": {"mean": 20, "p95": 10}}},
            "spec.workload.promptTokens.p95",
            "10: p95 must be at least mean",
        ),
        (
            {"model": TINY, "workload": {"outputTokens": {"mean": 20, "p95": 10}}},
            "spec.workload.outputTokens.p95",
            "10: p95 must be at least mean",
        ),
        (
            {"model": TINY, "workload": {"sharedPrefixTokens": 513}},
            "spec.workload.sharedPrefixTokens",
            "513: ",
        ),
        (
            {"model": {**HUB, "tokenFrom": {"secretKeyRef": {"name": "hub", "key": "a/b"}}}},
            "spec.model.tokenFrom.secretKeyRef.key",
            "'a/b': must be a key of a Secret",
        ),
        *(
            (
                {"model": TINY, "workload": {"trace": TRACE, **figures}},
                "spec.workload.trace",
                "a trace has lengths and prefixes of its own: remove promptTokens",
            )
            for figures in (
                {"promptTokens": {"mean": 512}},
                {"outputTokens": {"mean": 1}},
                {"sharedPrefixTokens": 1},
            )
        ),
        ({"model": {**HUB, "revision": "main"}}, "spec.model.revision", "'main': "),
        ({"model": {"source": "hf://org/model"}}, "spec.model.revision", "needs a commit"),
        ({"model": {**TINY, "revision": "0e9e39f"}}, "spec.model.revision", "only for hf://"),
        ({"model": {"source": "pvc://claim"}}, "spec.model.configFrom", "need configFrom"),
        ({"model": {"source": "oci://image"}}, "spec.model.configFrom", "need configFrom"),
        (
            {"model": TINY, "speculation": {"method": "DraftModel"}},
            "spec.speculation.draftModel",
            "method DraftModel needs draftModel",
        ),
        (
            {"model": TINY, "speculation": {"method": "NGram", "draftModel": TINY}},
            "spec.speculation.draftModel",
            "only for method DraftModel",
        ),
        (
            {
                "model": TINY,
                "speculation": {"method": "DraftModel", "draftModel": {"source": "hf://org/x"}},
            },
            "spec.speculation.draftModel.revision",
            "needs a commit",
        ),
        (
            {
                "model": TINY,
                "speculation": {"method": "DraftModel", "draftModel": {"source": "pvc://claim"}},
            },
            "spec.speculation.draftModel.configFrom",
            "need configFrom",
        ),
        (
            {"model": {**TINY, "maxContextLength": 639}},
            "spec.model.maxContextLength",
            "639: maxContextLength must hold",
        ),
        (
            {"model": TINY, "pin": {"tensorParallelSize": 9}},
            "spec.pin.tensorParallelSize",
            "9: ",
        ),
        (
            {"model": TINY, "pin": {"maxNumSeqs": 65, "maxNumBatchedTokens": 64}},
            "spec.pin.maxNumBatchedTokens",
            "64: ",
        ),
        (
            {"model": TINY, "workload": {"requestsPerSecond": "0"}},
            "spec.workload.requestsPerSecond",
            "'0': must be greater than zero",
        ),
        (
            {"model": TINY, "slo": {"timeToFirstToken": {"p95": "0ms"}}},
            "spec.slo.timeToFirstToken.p95",
            "'0ms': must be greater than zero",
        ),
        (
            {"model": TINY, "slo": {"timePerOutputToken": {"p95": "0.0s"}}},
            "spec.slo.timePerOutputToken.p95",
            "must be greater than zero",
        ),
        (
            {"model": TINY, "slo": {"maxCostPerMillionTokens": "0.00"}},
            "spec.slo.maxCostPerMillionTokens",
            "must be greater than zero",
        ),
        (
            {"model": TINY, "scaling": {"scaleDownStabilization": "0s"}},
            "spec.scaling.scaleDownStabilization",
            "must be greater than zero",
        ),
        (
            {"model": TINY, "pin": {"kvCacheMemory": "0Gi"}},
            "spec.pin.kvCacheMemory",
            "must be greater than zero",
        ),
        (
            {"model": TINY, "precision": {"weights": "BF16", "kvCache": "FP32"}},
            "spec.precision.kvCache",
            "'FP32': kvCache must be Auto, INT8 or the same as weights",
        ),
        (
            {"model": TINY, "precision": {"weights": "FP32", "kvCache": "BF16"}},
            "spec.precision.kvCache",
            "'BF16': kvCache must be Auto, INT8 or the same as weights",
        ),
        ({"model": {}}, "spec.model.source", "is required"),
        ({"model": {**TINY, "sourze": 1}}, "spec.model.sourze", "unknown field"),
        ({"model": {"source": "s3://x"}}, "spec.model.source", "'s3://x': must be hf://ORG"),
        (
            {"model": TINY, "slo": {"timeToFirstToken": {"p95": "soon"}}},
            "spec.slo.timeToFirstToken.p95",
            "'soon': must be a duration",
        ),
        (
            {"model": TINY, "accelerators": {"allow": ["cpu", "NVIDIA H200"]}},
            "spec.accelerators.allow[1]",
            "'NVIDIA H200': must be cpu or a product",
        ),
        (
            {"model": {**TINY, "configFrom": {"configMapKeyRef": {"name": "../other"}}}},
            "spec.model.configFrom.configMapKeyRef.name",
            "'../other': must be the name of an object",
        ),
        ({"model": TINY, "scaling": {"mode": "Magic"}}, "spec.scaling.mode", "'Magic': "),
        (None, "spec", "is required"),
    ],
)
def test_invalid_specs(spec: Any, path: str, said: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse_spec(spec)
    assert any(path in p.path and said in p.message for p in caught.value.problems), str(
        caught.value
    )


def test_what_is_no_number_is_not_also_called_zero() -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse_spec({"model": TINY, "slo": {"timeToFirstToken": {"p95": "soon"}}})
    assert len(caught.value.problems) == 1
    for rule in RULES:
        if rule.message.startswith("must be greater than zero"):
            assert all(map(rule.holds, ("soon", "1", "0.01", "10Gi", "-1", "")))
            assert not any(map(rule.holds, ("0", "0.00", "0ms", "00Gi")))


def test_a_field_without_a_value_is_absent_as_it_is_for_the_api_server() -> None:
    empty = {
        "model": {**TINY, "servedName": None, "allowMovingRevision": None},
        "scaling": None,
        "slo": {"whenInfeasible": None, "timeToFirstToken": None},
        "accelerators": {"allow": None},
        "template": {"spec": None, "metadata": {"labels": {"a": None}}},
    }
    assert parse_spec(empty) == parse_spec({"model": TINY, "template": {}})
    assert empty["scaling"] is None  # what was given stays as it is


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"model": {"source": None}}, "spec.model.source: is required"),
        ({"model": None}, "spec.model: is required"),
        ({"model": TINY, "scalling": None}, "did you mean scaling?"),
        ({"model": TINY, "accelerators": {"allow": [None]}}, "allow[0]: input should be"),
        ({"model": TINY, "replicas": "x", "scaling": None}, "spec.replicas: 'x'"),
    ],
)
def test_what_is_still_wrong_without_it_is_told(spec: Any, said: str) -> None:
    with pytest.raises(InvalidSpecError, match=re.escape(said)):
        parse_spec(spec)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse_spec(
            {
                "model": {"source": "hf://org/model"},
                "scaling": {"minReplicas": 5},
                "workload": {"requestsPerSecond": "0"},
            }
        )
    assert len(caught.value.problems) == 3


def test_every_rule_has_a_message_and_a_place() -> None:
    for rule in RULES:
        assert rule.path.startswith("spec")
        assert rule.field == "" or rule.field.startswith(".")
        assert "self" in rule.cel
        assert rule.message[0].islower()


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ([], "document"),
        ({"apiVersion": "v1", "kind": "Pod"}, "apiVersion"),
        (
            {"apiVersion": "plimsoll.dev/v1alpha1", "kind": "LLMDeployment", "metadata": {}},
            "metadata.name",
        ),
        (
            {
                "apiVersion": "plimsoll.dev/v1alpha1",
                "kind": "LLMDeployment",
                "metadata": {"name": "a" * 54},
            },
            "metadata.name",
        ),
    ],
)
def test_documents_that_are_not_ours(document: Any, path: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse_document(document)
    assert caught.value.problems[0].path == path
