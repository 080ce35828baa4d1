"""Messages arrive as they were sent, and nothing else is taken for one."""

import dataclasses
import types
import typing
from enum import Enum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.engine import frames
from plimsoll_runtime.engine.frames import FrameError, FrameReader
from plimsoll_runtime.engine.messages import (
    Abort,
    Failed,
    FromEngine,
    Load,
    Loaded,
    MessageError,
    Outputs,
    Ready,
    Stop,
    Submit,
    ToEngine,
    decode_from_engine,
    decode_to_engine,
    encode,
    request_id_of,
)
from plimsoll_runtime.engine.options import EngineOptions

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**64 - 1),
    float: st.floats(allow_nan=False),
    str: st.text(),
    bytes: st.binary(),
    bool: st.booleans(),
    types.NoneType: st.none(),
    EngineLimits: st.builds(
        EngineLimits,
        max_num_seqs=st.integers(1, 9),
        max_num_batched_tokens=st.integers(9, 99),
        max_model_len=st.integers(1, 32),
        num_blocks=st.integers(2, 99),
        enable_prefix_caching=st.booleans(),
        long_prefill_token_threshold=st.none() | st.integers(1, 9),
    ),
    EngineOptions: st.builds(
        EngineOptions,
        dtype=st.sampled_from(["auto", "float32"]),
        max_model_len=st.none() | st.integers(1, 2**40),
        gpu_memory_utilization=st.floats(0.1, 1),
        seed=st.integers(-(2**63), 2**63),
        speculative_config=st.none()
        | st.builds(
            SpeculativeConfig,
            method=st.just(SpeculativeMethod.DRAFT_MODEL),
            num_speculative_tokens=st.integers(1, 32),
            model=st.text(),
            disable_by_batch_size=st.none() | st.integers(1, 9),
        ),
    ),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type, so that fields added later are tried without a change here."""
    if kind in SCALARS:
        return SCALARS[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is not None:
        return _generic(origin, arguments)
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    hints = typing.get_type_hints(kind)
    if kind is Request:
        hints = {name: hints[name] for name in SUBMITTED}
    return st.builds(kind, **{name: values(hint) for name, hint in hints.items()})


def _generic(origin: Any, arguments: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values, arguments))
    if origin is dict:
        return st.dictionaries(*map(values, arguments), max_size=3)
    if origin is tuple and arguments[1:] != (...,):
        return st.tuples(*map(values, arguments))
    return st.builds(origin, st.lists(values(arguments[0]), max_size=4))


# What the scheduler keeps in a request, and nobody sends.
SUBMITTED = tuple(
    each.name
    for each in dataclasses.fields(Request)
    if each.name not in ("prefix", "block_keys", "block_ids")
)


@given(st.one_of(*map(values, (Load, Submit, Abort, Stop))))
def test_messages_to_the_engine_arrive_as_they_were_sent(message: ToEngine) -> None:
    (payload,) = FrameReader().feed(encode(message))
    assert decode_to_engine(payload) == message


@given(st.one_of(*map(values, (Loaded, Ready, Outputs, Failed))))
def test_messages_from_the_engine_arrive_as_they_were_sent(message: FromEngine) -> None:
    (payload,) = FrameReader().feed(encode(message))
    decoded = decode_from_engine(payload)
    assert decoded == message
    if isinstance(decoded, Outputs):
        for output in decoded.outputs:
            assert type(output) is RequestOutput
            assert output.finish_reason is None or type(output.finish_reason) is FinishReason


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_are_a_clear_error(payload: bytes) -> None:
    for decode in (decode_to_engine, decode_from_engine):
        with pytest.raises(MessageError, match=f"a message of {len(payload)} bytes: "):
            decode(payload)
    request_id_of(payload)


@given(values(Submit), st.data())
def test_a_damaged_message_is_an_error_or_a_message(message: Submit, data: st.DataObject) -> None:
    payload = bytearray(encode(message)[4:])
    for _ in range(3):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(decode_to_engine(bytes(payload)), ToEngine)
    except MessageError:
        request_id_of(bytes(payload))


def test_the_two_directions_do_not_mix() -> None:
    with pytest.raises(MessageError, match="Invalid value 'ready'"):
        decode_to_engine(encode(Ready())[4:])
    with pytest.raises(MessageError, match="Invalid value 'stop'"):
        decode_from_engine(encode(Stop())[4:])


def test_a_wrong_field_is_named_and_its_request_can_be_found() -> None:
    request = Request("r1", [1, 2], SamplingParams(3, top_k="many"), 0.0)  # type: ignore[arg-type]
    payload = encode(Submit(request))[4:]
    with pytest.raises(MessageError, match=r"Expected `int`, got `str` - at `\$.request.*top_k`"):
        decode_to_engine(payload)
    assert request_id_of(payload) == "r1"


def test_values_that_break_their_own_types_rules_are_refused() -> None:
    fields = msgspec.to_builtins(Load("m", EngineOptions()))
    fields["options"]["block_size"] = 0
    with pytest.raises(MessageError, match="block_size must be at least 1, not 0"):
        decode_to_engine(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("bad", ["\ud800", 2**64, object(), float])
def test_what_no_message_can_carry_is_refused_before_it_is_sent(bad: Any) -> None:
    with pytest.raises(MessageError, match="Abort cannot be sent"):
        encode(Abort(bad))


def test_a_message_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 1000)
    encode(Abort("x" * 900))
    with pytest.raises(FrameError, match="between server and engine at most 1000 fit"):
        encode(Abort("x" * 1000))
