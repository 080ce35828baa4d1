import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from plimsoll_operator.planning.model_source import (
    MAX_CONFIG_BYTES,
    ModelSourceError,
    parse_config,
    read_model_config,
    read_model_directory,
)

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "hidden_act": "silu",
}


class Hub(BaseHTTPRequestHandler):
    """A model hub: what each path answers, and what it was asked with."""

    answers: ClassVar[dict[str, tuple[int, bytes]]] = {}
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        status, body = self.answers.get(self.path, (404, b""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Says nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    Hub.answers, Hub.asked = {}, []
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield Hub
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_builtin_model_is_read_from_the_package() -> None:
    found = read_model_config("builtin://tiny")
    assert len(found.model.layers) > 0
    assert found.unserved == ""


def test_an_unknown_builtin_names_those_there_are() -> None:
    with pytest.raises(ModelSourceError, match="there are: builtin://tiny"):
        read_model_config("builtin://huge")


def test_the_hub_is_asked_for_the_revision(hub: type[Hub]) -> None:
    path = "/org/model/resolve/0e9e39f/config.json"
    hub.answers = {path: (200, json.dumps(CONFIG).encode())}
    assert read_model_config("hf://org/model", "0e9e39f").model.hidden_size == 64
    assert hub.asked == [(path, None)]


def test_the_token_is_sent(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub.answers = {"/org/model/resolve/main/config.json": (200, json.dumps(CONFIG).encode())}
    read_model_config("hf://org/model")
    assert hub.asked[0][1] == "Bearer secret"


@pytest.mark.parametrize(
    ("status", "said", "transient"),
    [
        (401, "private or gated: set HF_TOKEN", False),
        (403, "private or gated", False),
        (404, "no revision 'main'", False),
        (429, "try again later", True),
        (503, "try again later", True),
    ],
)
def test_what_the_hub_refuses_is_explained(
    hub: type[Hub], status: int, said: str, transient: bool
) -> None:
    hub.answers = {"/org/model/resolve/main/config.json": (status, b"")}
    with pytest.raises(ModelSourceError, match=said) as caught:
        read_model_config("hf://org/model")
    assert caught.value.transient is transient


def test_a_huge_answer_is_refused(hub: type[Hub]) -> None:
    body = b" " * (MAX_CONFIG_BYTES + 1)
    hub.answers = {"/org/model/resolve/main/config.json": (200, body)}
    with pytest.raises(ModelSourceError, match="larger than 1048576 bytes"):
        read_model_config("hf://org/model")


def test_a_hub_that_is_away_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ModelSourceError, match="check the network") as caught:
        read_model_config("hf://org/model")
    assert caught.value.transient


def test_an_endpoint_must_be_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    with pytest.raises(ModelSourceError, match="not a URL"):
        read_model_config("hf://org/model")


@pytest.mark.parametrize("source", ["pvc://claim/model", "oci://registry/image:1"])
def test_volumes_and_images_need_a_config_map(source: str) -> None:
    with pytest.raises(ModelSourceError, match=r"spec\.model\.configFrom"):
        read_model_config(source)


def test_a_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert read_model_directory(tmp_path).model.vocab_size == 100
    with pytest.raises(ModelSourceError, match="No such file"):
        read_model_directory(tmp_path / "absent")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "architectures is missing"),
        ('{"architectures": ["T5ForConditionalGeneration"]}', "families that the planner knows"),
        (json.dumps({**CONFIG, "hidden_size": -1}), "hidden_size must be a whole number from 1"),
        (json.dumps({**CONFIG, "rms_norm_eps": "x"}), "could not convert"),
    ],
)
def test_what_cannot_be_planned_is_explained(text: str, said: str) -> None:
    with pytest.raises(ModelSourceError, match=said):
        parse_config(text, "here")


def test_a_model_that_the_engine_does_not_serve_is_planned_and_told() -> None:
    found = parse_config(json.dumps({**CONFIG, "architectures": ["Phi3ForCausalLM"]}), "here")
    assert found.model.architecture == "Phi3ForCausalLM"
    assert "supported: LlamaForCausalLM" in found.unserved


@pytest.mark.parametrize("variant", ["w8a16", "w8a16_tensor_head", "w8a8"])
def test_int8_that_llm_compressor_wrote_is_served(variant: str) -> None:
    folder = Path(__file__).parents[3] / "data" / "compressed_tensors" / variant
    found = read_model_directory(folder)
    assert (found.unserved, found.model.checkpoint.name) == ("", "INT8")


@pytest.mark.parametrize(
    ("bits", "group", "reason"),
    [(4, 128, "num_bits is 4, and only 8"), (8, 128, "strategy is group, and only channel")],
)
def test_packed_weights_that_the_engine_cannot_read_are_planned_but_not_served(
    bits: int, group: int, reason: str
) -> None:
    """llm-compressor's W4A16 and, since 2026, W8A16."""
    weights = {
        "num_bits": bits,
        "type": "int",
        "symmetric": True,
        "strategy": "group",
        "group_size": group,
    }
    quantization = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }
    found = parse_config(json.dumps(CONFIG | {"quantization_config": quantization}), "here")
    assert found.model.checkpoint.name == f"INT{bits}"
    assert reason in found.unserved
    assert "the unquantized one" in found.unserved
