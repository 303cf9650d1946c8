"""OpenAI's responses."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.things.base import PDF, PNG, SCHEMA, Body, Thing, each, thing

RESPONSE: Body = {
    "model": "m",
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}],
}
RESPONSE_TOOLS: Body = {**RESPONSE, "tools": [{"type": "function", "name": "weather", "parameters": SCHEMA}]}
RESPONSE_TURN: Body = {
    **RESPONSE_TOOLS,
    "input": [
        *RESPONSE["input"],
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "Sunny."},
    ],
}
RESPONSE_SAID: Body = {
    "model": "m",
    "input": [
        *RESPONSE["input"],
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]},
        *RESPONSE["input"],
    ],
}
_HOSTED = ("web_search", "file_search", "code_interpreter", "mcp", "image_generation", "local_shell", "custom")


def things() -> Iterator[Thing]:
    yield from each(
        RESPONSE,
        ("temperature", 0.37),
        ("top_p", 0.83),
        ("max_output_tokens", 377, "max_tokens"),
        ("instructions", "zqinstructions"),
        ("metadata", {"zq": "zqvalue"}),
        ("user", "zquser", "metadata"),
        ("safety_identifier", "zqid", "metadata"),
        ("service_tier", "flex"),
        ("store", True),
        ("prompt_cache_key", "zqkey"),
        ("prompt_cache_retention", "24h"),
        ("prompt_cache_options", {"mode": "explicit"}),
        ("access_programs", ["zqprogram"]),
        ("image", {"zq": 1}),
        ("background", True),
        ("context_management", [{"type": "compaction"}]),
        ("conversation", "zqconversation"),
        ("previous_response_id", "zqid"),
        ("prompt", {"id": "zqprompt"}),
        ("moderation", {"model": "zq"}),
        ("include", ["message.output_text.logprobs"]),
        ("max_tool_calls", 3),
        ("reasoning", {"effort": "high"}, "reasoning_effort", "effort"),
        ("text", {"verbosity": "high"}, "verbosity"),
        ("text", {"format": {"type": "json_object"}}, "response_format"),
        ("text", {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}, "response_format"),
        ("top_logprobs", 3),
        ("truncation", "auto"),
        ("top_k", 37),
        ("seed", 41),
        ("input.0.content.+", {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}, "image_url"),
        ("input.0.content.+", {"type": "input_image", "file_id": "zqfile"}, "file_id"),
        (
            "input.0.content.+",
            {"type": "input_file", "file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"},
            "file",
        ),
        ("input.0.content.+", {"type": "input_file", "file_url": "https://zq.test/a.pdf"}, "file", "file_url"),
        ("input.0.content.+", {"type": "input_file", "file_id": "zqfile"}, "file", "file_id"),
        ("input.0.content.+", {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
        ("input.0.content.0.prompt_cache_breakpoint", {"mode": "explicit"}, "cache_control"),
        ("input.+", {"role": "developer", "content": "zqinstructions"}),
        ("input.0.zq_unknown", "zqvalue"),
        ("input.+", {"type": "item_reference", "id": "zqid"}),
        ("input.+", {"type": "web_search_call", "id": "zqid", "status": "completed"}),
        ("input.+", {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "zqforeign"}),
    )
    yield from each(
        RESPONSE_TOOLS,
        ("tools.0.description", "zqdescription"),
        ("tools.0.strict", True),
        ("tools.0.defer_loading", True),
        *(("tools.+", {"type": kind, "name": "zqtool"}) for kind in _HOSTED),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "name": "weather"}),
        ("tool_choice", {"type": "mcp", "server_label": "zq"}),
        ("parallel_tool_calls", False),
    )
    yield thing(RESPONSE_TURN, "input.2.output", "zqresult")
    yield thing(RESPONSE_TURN, "input.1.zq_unknown", "zqvalue")
    yield thing(RESPONSE_TURN, "input.2.output", [{"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}],
                "image_url")  # fmt: skip
    yield thing(RESPONSE_SAID, "input.1.phase", "commentary")
    yield thing(RESPONSE_SAID, "input.1.content.0.annotations", [{"type": "url_citation", "url": "https://zq.test"}])
    yield thing(RESPONSE_SAID, "input.1.content.+", {"type": "refusal", "refusal": "zqno"})
