"""Our library against a real server that is not ours: `Client` and `AsyncClient`, unary and streaming."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.errors import BackendError, InvalidRequest, ServerError

from .options import FAILS_LATE, FAILS_LATE_AND_UNREADABLY, endless
from .tiny_model import (
    BRIEF_ANSWER,
    BRIEF_SYSTEM,
    CAPITAL_ANSWER,
    CAPITAL_PROMPT,
    CAPITAL_QUESTION,
    GET_WEATHER,
    MODEL_ID,
    SUM_ANSWER,
    SUM_QUESTION,
    SUM_THOUGHT,
    TONGUES_ANSWER,
    TONGUES_QUESTION,
    WEATHER_ANSWER,
    WEATHER_ARGUMENTS,
    WEATHER_QUESTION,
    WEATHER_RESULT,
    user,
)

pytestmark = pytest.mark.realserver


@pytest.fixture
def client(upstream: str) -> Iterator[Client]:
    with Client("openai", base_url=upstream, api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(upstream: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient("openai", base_url=upstream, api_key="unused", max_retries=0) as client:
        yield client


def test_a_plain_question(client: Client, upstream: str) -> None:
    reply = client.chat(MODEL_ID, CAPITAL_QUESTION)
    assert reply.text == CAPITAL_ANSWER
    assert reply.finish_reason == "stop"
    assert reply.tool_calls == []
    assert reply.raw["choices"][0]["message"]["content"] == CAPITAL_ANSWER
    with openai.OpenAI(base_url=upstream, api_key="unused") as official:
        counted = official.chat.completions.create(model=MODEL_ID, messages=[user(CAPITAL_QUESTION)]).usage
    assert counted is not None
    assert reply.usage.reported
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (counted.prompt_tokens, counted.completion_tokens)


def test_a_system_message_changes_the_answer(client: Client) -> None:
    messages = [{"role": "system", "content": BRIEF_SYSTEM}, user(CAPITAL_QUESTION)]
    assert client.chat(MODEL_ID, messages).text == BRIEF_ANSWER


def test_a_stream_is_complete_without_its_done_line(client: Client) -> None:
    """The server ends a stream with the chunk that has the finish reason and the usage, and never says `[DONE]`."""
    chunks = list(client.stream(MODEL_ID, [user(TONGUES_QUESTION)]))
    pieces = [chunk.text for chunk in chunks if chunk.text]
    assert "".join(pieces) == TONGUES_ANSWER
    assert len(pieces) > 5
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert [chunk.usage.output_tokens > len(pieces) for chunk in chunks if chunk.usage] == [True]


def test_reasoning_is_kept_apart_from_the_answer(client: Client) -> None:
    reply = client.chat(MODEL_ID, SUM_QUESTION)
    assert (reply.reasoning, reply.text) == (SUM_THOUGHT, SUM_ANSWER)
    chunks = list(client.stream(MODEL_ID, SUM_QUESTION))
    assert "".join(chunk.reasoning for chunk in chunks) == SUM_THOUGHT
    assert "".join(chunk.text for chunk in chunks) == SUM_ANSWER


def test_a_tool_is_called_and_its_result_used(client: Client) -> None:
    asked = client.chat(MODEL_ID, WEATHER_QUESTION, tools=[GET_WEATHER])
    assert asked.finish_reason == "tool_calls"
    [call] = asked.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("get_weather", WEATHER_ARGUMENTS)
    conversation = [
        user(WEATHER_QUESTION),
        asked.raw["choices"][0]["message"],
        {"role": "tool", "tool_call_id": call.id, "content": WEATHER_RESULT},
    ]
    assert client.chat(MODEL_ID, conversation, tools=[GET_WEATHER]).text == WEATHER_ANSWER


def test_a_tool_call_comes_through_a_stream(client: Client) -> None:
    chunks = list(client.stream(MODEL_ID, WEATHER_QUESTION, tools=[GET_WEATHER]))
    pieces = [piece for chunk in chunks for piece in chunk.tool_calls]
    assert "".join(piece.name for piece in pieces) == "get_weather"
    assert json.loads("".join(piece.arguments for piece in pieces)) == WEATHER_ARGUMENTS
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["tool_calls"]


def test_options_of_openai_and_of_the_server_both_arrive(client: Client) -> None:
    short = client.chat(MODEL_ID, CAPITAL_QUESTION, max_tokens=3)
    assert (short.usage.output_tokens, short.finish_reason) == (3, "length")
    # No option of OpenAI's: only this server knows it, and it has an effect that can be counted.
    longer = client.chat(MODEL_ID, CAPITAL_QUESTION, **endless(tokens=40))
    assert (longer.usage.output_tokens, longer.finish_reason) == (40, "length")


def test_plain_completions(client: Client) -> None:
    assert client.complete(MODEL_ID, CAPITAL_PROMPT).text == CAPITAL_ANSWER
    chunks = list(client.stream_complete(MODEL_ID, CAPITAL_PROMPT))
    assert "".join(chunk.text for chunk in chunks) == CAPITAL_ANSWER
    assert (chunks[-1].finish_reason, chunks[-1].usage is not None) == ("stop", True)


def test_responses(client: Client) -> None:
    """This server streams a response unless it is told not to, where OpenAI's own streams only when asked."""
    reply = client.respond(MODEL_ID, CAPITAL_QUESTION)
    assert (reply.text, reply.finish_reason) == (CAPITAL_ANSWER, "stop")
    assert reply.usage.input_tokens > reply.usage.output_tokens > 0
    stream = client.stream_respond(MODEL_ID, CAPITAL_QUESTION)
    assert "".join(chunk.text for chunk in stream) == CAPITAL_ANSWER
    assert stream.usage == reply.usage


