"""Specs as people may write them, drawn by hypothesis: good ones, and others."""

import copy
from typing import Any

from hypothesis import strategies as st

from e2e.faults.scenarios import FINE, GPUS, HOPELESS, LIMITS, served

Object = dict[str, Any]
_INFEASIBLE = {**HOPELESS, "whenInfeasible": "BestEffort"}
_PARTS: dict[str, st.SearchStrategy[Any]] = {
    "model": st.fixed_dictionaries(
        {"source": st.just("builtin://tiny")},
        optional={
            "servedName": st.sampled_from(["a", "org/name", "x" * 63]),
            "maxContextLength": st.sampled_from([1500, 2048]),
        },
    ),
    "workload": st.fixed_dictionaries(
        {},
        optional={
            "requestsPerSecond": st.sampled_from(["1", "500m", "2.5", "10"]),
            "promptTokens": st.sampled_from([{"mean": 1}, {"mean": 100, "p95": 300}]),
            "outputTokens": st.sampled_from([{"mean": 1}, {"mean": 40, "p95": 100}]),
            "sharedPrefixTokens": st.sampled_from([0, 1]),
        },
    ),
    "pin": st.builds(
        lambda degree: {**LIMITS, "tensorParallelSize": degree}, st.sampled_from([1, 2, 4])
    ),
    "access": st.sampled_from([{}, {"namespaces": ["apps"]}, {"cidrs": ["10.0.0.0/8"]}]),
    "precision": st.sampled_from([{"weights": "BF16"}, {"weights": "FP32"}, {}]),
    "revisionHistoryLimit": st.sampled_from([0, 1, 10]),
    "speculation": st.just({"method": "NGram"}),
}
_REPLICAS = st.integers(1, 3).map(lambda count: {"minReplicas": count, "maxReplicas": count})
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=4,
)


def _spec(parts: Object) -> Object:
    spec: Object = served(slo=FINE, **parts)["spec"]
    return spec


def good() -> st.SearchStrategy[Object]:
    """Specs that a plan exists for, whatever is drawn of them: one replica of 8 sequences serves 10
    requests a second. Bounds leave no choice of replicas, which else is a matter of what was
    before."""
    return st.builds(_spec, st.fixed_dictionaries({"scaling": _REPLICAS}, optional=_PARTS))


@st.composite
def _spoilt(draw: st.DrawFn) -> Object:
    """A good one with something else in a place, or one more field.

    Limits are left alone: what engines were started with stays when a spec asks for less of it.
    """
    spec = copy.deepcopy(draw(good()))
    where: Object = spec
    while True:
        known = sorted(name for name in where if where[name] != spec["pin"])
        name = draw(st.sampled_from(known) if known else st.just("more"))
        inner = where[name] if known else None
        if isinstance(inner, dict) and inner and draw(st.booleans()):
            where = inner
            continue
        if draw(st.integers(0, 4)) == 0:
            name = draw(st.text(max_size=8).filter(lambda text: text != "pin"))
        where[name] = draw(_JSON)
        return spec


def other() -> st.SearchStrategy[Object]:
    """Any spec: good, infeasible, scaled, for GPUs that are not there, or nonsense."""
    changes = st.sampled_from(
        [
            {"slo": HOPELESS},
            {"slo": _INFEASIBLE},
            {"scaling": {"minReplicas": 1, "maxReplicas": 4}},
            {"scaling": {"mode": "External", "maxReplicas": 3}},
            {"accelerators": {"allow": ["NVIDIA-B200"]}},
            {"accelerators": {"allow": [GPUS.product], "maxPerReplica": 1}},
            {"model": {"source": "builtin://none"}},
            {"model": {"source": "pvc://claim/path"}},
            {"pin": {**LIMITS, "tensorParallelSize": 3}},
            {"pin": {**LIMITS, "maxNumSeqs": 0}},
            {"pin": {**LIMITS, "kvCacheMemory": "much"}},
        ]
    )
    return good() | st.builds(lambda spec, change: {**spec, **change}, good(), changes) | _spoilt()
