"""The admin port: limits that change while the engine serves, drains, and the latest steps.

It listens on loopback unless told otherwise. Whoever reaches it may read; things are only changed
over loopback, which in a pod is where `kubectl port-forward` comes from. Engines in pods are told
whom they may trust besides, and then nobody else may even read.
"""

import logging
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from plimsoll_runtime.engine.errors import EngineFailedError
from plimsoll_runtime.engine.handle import EngineHandle
from plimsoll_runtime.server.app import handle_errors
from plimsoll_runtime.server.body import read_object
from plimsoll_runtime.server.context import Context, context_of
from plimsoll_runtime.server.errors import APIError, bad_request
from plimsoll_runtime.server.middleware import BodyLimit
from plimsoll_runtime.server.origin import over_loopback
from plimsoll_runtime.server.validation import invalid

MAX_ADMIN_BODY_BYTES = 4096
MAX_DRAIN_SECONDS = 3600

logger = logging.getLogger(__name__)

TRUSTED = "plimsoll.trusted"
"""In the scope of a request that showed a token which the trust file vouches for."""

router = APIRouter()

Count = Annotated[int, Field(ge=1, lt=2**31)]


class LimitsChange(BaseModel):
    """What may be changed; what is left out stays."""

    model_config = ConfigDict(strict=True, extra="forbid")

    max_num_seqs: Count | None = None
    max_num_batched_tokens: Count | None = None
    num_usable_blocks: Count | None = None


class DrainRequest(BaseModel):
    """For how long from now; then the engine is ready again by itself."""

    model_config = ConfigDict(strict=True, extra="forbid")

    seconds: float = Field(gt=0, le=MAX_DRAIN_SECONDS)


@router.get("/admin/limits")
async def show_limits(request: Request) -> dict[str, Any]:
    """The limits in force, and those that the engine was started with."""
    return _limits(context_of(request).engine)


@router.put("/admin/limits")
async def change_limits(request: Request) -> dict[str, Any]:
    """Changes limits before the next step; no request is dropped. 400 says what cannot be, 403 that
    the client is on another machine."""
    _refuse_others(request)
    engine = context_of(request).engine
    try:
        change = LimitsChange.model_validate(await read_object(request))
    except ValidationError as error:
        raise invalid(error) from error
    try:
        engine.set_limits(engine.stats().limits._replace(**change.model_dump(exclude_none=True)))
    except ValueError as error:
        raise bad_request(str(error)) from error
    except EngineFailedError as error:
        raise APIError(503, str(error)) from error
    return _limits(engine)


@router.get("/admin/drain")
async def show_drain(request: Request) -> dict[str, Any]:
    """Whether the engine drains, for how long already, and what is in flight."""
    return _drain(context_of(request))


@router.put("/admin/drain")
async def begin_drain(request: Request) -> dict[str, Any]:
    """Takes the engine out of service: it is not ready, and serves what runs and still arrives.

    That ends by DELETE, or when its time is over; 403 as for limits.
    """
    _refuse_others(request)
    context = context_of(request)
    try:
        asked = DrainRequest.model_validate(await read_object(request))
    except ValidationError as error:
        raise invalid(error) from error
    context.lifecycle.drain(asked.seconds)
    logger.info("taken out of service for at most %g s", asked.seconds)
    return _drain(context)


@router.delete("/admin/drain")
async def take_drain_back(request: Request) -> dict[str, Any]:
    """Ready again, unless the server is about to stop."""
    _refuse_others(request)
    context = context_of(request)
    context.lifecycle.take_back()
    logger.info("back in service")
    return _drain(context)


@router.get("/admin/steps")
async def show_steps(request: Request) -> dict[str, Any]:
    """The latest steps, oldest first, for calibration; `num_steps` counts all since the start.

    `frontend` are the latest looks at what this process did besides, where the engine has its own.
    """
    context = context_of(request)
    stats = context.engine.stats()
    return {
        "num_steps": stats.num_steps,
        "steps": [sample._asdict() for sample in stats.step_samples],
        "frontend": [look._asdict() for look in context.work.looks],
    }


def create_admin_app(context: Context) -> FastAPI:
    """The admin port's app, for the same engine as the API's."""
    app = FastAPI(title="Plimsoll admin", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.context = context
    app.include_router(router)
    handle_errors(app)
    # The last added is the outermost.
    app.add_middleware(BodyLimit, limit=MAX_ADMIN_BODY_BYTES)
    if context.settings.admin_trust_file is not None:
        from plimsoll_runtime.server.admin_auth import AdminAuthentication

        app.add_middleware(AdminAuthentication, trust_file=context.settings.admin_trust_file)
    return app


def _refuse_others(request: Request) -> None:
    if not (over_loopback(request.scope) or request.scope.get(TRUSTED)):
        raise APIError(
            403, "this is changed over loopback only: use 127.0.0.1, or kubectl port-forward"
        )


def _drain(context: Context) -> dict[str, Any]:
    seconds, stats = context.lifecycle.drained_seconds, context.engine.stats()
    return {
        "draining": seconds is not None,
        "seconds": seconds or 0.0,
        "running": stats.num_running,
        "waiting": stats.num_waiting,
        "kv_cache_usage": stats.kv_cache_usage,
    }


def _limits(engine: EngineHandle) -> dict[str, Any]:
    most = engine.limits
    return {
        **engine.stats().limits._asdict(),
        "most": most.live._asdict(),
        "block_size": most.block_size,
        "max_model_len": most.max_model_len,
    }
