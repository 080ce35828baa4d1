"""Whatever an engine answers, a scrape ends in a sample, soon."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from plimsoll_operator.engines import engine_client
from plimsoll_operator.engines.engine_client import EngineClient, parse_sample
from plimsoll_operator.engines.scraper import Scraper
from plimsoll_operator.scaling.autoscale import Sample
from tests.unit.certificates import pair
from tests.unit.plimsoll_operator.loopback import answer, answering

TEXT = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 7.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
"""


def test_parse() -> None:
    assert parse_sample("pod", TEXT, 5.0) == Sample("pod", 5.0, 5.0, 7.0, 0.5)


@pytest.mark.parametrize("text", ["", "<html>", "vllm:num_requests_running 1", "x{ 1"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_sample("pod", text, 0.0)


@asynccontextmanager
async def engine(respond: Callable[[asyncio.StreamWriter], None]) -> AsyncIterator[EngineClient]:
    """A client for an engine on loopback that answers every request with `respond`."""
    async with answering(respond) as (port, _):
        client = EngineClient(port)
        try:
            yield client
        finally:
            await client.close()


async def test_scrape() -> None:
    async with engine(lambda writer: writer.write(answer(TEXT))) as client:
        (sample,) = await client.scrape([("pod", "127.0.0.1")])
    assert (sample.running, sample.waiting, sample.error) == (5.0, 7.0, "")


async def test_scrape_over_tls_whoever_vouches_for_the_engine(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join(pair(1)))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(both)
    async with answering(lambda writer: writer.write(answer(TEXT)), tls) as (port, _):
        client = EngineClient(port)
        replicas = [("pod", "https://127.0.0.1"), ("plain", "127.0.0.1")]
        secure, plain = await client.scrape(replicas)
        await client.close()
    assert (secure.running, secure.error) == (5.0, "")
    assert plain.error.startswith("not reachable")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (answer("", "503 Service Unavailable"), "HTTP 503"),
        (answer("nothing 1\n"), "lacks vllm:num_requests_running"),
        (b"not http at all\r\n\r\n", "not reachable"),
        (answer("x" * (engine_client.MAX_BYTES + 100)), "larger than"),
    ],
)
async def test_bad_answers(body: bytes, error: str) -> None:
    async with engine(lambda writer: writer.write(body)) as client:
        (sample,) = await client.scrape([("pod", "127.0.0.1")])
    assert error in sample.error


async def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_client, "TIMEOUT_SECONDS", 0.1)
    async with engine(lambda writer: None) as client:
        (sample,) = await client.scrape([("pod", "127.0.0.1")])
    assert sample.error == "no answer within 0.1 s"


async def test_scraper_keeps_its_pace_and_backs_off() -> None:
    measured: list[tuple[str, str]] = []
    async with engine(lambda writer: writer.write(answer("no metrics 1\n"))) as client:
        scraper = Scraper(client, 0.02, measured.append)
        key = ("ml", "chat")
        async with asyncio.timeout(5):
            while len(measured) < 3:
                scraper.tick([(key, (("pod", "127.0.0.1"),), True), (("ml", "empty"), (), True)])
                await asyncio.sleep(0.005)
        assert set(measured) == {key}
        assert scraper.samples(key)[0].error
        assert scraper.samples(("ml", "empty")) == ()
        assert not scraper.due(key)
        assert scraper.due(("ml", "empty"))
        pause = scraper._due[key] - asyncio.get_running_loop().time()
        assert pause > 0.02
        scraper.forget(key)
        assert scraper.due(key)
        assert scraper.samples(key) == ()
