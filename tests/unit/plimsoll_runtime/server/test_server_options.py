from pathlib import Path

import pytest

from plimsoll_runtime.core.admission import AdmissionRules
from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.pooling import Pooling
from plimsoll_runtime.server.command import parser
from plimsoll_runtime.server.model_source import resolve_model
from plimsoll_runtime.server.server_options import (
    API_KEY_VARIABLE,
    check_server_options,
    server_settings,
)
from plimsoll_runtime.server.settings import ServerSettings


def read(*words: str) -> ServerSettings:
    arguments = parser().parse_args(["builtin://tiny", *words])
    check_server_options(arguments)
    return server_settings(arguments, resolve_model(arguments.model, arguments.revision))


def test_defaults_are_safe() -> None:
    arguments = parser().parse_args(["builtin://tiny"])
    assert (arguments.host, arguments.port) == ("127.0.0.1", 8000)
    assert (arguments.admin_host, arguments.admin_port) == ("127.0.0.1", None)


def test_nothing_asked_for_serves_the_model_by_its_own_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    assert read() == ServerSettings(served_names=("tiny",), root="builtin://tiny")


def test_every_option_reaches_the_server(tmp_path: Path) -> None:
    keys, trust = tmp_path / "keys", tmp_path / "trust"
    keys.write_text("chat:12345678\n")
    found = read(
        *("--served-model-name", "a", "b"),
        *("--api-key=k", f"--api-key-file={keys}", f"--admin-trust-file={trust}"),
        *("--max-queue-len=9", "--max-queue-wait=2.5", "--shutdown-timeout=3.5"),
        *("--scheduling-policy=priority", "--tenant-weight=chat=2"),
        "--tool-call-parser=hermes",
    )
    assert found == ServerSettings(
        served_names=("a", "b"),
        root="builtin://tiny",
        api_key="k",
        shutdown_timeout=3.5,
        api_key_file=keys,
        admission=AdmissionRules(9, 2.5, SchedulingPolicy.PRIORITY, {"chat": 2.0}),
        tool_call_parser="hermes",
        pooling=Pooling.LAST,
        admin_trust_file=trust,
    )


def test_where_it_listens_and_which_revision() -> None:
    words = ("--revision=abc", "--host=::", "--port=1", "--admin-host=::1", "--admin-port=2")
    arguments = parser().parse_args(["hf://org/model", *words])
    assert (arguments.model, arguments.revision) == ("hf://org/model", "abc")
    assert (arguments.host, arguments.port) == ("::", 1)
    assert (arguments.admin_host, arguments.admin_port) == ("::1", 2)


def test_the_api_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "from-there")
    assert read().api_key == "from-there"
    assert read("--api-key=given").api_key == "given"


def test_a_key_without_its_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--ssl-keyfile needs --ssl-certfile"):
        read(f"--ssl-keyfile={tmp_path / 'key.pem'}")
