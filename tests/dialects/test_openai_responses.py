"""Requests of the Responses API as chats: what becomes of each field, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response

from ipfs_accelerate_py.dialects.openai.responses_answers import Answered
from ipfs_accelerate_py.dialects.openai.responses_signed import pack
from ipfs_accelerate_py.dialects.openai.server import ServerRequest, decode_body
from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.types import ChatRequest, Message, Operation, Reply, ToolCall

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: dict[str, Any] = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}
OTHER: dict[str, Any] = {"type": "function", "name": "time", "description": "Now.", "strict": None}
CALL: dict[str, Any] = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Oslo"}'}
SECOND: dict[str, Any] = {"type": "function_call", "call_id": "c2", "name": "time", "arguments": "{}"}
BLOCK: dict[str, Any] = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}


def asked(**fields: Any) -> ServerRequest:
    return decode_body(Operation.RESPONSE, json.dumps({"model": "m", "input": "Hi", **fields}).encode())


def chat(**fields: Any) -> ChatRequest:
    made = asked(**fields).request("theirs")
    assert isinstance(made, ChatRequest)
    return made


def messages(*items: dict[str, Any], **fields: Any) -> list[Message]:
    return chat(input=list(items), **fields).messages


def refused(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as raised:
        asked(**fields).request("theirs")
    error = raised.value
    assert error.status == 400
    assert error.param is not None
    assert f"'{error.param}'" in error.message
    return error


def tool_call(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function, **more}


# --- messages ----------------------------------------------------------------------------------------------------


def test_a_text_and_instructions() -> None:
    made = chat(instructions="Be brief.")
    assert made == ChatRequest(
        "theirs", [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], {}
    )


def test_instructions_may_be_items() -> None:
    made = chat(instructions=[{"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]}])
    assert made.messages == [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("role", ["user", "assistant", "system", "developer"])
@pytest.mark.parametrize("kind", [{}, {"type": "message"}])
def test_messages_of_every_role(role: str, kind: dict[str, Any]) -> None:
    assert messages({"role": role, "content": "Hi", **kind}) == [{"role": role, "content": "Hi"}]


def test_content_of_every_kind() -> None:
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "high"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto", "file_id": None},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "input_text", "text": "Well?", "prompt_cache_breakpoint": {"mode": "explicit"}},
    ]
    [made] = messages({"role": "user", "content": parts})
    assert made["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_url": "https://example.com/a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "text", "text": "Well?", "cache_control": {"type": "ephemeral"}},
    ]


def test_the_assistants_turn_is_one_message_of_text_and_calls() -> None:
    said = {"type": "output_text", "text": "Let me see.", "annotations": [], "logprobs": []}
    made = messages(
        {"role": "user", "content": "Weather?"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [said]},
        {"id": "fc_1", "status": "completed", **CALL},
        SECOND,
        {"type": "function_call_output", "call_id": "c1", "output": "rain", "status": "completed", "id": None},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "noon"}]},
        {"role": "user", "content": "Thanks."},
    )
    assert made == [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [tool_call(CALL), tool_call(SECOND)]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        {"role": "user", "content": "Thanks."},
    ]


def test_turns_of_calls_stay_apart() -> None:
    outputs = [{"type": "function_call_output", "call_id": each, "output": ""} for each in ("c1", "c2")]
    made = messages({"role": "user", "content": "?"}, CALL, outputs[0], SECOND, outputs[1])
    assert [message["role"] for message in made] == ["user", "assistant", "tool", "assistant", "tool"]
    assert all(message["content"] is None for message in made if message["role"] == "assistant")


def test_a_result_may_hold_images() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
    made = messages(CALL, {"type": "function_call_output", "call_id": "c1", "output": [image]})
    assert made[-1]["content"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]


def test_a_refusal_stays_one() -> None:
    content = [{"type": "output_text", "text": "No. ", "annotations": []}, {"type": "refusal", "refusal": "I can't."}]
    assert messages({"role": "assistant", "content": content}) == [
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "No. "}, {"type": "refusal", "refusal": "I can't."}],
        }
    ]


# --- reasoning ---------------------------------------------------------------------------------------------------


def reasoning(encrypted: str | None, **more: Any) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": "Hm."}]
    return {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": encrypted, **more}


def test_signed_reasoning_goes_back_to_its_author() -> None:
    sealed = reasoning(pack([BLOCK], {"c1": "call-sig"}))
    for items in ([sealed, CALL], [CALL, sealed]):  # wherever in the turn it stands
        [made] = messages(*items)
        assert made["thinking_blocks"] == [BLOCK]
        assert made["tool_calls"] == [tool_call(CALL, extra_content={"google": {"thought_signature": "call-sig"}})]


@pytest.mark.parametrize("encrypted", [None, "gAAAAABmorebytes", "!!"])
def test_reasoning_that_another_service_wrote_is_left_out_and_said_so(encrypted: str | None) -> None:
    request = asked(input=[{"role": "user", "content": "Hi"}, reasoning(encrypted), {"role": "user", "content": "?"}])
    made = request.request("theirs")
    assert isinstance(made, ChatRequest)
    assert made.messages == [{"role": "user", "content": "Hi"}, {"role": "user", "content": "?"}]
    assert request.ignored == ("input.reasoning",)


@pytest.mark.parametrize("damage", ["cut", "version", "shape"])
def test_reasoning_of_ours_that_is_damaged_is_refused(damage: str) -> None:
    whole = pack([BLOCK], {})
    broken = {
        "cut": whole[:-9],
        "version": whole.replace(whole[36:40], "LzkZ"),
        "shape": pack([5], {}),  # type: ignore[list-item]
    }[damage]
    assert refused(input=[reasoning(broken)]).param == "input[0].encrypted_content"


def test_an_answer_goes_back_as_it_was() -> None:
    """Through OpenAI's own client: the items of an answer, sent as the next turn's input."""
    reply = Reply(
        text="Let me see.",
        reasoning="Hm.",
        thinking_blocks=[BLOCK, {"type": "redacted_thinking", "data": "x"}],
        tool_calls=[ToolCall("c1", "weather", '{"city": "Oslo"}', signature="call-sig"), ToolCall("c2", "time", "{}")],
        finish_reason="tool_calls",
    )
    answer = Response.model_validate_json(Answered({"model": "m"}, "resp_1", 1).encode(reply, "m"))
    for items in (
        [item.model_dump() for item in answer.output],
        [item.model_dump(exclude_unset=True) for item in answer.output],
    ):
        [made] = messages(*items)
        assert made == {
            "role": "assistant",
            "content": "Let me see.",
            "thinking_blocks": list(reply.thinking_blocks),
            "tool_calls": [
                tool_call(CALL, extra_content={"google": {"thought_signature": "call-sig"}}),
                tool_call(SECOND),
            ],
        }


# --- options -----------------------------------------------------------------------------------------------------

FORMAT = {"type": "json_schema", "name": "s", "schema": PARAMETERS, "strict": True}


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"max_output_tokens": 64}, {"max_tokens": 64}),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"reasoning": {"effort": None, "context": "auto", "mode": "standard"}}, {}),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": FORMAT}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "schema": PARAMETERS, "strict": True},
                }
            },
        ),
        (
            {"tools": [TOOL, OTHER], "tool_choice": "required", "parallel_tool_calls": False},
            {
                "tools": [
                    {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS, "strict": True}},
                    {"type": "function", "function": {"name": "time", "description": "Now."}},
                ],
                "tool_choice": "required",
                "parallel_tool_calls": False,
            },
        ),
        (
            {"tools": [OTHER], "tool_choice": {"type": "function", "name": "time"}},
            {
                "tools": [{"type": "function", "function": {"name": "time", "description": "Now."}}],
                "tool_choice": {"type": "function", "function": {"name": "time"}},
            },
        ),
        (  # what may not be called now is not shown
            {
                "tools": [TOOL, OTHER],
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "required",
                    "tools": [{"type": "function", "name": "time"}],
                },
            },
            {
                "tools": [{"type": "function", "function": {"name": "time", "description": "Now."}}],
                "tool_choice": "required",
            },
        ),
        ({"metadata": {"a": "b"}, "user": "u"}, {"metadata": {"a": "b"}, "user": "u"}),
        (
            {"service_tier": "flex", "prompt_cache_key": "k", "safety_identifier": "s"},
            {"service_tier": "flex", "prompt_cache_key": "k", "safety_identifier": "s"},
        ),
        # What this API does not have, and a backend may: it is passed on, as a chat's own options are.
        ({"top_k": 40, "stop": ["x"], "seed": 7}, {"top_k": 40, "stop": ["x"], "seed": 7}),
        # These ask for nothing.
        ({"tools": [], "n": 1, "truncation": "disabled", "background": False, "top_logprobs": 0}, {}),
        ({"include": ["reasoning.encrypted_content"], "modalities": ["text"], "previous_response_id": None}, {}),
        ({"stream": True, "stream_options": {"include_obfuscation": False}, "store": False}, {}),
    ],
)
def test_what_becomes_of_options(fields: dict[str, Any], options: dict[str, Any]) -> None:
    assert chat(**fields).options == options


def test_what_changes_nothing_is_named() -> None:
    request = asked(
        store=True,
        max_tool_calls=3,
        prompt_cache_options={"ttl": "30m", "mode": "implicit"},
        input=[{"role": "assistant", "content": "Hi", "phase": "commentary"}],
    )
    assert request.request("theirs") == ChatRequest("theirs", [{"role": "assistant", "content": "Hi"}], {})
    assert set(request.ignored) == {"store", "max_tool_calls", "prompt_cache_options", "input.phase"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        # A memory, and what OpenAI runs itself.
        ({"previous_response_id": "resp_0"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"moderation": {"model": "x"}}, "moderation"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["reasoning.encrypted_content", "file_search_call.results"]}, "include[1]"),
        ({"tools": [TOOL, {"type": "web_search"}]}, "tools[1].type"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools[0].type"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [{**TOOL, "allowed_callers": ["programmatic"]}]}, "tools[0].allowed_callers"),
        ({"tools": [{**TOOL, "extra": 1}]}, "tools[0].extra"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
            "tool_choice.tools",
        ),
        (
            {
                "tools": [TOOL],
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [{"type": "function", "name": "other"}],
                },
            },
            "tool_choice.tools",
        ),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
        ({"reasoning": {"efort": "low"}}, "reasoning.efort"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "s"}}}, "text.format.schema"),
        ({"text": {"style": "x"}}, "text.style"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"n": 2}, "n"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        # Chat's names.
        ({"messages": []}, "messages"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        # Items.
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": "message", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": "x", "nmae": "y"}]}, "input[0].nmae"),
        ({"input": [{"role": "user", "content": [{"type": "input_video"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
            "input[0].content[0].file_id",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "filename": "a"}]}]},
            "input[0].content[0].file_data",
        ),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": [{**CALL, "arguments": {}}]}, "input[0].arguments"),
        ({"input": [{**CALL, "namespace": "n"}]}, "input[0].namespace"),
        ({"input": [{**CALL, "caller": {"type": "program", "caller_id": "p"}}]}, "input[0].caller"),
        ({"input": [{"type": "function_call_output", "call_id": "c9", "output": "x"}]}, "input[0].call_id"),
        ({"input": [CALL, {"type": "function_call_output", "call_id": "c1"}]}, "input[1].output"),
        (
            {"input": [CALL, {"type": "function_call_output", "call_id": "c1", "output": [{"type": "x"}]}]},
            "input[1].output[0].type",
        ),
    ],
)
def test_what_cannot_be_asked_by_chat_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


def test_results_of_calls_that_were_not_sent_along_say_what_to_do() -> None:
    """A client that relies on stored answers sends the result alone."""
    item = {"type": "function_call_output", "call_id": "c9", "output": "x"}
    assert "whole conversation" in refused(input=[item]).message
    assert "whole conversation" in refused(previous_response_id="resp_0").message


def test_a_target_that_has_the_api_gets_the_body_as_it_was_written() -> None:
    passed = asked(previous_response_id="resp_0", tools=[{"type": "web_search"}]).passthrough("theirs")
    assert passed is not None
    assert json.loads(passed.body) == {
        "model": "theirs",
        "input": "Hi",
        "previous_response_id": "resp_0",
        "tools": [{"type": "web_search"}],
        "stream": False,
    }
