"""Reads the metrics of engines; whatever is wrong with an answer ends in the sample's `error`."""

import asyncio
from collections.abc import Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families

from plimsoll_operator.autoscale import Sample
from plimsoll_operator.measurement import Counters
from plimsoll_operator.traces.metrics_snapshot import OUTPUTS, PROMPTS, Histogram

TIMEOUT_SECONDS = 2.0
MAX_BYTES = 2 << 20
MAX_CONCURRENT = 64
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_CACHE_USAGE = "vllm:kv_cache_usage_perc"
HISTOGRAMS = (
    PROMPTS,
    OUTPUTS,
    "vllm:time_to_first_token_seconds",
    "vllm:request_time_per_output_token_seconds",
)
"""In the order of the fields of Counters."""


class EngineClient:
    """Scrapes engines by pod address, many at once."""

    def __init__(self, port: int = 8000) -> None:
        self._port = port
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT_SECONDS, trust_env=False, follow_redirects=False
        )

    async def close(self) -> None:
        """Drops connections."""
        await self._client.aclose()

    async def scrape(self, replicas: Sequence[tuple[str, str]]) -> tuple[Sample, ...]:
        """A sample for each (pod name, address), in that order; never raises."""
        return tuple(await asyncio.gather(*(self._scrape(*replica) for replica in replicas)))

    async def _scrape(self, replica: str, address: str) -> Sample:
        loop = asyncio.get_running_loop()
        try:
            async with self._slots, asyncio.timeout(TIMEOUT_SECONDS):
                text = await self._read(address)
            return parse_sample(replica, text, loop.time())
        except TimeoutError:
            error = f"no answer within {TIMEOUT_SECONDS:g} s"
        except httpx.HTTPError as failure:
            error = f"not reachable ({type(failure).__name__})"
        except ValueError as failure:
            error = str(failure)
        return Sample(replica=replica, at=loop.time(), error=error)

    async def _read(self, address: str) -> str:
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{self._port}/metrics"
        async with self._client.stream("GET", url) as response:
            if response.status_code != 200:
                raise ValueError(f"/metrics answers HTTP {response.status_code}")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError(f"/metrics is larger than {MAX_BYTES} bytes")
        return body.decode("utf-8", errors="replace")


def parse_sample(replica: str, text: str, at: float) -> Sample:
    """The sample in an exposition; several engines in one pod add up, their fullest cache counts.

    Raises ValueError where the text is no exposition or a metric is missing.
    """
    values: dict[str, list[float]] = {RUNNING: [], WAITING: [], KV_CACHE_USAGE: []}
    histograms = {name: Histogram() for name in HISTOGRAMS}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in values:
                values[sample.name].append(sample.value)
            name, _, kind = sample.name.rpartition("_")
            if name in histograms:
                histograms[name].add(kind, sample.labels, sample.value)
    missing = [name for name, found in values.items() if not found]
    if missing:
        raise ValueError(f"/metrics lacks {', '.join(missing)}")
    running, waiting = sum(values[RUNNING]), sum(values[WAITING])
    counters: Counters | None = None
    if all(histogram.buckets for histogram in histograms.values()):
        prompts, outputs, first_token, per_token = (histograms[name] for name in HISTOGRAMS)
        counters = Counters(prompts, outputs, first_token, per_token, running + waiting)
    return Sample(
        replica=replica,
        at=at,
        running=running,
        waiting=waiting,
        kv_cache_usage=max(values[KV_CACHE_USAGE]),
        counters=counters,
    )
