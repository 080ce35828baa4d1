"""Requests of every kind that the server has, good and bad, from a seed."""

import json
import random
import string
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

COMPLETIONS, CHAT, RESPONSES = "/v1/completions", "/v1/chat/completions", "/v1/responses"
TOKENIZE, DETOKENIZE, EMBEDDINGS = "/tokenize", "/detokenize", "/v1/embeddings"
OK = frozenset({200})
REFUSED = frozenset({400})
VOCABULARY = range(8, 2000)
"""Token ids of the built-in model that stand for text."""
TOO_LARGE = 4 * 2**20 + 1

Json = dict[str, Any]


@dataclass(frozen=True)
class Shot:
    """A request, the statuses that are right for it, and when its client leaves, if it does."""

    kind: str
    path: str
    content: bytes = b""
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    statuses: frozenset[int] = OK
    leaves_after: float | None = None


class Requests:
    """An endless mix for a server with these `paths`; the same for the same seed."""

    def __init__(self, seed: int, paths: Collection[str]) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._makers = [
            (weight, maker)
            for weight, path, maker in (
                (6, COMPLETIONS, self._completion),
                (3, COMPLETIONS, self._adorned),
                (2, COMPLETIONS, self._scored),
                (3, COMPLETIONS, self._tenant),
                (3, COMPLETIONS, self._leaver),
                (6, CHAT, self._chat),
                (3, CHAT, self._schema),
                (2, CHAT, self._tool),
                (2, RESPONSES, self._response),
                (2, TOKENIZE, self._tokenize),
                (1, DETOKENIZE, self._detokenize),
                (2, EMBEDDINGS, self._embedding),
                (1, CHAT, self._wrong_field),
                (1, CHAT, self._wrong_schema),
                (1, COMPLETIONS, self._no_json),
                (0.05, COMPLETIONS, self._too_large),
                (1, "/metrics", self._looked_at),
            )
            if path in paths
        ]

    def next(self) -> Shot:
        """The next request."""
        weights = [weight for weight, _ in self._makers]
        (chosen,) = self._random.choices(self._makers, weights)
        return chosen[1]()

    def words(self, least: int, most: int) -> str:
        """Text of words that do not come again."""
        count = self._random.randint(least, most)
        return " ".join(self._word(self._random.randint(3, 9)) for _ in range(count))

    def _word(self, length: int) -> str:
        return "".join(self._random.choices(string.ascii_lowercase, k=length))

    def _tokens(self, least: int, most: int) -> list[int]:
        return self._random.choices(VOCABULARY, k=self._random.randint(least, most))

    def _post(self, kind: str, path: str, body: Json, **fields: Any) -> Shot:
        return Shot(kind, path, json.dumps(body).encode(), **fields)

    def _completion(self) -> Shot:
        length = self._random.choice((40, 40, 40, 400))
        body: Json = {"prompt": self._tokens(1, length), "max_tokens": self._random.randint(1, 40)}
        return self._post("completion", COMPLETIONS, body | self._sampling())

    def _adorned(self) -> Shot:
        bias = {str(each): self._random.uniform(-5, 5) for each in self._tokens(1, 300)}
        body: Json = {
            "prompt": [self.words(1, 20) for _ in range(self._random.randint(1, 3))],
            "max_tokens": self._random.randint(1, 30),
            "n": self._random.randint(1, 3),
            "logit_bias": bias,
            "stop": [self._word(2), self._word(4)],
            "presence_penalty": 0.5,
            "repetition_penalty": 1.1,
        }
        return self._post("n, bias, stop, penalties", COMPLETIONS, body | self._sampling())

    def _scored(self) -> Shot:
        body: Json = {"prompt": self._tokens(2, 200), "max_tokens": self._random.randint(0, 10)}
        return self._post("logprobs, echo", COMPLETIONS, body | {"logprobs": 5, "echo": True})

    def _tenant(self) -> Shot:
        body = {"prompt": self.words(1, 30), "max_tokens": 3, "cache_salt": self._word(8)}
        headers = {
            "authorization": f"Bearer {self._word(20)}",
            "x-llm-d-inference-fairness-id": self._word(8),
        }
        body["priority"] = self._random.randint(-100, 100)
        return self._post("new tenant", COMPLETIONS, body, headers=headers)

    def _leaver(self) -> Shot:
        body: Json = {"prompt": self.words(1, 30), "max_tokens": 300, "ignore_eos": True}
        body["stream"] = self._random.random() < 0.5
        moment = self._random.uniform(0, 0.5)
        return self._post("client leaves", COMPLETIONS, body, leaves_after=moment)

    def _chat(self) -> Shot:
        roles = ["user", "assistant"] * self._random.randint(0, 2) + ["user"]
        messages = [{"role": role, "content": self.words(1, 40)} for role in roles]
        body: Json = {"messages": messages, "max_tokens": self._random.randint(1, 40)}
        return self._post("chat", CHAT, body | self._sampling())

    def _schema(self) -> Shot:
        made: Json = {"type": "json_object"}
        if self._random.random() < 0.8:
            schema = {"name": self._word(5), "schema": self._object(2)}
            made = {"type": "json_schema", "json_schema": schema}
        body = self._asked() | {"response_format": made}
        return self._post("json_schema", CHAT, body | self._sampling())

    def _tool(self) -> Shot:
        function = {"name": self._word(8), "parameters": self._object(1)}
        body = self._asked() | {"tools": [{"type": "function", "function": function}]}
        body["tool_choice"] = self._random.choice(["auto", "required"])
        return self._post("tools", CHAT, body | self._sampling())

    def _response(self) -> Shot:
        body: Json = {"input": self.words(1, 30), "max_output_tokens": self._random.randint(1, 30)}
        body["stream"] = self._random.random() < 0.5
        return self._post("response", RESPONSES, body)

    def _tokenize(self) -> Shot:
        return self._post("tokenize", TOKENIZE, {"prompt": self.words(1, 800)})

    def _detokenize(self) -> Shot:
        return self._post("detokenize", DETOKENIZE, {"tokens": self._tokens(1, 800)})

    def _embedding(self) -> Shot:
        body: Json = {"input": [self.words(1, 30) for _ in range(self._random.randint(1, 4))]}
        # A model that was not made for it may refuse.
        return self._post("embeddings", EMBEDDINGS, body, statuses=OK | REFUSED)

    def _wrong_field(self) -> Shot:
        name = self._random.choice(["temperature", "max_tokens", "n", "logit_bias", "messages"])
        return self._post("wrong field", CHAT, self._asked() | {name: "x"}, statuses=REFUSED)

    def _wrong_schema(self) -> Shot:
        schema = {"name": "x", "schema": {"type": self._word(6)}}
        made = {"type": "json_schema", "json_schema": schema}
        return self._post(
            "wrong schema", CHAT, self._asked() | {"response_format": made}, statuses=REFUSED
        )

    def _no_json(self) -> Shot:
        content = b'{"prompt": ' + self.words(1, 300).encode()
        return Shot("no JSON", COMPLETIONS, content, statuses=REFUSED)

    def _too_large(self) -> Shot:
        return Shot("too large", COMPLETIONS, b"[" * TOO_LARGE, statuses=frozenset({413}))

    def _looked_at(self) -> Shot:
        path = self._random.choice(
            ["/metrics", "/v1/models", "/livez", "/openapi.json", "/nowhere"]
        )
        right = frozenset({404}) if path == "/nowhere" else OK
        return Shot("GET", path, method="GET", statuses=right)

    def _asked(self) -> Json:
        messages = [{"role": "user", "content": self.words(1, 10)}]
        return {"messages": messages, "max_tokens": self._random.randint(5, 60)}

    def _sampling(self) -> Json:
        chosen: Json = {"stream": self._random.random() < 0.5}
        if self._random.random() < 0.5:
            chosen |= {"temperature": self._random.uniform(0, 2), "seed": 7, "top_p": 0.9}
        return chosen

    def _object(self, depth: int) -> Json:
        """A schema that did not come before."""
        names = [self._word(6) for _ in range(self._random.randint(1, 4))]
        properties = {name: self._property(depth) for name in names}
        return {
            "type": "object",
            "properties": properties,
            "required": names,
            "additionalProperties": False,
        }

    def _property(self, depth: int) -> Json:
        low = self._random.randint(1, 5)
        options: list[Json] = [
            {"type": "string", "maxLength": 10 * low},
            {"type": "string", "pattern": f"^[a-z]{{{low},{low + 9}}}$"},
            {"type": "integer", "minimum": 0, "maximum": 10**low},
            {"enum": [self._word(4) for _ in range(low)]},
            {"type": "array", "items": {"type": "number"}, "maxItems": low},
        ]
        return self._random.choice([*options, self._object(depth - 1)] if depth else options)
