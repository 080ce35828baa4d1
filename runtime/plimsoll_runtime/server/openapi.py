"""GET /openapi.json: the API as an OpenAPI document, made from the models that check requests."""

from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from plimsoll_runtime.server.answer_schemas import ErrorAnswer
from plimsoll_runtime.server.answers import Json
from plimsoll_runtime.server.context import context_of
from plimsoll_runtime.server.middleware import OPEN_PATHS
from plimsoll_runtime.server.operations import OPERATIONS, Body, Operation

REF = "#/components/schemas/{model}"
JSON = "application/json"
EVENTS = "text/event-stream"

router = APIRouter()


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The document. With an API key it needs the key, as all that is no probe."""
    described = document(with_key=context_of(request).settings.needs_key)
    return Response(orjson.dumps(described), media_type=JSON)


def document(*, with_key: bool) -> Json:
    """The OpenAPI document of a server that asks for an API key, or of one that does not."""
    paths: Json = {}
    for (method, path), operation in OPERATIONS.items():
        locked = with_key and path not in OPEN_PATHS
        paths.setdefault(path, {})[method] = _operation(method, path, operation, locked)
    components: Json = {"schemas": _schemas()}
    if with_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Plimsoll",
            "version": version("plimsoll"),
            "description": "Unknown fields of bodies are ignored.",
        },
        "paths": paths,
        "components": components,
    }


def _operation(method: str, path: str, operation: Operation, locked: bool) -> Json:
    result: Json = {
        "operationId": f"{method}{path.translate(str.maketrans('/.{}', '____'))}",
        "summary": operation.summary,
        "responses": _responses(operation, locked=locked),
    }
    if locked:
        result["security"] = [{"key": []}]
    if "{name}" in path:
        name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
        result["parameters"] = [name]
    if operation.bodies:
        schemas = [_ref(body.model) for body in operation.bodies]
        schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
        result["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    return result


def _responses(operation: Operation, *, locked: bool) -> Json:
    statuses = sorted({*operation.errors, *((401,) if locked else ())})
    responses = {"200": {"description": "OK", **_content(operation.answer)}}
    if operation.streams:
        # OpenAPI 3.1 has no words for a stream of events.
        responses["200"]["content"][EVENTS] = {}
    for status in statuses:
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            **_content(ErrorAnswer),
        }
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            retry = {"description": "Seconds to wait.", "schema": {"type": "string"}}
            responses[str(status)]["headers"] = {"Retry-After": retry}
    if operation.unready is not None:
        responses["503"] = {"description": "Not so.", **_content(operation.unready)}
    return responses


def _content(answer: type[BaseModel] | str) -> Json:
    if isinstance(answer, str):
        schema = {} if answer == JSON else {"type": "string"}
        return {"content": {answer: {"schema": schema}}} if answer else {}
    return {"content": {JSON: {"schema": _ref(answer)}}}


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": REF.format(model=model.__name__)}


def _schemas() -> Json:
    bodies = {body.model.__name__: body for each in OPERATIONS.values() for body in each.bodies}
    answers = [each.answer for each in OPERATIONS.values() if not isinstance(each.answer, str)]
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        *((body.model, "validation") for body in bodies.values()),
        *((model, "serialization") for model in answers),
        (ErrorAnswer, "serialization"),
    ]
    _, schema = models_json_schema(models, ref_template=REF)
    schemas: dict[str, Any] = schema["$defs"]
    for name, body in bodies.items():
        _complete(schemas[name], body)
    return schemas


def _complete(schema: Json, body: Body) -> None:
    """Adds what the model leaves to the route."""
    properties = schema["properties"]
    for name, values in body.unsupported.items():
        properties[name] = {
            "enum": list(values),
            "description": "Not supported: any other value is refused.",
        }
    if body.required:
        schema["required"] = [*schema.get("required", []), *body.required]
