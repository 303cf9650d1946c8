"""Requests in Anthropic's format, each held against the types of Anthropic's own client."""

from __future__ import annotations

import base64
from typing import Any

import pydantic
import pytest

from ipfs_accelerate_py.errors import ConfigurationError, InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.types import Call, EmbedRequest, Operation, Passthrough, RawRequest

from .anthropic_support import MODEL, REDACTED, THINKING, chat, counting, judge, listing, sent, turns, wire

USER = {"role": "user", "content": "Hello"}
PIXEL = base64.b64encode(b"\x89PNG").decode()
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "stops": {"type": "array", "items": {"type": "object"}}},
    "required": ["city"],
}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "f", "description": "Does it", "parameters": SCHEMA, "strict": True},
}


def call(identity: str, name: str = "f", arguments: str = '{"x":1}') -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_the_judge_is_strict() -> None:
    for wrong in ({"bogus": 1}, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "y": 1}]}]}):
        with pytest.raises(pydantic.ValidationError):
            judge({"model": "m", "max_tokens": 1, "messages": [USER], **wrong})


def test_a_plain_chat() -> None:
    request = wire(chat())
    assert (request.method, request.path, request.headers, request.ignored) == ("POST", "/messages", None, ())
    assert sent(chat()) == {"model": MODEL, "messages": [USER], "max_tokens": 4096}
    assert sent(chat(stream=True))["stream"] is True


def test_what_a_request_leaves_out_comes_from_the_settings() -> None:
    body = sent(chat(model=""), model="claude-x", max_tokens=100)
    assert (body["model"], body["max_tokens"]) == ("claude-x", 100)
    assert sent(chat(), max_tokens="7")["max_tokens"] == 7  # as the environment has it
    with pytest.raises(ConfigurationError, match="max_tokens"):
        wire(chat(), max_tokens="many")
    with pytest.raises(ConfigurationError, match="reasoning"):
        wire(chat(), reasoning="hard")


def test_options_by_openais_names() -> None:
    body = sent(
        chat(
            max_completion_tokens=9,
            temperature=0.5,
            top_p=0.9,
            top_k=4,
            stop=["a", "b"],
            user="u-1",
            service_tier="default",
        )
    )
    del body["messages"], body["model"]
    assert body == {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "stop_sequences": ["a", "b"],
        "metadata": {"user_id": "u-1"},
        "service_tier": "standard_only",
    }
    assert sent(chat(stop="a", stop_sequences=["b"]))["stop_sequences"] == ["b", "a"]


def test_options_by_anthropics_names_go_as_they_are() -> None:
    options: dict[str, Any] = {
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "metadata": {"user_id": "u"},
        "service_tier": "standard_only",
        "container": "c",
        "cache_control": {"type": "ephemeral"},
        "max_tokens": 4000,
    }
    body = sent(chat(**options))
    assert {name: body[name] for name in options} == options
    assert wire(chat(x_new={"a": 1})).body == b'{"model":"claude-haiku-4-5","messages":[{"role":"user","content":' + (
        b'"Hello"}],"x_new":{"a":1},"max_tokens":4096}'
    )


def test_betas_are_a_header() -> None:
    assert wire(chat(betas=["a", "b"])).headers == {"anthropic-beta": "a,b"}
    assert "betas" not in sent(chat(betas="a"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("n", 2),
        ("seed", 0),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -1),
        ("logit_bias", {"1": 1}),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "a"}),
        ("verbosity", "low"),
        ("web_search_options", {"a": 1}),
        ("functions", [{"name": "f"}]),
        ("response_format", {"type": "json_object"}),
        ("tool_choice", {"type": "allowed_tools"}),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(UnsupportedOperation, match=option):
        wire(chat(tools=[TOOL], **{option: value}))


def test_what_asks_for_nothing_and_what_changes_nothing_is_left_out_and_told() -> None:
    asked: dict[str, Any] = {
        "n": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0.0,
        "logprobs": False,
        "logit_bias": {},
        "modalities": ["text"],
        "store": True,
        "prompt_cache_key": "k",
        "metadata": {"team": "a"},
        "service_tier": "flex",
    }
    request = wire(chat(**asked, seed=None, parallel_tool_calls=True, response_format={"type": "text"}))
    assert set(request.ignored) == set(asked)
    assert sent(chat(**asked)) == sent(chat())


# --- messages ----------------------------------------------------------------------------------------------------


