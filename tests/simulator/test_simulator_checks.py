"""Wrong requests are refused as OpenAI refuses them: status, code, and the field by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ipfs_accelerate_py.simulator import Simulator

from .raw import CHAT, ask

CHAT_PATH = "/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


def message(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, None, None),
        ({"model": 3}, "model", "invalid_type"),
        ({"messages": None}, "messages", "missing_required_parameter"),
        ({"messages": "Hello"}, "messages", "invalid_type"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": ["Hello"]}, "messages[0]", "invalid_type"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "missing_required_parameter"),
        (message(3), "messages[0].content", "invalid_type"),
        (message(["x"]), "messages[0].content[0]", "invalid_type"),
        (message([{"text": "x"}]), "messages[0].content[0].type", "missing_required_parameter"),
        (message([{"type": "smell"}]), "messages[0].content[0].type", "invalid_value"),
        (message([{"type": "text"}]), "messages[0].content[0].text", "missing_required_parameter"),
        (message([{"type": "image_url", "image_url": "x"}]), "messages[0].content[0].image_url", "invalid_type"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"temperature": 2.5}, "temperature", "decimal_above_max_value"),
        ({"temperature": -1}, "temperature", "decimal_below_min_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_type"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"n": 1000}, "n", "integer_above_max_value"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stop": 3}, "stop", "invalid_type"),
        ({"stop": ["a", 3]}, "stop[1]", "invalid_type"),
        ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
        ({"top_logprobs": 2}, "top_logprobs", None),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"tools": [{}]}, "tools[0].type", "missing_required_parameter"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "missing_required_parameter"),
        ({"tools": [TOOL], "tool_choice": "perhaps"}, "tool_choice", "invalid_value"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice", None),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": "f"}},
            "tool_choice.function",
            "invalid_type",
        ),
        ({"tool_choice": "required"}, "tool_choice", None),
        ({"response_format": {}}, "response_format.type", "missing_required_parameter"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
    ],
)
async def test_chat(sim: Simulator, change: dict[str, Any], param: str | None, code: str | None) -> None:
    got = await ask(sim, {**CHAT, **change})
    error = got.json["error"]
    assert (got.status, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)
    assert sorted(error) == ["code", "message", "param", "type"]


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("/v1/embeddings", {"model": "e"}, "input", "missing_required_parameter"),
        ("/v1/embeddings", {"model": "e", "input": []}, "input", "empty_array"),
        ("/v1/embeddings", {"model": "e", "input": ""}, "input", None),
        ("/v1/embeddings", {"model": "e", "input": [1, "x"]}, "input", None),
        ("/v1/embeddings", {"model": "e", "input": {"x": 1}}, "input", None),
        ("/v1/embeddings", {"model": "e", "input": ["x"] * 2049}, "input", "array_above_max_length"),
        ("/v1/embeddings", {"model": "e", "input": "x", "dimensions": 0}, "dimensions", "integer_below_min_value"),
        ("/v1/embeddings", {"model": "e", "input": "x", "encoding_format": "int8"}, "encoding_format", "invalid_value"),
        ("/v1/completions", {"model": "m", "prompt": 3}, "prompt", "invalid_type"),
        ("/v1/completions", {"model": "m", "prompt": ["x", 3.5]}, "prompt[1]", "invalid_type"),
        ("/v1/completions", {"model": "m", "logprobs": 9}, "logprobs", "integer_above_max_value"),
        ("/v1/completions", {"model": "m", "stream_options": {}}, "stream_options", None),
        ("/v1/responses", {"model": "m"}, "input", "missing_required_parameter"),
        ("/v1/responses", {"model": "m", "input": 3}, "input", "invalid_type"),
        ("/v1/responses", {"model": "m", "input": ["x"]}, "input[0]", "invalid_type"),
        (
            "/v1/responses",
            {"model": "m", "input": "x", "text": {"format": {"type": "x"}}},
            "text.format.type",
            "invalid_value",
        ),
        (
            "/v1/responses",
            {"model": "m", "input": "x", "tools": [{"type": "function"}]},
            "tools[0].name",
            "missing_required_parameter",
        ),
    ],
)
async def test_the_other_endpoints(sim: Simulator, path: str, body: object, param: str, code: str | None) -> None:
    got = await ask(sim, body, path)
    assert (got.status, got.json["error"]["param"], got.json["error"]["code"]) == (400, param, code)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"', b"\xff{}", b'{"a": NaN}', b'{"model": "\\ud800"}'])
async def test_bodies_that_are_no_json_object(sim: Simulator, body: bytes) -> None:
    got = await ask(sim, body)
    assert got.status == 400
    assert got.json["error"]["message"].startswith("We could not parse the JSON body")
    assert (await ask(sim)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("POST", "/v1/nothing", 404, "Invalid URL (POST /v1/nothing)"),
        ("GET", "/", 404, "Invalid URL (GET /)"),
        ("GET", CHAT_PATH, 405, "Not allowed to GET on /v1/chat/completions."),
        ("POST", "/v1/models", 405, "Not allowed to POST on /v1/models."),
        ("DELETE", "/v1/models/m", 405, "Not allowed to DELETE on /v1/models/m."),
    ],
)
async def test_unknown_paths_and_methods(sim: Simulator, method: str, path: str, status: int, text: str) -> None:
    got = await ask(sim, CHAT if method == "POST" else None, path, method=method)
    assert got.status == status
    assert got.json["error"]["message"].startswith(text)


async def test_unknown_options_are_let_through(sim: Simulator) -> None:
    assert (await ask(sim, {**CHAT, "top_k": 5, "vendor": {"x": 1}, "temperature": None})).status == 200


async def test_odd_but_allowed_values_do_no_harm(sim: Simulator) -> None:
    for change in (
        {"stream_options": {"include_usage": "yes"}, "stream": True},
        {"tools": [{"type": "custom", "custom": {"name": "c"}}], "tool_choice": "auto"},
        {
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": 3, "properties": []}}}],
            "tool_choice": "required",
        },
        {
            "tools": [TOOL],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}},
        },
        {"messages": [{"role": "assistant", "content": None}, {"role": "user", "content": "😀é"}]},
    ):
        got = await ask(sim, {**CHAT, **change})
        assert (got.status, got.end) == (200, "whole"), change
