"""Who is admitted next, by policy."""

import pytest

from plimsoll_runtime.core.fairness import SchedulingPolicy, TenantCounters
from plimsoll_runtime.core.queue import QueueCount, WaitingQueue
from plimsoll_runtime.core.request import Request, SamplingParams

FAIR, PRIORITY, FCFS = SchedulingPolicy


class Queue:
    """A waiting queue whose requests are admitted one after another, each charged its prompt."""

    def __init__(self, policy: SchedulingPolicy) -> None:
        self.counters = TenantCounters()
        self.queue = WaitingQueue(policy, self.counters)
        self.sequence = 0
        self.admitted = 0

    def add(self, name: str, tenant: str, priority: int = 0, prompt: int = 10) -> Request:
        self.sequence += 1
        request = Request(name, [1] * prompt, SamplingParams(1), 0.0, priority, "", tenant)
        request.arrival_time = request.sequence = self.sequence
        self.queue.add(request)
        return request

    def pop(self) -> str:
        request = self.queue.heads()[0]
        self.queue.remove(request)
        if not request.admission:
            self.admitted += 1
            request.admission = self.admitted
            self.counters.charge(request.tenant, prompt=request.num_tokens)
        return request.request_id

    def pop_all(self) -> list[str]:
        return [self.pop() for _ in range(len(self.queue))]


def test_tenants_take_turns_whatever_one_of_them_sends() -> None:
    queue = Queue(FAIR)
    for number in range(6):
        queue.add(f"flood{number}", "flood")
    queue.add("light0", "light")
    queue.add("light1", "light")
    assert queue.pop_all() == [
        *("light0", "flood0", "light1", "flood1", "flood2", "flood3", "flood4", "flood5")
    ]


def test_turns_are_as_long_as_the_service_they_bring() -> None:
    queue = Queue(FAIR)
    for number in range(3):
        queue.add(f"long{number}", "a", prompt=30)
    for number in range(6):
        queue.add(f"short{number}", "b", prompt=10)
    order = queue.pop_all()
    assert [sum(n.startswith("short") for n in order[:k]) for k in (4, 8)] == [3, 6]


def test_by_arrival_the_flood_is_served_first() -> None:
    queue = Queue(FCFS)
    for number in range(6):
        queue.add(f"flood{number}", "flood")
    queue.add("light", "light", priority=-5)
    assert queue.pop_all()[-1] == "light"


def test_priorities_count_within_a_tenant_only() -> None:
    queue = Queue(FAIR)
    queue.add("modest0", "modest")
    queue.add("modest1", "modest", priority=-1)
    queue.add("loud0", "loud", priority=-100)
    queue.add("loud1", "loud", priority=-100)
    assert queue.pop_all() == ["modest1", "loud0", "modest0", "loud1"]


def test_priorities_count_among_all_where_they_are_trusted() -> None:
    queue = Queue(PRIORITY)
    queue.add("modest0", "modest")
    queue.add("modest1", "modest", priority=-1)
    queue.add("loud0", "loud", priority=-1)
    queue.add("loud1", "loud", priority=-1)
    assert queue.pop_all() == ["modest1", "loud0", "loud1", "modest0"]


@pytest.mark.parametrize("policy", list(SchedulingPolicy))
def test_the_preempted_come_back_first_in_the_order_of_their_admission(
    policy: SchedulingPolicy,
) -> None:
    queue = Queue(policy)
    early, late = queue.add("early", "a"), queue.add("late", "a")
    assert queue.pop_all() == ["early", "late"]
    queue.add("new", "b")
    queue.queue.add(late)
    queue.queue.add(early)
    assert queue.pop_all() == ["early", "late", "new"]


def test_where_priorities_are_trusted_a_more_urgent_one_goes_before_the_preempted() -> None:
    queue = Queue(PRIORITY)
    usual = queue.add("usual", "a")
    queue.pop()
    queue.queue.add(usual)
    queue.add("urgent", "a", priority=-1)
    assert queue.pop_all() == ["urgent", "usual"]


def test_who_waits_is_told_by_tenant_and_priority() -> None:
    queue = Queue(FAIR)
    assert queue.queue.summary() == ()
    first = queue.add("1", "a", prompt=5)
    queue.add("2", "a", prompt=7)
    queue.add("3", "a", priority=1)
    queue.add("4", "b")
    assert queue.queue.summary() == (
        *(QueueCount("a", 0, 2, 12), QueueCount("a", 1, 1, 10), QueueCount("b", 0, 1, 10)),
    )
    queue.queue.remove(first)
    assert queue.queue.summary()[0] == QueueCount("a", 0, 1, 7)
    queue.pop_all()
    assert queue.queue.summary() == ()
    assert queue.queue.heads() == []


def test_removing_what_does_not_wait_is_an_error() -> None:
    queue = Queue(FAIR)
    request = queue.add("1", "a")
    queue.pop()
    with pytest.raises(KeyError):
        queue.queue.remove(request)
