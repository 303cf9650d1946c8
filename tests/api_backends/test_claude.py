"""`claude`, as the quickstart uses it, against the simulated service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ipfs_accelerate_py.api_backends import claude
from ipfs_accelerate_py.errors import AuthenticationError, ConfigurationError, MissingCredential, UnsupportedOperation
from ipfs_accelerate_py.simulator import Fault, SimulatorThread

MESSAGES = [{"role": "user", "content": "Hello, how are you?"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread("anthropic") as made:
        yield made


@pytest.fixture
def api(simulator: SimulatorThread, faces: Callable[..., claude]) -> claude:
    return faces(claude, simulator)


def test_a_result(api: claude) -> None:
    result = api.chat(MESSAGES, "claude-haiku-4-5", 50, 0.5, system="Be brief", request_id="mine")
    assert result["finish_reason"] == "stop"
    assert result["usage"]["total_tokens"] == result["usage"]["prompt_tokens"] + 20
    assert result["request_id"] == "mine"
    assert result["raw"]["type"] == "message"
    assert api.get_usage_stats()["total_tokens"] == result["usage"]["total_tokens"]


def test_what_is_said_is_sent(api: claude, simulator: SimulatorThread) -> None:
    api.chat("Hi", model="claude-haiku-4-5", max_tokens=9, temperature=0.1, system=[{"type": "text", "text": "Be"}])
    assert simulator.requests[0].body == {
        "model": "claude-haiku-4-5",
        "messages": [{"role": "user", "content": "Hi"}],
        "system": "Be",
        "temperature": 0.1,
        "max_tokens": 9,
    }


def test_signed_reasoning_and_tools_go_round(api: claude) -> None:
    asked = [{"role": "user", "content": "Use the tool"}]
    options: dict[str, Any] = {"model": "claude-haiku-4-5", "tools": TOOLS, "reasoning_effort": "low"}
    first = api.chat(asked, **options)
    assert (first["finish_reason"], first["tool_calls"][0]["function"]["name"]) == ("tool_calls", "f")
    again = {"role": "assistant", **{name: first[name] for name in ("tool_calls", "thinking_blocks")}}
    result = {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "done"}
    assert api.chat([*asked, again, result], **options)["text"]


def test_streams(api: claude) -> None:
    pieces = list(api.stream_chat(MESSAGES, model="claude-haiku-4-5", reasoning_effort="low"))
    assert any(piece["reasoning"] for piece in pieces)
    assert [piece["done"] for piece in pieces][-2:] == [False, True]
    assert pieces[-1]["usage"]["reasoning_tokens"] == 10
    assert pieces[-1]["model"] == "claude-haiku-4-5"
    with pytest.raises(ConfigurationError, match="stream_chat"):
        api.chat(MESSAGES, stream=True)


def test_counting_and_models(api: claude) -> None:
    counted = api.count_tokens(MESSAGES)
    assert 0 < counted < api.count_tokens(MESSAGES, "claude-haiku-4-5", system="Be brief", tools=TOOLS)
    assert api.chat(MESSAGES)["usage"]["prompt_tokens"] == counted
    assert next(model["id"] for model in api.list_models()) == "claude-sonnet-5-5"


async def test_every_verb_can_be_awaited(api: claude) -> None:
    answer, counted, models = await asyncio.gather(api.achat(MESSAGES), api.acount_tokens(MESSAGES), api.alist_models())
    assert answer["usage"]["prompt_tokens"] == counted
    assert models
    assert "".join([piece["text"] async for piece in api.astream_chat(MESSAGES)]) == answer["text"]


async def test_handlers(api: claude, simulator: SimulatorThread) -> None:
    handler = api.create_claude_endpoint_handler("claude-haiku-4-5", max_tokens=3)
    assert handler("Hello")["finish_reason"] == "length"
    assert (await handler(MESSAGES, max_tokens=100))["finish_reason"] == "stop"
    assert api.create_claude_endpoint_handler()("Hello")["model"] == "claude-sonnet-5-5"
    assert [request.body["model"] for request in simulator.requests[:2]] == ["claude-haiku-4-5"] * 2


def test_the_model_that_is_asked_when_none_is_named(api: claude, faces: Callable[..., claude]) -> None:
    endpoint = api.create_endpoint(model="claude-haiku-4-5", api_key="sk-other")
    assert api.chat(MESSAGES, endpoint_id=endpoint)["model"] == "claude-haiku-4-5"
    assert list(api.stream_chat(MESSAGES, endpoint_id=endpoint))[-1]["model"] == "claude-haiku-4-5"
    assert api.chat(MESSAGES)["model"] == "claude-sonnet-5-5"


def test_raw_requests(api: claude) -> None:
    body = {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": MESSAGES}
    assert api.make_post_request("/messages", body)["type"] == "message"
    ticket = api.queue_with_priority({"endpoint_url": "/messages", "data": body}, "HIGH")
    assert ticket.result(10)["stop_reason"] == "max_tokens"


def test_errors_are_value_errors(api: claude, simulator: SimulatorThread) -> None:
    simulator.script(Fault.status(401))
    with pytest.raises(ValueError, match=r"^Authentication error") as caught:
        api.chat(MESSAGES)
    assert isinstance(caught.value, AuthenticationError)
    simulator.always(Fault.status(429, retry_after=3600))
    with pytest.raises(ValueError, match=r"^Rate limit"):
        api.chat(MESSAGES)


def test_without_a_key_the_first_call_says_which_to_set(
    faces: Callable[..., claude], simulator: SimulatorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "CLAUDE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingCredential, match="ANTHROPIC_API_KEY"):
        faces(claude, base_url=simulator.url).chat(MESSAGES)


def test_what_the_service_does_not_have_is_refused(api: claude, simulator: SimulatorThread) -> None:
    with pytest.raises(UnsupportedOperation, match="json_object"):
        api.chat(MESSAGES, response_format={"type": "json_object"})
    assert simulator.requests == []
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert json.loads(api.chat(MESSAGES, response_format=wanted)["text"]).keys() == {"a"}
