"""What the operator is started with."""

from dataclasses import dataclass, field

from plimsoll_operator.engines.engine_token import EngineToken
from plimsoll_operator.render.rendering import Rendering
from plimsoll_planner.search.trial import REQUESTS


@dataclass(frozen=True)
class Settings:
    """Times in seconds. `namespaces` is empty to serve the whole cluster.

    `resync` is how often every resource is looked at without cause, `relist` how often the watch
    caches are compared with the API server, `scrape` how often engines are measured.
    `trial_requests` are those that finalists of a plan are simulated with.
    """

    rendering: Rendering
    namespaces: tuple[str, ...] = ()
    workers: int = 12
    connections: int = 12
    resync: float = 60.0
    relist: float = 300.0
    scrape: float = 5.0
    http_port: int = 8080
    trial_requests: int = REQUESTS
    engine_token: EngineToken = field(default_factory=EngineToken)
