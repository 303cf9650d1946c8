"""Google's format as a server speaks it: bodies in, and answers that Google's own types read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py.dialects.gemini.ingress import GeminiIngress, GeminiRequest
from ipfs_accelerate_py.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    RateLimited,
    ServerError,
    UnsupportedOperation,
)
from ipfs_accelerate_py.results import Image
from ipfs_accelerate_py.types import (
    ChatRequest,
    Chunk,
    CountRequest,
    EmbedRequest,
    ModelInfo,
    Operation,
    Reply,
    ToolCall,
    Usage,
)

from .gemini_support import chat, sent

INGRESS = GeminiIngress()
TEXT = {"contents": [{"parts": [{"text": "Hello"}]}]}
USAGE = Usage(10, 7, cached_tokens=4, reasoning_tokens=2, input_audio_tokens=3, reported=True)


def served(
    body: Any, operation: Operation = Operation.CHAT, *, stream: bool | None = None, alt: str = "sse"
) -> GeminiRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    made = INGRESS.decode(operation, data, "application/json", {"model": "ours", "alt": alt}, stream=stream)
    assert isinstance(made, GeminiRequest)
    return made


def asked(body: Any, **options: Any) -> ChatRequest:
    made = served(body, **options).request("target")
    assert isinstance(made, ChatRequest)
    return made


def judged(answer: Any) -> Any:
    """An answer as the type that Google's own client makes of it."""
    types = pytest.importorskip("google.genai.types")
    return types.GenerateContentResponse.model_validate(answer)


# --- in ----------------------------------------------------------------------------------------------------------


def test_a_conversation_in_either_spelling() -> None:
    snake = {
        "system_instruction": {"parts": {"text": "Be brief."}},
        "contents": [
            {"role": "user", "parts": [{"text": "Look"}, {"inline_data": {"mime_type": "image/png", "data": "AAAA"}}]},
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True},
                    {"text": "One moment."},
                    {"function_call": {"name": "f", "args": {"snake_case": 1}}, "thought_signature": "c2ln"},
                    {"function_call": {"name": "f", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"function_response": {"name": "f", "response": {"output": "one"}}},
                    {"function_response": {"name": "f", "response": {"error": "two"}}},
                    {"text": "And?"},
                ],
            },
        ],
    }
    request = asked(snake)
    assert request.model == "target"
    system, user, assistant, first, second, last = request.messages
    assert system == {"role": "system", "content": "Be brief."}
    assert user["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    assert (assistant["content"], assistant["reasoning_content"]) == ("One moment.", "hm")
    assert [call["function"] for call in assistant["tool_calls"]] == [
        {"name": "f", "arguments": '{"snake_case":1}'},
        {"name": "f", "arguments": "{}"},
    ]
    assert assistant["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    assert [first["tool_call_id"], second["tool_call_id"]] == [call["id"] for call in assistant["tool_calls"]]
    assert (first["content"], second["content"], second["is_error"]) == ("one", "two", True)
    assert last == {"role": "user", "content": "And?"}


def test_parts_and_back_again() -> None:
    """What the client's half writes, the server's half reads as it was."""
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "file.pdf"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"file_id": "files/abc"}},
    ]
    called = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "1", "name": "f", "content": '{"a":[1]}'},
        {"role": "assistant", "content": "done"},
    ]
    options: dict[str, Any] = {
        "temperature": 0.5,
        "max_tokens": 9,
        "stop": ["x"],
        "seed": 1,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "response", "schema": {"type": "object"}}},
        "reasoning_effort": "medium",
    }
    request = asked(sent(chat(messages, **options)))
    assert request.messages == messages
    assert request.options == options


