"""Our gateway in front of a real server that is not ours, asked by the official `openai` client."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ipfs_accelerate_py import Client

from .options import FAILS_LATE, endless
from .tiny_model import (
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

#: What the gateway calls the model; the server knows it as `MODEL_ID` only.
ALIAS = "tiny"


@pytest.fixture
def client(gateway: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway, api_key="unused", max_retries=0) as client:
        yield client


def test_it_lists_the_model_by_its_alias(client: openai.OpenAI) -> None:
    assert ALIAS in [model.id for model in client.models.list()]


def test_an_answer_comes_through_unchanged(client: openai.OpenAI, upstream: str) -> None:
    reply = client.chat.completions.create(model=ALIAS, messages=[user(CAPITAL_QUESTION)])
    assert reply.choices[0].message.content == CAPITAL_ANSWER
    assert reply.choices[0].finish_reason == "stop"
    with openai.OpenAI(base_url=upstream, api_key="unused") as direct:
        assert reply.usage == direct.chat.completions.create(model=MODEL_ID, messages=[user(CAPITAL_QUESTION)]).usage


def test_a_stream_comes_through_unchanged(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model=ALIAS, messages=[user(TONGUES_QUESTION)], stream=True)
    chunks = [chunk.choices[0] for chunk in stream if chunk.choices]
    pieces = [chunk.delta.content for chunk in chunks if chunk.delta.content]
    assert "".join(pieces) == TONGUES_ANSWER
    assert len(pieces) > 5
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]


def test_usage_that_was_asked_for_comes_once_and_last(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=ALIAS, messages=[user(CAPITAL_QUESTION)], stream=True, stream_options={"include_usage": True}
    )
    usages = [chunk.usage for chunk in stream]
    assert [usage is not None for usage in usages] == [False] * (len(usages) - 1) + [True]
    assert usages[-1] is not None
    assert usages[-1].prompt_tokens > usages[-1].completion_tokens > 0


def test_a_stream_of_the_gateway_ends_as_openai_ends_it(gateway: str) -> None:
    """The server never says `[DONE]`; clients of OpenAI's API wait for it."""
    body = {"model": ALIAS, "messages": [user(CAPITAL_QUESTION)], "stream": True}
    answer = httpx.post(f"{gateway}/chat/completions", json=body, trust_env=False, timeout=300)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-request-id"]
    events = [line for line in answer.text.split("\n") if line]
    assert events[-1] == "data: [DONE]"
    assert events.count("data: [DONE]") == 1


def test_a_tool_is_called_and_its_result_used(client: openai.OpenAI) -> None:
    tools: list[Any] = [GET_WEATHER]
    conversation = [user(WEATHER_QUESTION)]
    asked = client.chat.completions.create(model=ALIAS, messages=conversation, tools=tools).choices[0]
    calls: list[Any] = asked.message.tool_calls or []
    assert asked.finish_reason == "tool_calls"
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("get_weather", WEATHER_ARGUMENTS)
    ]
    conversation += [asked.message, {"role": "tool", "tool_call_id": calls[0].id, "content": WEATHER_RESULT}]
    answer = client.chat.completions.create(model=ALIAS, messages=conversation, tools=tools).choices[0]
    assert answer.message.content == WEATHER_ANSWER


def test_the_official_stream_helper_adds_up_a_tool_call(client: openai.OpenAI) -> None:
    tools: list[Any] = [GET_WEATHER]
    with client.chat.completions.stream(model=ALIAS, messages=[user(WEATHER_QUESTION)], tools=tools) as stream:
        answer = stream.get_final_completion().choices[0]
    calls: list[Any] = answer.message.tool_calls or []
    assert answer.finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments) for call in calls] == [WEATHER_ARGUMENTS]


def test_fields_that_openai_does_not_have_survive(client: openai.OpenAI) -> None:
    """Both ways: this server's `reasoning_content` in the answer, its `generation_config` in the request."""
    thought: Any = client.chat.completions.create(model=ALIAS, messages=[user(SUM_QUESTION)]).choices[0].message
    assert (thought.reasoning_content, thought.content) == (SUM_THOUGHT, SUM_ANSWER)
    longer = client.chat.completions.create(
        model=ALIAS, messages=[user(CAPITAL_QUESTION)], extra_body=endless(tokens=40)
    )
    assert longer.usage is not None
    assert longer.usage.completion_tokens == 40


