"""The API's description says what the server does."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server import answer_schemas as answers
from plimsoll_runtime.server.app import ROUTES, create_app
from plimsoll_runtime.server.middleware import OPEN_PATHS
from plimsoll_runtime.server.openapi import document
from plimsoll_runtime.server.operations import OPERATIONS
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import Tokenizer

USER = {"role": "user", "content": "Hello"}
CHAT = {"messages": [USER]}


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for item in value.values() for each in references(item)]
    if isinstance(value, list):
        return [each for item in value for each in references(item)]
    return []


def test_every_path_and_method_is_described_and_no_other() -> None:
    routes = {
        (method.lower(), route.path.replace(":path}", "}"))
        for each in ROUTES
        for route in each.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert routes == set(OPERATIONS)


def test_references_lead_somewhere_and_ids_are_unique() -> None:
    described = document(with_key=True)
    found = set(references(described))
    assert len(found) > 20
    schemas = described["components"]["schemas"]
    assert {each.rpartition("/")[2] for each in found} <= set(schemas)
    assert all(each.startswith("#/components/schemas/") for each in found)
    operations = [each for path in described["paths"].values() for each in path.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)


def test_only_what_asks_for_the_key_says_so() -> None:
    for path, methods in document(with_key=True)["paths"].items():
        for operation in methods.values():
            locked = path not in OPEN_PATHS
            assert ("security" in operation) == ("401" in operation["responses"]) == locked
    free = document(with_key=False)
    assert "securitySchemes" not in free["components"]
    assert all(
        "401" not in each["responses"]
        for path in free["paths"].values()
        for each in [*path.values()]
    )


async def test_the_document_is_served_under_the_key(engine: Engine, tokenizer: Tokenizer) -> None:
    app = create_app(engine, tokenizer, ServerSettings(("tiny",), "r", api_key="sesame"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        assert (await http.get("/openapi.json")).status_code == 401
        headers = {"authorization": "Bearer sesame"}
        served = (await http.get("/openapi.json", headers=headers)).json()
        assert served == document(with_key=True)
    app.state.context.close()


async def test_the_document_is_served(http: httpx.AsyncClient) -> None:
    response = await http.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == document(with_key=False)


def test_fields_have_the_bounds_that_are_checked() -> None:
    schemas = document(with_key=False)["components"]["schemas"]
    chat = schemas["ChatCompletionRequest"]
    assert chat["required"] == ["messages"]
    assert chat["properties"]["messages"]["maxItems"] == 4096
    assert chat["properties"]["n"]["anyOf"][0]["maximum"] == 8
    assert {"type": "string", "minLength": 1, "maxLength": 64} in chat["properties"]["stop"][
        "anyOf"
    ]
    assert schemas["CompletionRequest"]["required"] == ["prompt"]
    assert schemas["ResponsesRequest"]["properties"]["previous_response_id"]["enum"] == [None]


@pytest.mark.parametrize(
    ("method", "path", "body", "shape"),
    [
        ("GET", "/v1/models", None, answers.ModelsAnswer),
        ("GET", "/v1/models/tiny", None, answers.ModelAnswer),
        ("GET", "/v1/models/other", None, answers.ErrorAnswer),
        ("POST", "/v1/completions", {"prompt": "x"}, answers.CompletionAnswer),
        (
            "POST",
            "/v1/completions",
            {"prompt": ["x", "y"], "n": 2, "return_token_ids": True},
            answers.CompletionAnswer,
        ),
        ("POST", "/v1/chat/completions", CHAT, answers.ChatCompletionAnswer),
        (
            "POST",
            "/v1/chat/completions",
            {**CHAT, "return_token_ids": True, "max_tokens": 1},
            answers.ChatCompletionAnswer,
        ),
        ("POST", "/v1/chat/completions", {}, answers.ErrorAnswer),
        ("POST", "/v1/responses", {"input": "x"}, answers.ResponseAnswer),
        ("POST", "/v1/responses", {"input": "x", "max_output_tokens": 1}, answers.ResponseAnswer),
        ("POST", "/v1/embeddings", {"input": ["x", "y"]}, answers.EmbeddingsAnswer),
        (
            "POST",
            "/v1/embeddings",
            {"input": [1, 2], "encoding_format": "base64"},
            answers.EmbeddingsAnswer,
        ),
        ("POST", "/v1/embeddings", {}, answers.ErrorAnswer),
        ("POST", "/tokenize", {"prompt": "x"}, answers.TokenizeAnswer),
        ("POST", "/tokenize", {**CHAT, "return_token_strs": True}, answers.TokenizeAnswer),
        ("POST", "/detokenize", {"tokens": [1]}, answers.DetokenizeAnswer),
        ("GET", "/version", None, answers.VersionAnswer),
    ],
)
async def test_answers_are_what_is_described(
    http: httpx.AsyncClient,
    say: Callable[[str], list[int]],
    method: str,
    path: str,
    body: dict[str, Any] | None,
    shape: type[BaseModel],
) -> None:
    say("hi there")
    response = await http.request(method, path, json=body)
    shape.model_validate(response.json())
    described = OPERATIONS[
        method.lower(), path.replace("tiny", "{name}").replace("other", "{name}")
    ]
    if response.status_code == 200:
        assert described.answer is shape
    else:
        assert response.status_code in described.errors


async def test_probes_are_what_is_described(http: httpx.AsyncClient) -> None:
    for method, path in OPERATIONS:
        described = OPERATIONS[method, path]
        if described.unready is None:
            continue
        response = await http.request(method, path)
        assert response.headers.get("content-type", "").partition(";")[0] == described.answer
        assert bool(response.content) == bool(described.answer)
