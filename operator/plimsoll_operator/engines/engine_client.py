"""Reads metrics and steps of engines; what is wrong with an answer is never raised."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families

from plimsoll_operator.calibration.steps import PATH as STEPS_PATH
from plimsoll_operator.calibration.steps import StepsError, Told, parse_steps
from plimsoll_operator.engines.engine_http import bounded_text, http_client, url_of
from plimsoll_operator.engines.engine_token import bearer
from plimsoll_operator.render.labels import ADMIN_PORT, PORT
from plimsoll_operator.scaling.autoscale import Sample
from plimsoll_operator.scaling.measurement import Counters
from plimsoll_operator.traces.metrics_snapshot import OUTPUTS, PROMPTS, Histogram

TIMEOUT_SECONDS = 2.0
MAX_BYTES = 2 << 20
MAX_CONCURRENT = 64
MAX_STEPS_CONCURRENT = 8
"""Apart from the others, so that nothing that scales waits for it."""
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

    def __init__(
        self,
        port: int = PORT,
        admin_port: int = ADMIN_PORT,
        token: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._port, self._admin_port, self._token = port, admin_port, token
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._steps_slots = asyncio.Semaphore(MAX_STEPS_CONCURRENT)
        self._client = http_client(TIMEOUT_SECONDS)
        self._metrics = http_client(TIMEOUT_SECONDS, any_certificate=True)

    async def close(self) -> None:
        """Drops connections."""
        await self._client.aclose()
        await self._metrics.aclose()

    async def scrape(self, replicas: Sequence[tuple[str, str]]) -> tuple[Sample, ...]:
        """A sample for each pod name and address, as `url_of` takes it, in that order; never
        raises."""
        return tuple(await asyncio.gather(*(self._scrape(*replica) for replica in replicas)))

    async def steps(self, address: str) -> Told | None:
        """What the engine tells of its steps and its server's work; None where it does not."""
        try:
            async with self._steps_slots, asyncio.timeout(TIMEOUT_SECONDS):
                headers = bearer(self._token())
                url = url_of(address, self._admin_port, STEPS_PATH)
                text = await _read(self._client, url, headers)
            return parse_steps(text, address)
        except (TimeoutError, httpx.HTTPError, ValueError, StepsError):
            return None

    async def _scrape(self, replica: str, address: str) -> Sample:
        loop = asyncio.get_running_loop()
        try:
            async with self._slots, asyncio.timeout(TIMEOUT_SECONDS):
                text = await _read(self._metrics, url_of(address, self._port, "/metrics"))
            return parse_sample(replica, text, loop.time())
        except TimeoutError:
            error = f"no answer within {TIMEOUT_SECONDS:g} s"
        except httpx.HTTPError as failure:
            error = f"not reachable ({type(failure).__name__})"
        except ValueError as failure:
            error = str(failure)
        return Sample(replica=replica, at=loop.time(), error=error)


async def _read(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str] | None = None
) -> str:
    async with client.stream("GET", url, headers=headers) as response:
        path = response.url.path
        if response.status_code != 200:
            raise ValueError(f"{path} answers HTTP {response.status_code}")
        text = await bounded_text(response, MAX_BYTES)
    if text is None:
        raise ValueError(f"{path} is larger than {MAX_BYTES} bytes")
    return text


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
