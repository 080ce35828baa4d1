"""Virtual token counters, case by case."""

from plimsoll_runtime.core.fairness import SHARED, Prices, TenantCounters


def test_service_is_priced_and_divided_by_weight() -> None:
    counters = TenantCounters({"big": 2.0}, Prices(prompt=1.0, output=3.0))
    for tenant in ("small", "big"):
        counters.enter(tenant, ())
        counters.charge(tenant, prompt=10)
        counters.charge(tenant, output=2)
    assert (counters["small"], counters["big"]) == (16.0, 8.0)
    assert counters["stranger"] == 0


def test_who_begins_to_wait_is_lifted_to_the_least_of_those_that_wait() -> None:
    counters = TenantCounters()
    for tenant, service in (("a", 30), ("b", 20)):
        counters.enter(tenant, ())
        counters.charge(tenant, prompt=service)
    counters.enter("late", ("a", "b"))
    assert counters["late"] == 20


def test_who_was_served_more_is_not_lifted_down() -> None:
    counters = TenantCounters()
    counters.enter("a", ())
    counters.enter("b", ("a",))
    counters.charge("b", prompt=100)
    counters.enter("b", ("a",))
    assert (counters["a"], counters["b"]) == (0, 100)


def test_who_waits_already_is_not_lifted_again() -> None:
    counters = TenantCounters()
    counters.enter("a", ())
    counters.enter("b", ("a",))
    counters.charge("a", prompt=7)
    counters.enter("b", ("a", "b"))
    assert counters["b"] == 0


def test_idle_time_earns_nothing_where_nobody_waits() -> None:
    counters = TenantCounters()
    counters.enter("busy", ())
    counters.charge("busy", prompt=1000)
    counters.served_last("busy")
    counters.enter("idle", ())
    assert counters["idle"] == 1000


def test_unfinished_requests_are_counted() -> None:
    counters = TenantCounters()
    counters.enter("a", ())
    counters.enter("a", ("a",))
    assert counters.num_unfinished("a") == 2
    counters.leave("a")
    counters.leave("a")
    assert counters.num_unfinished("a") == 0


def test_only_so_many_tenants_are_kept_apart() -> None:
    counters = TenantCounters(max_tenants=2)
    assert counters.enter("a", ()) == "a"
    assert counters.enter("b", ()) == "b"
    assert counters.enter("c", ()) == SHARED, "both others are busy"
    assert counters.enter("a", ()) == "a"
    counters.leave("b")
    assert counters.enter("c", ()) == "c"
    assert counters["b"] == 0, "and b is forgotten"
    assert counters.enter("b", ()) == SHARED


def test_the_idle_tenant_with_the_least_to_lose_is_forgotten() -> None:
    counters = TenantCounters(max_tenants=3)
    for tenant, service in (("a", 5), ("b", 1), ("c", 9)):
        counters.enter(tenant, ("x",))
        counters.charge(tenant, prompt=service)
        counters.leave(tenant)
    assert counters.enter("d", ("a",)) == "d"
    assert (counters["a"], counters["b"], counters["c"]) == (5, 0, 9)


def test_names_by_the_thousand_do_not_fill_the_memory() -> None:
    counters = TenantCounters()
    for number in range(5000):
        counters.leave(counters.enter(f"tenant-{number}", ()))
    assert len(counters) <= 257