def test_system_messages_become_the_field() -> None:
    cached = {"type": "text", "text": "Two", "cache_control": {"type": "ephemeral"}}
    assert sent(chat([{"role": "system", "content": "One"}, USER]))["system"] == "One"
    body = sent(chat([{"role": "system", "content": "One"}, USER, {"role": "developer", "content": [cached]}]))
    assert body["system"] == [{"type": "text", "text": "One"}, cached]
    assert body["messages"] == [USER]
    body = sent(chat([{"role": "system", "content": "Two"}, USER], system=[{"type": "text", "text": "One"}]))
    assert [each["text"] for each in body["system"]] == ["One", "Two"]
    mark = {"type": "ephemeral", "ttl": "1h"}
    body = sent(chat([{"role": "system", "content": "One", "cache_control": mark}, USER]))
    assert body["system"] == [{"type": "text", "text": "One", "cache_control": mark}]
    with pytest.raises(InvalidRequest, match="messages"):
        wire(chat([{"role": "system", "content": "Alone"}]))


def test_tools_called_in_parallel_and_their_results() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    made = turns(
        USER,
        {"role": "assistant", "content": "Let me see", "tool_calls": [call("a"), call("b:1", "g", "")]},
        {"role": "tool", "tool_call_id": "a", "content": "sunny", "name": "f"},
        {
            "role": "tool",
            "tool_call_id": "b:1",
            "content": [{"type": "text", "text": "see"}, picture],
            "is_error": True,
        },
        {"role": "user", "content": "And now?"},
        {"role": "assistant", "content": None, "tool_calls": [call("c")]},
        {"role": "tool", "tool_call_id": "c", "content": ""},
    )
    assert [each["role"] for each in made] == ["user", "assistant", "user", "assistant", "user"]
    assert made[1]["content"] == [
        {"type": "text", "text": "Let me see"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b_1", "name": "g", "input": {}},
    ]
    assert made[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": "sunny"},
        {
            "type": "tool_result",
            "tool_use_id": "b_1",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            ],
            "is_error": True,
        },
        {"type": "text", "text": "And now?"},
    ]
    assert made[4]["content"] == [{"type": "tool_result", "tool_use_id": "c", "content": ""}]


def test_signed_reasoning_goes_back_as_it_came() -> None:
    assistant = {
        "role": "assistant",
        "content": "Yes",
        "reasoning_content": "Hm. So.",
        "thinking_blocks": [THINKING, REDACTED],
        "tool_calls": [call("a")],
    }
    made = turns(USER, assistant, {"role": "tool", "tool_call_id": "a", "content": "1"})
    assert made[1]["content"][:3] == [THINKING, REDACTED, {"type": "text", "text": "Yes"}]
    request = wire(chat([USER, {"role": "assistant", "content": "Yes", "reasoning_content": "Hm"}]))
    assert request.ignored == ("messages.reasoning_content",)


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "auto"}},
            {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
        ),
        (
            {
                "type": "image_url",
                "image_url": {"url": "data:image/png;base64,iVA="},
                "cache_control": {"type": "ephemeral"},
            },
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "iVA="},
                "cache_control": {"type": "ephemeral"},
            },
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
                "title": "a.pdf",
            },
        ),
        (
            {
                "type": "file",
                "file": {"file_data": "data:text/csv,a%2Cb%20%C3%A9"},
                "citations": {"enabled": True},
                "context": "A table",
            },
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "a,b é"},
                "citations": {"enabled": True},
                "context": "A table",
            },
        ),
        (
            {"type": "file", "file": {"file_url": "https://a/b.pdf"}},
            {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}},
        ),
        (
            {"type": "file", "file": {"file_id": "file_1"}},
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:image/png;base64,iVA=", "filename": "a.png"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVA="}},
        ),
        (
            {"type": "search_result", "title": "T", "source": "s", "content": [{"type": "text", "text": "x"}]},
            {"type": "search_result", "title": "T", "source": "s", "content": [{"type": "text", "text": "x"}]},
        ),
    ],
)
def test_parts(part: dict[str, Any], block: dict[str, Any]) -> None:
    [made] = turns({"role": "user", "content": [{"type": "text", "text": "See"}, part]})
    assert made["content"] == [{"type": "text", "text": "See"}, block]


def test_a_detail_is_a_hint() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "high"}}
    assert wire(chat([{"role": "user", "content": [part]}])).ignored == ("image_url.detail",)


