import asyncio
import threading
from collections.abc import Callable

import pytest

from plimsoll_runtime.core.request import (
    FinishReason,
    Request,
    RequestOutput,
    SamplingParams,
)
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.engine_client import Arrival, EngineClient, Ticket
from plimsoll_runtime.server.errors import APIError
from tests.unit.plimsoll_runtime.server.conftest import EOS, SpokenModel

STOP = frozenset({EOS})


def request(name: str, max_tokens: int = 50, prompt: int = 3) -> Request:
    return Request(name, [9] * prompt, SamplingParams(max_tokens, stop_token_ids=STOP), 0.0)


async def drain(ticket: Ticket) -> list[Arrival]:
    arrivals: list[Arrival] = []
    while ticket.unfinished or not arrivals:
        arrivals += await ticket.take()
    return arrivals


async def idle(engine: Engine) -> None:
    while engine.stats().num_running + engine.stats().num_waiting:
        await asyncio.sleep(0.001)


async def test_every_output_comes_once_and_in_order(
    engine: Engine, say: Callable[[str], list[int]]
) -> None:
    ids = say("one two three four five")
    client = EngineClient(engine)
    tickets = [client.submit([request(f"{i}-{j}") for j in range(3)]) for i in range(4)]
    for number, arrivals in enumerate(await asyncio.gather(*map(drain, tickets))):
        for choice in range(3):
            mine = [a for a in arrivals if a.output.request_id == f"{number}-{choice}"]
            tokens = [token for a in mine for token in a.output.new_token_ids]
            assert tokens == [*ids, EOS]
            assert [a.output.finish_reason for a in mine][-1] is FinishReason.STOP
            assert [a.time for a in mine] == sorted(a.time for a in mine)
    assert client.num_unfinished == 0


async def test_dropping_frees_the_engine_and_silences_the_ticket(
    engine: Engine, spoken: SpokenModel
) -> None:
    spoken.gate.clear()
    client = EngineClient(engine)
    ticket = client.submit([request("a"), request("b")])
    client.drop(ticket, "a")
    client.drop(ticket)
    client.drop(ticket)
    assert client.num_unfinished == 0
    spoken.gate.set()
    await idle(engine)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ticket.take(), 0.02)


async def test_all_or_none_are_submitted(engine: Engine, spoken: SpokenModel) -> None:
    spoken.gate.clear()
    client = EngineClient(engine)
    with pytest.raises(APIError) as caught:
        client.submit([request("a"), request("b", prompt=10_000)])
    assert caught.value.status == 400
    assert "10000 tokens" in caught.value.message
    assert client.num_unfinished == 0
    spoken.gate.set()
    await idle(engine)


async def test_a_stopped_engine_is_503(engine: Engine) -> None:
    client = EngineClient(engine)
    engine.stop()
    with pytest.raises(APIError) as caught:
        client.submit([request("a")])
    assert caught.value.status == 503
    assert client.num_unfinished == 0


async def test_stopping_the_engine_ends_what_runs(engine: Engine, spoken: SpokenModel) -> None:
    spoken.gate.clear()
    client = EngineClient(engine)
    ticket = client.submit([request("a")])
    stopping = asyncio.get_running_loop().run_in_executor(None, engine.stop)
    spoken.gate.set()
    assert (await drain(ticket))[-1].output.finish_reason in (FinishReason.ABORT, FinishReason.STOP)
    await stopping


async def test_end_all_says_why(engine: Engine, spoken: SpokenModel) -> None:
    spoken.gate.clear()
    client = EngineClient(engine)
    ticket = client.submit([request("a"), request("b")])
    client.end_all("time is up")
    outputs = [arrival.output for arrival in await drain(ticket)]
    assert {(each.request_id, each.error) for each in outputs} == {
        ("a", "time is up"),
        ("b", "time is up"),
    }
    spoken.gate.set()
    await idle(engine)


async def test_outputs_keep_their_order_whichever_thread_they_come_from(
    engine: Engine, spoken: SpokenModel
) -> None:
    spoken.gate.clear()
    client = EngineClient(engine)
    ticket = client.submit([request("a")])

    def put(token: int) -> None:
        client._on_output(RequestOutput("a", (token,)))

    put(1)
    other = threading.Thread(target=put, args=(2,))
    other.start()
    other.join()
    put(3)
    arrivals = await ticket.take()
    assert arrivals[0].output.new_token_ids == (1,), "on the loop's own thread at once"
    while len(arrivals) < 3:
        arrivals += await ticket.take()
    assert [each.output.new_token_ids for each in arrivals] == [(1,), (2,), (3,)]
    client.drop(ticket)
    spoken.gate.set()
