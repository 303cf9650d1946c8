"""The server itself, asked by the official `openai` client: what our own client and gateway are held against.

If one of these fails, the server or the tiny model is at fault, and the other tests of this folder say nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from .options import FAILS_LATE, FAILS_LATE_AND_UNREADABLY
from .tiny_model import (
    CAPITAL_ANSWER,
    CAPITAL_QUESTION,
    GET_WEATHER,
    MODEL_ID,
    TONGUES_ANSWER,
    TONGUES_QUESTION,
    WEATHER_ARGUMENTS,
    WEATHER_QUESTION,
    user,
)

pytestmark = pytest.mark.realserver


@pytest.fixture
def client(upstream: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=upstream, api_key="unused", max_retries=0) as client:
        yield client


def test_it_lists_its_model(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL_ID]


def test_it_answers(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model=MODEL_ID, messages=[user(CAPITAL_QUESTION)])
    assert reply.choices[0].message.content == CAPITAL_ANSWER
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.prompt_tokens > reply.usage.completion_tokens > 0


def test_it_streams_one_token_at_a_time(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model=MODEL_ID, messages=[user(TONGUES_QUESTION)], stream=True)
    chunks = [chunk.choices[0] for chunk in stream]
    pieces = [chunk.delta.content for chunk in chunks if chunk.delta.content]
    assert "".join(pieces) == TONGUES_ANSWER
    assert len(pieces) > 5
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]


def test_it_calls_a_tool(client: openai.OpenAI) -> None:
    tools: list[Any] = [GET_WEATHER]
    reply = client.chat.completions.create(model=MODEL_ID, messages=[user(WEATHER_QUESTION)], tools=tools)
    assert reply.choices[0].finish_reason == "tool_calls"
    calls: list[Any] = reply.choices[0].message.tool_calls or []
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("get_weather", WEATHER_ARGUMENTS)
    ]


def test_its_ways_are_still_those_that_the_other_tests_are_about(upstream: str) -> None:
    """No `[DONE]`, errors of its own shapes, the last of them not even JSON: when it mends them, look at the tests."""
    question = {"model": MODEL_ID, "messages": [user(CAPITAL_QUESTION)]}

    def ask(**options: Any) -> httpx.Response:
        # A connection each: after a failure this server closes its connection without having said so.
        return httpx.post(f"{upstream}/chat/completions", json={**question, **options}, trust_env=False, timeout=300)

    def last_event(**options: Any) -> str:
        return ask(stream=True, **options).text.strip().split("\n\n")[-1].removeprefix("data: ")

    failed = ask(**FAILS_LATE)
    assert failed.text == "Internal Server Error"
    assert "connection" not in failed.headers
    assert ask(no_such_option=1).json().keys() == {"detail"}
    assert json.loads(last_event())["usage"]
    assert isinstance(json.loads(last_event(**FAILS_LATE))["error"], str)
    with pytest.raises(json.JSONDecodeError):
        json.loads(last_event(**FAILS_LATE_AND_UNREADABLY))
