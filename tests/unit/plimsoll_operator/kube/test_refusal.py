"""What a refused child is said to be refused for."""

from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.actions import Action, Apply, Delete
from plimsoll_operator.kube.refusal import Refusal, describe, lasting


def apply(kind: str = "Deployment", name: str = "chat", because: str = "") -> Apply:
    return Apply({"kind": kind, "metadata": {"name": name}}, because)


def refusal(action: Action, message: str = "exceeded quota: none", status: int = 403) -> Refusal:
    return Refusal(action, status, "Forbidden", message, lasting=status < 500)


def test_says_child_answer_and_message() -> None:
    assert str(refusal(apply())) == "Deployment chat: 403 Forbidden: exceeded quota: none"
    gone = refusal(Delete(("Service", "old"), "uid"))
    assert str(gone) == "deleting Service old: 403 Forbidden: exceeded quota: none"


def test_only_some_are_told_and_only_some_last() -> None:
    quota, webhook = refusal(apply()), refusal(apply(), status=500)
    conflict = Refusal(apply(), 409, "Conflict", "changed meanwhile", lasting=False)
    assert [item.telling for item in (quota, webhook, conflict)] == [True, True, False]
    assert lasting((quota, webhook, conflict)) == (quota,)


@given(st.lists(st.text(max_size=2000), min_size=1, max_size=9))
def test_description_is_bounded_and_does_not_depend_on_order(messages: list[str]) -> None:
    refusals = [refusal(apply(name=f"n{i}"), message) for i, message in enumerate(messages)]
    told = describe(refusals)
    assert told == describe(reversed(refusals))
    assert len(told) < 1000
    assert ("more" in told.rsplit(";", 1)[-1]) >= (len(messages) > 3)


def test_scaling_is_told_from_other_changes() -> None:
    assert apply(because=".spec.replicas").only_scales
    assert not apply(because=".spec.template").only_scales
    assert not apply().only_scales
    assert not Delete(("Service", "old"), "uid").only_scales