@pytest.mark.parametrize(
    ("message", "error", "named"),
    [
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "a", "format": "wav"}}]},
            UnsupportedOperation,
            "input_audio",
        ),
        (
            {"role": "user", "content": [{"type": "video_url", "video_url": {"url": "a"}}]},
            UnsupportedOperation,
            "video_url",
        ),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:audio/wav;base64,AA=="}}]},
            UnsupportedOperation,
            "audio/wav",
        ),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, InvalidRequest, "file_data"),
        ({"role": "user", "content": [{"type": "file", "file": {"file_data": "JVBE"}}]}, InvalidRequest, "data URL"),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/plain;base64,%%"}}]},
            InvalidRequest,
            "base64",
        ),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, InvalidRequest, "image_url.url"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": "data:x"}]}, InvalidRequest, "comma"),
        ({"role": "user", "content": [{"type": "text"}]}, InvalidRequest, "text"),
        ({"role": "user", "content": [5]}, InvalidRequest, r"content\[0\]"),
        ({"role": "user", "content": 5}, InvalidRequest, "content"),
        ({"role": "robot", "content": "x"}, InvalidRequest, "role"),
        ({"role": "tool", "content": "x"}, InvalidRequest, "tool_call_id"),
        ({"role": "assistant", "tool_calls": [call("a", arguments="{")]}, InvalidRequest, "arguments"),
        ({"role": "assistant", "tool_calls": [call("a", arguments="[1]")]}, InvalidRequest, "arguments"),
        ({"role": "assistant", "tool_calls": [{"id": "a", "function": {}}]}, InvalidRequest, "name"),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {}}]},
            UnsupportedOperation,
            "custom",
        ),
        ({"role": "assistant", "audio": {"id": "a"}}, UnsupportedOperation, "audio"),
        ({"role": "assistant", "thinking_blocks": "x"}, InvalidRequest, "thinking_blocks"),
        (
            {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://a"}}]},
            UnsupportedOperation,
            "system",
        ),
        ("x", InvalidRequest, r"messages\[1\]"),
    ],
)
def test_wrong_messages_are_refused_with_their_place(message: Any, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        wire(chat([USER, message]))


def test_marks_for_the_cache_stand_at_the_end_of_a_message() -> None:
    mark = {"type": "ephemeral"}
    [made] = turns({**USER, "cache_control": mark})
    assert made["content"] == [{"type": "text", "text": "Hello", "cache_control": mark}]
    made = turns(USER, {"role": "assistant", "tool_calls": [call("a")], "cache_control": mark}, USER)[1]
    assert made["content"][-1]["cache_control"] == mark
    assert sent(chat(tools=[{**TOOL, "cache_control": mark}]))["tools"][0]["cache_control"] == mark


# --- tools -------------------------------------------------------------------------------------------------------


def test_tools() -> None:
    [made] = sent(chat(tools=[TOOL]))["tools"]
    assert made == {"name": "f", "description": "Does it", "input_schema": SCHEMA, "strict": True}
    own = {"type": "web_search_20250305", "name": "web_search"}
    bare = {"type": "function", "function": {"name": "g"}}
    assert sent(chat(tools=[own, bare]))["tools"] == [
        own,
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
    ]
    with pytest.raises(UnsupportedOperation, match=r"tools\[0\]"):
        wire(chat(tools=[{"type": "custom", "custom": {"name": "c"}}]))
    with pytest.raises(InvalidRequest, match="name"):
        wire(chat(tools=[{"type": "function", "function": {}}]))


@pytest.mark.parametrize(
    ("options", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"tool_choice": {"type": "any"}}, {"type": "any"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
        ({"parallel_tool_calls": True, "tool_choice": "auto"}, {"type": "auto"}),
    ],
)
def test_tool_choice(options: dict[str, Any], choice: dict[str, Any] | None) -> None:
    assert sent(chat(tools=[TOOL], **options)).get("tool_choice") == choice


def test_a_choice_without_tools() -> None:
    assert "tool_choice" not in sent(chat(tool_choice="auto", parallel_tool_calls=False))
    with pytest.raises(InvalidRequest, match="tool_choice"):
        wire(chat(tool_choice="required"))


# --- structured output and reasoning -----------------------------------------------------------------------------


def test_structured_output_is_the_services_own() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True}}
    body = sent(chat(response_format=wanted))
    closed = {**SCHEMA, "additionalProperties": False}
    closed["properties"] = {
        "city": {"type": "string"},
        "stops": {"type": "array", "items": {"type": "object", "additionalProperties": False}},
    }
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": closed}}
    with pytest.raises(InvalidRequest, match="schema"):
        wire(chat(response_format={"type": "json_schema", "json_schema": {"name": "x"}}))


