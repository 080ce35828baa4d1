"""Strategic merge: what is said above wins, what it does not speak of stays."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.render.overlay import overlaid

names = st.sampled_from("abc")
leaves = st.one_of(st.integers(0, 3), st.text("xy", max_size=2), st.booleans())
values = st.recursive(
    st.one_of(leaves, st.lists(leaves, max_size=3)),
    lambda inner: st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
containers = st.lists(
    st.builds(lambda name, more: {**more, "name": name}, names, st.dictionaries(names, leaves)),
    max_size=3,
    unique_by=lambda item: item["name"],
)
objects = st.builds(
    lambda fields, items: {**fields, "containers": items},
    st.dictionaries(names, values, max_size=3),
    containers,
)


@given(objects, objects)
def test_laid_over_twice_is_laid_over_once(below: dict[str, Any], above: dict[str, Any]) -> None:
    untouched = copy.deepcopy((below, above))
    once = overlaid(below, above)
    assert overlaid(once, above) == once
    assert (below, above) == untouched
    assert overlaid(below, {}) == below
    assert overlaid({}, above) == above


@given(objects, objects)
def test_what_is_said_above_holds_and_the_rest_stays(
    below: dict[str, Any], above: dict[str, Any]
) -> None:
    merged = overlaid(below, above)
    assert set(merged) == set(below) | set(above)
    assert all(merged[name] == below[name] for name in set(below) - set(above))
    order = [item["name"] for item in below["containers"]]
    assert [item["name"] for item in merged["containers"]][: len(order)] == order
    for item in above["containers"]:
        (found,) = (each for each in merged["containers"] if each["name"] == item["name"])
        assert item.items() <= found.items()


def test_lists_merge_by_what_names_their_items() -> None:
    below = {
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "containers": [{"name": "engine", "env": [{"name": "HOME", "value": "/cache"}]}],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
        "dnsConfig": {"nameservers": ["10.0.0.1"]},
    }
    above = {
        "tolerations": [{"key": "gpu", "operator": "Exists"}, {"key": "spot"}],
        "containers": [
            {"name": "engine", "env": [{"name": "HOME", "value": "/home"}, {"name": "A"}]},
            {"name": "log"},
        ],
        "volumes": [{"name": "spool", "emptyDir": {}}],
        "dnsConfig": {"nameservers": ["10.0.0.2"]},
    }
    assert overlaid(below, above) == {
        "tolerations": [{"key": "gpu", "operator": "Exists"}, {"key": "spot"}],
        "containers": [
            {"name": "engine", "env": [{"name": "HOME", "value": "/home"}, {"name": "A"}]},
            {"name": "log"},
        ],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}, above["volumes"][0]],
        "dnsConfig": {"nameservers": ["10.0.0.2"]},
    }
