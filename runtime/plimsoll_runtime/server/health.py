"""Probes, version and metrics."""

from importlib.metadata import version

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from plimsoll_runtime.server.context import Context, context_of

MAX_STALL = 60.0
"""Seconds without a step, with work to do, after which the engine counts as stuck."""

router = APIRouter()


@router.get("/startupz")
async def startupz(request: Request) -> Response:
    """200 once weights are loaded and a step has run."""
    return _answer(None if context_of(request).engine.ready else "the engine is starting")


@router.get("/livez")
async def livez(request: Request) -> Response:
    """200 while the step loop moves, or has nothing to do."""
    engine = context_of(request).engine
    if engine.failed is not None:
        return _answer("the engine has failed")
    stalled = engine.stats().stalled_seconds
    if stalled > MAX_STALL:
        return _answer(f"no step for {stalled:.0f} s while requests wait")
    return _answer(None)


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """200 while new requests are admitted."""
    return _answer(_not_ready(context_of(request)))


@router.get("/health")
@router.api_route("/ping", methods=["GET", "POST"])
async def health(request: Request) -> Response:
    """The same without a word, as vLLM has it."""
    return Response(status_code=200 if _not_ready(context_of(request)) is None else 503)


@router.get("/version")
async def show_version() -> dict[str, str]:
    """The version of Plimsoll."""
    return {"version": version("plimsoll")}


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    context = context_of(request)
    return Response(context.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


def _not_ready(context: Context) -> str | None:
    if context.lifecycle.ending:
        return "draining: the server is about to stop"
    if context.lifecycle.draining:
        return "draining: taken out of service over the admin port"
    return None if context.engine.ready else "the engine is not ready"


def _answer(problem: str | None) -> Response:
    if problem is None:
        return PlainTextResponse("ok\n")
    return PlainTextResponse(f"{problem}\n", status_code=503)
