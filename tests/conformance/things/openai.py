"""OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.things.base import PDF, PNG, SCHEMA, Body, Thing, each, put, thing

_USER: Body = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
CHAT: Body = {"model": "m", "messages": [_USER]}
CHAT_TOOLS: Body = {
    **CHAT,
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
}
_CALL: Body = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
CHAT_TURN: Body = {
    **CHAT_TOOLS,
    "messages": [
        {"role": "system", "content": "Be brief."},
        _USER,
        {"role": "assistant", "content": None, "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "Sunny."}]},
    ],
}
CHAT_SAID: Body = {"model": "m", "messages": [_USER, {"role": "assistant", "content": "Hi."}, _USER]}
CHAT_JSON: Body = {
    **CHAT,
    "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
}
_IMAGE: Body = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
_FILE: Body = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}}
_SIGNED: Body = {"type": "thinking", "thinking": "Hmzq.", "signature": "c2lnenE="}


def things() -> Iterator[Thing]:
    yield from each(
        CHAT,
        ("temperature", 0.37),
        ("top_p", 0.83),
        ("top_k", 37),
        ("min_p", 0.03),
        ("max_tokens", 377, "max_completion_tokens"),
        ("max_completion_tokens", 378, "max_tokens"),
        ("stop", "zqstop"),
        ("stop", ["zqstop", "zqend"]),
        ("n", 2),
        ("seed", 41),
        ("presence_penalty", 0.7),
        ("frequency_penalty", 0.6),
        ("logit_bias", {"5": 3}),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("user", "zquser", "metadata"),
        ("metadata", {"zq": "zqvalue"}),
        ("store", True),
        ("service_tier", "flex"),
        ("service_tier", "priority"),
        ("safety_identifier", "zqid", "metadata", "user"),
        ("prompt_cache_key", "zqkey"),
        ("prompt_cache_retention", "24h"),
        ("prompt_cache_options", {"mode": "explicit"}),
        ("moderation", {"model": "omni-moderation-latest"}),
        ("reasoning_effort", "high"),
        ("reasoning_effort", "none"),
        ("reasoning_effort", "minimal"),
        ("verbosity", "high"),
        ("modalities", ["text", "audio"], "audio"),
        ("audio", {"voice": "zqvoice", "format": "pcm16"}, "modalities"),
        ("prediction", {"type": "content", "content": "zqexpected"}),
        ("web_search_options", {"search_context_size": "low"}),
        ("functions", [{"name": "zqold", "parameters": SCHEMA}], "function"),
        ("function_call", {"name": "zqold"}, "function"),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}),
        ("zq_unknown", "zqvalue"),
        ("messages.0.name", "zqname"),
        ("messages.0.cache_control", {"type": "ephemeral"}),
        ("messages.0.content.0.cache_control", {"type": "ephemeral"}),
        ("messages.0.content.0.citations", [{"type": "char_location", "cited_text": "zqcited"}]),
        ("messages.0.content.+", _IMAGE, "image_url"),
        ("messages.0.content.+", {"type": "image_url", "image_url": {"url": "https://zq.test/a.png"}}),
        ("messages.0.content.+", {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
        ("messages.0.content.+", _FILE),
        ("messages.0.content.+", {"type": "file", "file": {"file_id": "zqfile"}}),
        ("messages.0.content.+", {"type": "file", "file": {"file_url": "https://zq.test/a.pdf"}}),
        ("messages.0.content.+", {"type": "video_url", "video_url": {"url": "https://zq.test/a.mp4"}}),
        ("messages.0.content.+", {"type": "zq_kind", "zq_kind": "zqvalue"}),
    )
    with_image = put(CHAT, "messages.0.content.+", _IMAGE)
    yield thing(with_image, "messages.0.content.1.image_url.detail", "high")
    yield thing(with_image, "messages.0.content.1.cache_control", {"type": "ephemeral"}, "image_url")
    with_file = put(CHAT, "messages.0.content.+", _FILE)
    yield thing(with_file, "messages.0.content.1.file.filename", "zqname.pdf", "file")
    yield thing(with_file, "messages.0.content.1.citations", {"enabled": True}, "file")
    yield thing(with_file, "messages.0.content.1.context", "zqcontext", "file")
    yield from each(
        CHAT_TOOLS,
        ("tools.0.function.description", "zqdescription"),
        ("tools.0.function.strict", True),
        ("tools.0.cache_control", {"type": "ephemeral"}),
        ("tools.+", {"type": "function", "function": {"name": "zqother"}}),
        ("tools.+", {"type": "custom", "custom": {"name": "zqcustom"}}),
        ("tool_choice", "required"),
        ("tool_choice", "none"),
        ("tool_choice", {"type": "function", "function": {"name": "weather"}}),
        (
            "tool_choice",
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [CHAT_TOOLS["tools"][0]]}},
        ),
        ("parallel_tool_calls", False),
    )
    yield from each(
        CHAT_TURN,
        ("messages.0.name", "zqname"),
        ("messages.+", {"role": "user", "content": "zqagain"}),
        ("messages.2.content", "zqsaid"),
        ("messages.2.refusal", "zqno"),
        ("messages.2.reasoning_content", "zqthought"),
        ("messages.2.thinking_blocks", [_SIGNED]),
        ("messages.2.tool_calls.0.extra_content", {"google": {"thought_signature": "zqsig"}}),
        ("messages.2.tool_calls.0.cache_control", {"type": "ephemeral"}),
        ("messages.2.tool_calls.+", {**_CALL, "id": "call_zq", "type": "custom", "function": None}),
        ("messages.3.content.0.text", "zqresult"),
        ("messages.3.content.+", _IMAGE),
        ("messages.3.is_error", True),
        ("messages.3.cache_control", {"type": "ephemeral"}),
    )
    yield from each(
        CHAT_SAID,
        ("messages.1.name", "zqname"),
        ("messages.1.content", [{"type": "text", "text": "Hi."}, {"type": "refusal", "refusal": "zqno"}]),
        ("messages.1.refusal", "zqno"),
        ("messages.1.reasoning_content", "zqthought"),
        ("messages.1.reasoning", "zqthought", "reasoning_content"),
        ("messages.1.thinking_blocks", [_SIGNED]),
        ("messages.1.thinking_blocks", [{"type": "redacted_thinking", "data": "enF6cQ=="}]),
        ("messages.1.extra_content", {"google": {"thought_signature": "zqsig"}}),
        ("messages.1.audio", {"id": "zqaudio"}),
        ("messages.1.annotations", [{"type": "url_citation", "url_citation": {"url": "https://zq.test"}}]),
        ("messages.1.function_call", {"name": "zqold", "arguments": "{}"}, "calls of tools"),
        ("messages.1.cache_control", {"type": "ephemeral"}),
        ("messages.1.zq_unknown", "zqvalue"),
        ("messages.2", {"role": "assistant", "content": "zqprefill"}, "role"),
        ("messages.2", {"role": "system", "content": "zqlate"}, "role"),
        ("messages.2", {"role": "function", "name": "zqold", "content": "zqresult"}, "role"),
    )
    yield thing(CHAT_JSON, "response_format.json_schema.description", "zqdescription", "response_format")
