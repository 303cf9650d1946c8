"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.things.base import PDF, PNG, SCHEMA, Body, Thing, each, put, thing

MESSAGES: Body = {
    "model": "m",
    "max_tokens": 4000,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
}
MESSAGES_TOOLS: Body = {**MESSAGES, "tools": [{"name": "weather", "input_schema": SCHEMA}]}
MESSAGES_TURN: Body = {
    **MESSAGES_TOOLS,
    "messages": [
        *MESSAGES["messages"],
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sunny."}]},
    ],
}
_PDF_BLOCK: Body = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
}
_IMAGE_BLOCK: Body = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
_SERVER_BLOCKS: tuple[Body, ...] = (
    {"type": "server_tool_use", "id": "zq", "name": "web_search", "input": {}},
    {"type": "web_search_tool_result", "tool_use_id": "zq", "content": []},
    {"type": "code_execution_tool_result", "tool_use_id": "zq", "content": {}},
    {"type": "container_upload", "file_id": "zq"},
    {"type": "search_result", "source": "zq", "title": "zq", "content": [{"type": "text", "text": "zq"}]},
    {"type": "tool_reference", "tool_name": "zq"},
)


def things() -> Iterator[Thing]:
    yield from each(
        MESSAGES,
        ("temperature", 0.37),
        ("top_p", 0.83),
        ("top_k", 37),
        ("stop_sequences", ["zqstop"], "stop"),
        ("system", "zqsystem"),
        ("system", [{"type": "text", "text": "zqone"}, {"type": "text", "text": "zqtwo"}]),
        ("system", [{"type": "text", "text": "zq", "cache_control": {"type": "ephemeral"}}], "cache_control"),
        ("metadata", {"user_id": "zquser"}, "user"),
        ("service_tier", "standard_only"),
        ("service_tier", "auto"),
        ("cache_control", {"type": "ephemeral"}),
        ("container", "zqcontainer"),
        ("context_management", {"edits": []}),
        ("diagnostics", {"zq": 1}),
        ("inference_geo", "us"),
        ("mcp_servers", [{"type": "url", "url": "https://zq.test", "name": "zq"}]),
        ("speed", "fast"),
        ("user_profile_id", "zqid"),
        ("workspace_id", "zqid"),
        ("fallbacks", [{"model": "zq"}]),
        ("thinking", {"type": "enabled", "budget_tokens": 2048}, "reasoning_effort"),
        ("thinking", {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}, "reasoning_effort"),
        ("thinking", {"type": "adaptive"}, "reasoning_effort"),
        ("thinking", {"type": "disabled"}, "reasoning_effort"),
        ("thinking", {"type": "zq_kind"}, "reasoning_effort"),
        ("output_config", {"effort": "high"}, "reasoning_effort", "effort"),
        ("output_config", {"format": {"type": "json_schema", "schema": SCHEMA}}, "response_format"),
        ("output_config", {"zq": "zqvalue"}, "output_config.zq"),
        ("messages.0.content.+", _IMAGE_BLOCK, "image_url"),
        ("messages.0.content.+", {**_IMAGE_BLOCK, "transformations": [{"type": "zq"}]}, "image_url", "transformations"),
        (
            "messages.0.content.+",
            {"type": "image", "source": {"type": "url", "url": "https://zq.test/a.png"}},
            "image_url",
        ),
        ("messages.0.content.+", {"type": "image", "source": {"type": "file", "file_id": "zq"}}, "source"),
        ("messages.0.content.+", _PDF_BLOCK, "file"),
        (
            "messages.0.content.+",
            {"type": "document", "source": {"type": "url", "url": "https://zq.test/a.pdf"}},
            "file",
        ),
        ("messages.0.content.+", {"type": "document", "source": {"type": "file", "file_id": "zqfile"}}, "file"),
        ("messages.0.content.+", {"type": "document", "source": {"type": "content", "content": "zq"}}, "source"),
        (
            "messages.0.content.+",
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hm"}},
            "file",
        ),
        *(("messages.0.content.+", block) for block in _SERVER_BLOCKS),
        ("messages.0.content.0.cache_control", {"type": "ephemeral"}),
        ("messages.0.content.0.citations", [{"type": "char_location", "cited_text": "zqcited"}]),
        ("messages.+", {"role": "assistant", "content": "zqprefill"}),
        ("messages.+", {"role": "system", "content": "zqlate"}),
    )
    document = put(MESSAGES, "messages.0.content.+", _PDF_BLOCK)
    yield from each(
        document,
        ("title", "zqtitle"),
        ("context", "zqcontext"),
        ("citations", {"enabled": True}),
        under="messages.0.content.1",
        words=("file", "filename"),
    )
    yield thing(document, "messages.0.content.1.cache_control", {"type": "ephemeral"}, "file")
    yield from each(
        MESSAGES_TOOLS,
        ("tools.0.description", "zqdescription"),
        ("tools.0.strict", True),
        ("tools.0.cache_control", {"type": "ephemeral"}),
        ("tools.0.input_examples", [{"city": "zq"}]),
        ("tools.0.defer_loading", True),
        ("tools.0.eager_input_streaming", True),
        ("tools.0.allowed_callers", ["code_execution_20250825"]),
        ("tools.0.zq_unknown", "zqvalue"),
        ("tools.+", {"type": "web_search_20250305", "name": "web_search"}),
        ("tools.+", {"type": "bash_20250124", "name": "bash"}),
        ("tool_choice", {"type": "any"}),
        ("tool_choice", {"type": "none"}),
        ("tool_choice", {"type": "tool", "name": "weather"}),
        ("tool_choice", {"type": "auto", "disable_parallel_tool_use": True}),
        words=(
            "tool_choice",
            "parallel_tool_calls",
            "tools",
        ),
    )
    yield from each(
        MESSAGES_TURN,
        ("messages.1.content.0.text", "zqsaid"),
        ("messages.1.content.0", {"type": "thinking", "thinking": "zqthought", "signature": "c2ln"}),
        ("messages.1.content.0", {"type": "thinking", "thinking": "zqthought", "signature": ""}),
        ("messages.1.content.0", {"type": "redacted_thinking", "data": "enF6cQ=="}),
        ("messages.1.content.1.cache_control", {"type": "ephemeral"}),
        ("messages.1.content.1.caller", {"type": "code_execution_20250825", "tool_id": "zq"}),
        ("messages.1.content.1.toolset_name", "zqset"),
        ("messages.2.content.0.content", "zqresult"),
        ("messages.2.content.0.content", [{"type": "text", "text": "Sunny."}, _IMAGE_BLOCK]),
        ("messages.2.content.0.content", [_PDF_BLOCK]),
        ("messages.2.content.0.content", [_SERVER_BLOCKS[4]]),
        ("messages.2.content.0.is_error", True),
        ("messages.2.content.0.cache_control", {"type": "ephemeral"}),
        ("messages.2.content.0.toolset_name", "zqset"),
        ("messages.2.content.+", {"type": "text", "text": "zqafter"}),
        words=("thinking", "reasoning_content", "thinking_blocks", "tool_calls", "image_url", "file", "search_result"),
    )
