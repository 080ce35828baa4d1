"""The admin port: limits that change while the engine serves, and the latest steps.

It listens on loopback unless told otherwise. Whoever reaches it may read; limits are only changed
over loopback, which in a pod is where `kubectl port-forward` comes from. Engines in pods are told
whom they may trust besides, and then nobody else may even read.
"""

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


@router.get("/admin/limits")
async def show_limits(request: Request) -> dict[str, Any]:
    """The limits in force, and those that the engine was started with."""
    return _limits(context_of(request).engine)


@router.put("/admin/limits")
async def change_limits(request: Request) -> dict[str, Any]:
    """Changes limits before the next step; no request is dropped. 400 says what cannot be, 403 that
    the client is on another machine."""
    if not (over_loopback(request.scope) or request.scope.get(TRUSTED)):
        raise APIError(
            403, "limits are changed over loopback only: use 127.0.0.1, or kubectl port-forward"
        )
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


@router.get("/admin/steps")
async def show_steps(request: Request) -> dict[str, Any]:
    """The latest steps, oldest first, for calibration; `num_steps` counts all since the start."""
    stats = context_of(request).engine.stats()
    return {
        "num_steps": stats.num_steps,
        "steps": [sample._asdict() for sample in stats.step_samples],
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


def _limits(engine: EngineHandle) -> dict[str, Any]:
    most = engine.limits
    return {
        **engine.stats().limits._asdict(),
        "most": most.live._asdict(),
        "block_size": most.block_size,
        "max_model_len": most.max_model_len,
    }
