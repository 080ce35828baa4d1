"""What a template may not say, and what it may."""

from typing import Any

import pytest

from plimsoll_operator.api.template import PodTemplate
from plimsoll_operator.api.template_rules import NOT_OF_ENGINES, NOT_OF_PODS, template_problems
from plimsoll_operator.api.validate import InvalidSpecError, parse_spec


def problems(spec: dict[str, Any], **metadata: dict[str, str]) -> dict[str, str]:
    template = PodTemplate.model_validate({"metadata": metadata, "spec": spec})
    return dict(template_problems(template))


def engine(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "engine", **fields}]}


def test_what_platform_teams_set_is_fine() -> None:
    assert not dict(template_problems(None))
    spec = {
        "nodeSelector": {"pool": "llm"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone"}],
        "priorityClassName": "serving",
        "imagePullSecrets": [{"name": "registry"}],
        "runtimeClassName": "nvidia",
        "securityContext": {"supplementalGroups": [44]},
        "initContainers": [{"name": "wait", "image": "wait:1", "args": ["--for=proxy"]}],
        "volumes": [{"name": "certs", "secret": {"secretName": "certs"}}],
        "containers": [
            {"name": "mesh", "image": "mesh:1", "ports": [{"containerPort": 1}], "args": ["-v"]},
            {
                "name": "engine",
                "image": "mirror.example/engine:1",
                "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
                "volumeMounts": [{"name": "certs", "mountPath": "/etc/ssl/certs"}],
                "resources": {"limits": {"rdma/hca": 1}, "requests": {"ephemeral-storage": "9Gi"}},
            },
        ],
    }
    assert not problems(spec, labels={"team": "ml"}, annotations={"plimsoll.dev/x": "y"})


@pytest.mark.parametrize("field", NOT_OF_PODS)
def test_fields_of_the_pod_that_are_the_operators(field: str) -> None:
    (message,) = problems({field: True}).values()
    assert message == f"cannot be set: {NOT_OF_PODS[field]}"


@pytest.mark.parametrize("field", NOT_OF_ENGINES)
def test_fields_of_the_engine_that_are_the_operators(field: str) -> None:
    assert problems(engine(**{field: ["x"]})) == {
        f"spec.containers[engine].{field}": f"cannot be set: {NOT_OF_ENGINES[field]}"
    }


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}}, "spec.nodeSelector["),
        ({"nodeSelector": {"amd.com/gpu.product-name": "MI300X"}}, "spec.nodeSelector["),
        ({"nodeSelector": None}, "spec.nodeSelector"),
        ({"nodeSelector": ["pool"]}, "spec.nodeSelector"),
        ({"securityContext": None}, "spec.securityContext"),
        ({"tolerations": {"key": "x"}}, "spec.tolerations"),
        ({"tolerations": ["x"]}, "spec.tolerations"),
        ({"volumes": [{"emptyDir": {}}]}, "spec.volumes[0].name"),
        ({"volumes": {"name": "x"}}, "spec.volumes"),
        ({"volumes": [{"name": "cache", "emptyDir": {}}]}, "spec.volumes[cache]"),
        ({"containers": ["engine"]}, "spec.containers"),
        ({"containers": [{"image": "x"}]}, "spec.containers[0].name"),
        ({"initContainers": [{"name": "engine"}]}, "spec.initContainers[engine]"),
        ({"initContainers": 3}, "spec.initContainers"),
        (engine(env=[{"value": "x"}]), "spec.containers[engine].env[0].name"),
        (engine(env={"A": "b"}), "spec.containers[engine].env"),
        (engine(volumeMounts=[{"name": "x"}]), "spec.containers[engine].volumeMounts[0].mountPath"),
        (engine(resources={"limits": {"nvidia.com/gpu": 1}}), "spec.containers[engine].resources"),
        (engine(resources={"requests": {"memory": "1Gi"}}), "spec.containers[engine].resources"),
        (engine(resources=[]), "spec.containers[engine].resources"),
        (engine(securityContext=None), "spec.containers[engine].securityContext"),
    ],
)
def test_what_would_break_the_plan_is_named(spec: dict[str, Any], path: str) -> None:
    ((found, message),) = problems(spec).items()
    assert found.startswith(path)
    assert message


@pytest.mark.parametrize("label", ["plimsoll.dev/plan", "app.kubernetes.io/instance"])
def test_labels_of_the_operator_stay_its_own(label: str) -> None:
    assert list(problems({}, labels={label: "x"})) == [f"metadata.labels[{label}]"]


def test_all_problems_are_told_at_once_with_their_place() -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse_spec(
            {
                "model": {"source": "builtin://tiny"},
                "template": {"spec": {"hostNetwork": True, **engine(args=["--dtype=float32"])}},
            }
        )
    assert [problem.path for problem in caught.value.problems] == [
        "spec.template.spec.hostNetwork",
        "spec.template.spec.containers[engine].args",
    ]


def test_other_parts_of_metadata_are_refused() -> None:
    with pytest.raises(InvalidSpecError, match=r"spec\.template\.metadata\.name: unknown field"):
        parse_spec({"model": {"source": "builtin://tiny"}, "template": {"metadata": {"name": "x"}}})
