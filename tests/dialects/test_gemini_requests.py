"""What Google is sent, judged by its own protobuf with unknown fields refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ipfs_accelerate_py.errors import ConfigurationError, InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.types import (
    CompletionRequest,
    ImageRequest,
    ModelsRequest,
    Operation,
    Passthrough,
    RawRequest,
    SpeechRequest,
)

from .gemini_support import DIALECT, OTHER, TOOL, call, chat, count, embed, judged, sent

PNG = "data:image/png;base64,iVBORw0KGgo="


def test_what_is_not_set_is_not_sent() -> None:
    wire = DIALECT.encode(chat())
    assert (wire.method, wire.path, wire.ignored) == ("POST", "/models/gemini-2.5-flash:generateContent", ())
    assert json.loads(wire.body or b"") == {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
    assert DIALECT.encode(chat(stream=True)).path == "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/gemini-2.5-flash", "/models/gemini-2.5-flash"),
        ("tunedModels/mine", "/tunedModels/mine"),
        ("../../admin?x=", "/models/..%2F..%2Fadmin%3Fx%3D"),
        ("a/b#c@evil.example:80\r\nX: y", "/models/a%2Fb%23c%40evil.example%3A80%0D%0AX%3A%20y"),
        ("models/..", "/models/.."),
    ],
)
def test_a_models_name_cannot_leave_its_place_in_the_path(model: str, path: str) -> None:
    assert DIALECT.encode(chat(model=model)).path == f"{path}:generateContent"
    with pytest.raises(ConfigurationError, match="empty"):
        DIALECT.encode(chat(model="models/"))


def test_a_conversation_with_tools() -> None:
    calls = [
        {
            "id": "1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city":"Zürich"}'},
            "extra_content": {"google": {"thought_signature": "c2ln"}},
        },
        {"id": "2", "type": "function", "function": {"name": "get_time", "arguments": ""}},
    ]
    fields = sent(
        chat(
            [
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": [{"type": "text", "text": "In verse."}]},
                {"role": "user", "content": "Weather and time?"},
                {"role": "assistant", "content": "One moment.", "reasoning_content": "hm", "tool_calls": calls},
                {"role": "tool", "tool_call_id": "1", "content": '{"degrees": 3}'},
                {"role": "tool", "tool_call_id": "2", "content": "noon", "is_error": False},
                {"role": "user", "content": "And?"},
                {"role": "assistant", "tool_calls": [{**calls[1], "id": "3"}]},
                {"role": "tool", "tool_call_id": "3", "content": "no clock", "is_error": True},
            ],
            tools=[TOOL, OTHER, {"google_search": {}}],
            tool_choice="required",
        )
    )
    judged(fields)
    assert fields["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "In verse."}]}
    user, model, results, *_ = fields["contents"]
    assert [content["role"] for content in fields["contents"]] == ["user", "model", "user", "user", "model", "user"]
    assert user["parts"] == [{"text": "Weather and time?"}]
    assert model["parts"] == [
        {"text": "hm", "thought": True},
        {"text": "One moment."},
        {"functionCall": {"id": "1", "name": "get_weather", "args": {"city": "Zürich"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "2", "name": "get_time", "args": {}}},
    ]
    assert results["parts"] == [
        {"functionResponse": {"id": "1", "name": "get_weather", "response": {"degrees": 3}}},
        {"functionResponse": {"id": "2", "name": "get_time", "response": {"output": "noon"}}},
    ]
    assert fields["contents"][-1]["parts"][0]["functionResponse"]["response"] == {"error": "no clock"}
    assert fields["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "get_weather",
                    "description": "The weather",
                    "parametersJsonSchema": TOOL["function"]["parameters"],  # type: ignore[index]
                },
                {"name": "get_time"},
            ]
        },
        {"google_search": {}},
    ]
    assert fields["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}


def test_calls_without_a_signature_are_excused_where_signatures_are_asked_for() -> None:
    """Gemini 3 refuses a call that another model made, unless it is told not to look."""
    called = [{"id": str(n), "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in (1, 2)]
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": called},
        *({"role": "tool", "tool_call_id": str(n), "content": "y"} for n in (1, 2)),
    ]
    new = sent(chat(messages, model="gemini-3-pro-preview"))["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in new] == ["skip_thought_signature_validator", None]
    judged({"contents": [{"parts": new}]})
    old = sent(chat(messages, model="gemini-2.5-pro"))["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in old] == [None, None]


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "get_time"}},
            {"mode": "ANY", "allowedFunctionNames": ["get_time"]},
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [OTHER]}},
            {"mode": "VALIDATED", "allowedFunctionNames": ["get_time"]},
        ),
    ],
)
def test_tool_choice(choice: Any, config: dict[str, Any]) -> None:
    fields = sent(chat(tools=[TOOL, OTHER], tool_choice=choice))
    assert fields["toolConfig"] == {"functionCallingConfig": config}
    judged(fields)


def test_strict_tools_are_validated() -> None:
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}  # type: ignore[dict-item]
    assert sent(chat(tools=[strict]))["toolConfig"]["functionCallingConfig"]["mode"] == "VALIDATED"


def test_parts_of_every_kind() -> None:
    content = [
        {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "auto"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.JPG?x=1"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "AAAA", "filename": "a.csv"}},
        {"type": "file", "file": {"file_id": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        {"type": "video_url", "video_url": {"url": "https://www.youtube.com/watch?v=1"}},
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml,%3Csvg/%3E"}},
    ]
    made = chat([{"role": "user", "content": content}])
    fields = sent(made)
    judged(fields)
    assert DIALECT.encode(made).ignored == ("cache_control", "file.filename")
    assert fields["contents"][0]["parts"] == [
        {"text": "Look"},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        {"fileData": {"fileUri": "https://example.com/a.JPG?x=1", "mimeType": "image/jpeg"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        {"inlineData": {"mimeType": "text/csv", "data": "AAAA"}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        {"fileData": {"fileUri": "https://www.youtube.com/watch?v=1"}},
        {"inlineData": {"mimeType": "image/svg+xml", "data": base64.b64encode(b"<svg/>").decode()}},
    ]


def test_a_tools_result_may_hold_an_image() -> None:
    called = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    result = [{"type": "text", "text": "here"}, {"type": "image_url", "image_url": {"url": PNG}}]
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "1", "content": result},
    ]
    fields = sent(chat(messages))
    judged(fields)
    assert fields["contents"][2]["parts"][0]["functionResponse"] == {
        "id": "1",
        "name": "look",
        "response": {"output": "here"},
        "parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}],
    }


def test_how_finely_an_image_is_looked_at() -> None:
    def asked(model: str, *details: str) -> dict[str, Any]:
        parts = [{"type": "image_url", "image_url": {"url": PNG, "detail": detail}} for detail in details]
        return sent(chat([{"role": "user", "content": parts}], model=model))

    assert asked("gemini-2.5-flash", "low", "low")["generationConfig"] == {"mediaResolution": "MEDIA_RESOLUTION_LOW"}
    assert asked("gemini-2.5-flash", "low", "high")["generationConfig"] == {"mediaResolution": "MEDIA_RESOLUTION_HIGH"}
    assert "generationConfig" not in asked("gemini-2.5-flash", "low", "auto")
    each = asked("gemini-3-flash", "low", "high")["contents"][0]["parts"]
    assert [part["mediaResolution"]["level"] for part in each] == ["MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_HIGH"]


def test_options_by_openais_names() -> None:
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "additionalProperties": False}
    made = chat(
        temperature=0.5,
        top_p=0.25,
        top_k=3,
        max_completion_tokens=9,
        stop="x",
        n=2,
        seed=7,
        presence_penalty=0.5,
        frequency_penalty=0,
        logprobs=True,
        top_logprobs=3,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}},
        reasoning_effort="low",
        modalities=["text"],
        parallel_tool_calls=True,
        user="me",
        metadata={"a": "b"},
        store=True,
        service_tier="auto",
        stream_options={"include_usage": True},
        logit_bias={},
    )
    fields = sent(made)
    judged(fields)
    assert fields["generationConfig"] == {
        "temperature": 0.5,
        "topP": 0.25,
        "topK": 3,
        "maxOutputTokens": 9,
        "stopSequences": ["x"],
        "candidateCount": 2,
        "seed": 7,
        "presencePenalty": 0.5,
        "responseLogprobs": True,
        "logprobs": 3,
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
        "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
    }
    ignored = ("metadata", "parallel_tool_calls", "service_tier", "store", "stream_options", "user")
    assert DIALECT.encode(made).ignored == ignored


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-flash", "minimal", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-pro", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("models/gemini-2.5-pro", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-3-flash-preview", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        ("gemini-3.1-pro-preview", "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-pro-latest", "high", {"thinkingLevel": "HIGH", "includeThoughts": True}),
    ],
)
def test_reasoning_effort(model: str, effort: str, config: dict[str, Any]) -> None:
    """The numbers of Google's own OpenAI-compatible API; levels are newer than the published protobuf."""
    fields = sent(chat(model=model, reasoning_effort=effort))
    assert fields["generationConfig"]["thinkingConfig"] == config
    types = pytest.importorskip("google.genai.types")
    types.ThinkingConfig.model_validate(config)