def test_plain_completions(client: openai.OpenAI) -> None:
    assert client.completions.create(model=ALIAS, prompt=CAPITAL_PROMPT).choices[0].text == CAPITAL_ANSWER
    stream = client.completions.create(model=ALIAS, prompt=CAPITAL_PROMPT, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == CAPITAL_ANSWER


def test_responses(client: openai.OpenAI) -> None:
    """This server streams a response unless it is told not to; a caller of OpenAI's API need not say so."""
    reply = client.responses.create(model=ALIAS, input=CAPITAL_QUESTION)
    assert reply.output_text == CAPITAL_ANSWER
    assert reply.usage is not None
    assert reply.usage.output_tokens > 0
    events = list(client.responses.create(model=ALIAS, input=CAPITAL_QUESTION, stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == CAPITAL_ANSWER
    assert events[-1].type == "response.completed"


def test_a_refusal_of_the_server_is_an_error_in_openais_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError, match=r"Unexpected fields.*no_such_option") as refused:
        client.chat.completions.create(model=ALIAS, messages=[user(CAPITAL_QUESTION)], extra_body={"no_such_option": 1})
    assert 400 <= refused.value.status_code < 500
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["type"]


def test_what_the_server_does_not_offer_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.embeddings.create(model=ALIAS, input="a")
    assert 400 <= refused.value.status_code < 500


def test_a_failure_of_the_server_is_a_failure_of_the_upstream(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(model=ALIAS, messages=[user(CAPITAL_QUESTION)], **FAILS_LATE)
    assert isinstance(failed.value.body, dict)
    assert failed.value.body["message"]


def test_the_next_call_after_a_failure_succeeds(client: openai.OpenAI) -> None:
    """The server closes the connection some milliseconds after the 500, without having said so in a header."""
    question = [user(CAPITAL_QUESTION)]
    for _ in range(3):
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model=ALIAS, messages=question, **FAILS_LATE)
        reply = client.chat.completions.create(model=ALIAS, messages=question)
        assert reply.choices[0].message.content == CAPITAL_ANSWER


def test_a_failure_inside_a_stream_reaches_the_caller_as_an_error(client: openai.OpenAI) -> None:
    """The server says `{"error": "text"}` in the stream, of which the official client would keep no word."""
    with pytest.raises(openai.APIError, match="has to be a dict with floats"):
        list(client.chat.completions.create(model=ALIAS, messages=[user(CAPITAL_QUESTION)], **FAILS_LATE, stream=True))


def test_a_caller_who_goes_away_stops_the_work_of_the_server(client: openai.OpenAI) -> None:
    """The server works on one request at a time, so who comes next notices whether the last one was called off."""
    question = [user(CAPITAL_QUESTION)]
    client.chat.completions.create(model=ALIAS, messages=question)  # connections are there, and the server is warm
    tokens, read = 3000, 60
    started = time.perf_counter()
    stream = client.chat.completions.create(
        model=ALIAS, messages=question, stream=True, extra_body=endless(tokens=tokens)
    )
    for _ in range(read):
        next(stream)
    remaining = (time.perf_counter() - started) / read * (tokens - read)
    stream.close()
    started = time.perf_counter()
    assert client.chat.completions.create(model=ALIAS, messages=question).choices[0].message.content == CAPITAL_ANSWER
    assert time.perf_counter() - started < remaining / 3


def test_our_client_asks_our_gateway(gateway: str) -> None:
    """The same library at both ends of the way, with the real server behind it."""
    with Client("openai", base_url=gateway, api_key="unused") as client:
        assert client.chat(ALIAS, CAPITAL_QUESTION).text == CAPITAL_ANSWER
        assert "".join(chunk.text for chunk in client.stream(ALIAS, TONGUES_QUESTION)) == TONGUES_ANSWER


def test_tokens_are_counted_of_streams_too(client: openai.OpenAI, gateway: str) -> None:
    """Though answers pass through undecoded, and nobody asked for a stream's usage."""
    before = _output_tokens(gateway)
    question = [user(CAPITAL_QUESTION)]
    list(client.chat.completions.create(model=ALIAS, messages=question, stream=True))
    reply = client.chat.completions.create(model=ALIAS, messages=question)
    assert reply.usage is not None
    assert _output_tokens(gateway) - before == 2 * reply.usage.completion_tokens > 0


def _output_tokens(gateway: str) -> float:
    page = httpx.get(gateway.removesuffix("/v1") + "/metrics", trust_env=False, timeout=300).text
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == "ipfs_accelerate_backend_tokens_total" and sample.labels["type"] == "output"
    )
