"""The client against servers that answer well, badly, late or not at all."""

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from plimsoll_bench import driver
from plimsoll_bench.approach import ApproachError, first_model, warm_up
from plimsoll_bench.dialect import Dialect, dialects
from plimsoll_bench.driver import Asking, drive
from plimsoll_bench.exchange import Target, TargetError
from plimsoll_bench.load import Arrivals, Load, Piece, Request
from plimsoll_bench.token_ids import TokenRange
from tests.unit import certificates
from tests.unit.plimsoll_bench.scripted_server import (
    HEAD,
    Json,
    Reply,
    chunk,
    serving,
    status,
    stream,
    told,
)


@pytest.fixture(autouse=True)
def begin_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LEAD_SECONDS", 0.01)


def asking(target: Target, patience: float = 5.0, dialect: Dialect | None = None) -> Asking:
    return Asking(target, "m", dialect or Dialect(), TokenRange(), patience)


def load(*times: float, concurrency: int | None = None, tokens: int = 4) -> Load:
    requests = tuple(Request(at, (Piece(number, 8),), tokens) for number, at in enumerate(times))
    arrivals = Arrivals.TRACE if concurrency is None else Arrivals.CLOSED
    return Load("t", requests, arrivals, concurrency)


async def test_right_answers() -> None:
    async with serving(stream) as target:
        driven = await drive(load(0.0, 0.05, 0.1), asking(target))
    assert [each.failure for each in driven.records] == ["", "", ""]
    assert [each.due for each in driven.records] == [0.0, 0.05, 0.1]
    for each in driven.records:
        assert each.prompt_tokens == 8
        assert each.output_tokens == 4
        assert list(each.counts) == [1, 1, 1, 1]
        assert each.due <= each.begun <= each.times[0] <= each.times[-1] <= each.ended
    assert len({each.digest for each in driven.records}) == 1


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    under_way = 0
    all_there = asyncio.Event()

    async def slow(asked: Json, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way
        under_way += 1
        if under_way == 4:
            all_there.set()
        await all_there.wait()
        await stream(asked, writer)

    async with serving(slow) as target:
        driven = await drive(load(0.0, 0.02, 0.04, 0.06), asking(target))
    assert [each.failure for each in driven.records] == [""] * 4


async def test_a_closed_loop_keeps_its_places() -> None:
    under_way, seen = 0, []

    async def counted(asked: Json, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way
        under_way += 1
        seen.append(under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        await stream(asked, writer)

    async with serving(counted) as target:
        driven = await drive(load(*[0.0] * 9, concurrency=3), asking(target))
    assert max(seen) == 3
    # A request is due when it has a place, so that waiting for one is no latency.
    assert driven.records[-1].due > 0.03
    assert all(each.begun - each.due < 0.01 for each in driven.records)


async def test_a_server_that_stalls_delays_nothing_but_is_counted_from_when_it_was_due() -> None:
    async def stalling(asked: Json, writer: asyncio.StreamWriter) -> None:
        time.sleep(0.2)  # noqa: ASYNC251 - the client's loop is the server's: it cannot send
        await stream(asked, writer)

    async with serving(stalling) as target:
        driven = await drive(load(0.0, 0.01, 0.02), asking(target))
    last = driven.records[2]
    assert last.begun - last.due > 0.15
    assert last.ttft is not None
    assert last.ttft > 0.35
    assert max(driven.lags) > 0.1


async def refuse(_: Json, writer: asyncio.StreamWriter) -> None:
    await status(writer, 429, b"too many")


async def hang(_: Json, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    await writer.drain()
    await asyncio.sleep(1)


async def cut_off(_: Json, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + told({"choices": [{"text": "x", "token_ids": [1]}]}))


async def short(asked: Json, writer: asyncio.StreamWriter) -> None:
    await stream(asked | {"max_tokens": 3}, writer)


async def fail(_: Json, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + told({"error": {"message": "engine is gone"}}) + chunk(b""))


async def babble(_: Json, writer: asyncio.StreamWriter) -> None:
    writer.write(b"I am no HTTP server\r\n\r\n")


async def drop(_: Json, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize(
    ("reply", "failure", "reason"),
    [
        (refuse, "http 429", "too many"),
        (hang, "timeout", "0.2 s"),
        (cut_off, "cut off", "after 1 tokens"),
        (short, "length", "3 tokens, not 4"),
        (fail, "stream", "engine is gone"),
        (babble, "stream", "HTTP"),
        (drop, "connection", ""),
    ],
)
async def test_failures_are_records(reply: Reply, failure: str, reason: str) -> None:
    async with serving(reply) as target:
        (record,) = (await drive(load(0.0), asking(target, patience=0.2))).records
    assert record.failure == failure
    assert reason in record.reason


async def test_nobody_listens() -> None:
    async with serving(stream) as target:
        pass
    (record,) = (await drive(load(0.0), asking(target))).records
    assert record.failure == "connection"


async def test_requests_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "MOST_UNDER_WAY", 2)
    async with serving(hang) as target:
        driven = await drive(load(*[0.0] * 5), asking(target, patience=0.2))
    assert sorted(each.failure for each in driven.records) == ["not sent"] * 3 + ["timeout"] * 2


async def test_bodies_are_made_ahead_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "PREPARED_BYTES", 300)
    async with serving(stream) as target:
        driven = await drive(load(*[0.0] * 20), asking(target))
    assert [each.failure for each in driven.records] == [""] * 20


async def test_the_most_exact_dialect_that_is_understood() -> None:
    asked_for: list[Json] = []

    async def plain(asked: Json, writer: asyncio.StreamWriter) -> None:
        asked_for.append(asked)
        if "return_token_ids" in asked:
            await status(writer, 422, b"unknown field")
        else:
            await stream(asked, writer)

    async with serving(plain) as target:
        found = await warm_up(asking(target), dialects(chat=False, text=None))
    assert found.dialect == Dialect(token_ids=False)
    assert "ignore_eos" in asked_for[-1]


async def test_a_server_that_takes_only_text_needs_a_tokenizer() -> None:
    async def texts(asked: Json, writer: asyncio.StreamWriter) -> None:
        if isinstance(asked["prompt"], str):
            await stream(asked, writer)
        else:
            await status(writer, 400, b"id 16000 is not in the vocabulary")

    async with serving(texts) as target:
        with pytest.raises(ApproachError, match="--tokenizer") as raised:
            await warm_up(asking(target), dialects(chat=False, text=None))
        # What the server said, as it may have meant something else.
        assert "id 16000 is not in the vocabulary" in str(raised.value)
        assert "--token-ids" in str(raised.value)
        with pytest.raises(ValueError, match="--tokenizer"):
            await warm_up(asking(target), dialects(chat=False, text=True))
        able = Asking(target, "m", Dialect(), TokenRange(), 5.0, lambda ids: "x" * len(ids))
        found = await warm_up(able, dialects(chat=False, text=None))
    assert found.dialect == Dialect(text=True)


@pytest.mark.parametrize("reply", [refuse, hang, drop])
async def test_a_warm_up_that_fails_is_told(reply: Reply) -> None:
    async with serving(reply) as target:
        with pytest.raises(ApproachError, match="warm-up failed"):
            await warm_up(asking(target, patience=0.2), dialects(chat=False, text=None))


async def test_the_model_is_the_first_that_is_listed() -> None:
    async def models(_: Json, writer: asyncio.StreamWriter) -> None:
        await status(writer, 200, b'{"data": [{"id": "one"}, {"id": "two"}]}')

    async with serving(models) as target:
        assert await first_model(target) == "one"
    with pytest.raises(ApproachError, match=r"no answer from .*; start the server"):
        await first_model(target)
    async with serving(refuse) as target:
        with pytest.raises(ApproachError, match="--model"):
            await first_model(target)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1:8000", Target("127.0.0.1", 8000)),
        ("http://127.0.0.1:8000/v1/", Target("127.0.0.1", 8000)),
        ("localhost:81", Target("localhost", 81)),
        ("https://x.org/llm/v1", Target("x.org", 443, tls=True, prefix="/llm")),
        ("http://[::1]:80", Target("::1", 80)),
    ],
)
def test_addresses(url: str, target: Target) -> None:
    assert Target.of(url) == target


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999", "http://x:y"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(TargetError):
        Target.of(url)


def test_a_request_has_the_key_and_the_length() -> None:
    lines = Target("::1", 80, api_key="k").request("/v1/x", b"{}").split(b"\r\n")
    assert b"Host: [::1]:80" in lines
    assert b"Authorization: Bearer k" in lines
    assert b"Content-Length: 2" in lines
    assert lines[-1] == b"{}"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    (tmp_path / "key.pem").write_bytes(b"".join(certificates.pair(1)))
    return tmp_path / "key.pem"


async def models(asked: Json, writer: asyncio.StreamWriter) -> None:
    await (stream(asked, writer) if asked else status(writer, 200, b'{"data": [{"id": "one"}]}'))


async def test_a_certificate_of_an_authority_of_ones_own(certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with serving(models, context) as plain:
        url = f"https://127.0.0.1:{plain.port}"
        target = Target.of(url, authority=certificate)
        assert await first_model(target) == "one"
        driven = await drive(load(0.0, 0.0, 0.0), asking(target))
        assert [each.failure for each in driven.records] == [""] * 3
        with pytest.raises(ApproachError, match="--cacert"):
            await first_model(Target.of(url))
        with pytest.raises(ApproachError, match="no answer"):
            await first_model(plain)


async def test_a_server_without_tls_is_told() -> None:
    async def refuse_hello(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse_hello, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ApproachError, match="write http://"):
            await first_model(Target.of(f"https://127.0.0.1:{port}"))


async def test_certificates_are_read_once(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with serving(stream, context) as plain:
        target = Target.of(f"https://127.0.0.1:{plain.port}", authority=certificate)
        reads = []
        make = ssl.create_default_context

        def counted(**options: Any) -> ssl.SSLContext:
            reads.append(options)
            return make(**options)

        monkeypatch.setattr(ssl, "create_default_context", counted)
        driven = await drive(load(*[0.0] * 5), asking(target))
    assert [each.failure for each in driven.records] == [""] * 5
    assert len(reads) == 1


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("nothing", encoding="utf-8")
    for name in ("no.pem", "missing.pem"):
        with pytest.raises(TargetError, match=f"{name}: cannot be used"):
            Target.of("https://x", authority=tmp_path / name)
    with pytest.raises(TargetError, match="write https://"):
        Target.of("http://x", authority=tmp_path / "no.pem")