def test_googles_own_schemas_become_json_schemas() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {
            "max_items": {"type": "STRING", "nullable": True, "enum": ["a"]},
            "list": {"type": "ARRAY", "items": {"any_of": [{"type": "INTEGER"}]}, "max_items": 3},
        },
        "property_ordering": ["list"],
    }
    body = {
        **TEXT,
        "tools": [{"function_declarations": [{"name": "f", "description": "d", "parameters": schema}]}],
        "generation_config": {"response_mime_type": "application/json", "response_schema": schema},
    }
    wanted = {
        "type": "object",
        "properties": {
            "max_items": {"type": ["string", "null"], "enum": ["a", None]},
            "list": {"type": "array", "items": {"anyOf": [{"type": "integer"}]}, "maxItems": 3},
        },
    }
    options = asked(body).options
    assert options["tools"][0]["function"] == {"name": "f", "description": "d", "parameters": wanted}
    assert options["response_format"]["json_schema"]["schema"] == wanted


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({"thinkingConfig": {"thinkingBudget": 0}}, {"reasoning_effort": "none"}),
        ({"thinkingConfig": {"thinkingBudget": -1, "includeThoughts": True}}, {}),
        ({"thinkingConfig": {"thinkingLevel": "HIGH"}}, {"reasoning_effort": "high"}),
        ({"topK": 40.0, "maxOutputTokens": "5"}, {"top_k": 40, "max_tokens": 5}),
        ({"candidateCount": 1, "responseModalities": ["TEXT"], "responseMimeType": "text/plain"}, {}),
        ({"responseMimeType": "application/json"}, {"response_format": {"type": "json_object"}}),
    ],
)
def test_configuration(config: dict[str, Any], options: dict[str, Any]) -> None:
    assert asked({**TEXT, "generationConfig": config}).options == options


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cachedContent": "x"}, "cachedContent"),
        ({"tools": [{"googleSearch": {}}]}, "tools[0].googleSearch"),
        ({"safetySettings": [{"category": "X", "threshold": "BLOCK_ONLY_HIGH"}]}, "safetySettings[0]"),
        ({"generationConfig": {"candidateCount": 2}}, "generationConfig.candidateCount"),
        ({"generationConfig": {"responseModalities": ["AUDIO"]}}, "generationConfig.responseModalities"),
        ({"generationConfig": {"speechConfig": {"a": 1}}}, "generationConfig.speechConfig"),
        ({"contents": [{"parts": [{"executableCode": {"code": "1"}}]}]}, "contents[0].parts[0].executableCode"),
        ({"contents": [{"parts": [{"text": "x", "videoMetadata": {"fps": 1}}]}]}, "contents[0].parts[0].videoMetadata"),
        ({"somethingNew": 1}, "somethingNew"),
    ],
)
def test_what_another_format_cannot_carry_is_refused_by_name_and_forwarded_to_google(
    change: dict[str, Any], field: str
) -> None:
    request = served({**TEXT, **change})
    with pytest.raises(InvalidRequest) as caught:
        request.request("target")
    assert (caught.value.param, caught.value.status) == (field, 400)
    assert request.passthrough("target") is not None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"contents": "\xff"}', None),
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": [{"parts": [{"text": 5}]}]}, "contents[0].parts[0].text"),
        ({**TEXT, "generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({**TEXT, "generationConfig": {}, "generation_config": {}}, "generationConfig"),
        ({"contents": [{"parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
    ],
)
def test_wrong_bodies_are_refused_with_the_field(body: Any, field: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        served(body)
    assert (caught.value.param, caught.value.status) == (field, 400)


def test_wrong_conversations_are_refused() -> None:
    for content in (
        {"role": "assistant", "parts": [{"text": "x"}]},
        {"parts": [{"functionResponse": {"name": "f", "response": {}}}]},
    ):
        with pytest.raises(InvalidRequest):
            asked({"contents": [content]})


def test_forwarding() -> None:
    body = json.dumps({**TEXT, "surprise": 1}, indent=1).encode()
    passed = served(body).passthrough("gemini-2.5-flash")
    assert passed is not None
    assert (passed.dialect, passed.body) == ("gemini", body)
    assert served(body, stream=True, alt="sse").passthrough("m") is not None
    assert served(body, stream=True, alt="json").passthrough("m") is None  # a stream is asked of Google as events
    batch = {"requests": [{"model": "models/ours", "content": {"parts": [{"text": "x"}]}, "task_type": "CLUSTERING"}]}
    passed = served(batch, Operation.EMBED).passthrough("m")
    assert passed is not None
    assert json.loads(passed.body)["requests"][0]["model"] == "models/m"
    count = {"generateContentRequest": {"model": "models/ours", **TEXT}}
    passed = served(count, Operation.COUNT).passthrough("m")
    assert passed is not None
    assert json.loads(passed.body)["generateContentRequest"]["model"] == "models/m"
    summary = served({**TEXT, "generationConfig": {"candidateCount": 2, "maxOutputTokens": 5}}).summary("m")
    assert (summary.model, summary.options) == ("m", {"n": 2, "max_tokens": 5})


def test_embeddings_and_counts() -> None:
    one = {"content": {"parts": [{"text": "a"}]}, "output_dimensionality": 3, "taskType": "CLUSTERING"}
    request = served(one, Operation.EMBED)
    assert request.passthrough("m") is None
    assert request.request("m") == EmbedRequest("m", ["a"], {"dimensions": 3, "task_type": "CLUSTERING"})
    answer = INGRESS.encode(request, Reply(vectors=[[1.0, 0.5]]), "ours", 0)
    assert json.loads(answer.body) == {"embedding": {"values": [1.0, 0.5]}}
    batch = served({"requests": [one, {**one, "content": {"parts": [{"text": "b"}]}}]}, Operation.EMBED)
    made = batch.request("m")
    assert isinstance(made, EmbedRequest)
    assert made.input == ["a", "b"]
    answer = INGRESS.encode(batch, Reply(vectors=[[1.0], [2.0]]), "ours", 0)
    assert json.loads(answer.body) == {"embeddings": [{"values": [1.0]}, {"values": [2.0]}]}
    with pytest.raises(InvalidRequest):
        served({"requests": [one, {**one, "taskType": "RETRIEVAL_QUERY"}]}, Operation.EMBED).request("m")

    count = served({"generateContentRequest": {"model": "models/ours", **TEXT}}, Operation.COUNT)
    assert count.request("m") == CountRequest("m", [{"role": "user", "content": "Hello"}], {})
    assert served(TEXT, Operation.COUNT).request("m") == count.request("m")
    answer = INGRESS.encode(count, Reply(usage=Usage(9, cached_tokens=2)), "ours", 0)
    assert json.loads(answer.body) == {"totalTokens": 9, "cachedContentTokenCount": 2}
    with pytest.raises(InvalidRequest):
        served({}, Operation.COUNT)


# --- out ---------------------------------------------------------------------------------------------------------

REPLY = Reply(
    model="gpt-4o",
    text="Hello",
    reasoning="hm",
    tool_calls=[ToolCall("1", "f", '{"x": 1}', signature="c2ln"), ToolCall("2", "g", "")],
    images=[Image(data=b"\x89PNG", media_type="image/png")],
    finish_reason="tool_calls",
    usage=USAGE,
    request_id="req_1",
)


def test_a_whole_answer() -> None:
    made = judged(json.loads(INGRESS.encode(served(TEXT), REPLY, "ours", 0).body))
    assert made.text == "Hello"
    assert [(call.id, call.name, call.args) for call in made.function_calls] == [("1", "f", {"x": 1}), ("2", "g", {})]
    parts = made.candidates[0].content.parts
    assert (parts[0].text, parts[0].thought, parts[2].thought_signature) == ("hm", True, b"sig")
    assert parts[4].inline_data.data == b"\x89PNG"
    assert (made.candidates[0].finish_reason, made.model_version, made.response_id) == ("STOP", "gpt-4o", "req_1")
    counts = made.usage_metadata
    assert (counts.prompt_token_count, counts.candidates_token_count, counts.thoughts_token_count) == (10, 5, 2)
    assert (counts.total_token_count, counts.cached_content_token_count) == (17, 4)


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "STOP"),
        ("length", "MAX_TOKENS"),
        ("content_filter", "SAFETY"),
        ("SPII", "SPII"),
        ("pause_turn", "OTHER"),
        (None, "STOP"),
    ],
)
def test_why_it_ended(reason: str | None, word: str) -> None:
    made = json.loads(INGRESS.encode(served(TEXT), Reply(text="x", finish_reason=reason), "ours", 0).body)
    assert judged(made).candidates[0].finish_reason == word


def test_arguments_that_are_no_object_are_said_to_be_none() -> None:
    reply = Reply(tool_calls=[ToolCall("1", "f", '{"x": ')], finish_reason="length")
    candidate = json.loads(INGRESS.encode(served(TEXT), reply, "ours", 0).body)["candidates"][0]
    assert candidate["finishReason"] == "MALFORMED_FUNCTION_CALL"
    assert '{"x": ' in candidate["finishMessage"]


CHUNKS = [
    Chunk(reasoning="hm", model="gpt-4o"),
    Chunk(text="Hel"),
    Chunk(text="lo"),
    Chunk(tool_calls=[ToolCall("1", "f", '{"x"', 0)]),
    Chunk(tool_calls=[ToolCall("2", "g", "", 1), ToolCall("", "", ": 1}", 0)]),
    Chunk(finish_reason="tool_calls"),
    Chunk(usage=USAGE),
]


@pytest.mark.parametrize("alt", ["sse", ""])
def test_a_stream(alt: str) -> None:
    writer = INGRESS.writer(served(TEXT, stream=True, alt=alt), "ours", "req_1", 0)
    data = b"".join(writer.encode([chunk]) for chunk in CHUNKS) + writer.end()
    if alt:
        assert writer.content_type == "text/event-stream"  # type: ignore[attr-defined]
        events = [json.loads(event.removeprefix(b"data: ")) for event in data.split(b"\n\n") if event]
    else:
        assert writer.content_type == "application/json"  # type: ignore[attr-defined]
        events = json.loads(data)
    made = [judged(event) for event in events]
    assert "".join(each.text or "" for each in made) == "Hello"
    assert made[0].candidates[0].content.parts[0].thought
    calls = [call for each in made for call in each.function_calls or ()]
    assert [(call.id, call.name, call.args) for call in calls] == [("1", "f", {"x": 1}), ("2", "g", {})]
    assert [each.candidates[0].finish_reason for each in made if each.candidates[0].finish_reason] == ["STOP"]
    assert made[-1].usage_metadata.total_token_count == 17
    assert made[-1].model_version == "gpt-4o"


def test_an_empty_stream_and_one_that_breaks() -> None:
    assert INGRESS.writer(served(TEXT, stream=True, alt=""), "ours", "r", 0).end() == b"[]"
    error = ServerError("it broke", status=500)
    assert json.loads(INGRESS.error_event(error, Operation.CHAT).removeprefix(b"data: "))["error"]["code"] == 502
    writer: Any = INGRESS.writer(served(TEXT, stream=True, alt=""), "ours", "r", 0)
    body = writer.encode([Chunk(text="a")]) + writer.error_event(error)
    assert [list(each) for each in json.loads(body)][1] == ["error"]
    with pytest.raises(UnsupportedOperation):
        INGRESS.writer(served(TEXT, Operation.COUNT), "ours", "r", 0)


def test_signed_reasoning_of_another_vendor_makes_the_round() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    reply = Reply(text="x", reasoning="hm", thinking_blocks=[block])
    content = json.loads(INGRESS.encode(served(TEXT), reply, "ours", 0).body)["candidates"][0]["content"]
    message = asked({"contents": [*TEXT["contents"], content]}).messages[1]
    assert (message["thinking_blocks"], message["reasoning_content"]) == ([block], "hm")
    writer = INGRESS.writer(served(TEXT, stream=True), "ours", "r", 0)
    chunks = [Chunk(reasoning="h"), Chunk(reasoning="m"), Chunk(thinking_blocks=[block]), Chunk(finish_reason="stop")]
    data = writer.encode(chunks) + writer.end()
    events = [json.loads(event.removeprefix(b"data: ")) for event in data.split(b"\n\n") if event]
    parts = [part for event in events for part in event["candidates"][0]["content"]["parts"]]
    message = asked({"contents": [*TEXT["contents"], {"role": "model", "parts": parts}]}).messages[1]
    assert message["thinking_blocks"] == [block]


def test_errors_and_models() -> None:
    answer = INGRESS.error(RateLimited("Rate limit: slow", status=429, retry_after=2.5))
    error = json.loads(answer.body)["error"]
    assert (answer.status, answer.retry_after, error["status"]) == (429, 2.5, "RESOURCE_EXHAUSTED")
    assert {detail["@type"].rpartition(".")[2]: detail for detail in error["details"]}["RetryInfo"] == {
        "@type": "type.googleapis.com/google.rpc.RetryInfo",
        "retryDelay": "2.5s",
    }
    answer = INGRESS.error(ContextLengthExceeded("too long", status=400, param="contents"))
    assert json.loads(answer.body)["error"]["details"][1]["fieldViolations"][0]["field"] == "contents"
    assert json.loads(INGRESS.failure(404, "no such path", "not_found").body)["error"]["status"] == "NOT_FOUND"
    listed = json.loads(INGRESS.models([ModelInfo("a"), ModelInfo("b", raw={"inputTokenLimit": 5})]))["models"]
    assert [model["name"] for model in listed] == ["models/a", "models/b"]
    assert json.loads(INGRESS.model(ModelInfo("b", raw={"inputTokenLimit": 5})))["inputTokenLimit"] == 5
