from typing import Any

import pytest

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.spelling import field_meant
from plimsoll_operator.api.validate import InvalidSpecError, parse_spec


@pytest.mark.parametrize(
    ("location", "meant"),
    [
        (("scalling",), "scaling"),
        (("scaling", "maxReplica"), "maxReplicas"),
        (("slo", "timeToFirstToken", "P95"), "p95"),
        (("scaling", "behavior", "scaleUp", "policies", 0, "period"), "periodSeconds"),
        (("scaling", "xyz"), ""),
        (("nothing", "like", "it"), ""),
        (("scaling", "maxReplicas", "more"), ""),
    ],
)
def test_the_field_that_is_spelled_most_alike(location: tuple[str | int, ...], meant: str) -> None:
    assert field_meant(LLMDeploymentSpec, location) == meant


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"scaling": {"maxReplica": 3}}, "spec.scaling.maxReplica: unknown field; did you mean"),
        ({"xyz": 1}, "spec.xyz: unknown field; remove it or check its spelling"),
    ],
)
def test_an_unknown_field_is_told_with_the_one_that_was_meant(
    spec: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidSpecError, match=said):
        parse_spec({"model": {"source": "builtin://tiny"}, **spec})
