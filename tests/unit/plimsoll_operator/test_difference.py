"""`difference` finds what is missing and forgives what others have added."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.difference import ATOMIC, difference

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
keys = st.text(min_size=1, max_size=5).filter(lambda key: key not in ATOMIC)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_anything_is_part_of_itself(value: Any) -> None:
    assert difference(value, value) is None


@given(st.dictionaries(keys, values, max_size=3), st.dictionaries(keys, values, max_size=3))
def test_more_fields_do_no_harm(desired: dict[str, Any], more: dict[str, Any]) -> None:
    assert difference(desired, {**more, **desired}) is None


@pytest.mark.parametrize(
    ("desired", "observed", "where"),
    [
        ({"spec": {"replicas": 2}}, {"spec": {"replicas": 1}}, ".spec.replicas"),
        ({"spec": {"a": "x"}}, {"spec": {}}, ".spec.a"),
        ({"a": {"b": 1}}, {"a": "text"}, ".a"),
        ({"a": [1, 2]}, {"a": [2, 1]}, ".a[0]"),
        ({"a": [1, 2]}, {"a": [1]}, ".a"),
        ({"a": [1]}, {"a": {"0": 1}}, ".a"),
        ({"a": True}, {"a": 1}, ".a"),
        ({"a": 1}, {"a": True}, ".a"),
        ({"p": [{"name": "x", "v": 1}]}, {"p": [{"name": "x", "v": 2}]}, ".p[x].v"),
        ({"p": [{"name": "x"}]}, {"p": [{"name": "y"}]}, ".p[x]"),
        ({"selector": {"a": "1"}}, {"selector": {"a": "1", "b": "2"}}, ".selector"),
        ({"nodeSelector": {"a": "1"}}, {"nodeSelector": {}}, ".nodeSelector"),
        (1, 2, "."),
    ],
)
def test_says_where(desired: Any, observed: Any, where: str) -> None:
    assert difference(desired, observed) == where


@pytest.mark.parametrize(
    ("desired", "observed"),
    [
        ({"emptyDir": {}}, {}),
        ({"a": None}, {}),
        ({"a": []}, {}),
        ({"p": [{"name": "x"}]}, {"p": [{"name": "injected"}, {"name": "x", "default": 1}]}),
        ({"p": [{"name": "x"}, {"name": "y"}]}, {"p": [{"name": "y"}, {"name": "x"}]}),
        ({"a": (1, 2)}, {"a": [1, 2]}),
    ],
)
def test_forgives_what_the_server_and_others_add(desired: Any, observed: Any) -> None:
    assert difference(desired, observed) is None
