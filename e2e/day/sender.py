"""Sends a day's requests to a Service, each when it is due; runs in a pod of the engine's image.

Prints a row of JSON for each request that has ended (`parse_log` reads it), so that what it has
seen is in the pod's log, whatever becomes of it.
"""

import asyncio
import json
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from plimsoll_bench.dialect import Dialect, body
from plimsoll_bench.events import Answer, StreamError
from plimsoll_bench.exchange import Target, exchange
from plimsoll_bench.record import Failure, Record
from plimsoll_bench.token_ids import TokenRange, token_ids

DIALECT = Dialect(token_ids=False)
TOKENS = TokenRange(5, 205)
PATIENCE = 120.0
MOST_UNDER_WAY = 1024
LEAD_SECONDS = 2.0
LONGEST_REASON = 160


class Sender:
    """To one Service, whose address is looked up once."""

    def __init__(self, host: str, model: str, port: int = 80) -> None:
        # It stays as long as the Service does; names of other hosts are nobody's business here.
        self._target = Target(socket.gethostbyname(host), port)
        self._model = model
        self._start = time.monotonic() + LEAD_SECONDS
        self._under_way: set[asyncio.Task[None]] = set()

    async def send(self, lengths: Sequence[tuple[float, int, int]]) -> None:
        """All, and waits for the last answers."""
        tell({"start": time.time() + LEAD_SECONDS})
        for number, (at, prompt, output) in enumerate(lengths):
            await asyncio.sleep(max(0.0, at - self._now()))
            if len(self._under_way) >= MOST_UNDER_WAY:
                now = self._now()
                late = f"{MOST_UNDER_WAY} requests were under way"
                record = Record(at, now, now, output, failure=Failure.NOT_SENT, reason=late)
                self._tell(number, record)
                continue
            task = asyncio.create_task(self._one(number, at, prompt, output))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        await asyncio.gather(*self._under_way)
        tell({"done": len(lengths)})

    async def _one(self, number: int, due: float, prompt: int, output: int) -> None:
        ids = token_ids(number, prompt, TOKENS)
        content = body(DIALECT, self._model, ids, output, {})
        answer = Answer(output)
        begun, failure, reason = self._now(), "", ""
        try:
            request = self._target.request(DIALECT.path, content)
            made = await exchange(self._target, request, answer, PATIENCE)
            if made.status != 200:
                failure = f"{Failure.REFUSED} {made.status}"
                reason = made.body.decode("utf-8", "replace")
            elif not answer.done:
                failure, reason = Failure.CUT_OFF, f"after {answer.num_tokens} tokens"
            elif answer.num_tokens != output:
                failure, reason = Failure.LENGTH, f"{answer.num_tokens} tokens, not {output}"
        except TimeoutError:
            failure, reason = Failure.TIMEOUT, f"no end after {PATIENCE:g} s"
        except OSError as error:
            failure, reason = Failure.CONNECTION, f"{type(error).__name__}: {error}"
        except StreamError as error:
            failure, reason = Failure.STREAM, str(error)
        times = [each - self._start for each in answer.times]
        ended = self._now()
        record = Record(
            due, begun, ended, output, prompt, answer.num_tokens, times, (), "", failure, reason
        )
        self._tell(number, record)

    def _tell(self, number: int, record: Record) -> None:
        row: dict[str, object] = {"n": number}
        for name in ("begun", "ended", "ttft", "tpot"):
            value = getattr(record, name)
            row[name] = None if value is None else round(value, 4)
        if record.failure:
            row |= {"failure": record.failure, "reason": record.reason[:LONGEST_REASON]}
        tell(row)

    def _now(self) -> float:
        return time.monotonic() - self._start


def tell(row: dict[str, object]) -> None:
    """One line."""
    print(json.dumps(row, separators=(",", ":")), flush=True)


def main(host: str, model: str, file: str) -> None:
    """Sends what the file says: a line for each request, when it is due and its lengths."""
    rows = [line.split() for line in Path(file).read_text().splitlines()]
    lengths = [(float(at), int(prompt), int(output)) for at, prompt, output in rows]
    asyncio.run(Sender(host, model).send(lengths))


if __name__ == "__main__":
    main(*sys.argv[1:])