@pytest.mark.parametrize(
    ("effort", "budget"), [("minimal", 1024), ("low", 2048), ("medium", 8192), ("high", 16384), ("xhigh", 32768)]
)
def test_an_effort_is_a_budget_on_top_of_the_answer(effort: str, budget: int) -> None:
    body = sent(chat(reasoning_effort=effort))
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body["max_tokens"] == 4096 + budget


def test_an_effort_fits_into_the_limit_that_was_set() -> None:
    assert sent(chat(reasoning_effort="high", max_tokens=5000))["thinking"]["budget_tokens"] == 3976
    assert sent(chat(reasoning_effort="high", max_tokens=1500))["thinking"]["budget_tokens"] == 1024
    with pytest.raises(InvalidRequest, match="max_tokens"):
        wire(chat(reasoning_effort="low", max_tokens=1024))
    with pytest.raises(InvalidRequest, match="reasoning_effort"):
        wire(chat(reasoning_effort="extreme"))


@pytest.mark.parametrize(
    "model", ["claude-opus-4-7", "claude-sonnet-5", "anthropic.claude-opus-5-5", "claude-mythos-preview"]
)
def test_newer_models_are_told_the_effort_itself(model: str) -> None:
    body = sent(chat(model=model, reasoning_effort="high"))
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
    assert body["max_tokens"] == 4096


@pytest.mark.parametrize(
    "model", ["claude-opus-4-6", "claude-sonnet-4-5-20250929", "claude-3-7-sonnet-20250219", "my-own"]
)
def test_older_models_are_given_a_budget(model: str) -> None:
    assert sent(chat(model=model, reasoning_effort="low"))["thinking"]["type"] == "enabled"
    assert sent(chat(model=model, reasoning_effort="minimal"), reasoning="effort")["output_config"] == {"effort": "low"}


def test_an_effort_beside_thinking() -> None:
    assert sent(chat(reasoning_effort="none"))["thinking"] == {"type": "disabled"}
    body = sent(chat(reasoning_effort="low", thinking={"type": "adaptive"}, output_config={"effort": "max"}))
    assert body["output_config"] == {"effort": "low"}
    with pytest.raises(InvalidRequest, match="thinking"):
        wire(chat(reasoning_effort="none", thinking={"type": "adaptive"}))


# --- other operations --------------------------------------------------------------------------------------------


def test_counting_sends_what_counts() -> None:
    request = counting(tools=[TOOL], tool_choice="auto", max_tokens=5, temperature=1, stop="x", n=3, seed=1)
    body = sent(request)
    assert body.keys() == {"model", "messages", "tools", "tool_choice"}
    assert wire(request).path == "/messages/count_tokens"
    assert set(wire(request).ignored) == {"max_tokens", "temperature", "stop_sequences", "n", "seed"}
    assert sent(counting(reasoning_effort="low"))["thinking"]["budget_tokens"] == 2048


def test_models_are_asked_for_by_the_largest_page() -> None:
    request = wire(listing())
    assert (request.method, request.path, request.body) == ("GET", "/models?limit=1000", None)
    assert wire(listing(limit=5, after_id="a b")).path == "/models?limit=5&after_id=a+b"


def test_a_passed_body_is_not_touched() -> None:
    made = chat()
    made.passthrough = Passthrough("anthropic", b'{"a": 1}')
    assert (wire(made).path, wire(made).body) == ("/messages", b'{"a": 1}')


def test_raw_requests() -> None:
    def raw(body: Any, **more: Any) -> Call:
        return Call(operation=Operation.RAW, request=RawRequest("/files", body, **more), request_id="r")

    assert wire(raw({"a": 1})).body == b'{"a":1}'
    sent_bytes = wire(raw(b"\x00", content_type="application/pdf"))
    assert (sent_bytes.body, sent_bytes.headers) == (b"\x00", {"Content-Type": "application/pdf"})
    assert wire(raw(None, method="GET")).body is None


def test_other_operations_are_refused() -> None:
    with pytest.raises(UnsupportedOperation, match="embed"):
        wire(Call(operation=Operation.EMBED, request=EmbedRequest("m", ["a"]), request_id="r"))
