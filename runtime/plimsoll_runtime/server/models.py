"""GET /v1/models."""

import time

from fastapi import APIRouter
from starlette.requests import Request

from plimsoll_runtime.server.answers import Json
from plimsoll_runtime.server.context import Context, context_of

router = APIRouter()
_CREATED = int(time.time())


@router.get("/v1/models")
async def models(request: Request) -> Json:
    """Every name under which the model is served."""
    context = context_of(request)
    return {
        "object": "list",
        "data": [_model(name, context) for name in context.settings.served_names],
    }


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> Json:
    """One of them; 404 for others."""
    context = context_of(request)
    context.check_model(name)
    return _model(name, context)


def _model(name: str, context: Context) -> Json:
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "owned_by": "plimsoll",
        "root": context.settings.root,
        "parent": None,
        "max_model_len": context.limits.max_model_len,
    }
