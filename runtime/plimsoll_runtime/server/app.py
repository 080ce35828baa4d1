"""The FastAPI application: routes, errors and middleware put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from plimsoll_runtime.engine.handle import EngineHandle
from plimsoll_runtime.server import (
    chat,
    completions,
    embeddings,
    health,
    models,
    openapi,
    responses,
    tokenize,
)
from plimsoll_runtime.server.api_keys import ApiKeys
from plimsoll_runtime.server.context import Context
from plimsoll_runtime.server.errors import APIError
from plimsoll_runtime.server.lifecycle import Lifecycle
from plimsoll_runtime.server.middleware import Authentication, BodyLimit, RequestTracking
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.streaming import ClientLeftError
from plimsoll_runtime.server.tokenizer import Tokenizer

ROUTES = (models, completions, chat, responses, embeddings, tokenize, health, openapi)
"""Every module with paths."""


def create_app(
    engine: EngineHandle,
    tokenizer: Tokenizer,
    settings: ServerSettings,
    lifecycle: Lifecycle | None = None,
) -> FastAPI:
    """The app for a started engine. Ending the app's lifespan does not stop the engine."""
    context = Context(engine, tokenizer, settings, lifecycle)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        context.close()

    app = FastAPI(
        title="Plimsoll", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    app.state.context = context
    for module in ROUTES:
        app.include_router(module.router)
    handle_errors(app)
    # The last added is the outermost.
    app.add_middleware(BodyLimit)
    if settings.needs_key:
        keys = ApiKeys(settings.api_key, settings.api_key_file)
        app.add_middleware(Authentication, keys=keys)
    app.add_middleware(RequestTracking, lifecycle=context.lifecycle)
    return app


def handle_errors(app: FastAPI) -> None:
    """Answers every error in OpenAI's shape."""
    app.add_exception_handler(APIError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientLeftError, _client_left)
    app.add_exception_handler(Exception, _unexpected)


async def _api_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, APIError):
        raise error
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, which the router reports."""
    if not isinstance(error, HTTPException):
        raise error
    message = f"{request.method} {request.url.path[:200]}: {str(error.detail).lower()}"
    return APIError(error.status_code, message, headers=error.headers).response()


async def _client_left(_: Request, __: Exception) -> Response:
    """Nobody reads this answer."""
    return Response(status_code=499)


async def _unexpected(_: Request, __: Exception) -> Response:
    """The details are in the log."""
    return APIError(500, "internal error; the request can be sent again").response()