def test_models_are_listed(client: Client) -> None:
    """The server's `created` is a fraction of a second, where OpenAI's own is a whole number."""
    [model] = client.models()
    assert (model.id, model.owner) == (MODEL_ID, "tests")
    assert model.created > 1_700_000_000


def test_the_servers_own_words_for_a_refusal_reach_the_caller(client: Client) -> None:
    """FastAPI says `{"detail": "..."}`, not OpenAI's `{"error": {...}}`."""
    with pytest.raises(InvalidRequest, match="pinned to 'tests/tiny-chat'; requested 'nobody/nothing'") as refused:
        client.chat("nobody/nothing", CAPITAL_QUESTION)
    assert refused.value.status == 400
    with pytest.raises(InvalidRequest, match=r"Unexpected fields.*no_such_option") as refused:
        client.chat(MODEL_ID, CAPITAL_QUESTION, no_such_option=1)
    assert refused.value.status == 422


def test_what_the_server_does_not_offer_is_a_clear_error(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="Not Found") as refused:
        client.embed(MODEL_ID, ["a", "b"])
    assert refused.value.status == 404


def test_a_failure_of_the_server_is_an_error_of_the_server(client: Client) -> None:
    """The body is the bare text `Internal Server Error`."""
    with pytest.raises(ServerError) as failed:
        client.chat(MODEL_ID, CAPITAL_QUESTION, **FAILS_LATE)
    assert failed.value.status == 500


def test_the_next_call_after_a_failure_succeeds(client: Client) -> None:
    """The server closes the connection some milliseconds after the 500, without having said so in a header."""
    for _ in range(8):
        with pytest.raises(ServerError):
            client.chat(MODEL_ID, CAPITAL_QUESTION, **FAILS_LATE)
        assert client.chat(MODEL_ID, CAPITAL_QUESTION).text == CAPITAL_ANSWER


def test_a_failure_inside_a_stream_is_an_error(client: Client) -> None:
    """The status is 200 by then, and the event says `{"error": "text"}`, with a text in place of OpenAI's object."""
    with pytest.raises(BackendError, match="has to be a dict with floats"):
        list(client.stream(MODEL_ID, CAPITAL_QUESTION, **FAILS_LATE))


def test_a_stream_that_ends_in_an_unreadable_event_is_not_a_complete_one(client: Client) -> None:
    with pytest.raises(BackendError):
        list(client.stream(MODEL_ID, CAPITAL_QUESTION, **FAILS_LATE_AND_UNREADABLY))


def test_an_abandoned_stream_stops_the_work_of_the_server(client: Client) -> None:
    """The server works on one request at a time, so who comes next notices whether the last one was called off."""
    client.chat(MODEL_ID, CAPITAL_QUESTION)  # the connection is there, and the server is warm
    tokens, read = 3000, 60
    started = time.perf_counter()
    stream = client.stream(MODEL_ID, CAPITAL_QUESTION, **endless(tokens=tokens))
    for _ in range(read):
        next(stream)
    remaining = (time.perf_counter() - started) / read * (tokens - read)
    stream.close()
    started = time.perf_counter()
    assert client.chat(MODEL_ID, CAPITAL_QUESTION).text == CAPITAL_ANSWER
    assert time.perf_counter() - started < remaining / 3


def test_many_threads_at_once(client: Client) -> None:
    questions = [(CAPITAL_QUESTION, CAPITAL_ANSWER), (TONGUES_QUESTION, TONGUES_ANSWER)] * 6

    def ask(question: str) -> tuple[str, str]:
        return client.chat(MODEL_ID, question).text, "".join(chunk.text for chunk in client.stream(MODEL_ID, question))

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, [question for question, _ in questions]))
    assert answers == [(answer, answer) for _, answer in questions]


async def test_the_async_client_answers_and_streams(async_client: AsyncClient) -> None:
    reply = await async_client.chat(MODEL_ID, CAPITAL_QUESTION)
    assert (reply.text, reply.finish_reason, reply.usage.reported) == (CAPITAL_ANSWER, "stop", True)
    chunks = [chunk async for chunk in async_client.stream(MODEL_ID, TONGUES_QUESTION)]
    assert "".join(chunk.text for chunk in chunks) == TONGUES_ANSWER
    assert chunks[-1].finish_reason == "stop"


async def test_the_async_client_asks_many_things_at_once(async_client: AsyncClient) -> None:
    replies = await asyncio.gather(*(async_client.chat(MODEL_ID, CAPITAL_QUESTION) for _ in range(12)))
    assert [reply.text for reply in replies] == [CAPITAL_ANSWER] * 12
