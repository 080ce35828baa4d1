"""What server and engine say to each other: typed msgpack, one message a frame.

The types of `core` and `stats` travel as they are, by their annotations: a field added there needs
nothing here. Decoding checks every type, and builds nothing but these types. Times are seconds of
CLOCK_MONOTONIC, which on Linux is one clock for all processes of a machine.
"""

from typing import TypeVar

import msgspec

from plimsoll_runtime.core.limits import EngineLimits, LiveLimits
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.request import Request, RequestOutput
from plimsoll_runtime.engine.frames import frame
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.engine.stats import EngineStats

T = TypeVar("T")


class MessageError(ValueError):
    """A frame holds no message of the expected kind, or an object cannot be made one."""


class Message(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower):
    """What all messages have in common: their type's name goes with them."""


# To the engine. What controls it is one type here and one branch in `service.Service.handle`.


class Load(Message, frozen=True):
    """The first message: which model to load, and how."""

    model_dir: str
    options: EngineOptions


class Submit(Message, frozen=True):
    """A request, as `Engine.submit` takes it."""

    request: Request


class Abort(Message, frozen=True):
    """Ends a request, if it has not ended."""

    request_id: str


class SetLimits(Message, frozen=True):
    """Changes limits before the next step."""

    limits: LiveLimits


class Stop(Message, frozen=True):
    """Ends the engine after the step that runs."""


ToEngine = Load | Submit | Abort | SetLimits | Stop


# From the engine.


class Loaded(Message, frozen=True):
    """The model is in memory; a step to warm up comes next.

    `attention_path` says how attention is computed, for people.
    """

    limits: EngineLimits
    model_config: ModelConfig
    stats: EngineStats
    attention_path: str = ""


class Ready(Message, frozen=True):
    """Requests are served from now on."""


class Outputs(Message, frozen=True):
    """All that a step brought.

    `stats.step_samples` are only those since the last stats; `stats` know of the first
    `num_submitted` requests that were ever submitted.
    """

    outputs: list[RequestOutput]
    stats: EngineStats | None = None
    num_submitted: int = 0


class Failed(Message, frozen=True):
    """The last message of an engine that cannot go on, with `bad_input` for want of a good Load."""

    error: str
    bad_input: bool = False


FromEngine = Loaded | Ready | Outputs | Failed

_encoder = msgspec.msgpack.Encoder()
_to_engine: msgspec.msgpack.Decoder[ToEngine] = msgspec.msgpack.Decoder(ToEngine)
_from_engine: msgspec.msgpack.Decoder[FromEngine] = msgspec.msgpack.Decoder(FromEngine)


def encode(message: ToEngine | FromEngine) -> bytes:
    """The frame of a message.

    Raises MessageError for a value that its type does not allow, FrameError when it is too long.
    """
    try:
        payload = _encoder.encode(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"{type(message).__name__} cannot be sent: {error}") from error
    return frame(payload)


def decode_to_engine(payload: bytes) -> ToEngine:
    """Raises MessageError that names the field which is wrong."""
    return _decode(_to_engine, payload)


def decode_from_engine(payload: bytes) -> FromEngine:
    """Raises MessageError that names the field which is wrong."""
    return _decode(_from_engine, payload)


def request_id_of(payload: bytes) -> str | None:
    """The request that a message is about which could not be decoded; None when that is not told.

    So that such a request can end alone.
    """
    try:
        return _decode(_maybe_request, payload).request.request_id
    except MessageError:
        return None


class _OnlyId(msgspec.Struct, frozen=True):
    request_id: str


class _MaybeRequest(msgspec.Struct, frozen=True):
    request: _OnlyId


_maybe_request = msgspec.msgpack.Decoder(_MaybeRequest)


def _decode(decoder: msgspec.msgpack.Decoder[T], payload: bytes) -> T:
    try:
        return decoder.decode(payload)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"a message of {len(payload)} bytes: {error}") from error
