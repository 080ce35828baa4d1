"""The official openai SDK's `responses` against `plimsoll serve builtin://tiny`."""

import openai
import pytest

INPUT = "What is a thread?"
INSTRUCTIONS = "You are a helpful assistant. Answer in one short sentence, please."


def test_create_and_the_stream_helper_agree(client: openai.OpenAI) -> None:
    whole = client.responses.create(
        model="tiny", input=INPUT, instructions=INSTRUCTIONS, temperature=0
    )
    assert whole.status == "completed"
    assert whole.output_text
    with client.responses.stream(
        model="tiny", input=INPUT, instructions=INSTRUCTIONS, temperature=0
    ) as stream:
        deltas = [event for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert deltas  # how many there are depends on how busy the machine is
    assert deltas[-1].snapshot == "".join(event.delta for event in deltas) == whole.output_text
    assert final.output_text == whole.output_text
    assert final.usage is not None
    assert whole.usage is not None
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.input_tokens == whole.usage.input_tokens
    assert 0 < final.usage.input_tokens_details.cached_tokens < final.usage.input_tokens


def test_it_says_what_chat_says(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": INPUT}],
        temperature=0,
    )
    answer = client.responses.create(
        model="tiny", instructions="Be kind.", input=INPUT, temperature=0
    )
    assert answer.output_text == chat.choices[0].message.content
    assert chat.usage is not None
    assert answer.usage is not None
    assert answer.usage.input_tokens == chat.usage.prompt_tokens


def test_a_conversation_goes_on_with_the_sdks_own_items(client: openai.OpenAI) -> None:
    first = client.responses.create(model="tiny", input=INPUT, temperature=0, store=False)
    second = client.responses.create(
        model="tiny",
        input=[
            {"role": "user", "content": INPUT},
            *[item.to_dict() for item in first.output],  # type: ignore[list-item]
            {"role": "user", "content": "And what is a process?"},
        ],
        temperature=0,
        max_output_tokens=5,
    )
    assert second.status == "incomplete"
    assert second.incomplete_details is not None
    assert second.incomplete_details.reason == "max_output_tokens"


async def test_raw_events_and_the_many(many: openai.AsyncOpenAI) -> None:
    stream = await many.responses.create(
        model="tiny", input=INPUT, temperature=0, stream=True, max_output_tokens=8
    )
    kinds = [event.type async for event in stream]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-1] == "response.incomplete"
    async with many.responses.stream(model="tiny", input=INPUT) as helper:
        final = await helper.get_final_response()
    assert final.status == "completed"


def test_what_is_not_kept_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="previous_response_id") as error:
        client.responses.create(model="tiny", input="x", previous_response_id="resp_1")
    assert error.value.param == "previous_response_id"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_1")