def test_googles_own_options_in_either_spelling() -> None:
    fields = sent(
        chat(
            max_tokens=5,
            safety_settings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            cachedContent="cachedContents/1",
            generation_config={"max_output_tokens": 9, "temperature": 1},
            thinking_config={"include_thoughts": True},
            responseModalities=["TEXT"],
            logprobs=3,
        )
    )
    judged(fields)
    assert fields["generationConfig"] == {
        "maxOutputTokens": 9,
        "temperature": 1,
        "thinkingConfig": {"include_thoughts": True},
        "responseModalities": ["TEXT"],
        "logprobs": 3,
    }
    assert fields["safetySettings"][0]["threshold"] == "BLOCK_NONE"
    assert sent(chat(something_new=[1]))["something_new"] == [1]  # what nobody knows is passed on


def test_anthropics_thinking() -> None:
    config = sent(chat(thinking={"type": "enabled", "budget_tokens": 2048}))["generationConfig"]
    assert config["thinkingConfig"] == {"thinkingBudget": 2048, "includeThoughts": True}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"prediction": {"type": "content"}}, "prediction"),
        ({"web_search_options": {"x": 1}}, "web_search_options"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"tools": [{"type": "web_search"}]}, r"tools\[0\].type"),
        ({"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tools": [TOOL], "tool_choice": {"type": "custom"}}, "tool_choice"),
        ({"audio": {"voice": "Kore", "format": "mp3"}}, r"audio\.format"),
    ],
)
def test_what_google_has_no_counterpart_of_is_refused_by_name(options: dict[str, Any], word: str) -> None:
    with pytest.raises(UnsupportedOperation, match=word):
        DIALECT.encode(chat(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"tools": 5},
        {"tools": ["f"]},
        {"stop": 5},
        {"modalities": 5},
        {"audio": "loud"},
        {"reasoning_effort": "very"},
        {"reasoning_effort": ["low"]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
    ],
)
def test_wrong_options_are_refused_with_their_name(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        DIALECT.encode(chat(**options))
    assert str(caught.value.param).startswith(next(iter(options)))


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "system", "content": "x"}], "messages"),
        ([{"role": "wizard", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "tool", "tool_call_id": "9", "content": "x"}], "messages[0].tool_call_id"),
        (
            [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "[1"}}]}],
            "messages[0].tool_calls[0].function.arguments",
        ),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].image_url.url"),
        ([{"role": "user", "content": [{"type": "file", "file": {}}]}], "messages[0].content[0].file"),
    ],
)
def test_wrong_messages_are_refused_with_their_place(messages: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        DIALECT.encode(chat(messages))
    assert caught.value.param == param


def test_embeddings_are_always_a_batch() -> None:
    made = embed("a", "b", dimensions=3, task_type="RETRIEVAL_QUERY", encoding_format="base64", user="me")
    wire = DIALECT.encode(made)
    assert wire.path == "/models/gemini-embedding-001:batchEmbedContents"
    assert wire.ignored == ("encoding_format", "user")
    fields = sent(made)
    judged(fields, "BatchEmbedContentsRequest")
    shared = {"model": "models/gemini-embedding-001", "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 3}
    assert fields["requests"] == [{**shared, "content": {"parts": [{"text": text}]}} for text in "ab"]
    with pytest.raises(UnsupportedOperation, match=r"input\[1\]"):
        DIALECT.encode(embed("a", [1, 2]))


def test_tokens_are_counted_with_system_and_tools() -> None:
    fields = sent(count([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], tools=[TOOL]))
    judged(fields, "CountTokensRequest")
    inner = fields["generateContentRequest"]
    assert inner["model"] == "models/gemini-2.5-flash"
    assert inner.keys() == {"model", "contents", "systemInstruction", "tools"}


def test_models_and_raw_requests() -> None:
    assert DIALECT.encode(call(Operation.MODELS, ModelsRequest())).path == "/models?pageSize=1000"
    more = DIALECT.encode(call(Operation.MODELS, ModelsRequest(options={"page_token": "a b", "page_size": 5})))
    assert more.path == "/models?pageSize=5&pageToken=a+b"
    wire = DIALECT.encode(call(Operation.RAW, RawRequest("/files", b"\x00", content_type="image/png")))
    assert (wire.body, wire.headers) == (b"\x00", {"Content-Type": "image/png"})
    with pytest.raises(UnsupportedOperation):
        DIALECT.encode(call(Operation.COMPLETION, CompletionRequest("m", "x")))
    with pytest.raises(UnsupportedOperation, match="stream"):
        DIALECT.encode(call(Operation.SPEAK, SpeechRequest("m", "x"), stream=True))


def test_speech_and_images() -> None:
    fields = sent(call(Operation.SPEAK, SpeechRequest("tts", "Hi", {"voice": "Kore", "instructions": "Say gladly"})))
    judged(fields)
    assert fields["contents"][0]["parts"] == [{"text": "Say gladly: Hi"}]
    assert fields["generationConfig"] == {
        "responseModalities": ["AUDIO"],
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
    }
    options = {"size": "1536x1024", "n": 1, "response_format": "b64_json", "quality": "auto"}
    fields = sent(call(Operation.IMAGE, ImageRequest("gemini-2.5-flash-image", "A cat", options)))
    judged(fields)
    assert fields["generationConfig"] == {"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": "3:2"}}


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (SpeechRequest("tts", "Hi", {"response_format": "mp3"}), "mp3"),
        (SpeechRequest("tts", "Hi", {"speed": 2}), "speed"),
        (ImageRequest("gemini-2.5-flash-image", "x", {"n": 2}), "n=2"),
        (ImageRequest("gemini-2.5-flash-image", "x", {"size": "1792x1024"}), "size"),
        (ImageRequest("gemini-2.5-flash-image", "x", {"style": "vivid"}), "style"),
        (ImageRequest("imagen-4.0-generate-001", "x"), "Imagen"),
    ],
)
def test_speech_and_images_as_google_has_them_only(request_: Any, word: str) -> None:
    operation = Operation.SPEAK if isinstance(request_, SpeechRequest) else Operation.IMAGE
    with pytest.raises(UnsupportedOperation, match=word):
        DIALECT.encode(call(operation, request_))


def test_a_forwarded_body_is_not_touched() -> None:
    made = chat(stream=True)
    made.passthrough = Passthrough("gemini", b'{"contents": []}')
    wire = DIALECT.encode(made)
    assert (wire.path, wire.body) == (
        "/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        b'{"contents": []}',
    )


def test_encoding_changes_nothing_of_the_callers() -> None:
    made = chat(tools=[TOOL, {"google_search": {}}], generation_config={"seed": 1}, stop=["a"], temperature=1)
    before = json.dumps([made.request.messages, made.request.options])  # type: ignore[union-attr]
    DIALECT.encode(made)
    assert json.dumps([made.request.messages, made.request.options]) == before  # type: ignore[union-attr]
