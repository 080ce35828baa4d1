"""Liveness, readiness and Prometheus metrics of the operator over HTTP."""

from collections.abc import Callable, Iterable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from plimsoll_operator.metrics import REGISTRY
from plimsoll_operator.resource_metrics import Raw, ResourceCollector


class HealthServer:
    """`/livez` fails with what `trouble` says, `/readyz` until `ready` is set.

    `/metrics` is the process's own metrics and those of all `resources`.
    """

    def __init__(
        self, port: int, trouble: Callable[[], str], resources: Callable[[], Iterable[Raw]]
    ) -> None:
        self.ready = False
        self._port = port
        self._trouble = trouble
        self._resources = CollectorRegistry()
        self._resources.register(ResourceCollector(resources))
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listens on all addresses. Raises OSError where the port is taken."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, port=self._port).start()

    async def stop(self) -> None:
        """Stops listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        trouble = self._trouble()
        return web.Response(status=503 if trouble else 200, text=trouble or "ok")

    async def _readyz(self, _: web.Request) -> web.Response:
        return web.Response(
            status=200 if self.ready else 503, text="ok" if self.ready else "listing"
        )

    async def _metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(REGISTRY) + generate_latest(self._resources)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
