"""200 LLMDeployments on GPU nodes that KWOK pretends: speed, memory, and silence when idle."""

import time

import pytest

from e2e.support.fleet import complete, member, operator_metrics, versions, waits
from e2e.support.kubectl import Kubectl, eventually, is_true
from e2e.support.watching import Appearances, metric, percentile

FLEET = 200


@pytest.mark.timeout(420)
def test_fleet(kubectl: Kubectl, system: Kubectl, proxy: str, fake_gpus: None) -> None:
    names = [f"fleet-{number:03d}" for number in range(FLEET)]
    appearances = Appearances(proxy, kubectl.namespace)
    kubectl.apply(*(member(name) for name in names))
    eventually("all children of all resources", lambda: complete(appearances, names), timeout=180)
    seconds = waits(appearances, names)
    appearances.stop()
    eventually(
        "all ready",
        lambda: all(is_true(item, "Ready") for item in kubectl.list("llmdeployments")),
        timeout=180,
        every=3,
    )
    # Idle: let the last status writes settle, then no write at all in a minute.
    time.sleep(15)
    before, start = operator_metrics(system), versions(kubectl)
    time.sleep(60)
    after, end = operator_metrics(system), versions(kubectl)
    writes = metric(after, "plimsoll_operator_writes_total") - metric(
        before, "plimsoll_operator_writes_total"
    )
    memory = metric(after, "process_resident_memory_bytes")
    print(
        f"{FLEET} resources: apply to children p50 {percentile(seconds, 0.5):.2f} s, "
        f"p99 {percentile(seconds, 0.99):.2f} s; operator {memory / 2**20:.0f} MiB resident; "
        f"writes per idle resource per minute {writes / FLEET:g}"
    )
    # Of what earlier scenarios left behind, a status may still follow the traffic that has ended.
    changed = {name for name in start if start[name] != end.get(name)}
    assert changed.isdisjoint(names)
    assert writes == 0 or changed
    assert percentile(seconds, 0.99) < 30
    assert memory < 200 * 2**20
