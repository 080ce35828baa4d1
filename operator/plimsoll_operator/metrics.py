"""The operator's own Prometheus metrics."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
)

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

RECONCILES = Counter(
    "plimsoll_operator_reconciles", "Reconciliations by result.", ["result"], registry=REGISTRY
)
RECONCILE_SECONDS = Histogram(
    "plimsoll_operator_reconcile_seconds",
    "Duration of one reconciliation.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
WRITES = Counter(
    "plimsoll_operator_writes",
    "Writes to the API server by kind and verb.",
    ["kind", "verb"],
    registry=REGISTRY,
)
LIMIT_CHANGES = Counter(
    "plimsoll_operator_limit_changes",
    "Limits sent to engines that ran under others.",
    registry=REGISTRY,
)
DRAINS = Counter(
    "plimsoll_operator_drains",
    "Drains of replicas that should go: begun, taken_back, or refused by the engine.",
    ["what"],
    registry=REGISTRY,
)
REFUSALS = Counter(
    "plimsoll_operator_refusals",
    "Writes of children that the API server refused, by kind and HTTP status.",
    ["kind", "code"],
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge(
    "plimsoll_operator_queue_depth", "Resources that wait for a worker.", registry=REGISTRY
)
PLAN_SECONDS = Histogram(
    "plimsoll_operator_plan_seconds",
    "Duration of planning, cached answers left out.",
    buckets=(0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60),
    registry=REGISTRY,
)
AUTOSCALE_DECISIONS = Counter(
    "plimsoll_operator_autoscale_decisions",
    "Decisions of the autoscaler: up, down, keep or held.",
    ["decision"],
    registry=REGISTRY,
)
WATCH_EVENTS = Counter(
    "plimsoll_operator_watch_events", "Watch events by kind.", ["kind"], registry=REGISTRY
)
LAST_EVENT = Gauge(
    "plimsoll_operator_last_watch_event_timestamp_seconds",
    "When the last watch event came, seconds since the epoch.",
    registry=REGISTRY,
)
CACHE_REPAIRS = Counter(
    "plimsoll_operator_cache_repairs",
    "Objects that a list showed and the watch had not.",
    ["kind"],
    registry=REGISTRY,
)
