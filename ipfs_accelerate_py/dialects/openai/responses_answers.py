"""The Responses API's answers: items, the response object, and a reply of chat as one. Pure.

Source: OpenAI's API specification (openai.openapi.yaml, ``Response``). The stream (``responses_writer``) is made
of the same pieces, so that what it comes to at its end is what the whole answer would have been.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.openai.responses_signed import pack
from ipfs_accelerate_py.types import Image, Reply, ToolCall, Usage

__all__ = [
    "NO_ARGUMENTS",
    "Answered",
    "call_item",
    "ending",
    "image_item",
    "message_item",
    "reasoning_item",
    "refusal_part",
    "summary_part",
    "text_part",
]

Item = dict[str, Any]

_encode = msgspec.json.Encoder().encode
#: Of a call that has none, where it was made to its end: clients read JSON.
NO_ARGUMENTS = "{}"


def text_part(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> Item:
    return {"type": "refusal", "refusal": text}


def summary_part(text: str) -> Item:
    return {"type": "summary_text", "text": text}


def reasoning_item(
    identity: str, status: str, text: str, blocks: Sequence[Item] = (), signatures: dict[str, str] | None = None
) -> Item:
    """``blocks`` and ``signatures`` are for the next turn: see ``responses_signed``."""
    made = {
        "id": identity,
        "type": "reasoning",
        "status": status,
        "summary": [summary_part(text)] if text else [],
    }
    if blocks or signatures:
        made["encrypted_content"] = pack(list(blocks), signatures or {})
    return made


def message_item(identity: str, status: str, parts: list[Item]) -> Item:
    return {"id": identity, "type": "message", "status": status, "role": "assistant", "content": parts}


def call_item(identity: str, status: str, call_id: str, name: str, arguments: str) -> Item:
    return {
        "id": identity,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def image_item(identity: str, image: Image) -> Item:
    """An image that the model made, as one that it asked a tool for: the only place for one."""
    result = base64.b64encode(image.data).decode("ascii") if image.data else image.url
    return {"id": identity, "type": "image_generation_call", "status": "completed", "result": result}


def ending(finish_reason: str | None) -> tuple[str, str | None]:
    """The status of an answer that ended for this reason, and why it is incomplete."""
    if finish_reason == "length":
        return "incomplete", "max_output_tokens"
    return ("incomplete", "content_filter") if finish_reason == "content_filter" else ("completed", None)


class Answered:
    """The answer to one request: its names, and what of the request is repeated in it.

    ``asked`` is the request's body; ``identity`` begins with ``resp_``.
    """

    def __init__(self, asked: dict[str, Any], identity: str, created: int) -> None:
        self._asked = _given(asked)
        self._identity = identity
        self._created = created
        self._tail = identity.removeprefix("resp_")
        self._called: set[str] = set()

    def item_id(self, prefix: str, index: int) -> str:
        """The name of the item at this place of the output."""
        return f"{prefix}_{self._tail}_{index}"

    def call_id(self, given: str, index: int) -> str:
        """What a call's result will be known by: the backend's own id, unless it has none or gives it twice."""
        made = given if given and given not in self._called else f"call_{self._tail}_{index}"
        self._called.add(made)
        return made

    def response(
        self, model: str, output: list[Item], status: str, reason: str | None = None, usage: Usage | None = None
    ) -> Item:
        """The response object."""
        asked = self._asked
        made: Item = {
            "id": self._identity,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None if reason is None else {"reason": reason},
            "instructions": asked.get("instructions"),
            "max_output_tokens": asked.get("max_output_tokens"),
            "max_tool_calls": asked.get("max_tool_calls"),
            "model": model,
            "output": output,
            "parallel_tool_calls": asked.get("parallel_tool_calls", True),
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None, **asked.get("reasoning", {})},
            "store": False,
            "temperature": asked.get("temperature"),
            "text": {"format": {"type": "text"}, **_given(asked.get("text", {}))},
            "tool_choice": asked.get("tool_choice", "auto"),
            "tools": [{"parameters": None, "strict": None, **tool} for tool in asked.get("tools", ())],
            "top_p": asked.get("top_p"),
            "truncation": "disabled",
            "metadata": asked.get("metadata", {}),
        }
        for name in ("user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"):
            if name in asked:
                made[name] = asked[name]
        if usage is not None and usage.reported:
            made["usage"] = _usage(usage)
        return made

    def encode(self, reply: Reply, model: str) -> bytes:
        """A whole answer; ``model`` is the name to show where the backend gave none."""
        status, reason = ending(reply.finish_reason)
        output: list[Item] = []
        if reply.reasoning or reply.thinking_blocks:
            identity = self.item_id("rs", 0)
            output.append(reasoning_item(identity, "completed", reply.reasoning, reply.thinking_blocks))
        parts = [text_part(reply.text)] if reply.text else []
        if reply.refusal:
            parts.append(refusal_part(reply.refusal))
        if not parts and not output and not reply.tool_calls and not reply.images:
            parts = [text_part("")]
        if parts:
            output.append(message_item(self.item_id("msg", len(output)), "completed", parts))
        for image in reply.images:
            output.append(image_item(self.item_id("ig", len(output)), image))
        for call in reply.tool_calls:
            self._add_call(output, call, NO_ARGUMENTS if status == "completed" else "")
        output[-1]["status"] = status
        return _encode(self.response(reply.model or model, output, status, reason, reply.usage))

    def _add_call(self, output: list[Item], call: ToolCall, nothing: str) -> None:
        index = len(output) + bool(call.signature)
        call_id = self.call_id(call.id, index)
        if call.signature:
            identity = self.item_id("rs", len(output))
            output.append(reasoning_item(identity, "completed", "", (), {call_id: call.signature}))
        output.append(call_item(self.item_id("fc", index), "completed", call_id, call.name, call.arguments or nothing))


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _usage(usage: Usage) -> Item:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
