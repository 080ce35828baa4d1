"""The first words with a server: which model it has, and how it wants to be asked."""

import json
import ssl
from collections.abc import Sequence
from dataclasses import replace

from plimsoll_bench.dialect import Dialect
from plimsoll_bench.driver import Asking, NoTokenizerError, drive
from plimsoll_bench.events import StreamError
from plimsoll_bench.exchange import Target, exchange
from plimsoll_bench.load import Load, Piece, Request
from plimsoll_bench.record import Failure, Record

PATIENCE_SECONDS = 30.0
_SEED = 99_000_000
WARM_UP = (
    Request(0.0, (Piece(_SEED, 64),), 8),
    Request(0.0, (Piece(_SEED + 1, 256),), 16),
)
"""Prompts that no workload has."""
_WANTS_ANOTHER = frozenset({400, 415, 422, 500, 501})
"""Statuses of a server that may understand another dialect."""


class ApproachError(Exception):
    """The server cannot be asked; one line with the way out."""


async def first_model(target: Target) -> str:
    """The first model that the server lists. Raises ApproachError."""
    try:
        found = await exchange(
            target, target.request("/v1/models", method="GET"), None, PATIENCE_SECONDS
        )
        if found.status == 200:
            return str(json.loads(found.body)["data"][0]["id"])
        reason = f"answers {found.status}"
    except (OSError, StreamError) as error:
        raise ApproachError(
            f"no answer from {target.host}:{target.port}: {_why(error)}; {_way_out(error)}"
        ) from error
    except (ValueError, KeyError, IndexError, TypeError):
        reason = "answers no list of models"
    raise ApproachError(f"/v1/models {reason}: name the model with --model")


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"none within {PATIENCE_SECONDS:g} s"
    return str(error)


def _way_out(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "name a file with its authority's certificate with --cacert"
    if isinstance(error, ssl.SSLError):
        return "where it serves without TLS, write http://"
    return "start the server, or give the address where it serves"


async def warm_up(asking: Asking, dialects: Sequence[Dialect]) -> Asking:
    """Sends the warm-up in the first dialect that the server understands.

    Returns how to ask. Raises ApproachError, and NoTokenizerError where nothing but text was to be
    tried.
    """
    refused: list[Record] = []
    for dialect in dialects:
        spoken = replace(asking, dialect=dialect)
        try:
            failed = await _first_failure(spoken)
        except NoTokenizerError:
            if not refused:
                raise
            raise ApproachError(
                f"{_told(refused[-1])}; where its vocabulary ends before {asking.tokens.high}, "
                "narrow --token-ids; where it takes no token ids as prompts, name its tokenizer's "
                "folder with --tokenizer"
            ) from None
        if failed is None:
            return spoken
        refused.append(failed)
        if not _may_understand_another(failed):
            break
    raise ApproachError(_told(refused[-1]))


def _told(record: Record) -> str:
    return f"the warm-up failed ({record.failure}): {record.reason}"


async def _first_failure(asking: Asking) -> Record | None:
    for request in WARM_UP:
        (record,) = (await drive(Load("warm-up", (request,)), asking)).records
        if record.failure:
            return record
    return None


def _may_understand_another(record: Record) -> bool:
    kind, _, status = record.failure.partition(" ")
    if record.failure == Failure.LENGTH:
        return True
    return kind == Failure.REFUSED and int(status) in _WANTS_ANOTHER
