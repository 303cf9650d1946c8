"""``/v1/messages``, unary and as a stream, and ``/v1/messages/count_tokens``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.answering import Said, Tool, say
from ipfs_accelerate_py.simulator.text import count_tokens
from ipfs_accelerate_py.simulator.wire import Answer, Event, Request, Settings, StreamItem

from .checks import an_integer, body_of, field, model_of, modern, only, refuse
from .content import check_messages, last_text, marks, redacted, signature, tokens
from .fields import COUNTED, FIELDS

__all__ = ["answer", "count", "prompt_tokens"]

#: Claude 4.6, and what came after it.
_BEGINS_ITSELF: Final = re.compile(r"claude-(?:[a-z]+-(?:4-(?:[6-9]|[1-9]\d)(?!\d)|[5-9]|[1-9]\d(?!\d)))")
_encode = msgspec.json.Encoder().encode
_numbers = itertools.count(1)
#: Anthropic's own magic words, by which its service lets clients try these two (their digits are left out here).
_REDACT: Final = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING"
_DECLINE: Final = "ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL"


def prompt_tokens(body: dict[str, Any]) -> int:
    """Tokens of system text, tools and messages, four for each message."""
    messages = body.get("messages")
    total = 3 + tokens(body.get("system"))
    total += sum(count_tokens(_encode(tool).decode()) for tool in body.get("tools") or ())
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            total += 4 + tokens(message.get("content"))
    return total


def count(request: Request, settings: Settings) -> Answer:
    body = body_of(request)
    model_of(body, settings)
    field("", body, "messages", check_messages)
    only("", body, COUNTED)
    return Answer(body=_encode({"input_tokens": prompt_tokens(body)}))


def answer(request: Request, settings: Settings, cache: set[bytes]) -> Answer:
    body = body_of(request)
    model = model_of(body, settings)
    most: int = field("", body, "max_tokens", an_integer(1))
    messages = field("", body, "messages", check_messages)
    only("", body, FIELDS)
    thinks = _thinks(body, model, most)
    _check_beginning(messages, model, thinks)
    asked = last_text(messages)
    source = _encode([body.get("system"), messages])
    stop = tuple(body.get("stop_sequences") or ())
    options: dict[str, Any] = {
        "tools": _called(body, asked, thinks),
        "schema": ((body.get("output_config") or {}).get("format") or {}).get("schema"),
        "reasoning": thinks,
    }
    said = say(source, settings, body, limit=most, stop=stop, **options)
    whole = say(source, settings, body, **options) if stop else said
    made = _Message(body, model, said, cache)
    made.declined = _DECLINE in (asked or "")
    made.hidden = _REDACT in (asked or "")
    made.stopped = _first(whole, stop)
    if body.get("stream") is True:
        events, used = made.events(), made.usage()
        return Answer(content_type="text/event-stream; charset=utf-8", events=events, model=model, usage=used)
    return Answer(body=_encode(made.whole()), model=model, usage=made.usage())


def _check_beginning(messages: list[dict[str, Any]], model: str, thinks: bool) -> None:
    """A last message of the assistant's is the beginning of its answer, which not every model takes from others."""
    last = messages[-1]
    if last["role"] != "assistant":
        return
    if thinks or _BEGINS_ITSELF.search(model):
        refuse("messages: this model begins its answers itself, so the last message must be the user's")
    content = last["content"]
    text = content if isinstance(content, str) else (content[-1].get("text", "") if content else "")
    if text != text.rstrip():
        refuse("messages: the assistant's last message must not end in white space")


def _thinks(body: dict[str, Any], model: str, most: int) -> bool:
    thinking = body.get("thinking") or {}
    kind = thinking.get("type")
    if kind == "enabled":
        if modern(model):
            refuse(
                '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
                '"output_config.effort" to control thinking behavior.'
            )
        if thinking["budget_tokens"] >= most:
            refuse("`max_tokens` must be greater than `thinking.budget_tokens`.")
        if body.get("temperature") not in (None, 1):
            refuse("`temperature` may only be set to 1 when thinking is enabled.")
    elif kind == "adaptive" and not modern(model) and "4-6" not in model:
        refuse("adaptive thinking is not supported on this model")
    return kind in ("enabled", "adaptive")


def _called(body: dict[str, Any], asked: str | None, thinks: bool) -> list[Tool]:
    """The tools that are called: those forced or named, or all there are where the last text speaks of a tool."""
    choice = body.get("tool_choice") or {"type": "auto"}
    kind = choice["type"]
    tools = [Tool(tool["name"], tool["input_schema"]) for tool in body.get("tools") or () if tool.get("input_schema")]
    if not tools:
        if kind in ("any", "tool"):
            refuse("tool_choice: tool_choice may only be specified while providing tools.")
        return []
    if kind in ("any", "tool") and thinks:
        refuse("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "tool":
        forced = [tool for tool in tools if tool.name == choice["name"]]
        if not forced:
            refuse(f"Tool '{choice['name']}' not found in provided tools")
        return forced
    words = asked or ""
    named = [tool for tool in tools if tool.name in words]
    if kind == "none" or (kind == "auto" and not named and "tool" not in words.lower()):
        return []
    called = named or tools
    return called[:1] if choice.get("disable_parallel_tool_use") else called


def _first(whole: Said, stop: tuple[str, ...]) -> str | None:
    text = "".join(whole.tokens)
    found = [(at, word) for word in stop if (at := text.find(word)) >= 0]
    return min(found)[1] if found else None


class _Message:
    """One answer, whole or as events."""

    def __init__(self, body: dict[str, Any], model: str, said: Said, cache: set[bytes]) -> None:
        self._body = body
        self._model = model
        self._said = said
        self._id = f"msg_sim{next(_numbers):08x}"
        self._read = self._written = 0
        marked = marks(body)
        if marked is not None:
            digest, amount = marked
            if digest in cache:
                self._read = amount
            else:
                cache.add(digest)
                self._written = amount
        self.declined = self.hidden = False
        self.stopped: str | None = None

    # --- parts ---------------------------------------------------------------------------------------------------

    def _blocks(self) -> list[tuple[dict[str, Any], tuple[str, ...]]]:
        """Blocks, and each with the pieces that its content is streamed in."""
        said = self._said
        made: list[tuple[dict[str, Any], tuple[str, ...]]] = []
        if said.reasoning:
            text = "".join(said.reasoning)
            if self.hidden:
                made.append(({"type": "redacted_thinking", "data": redacted(text)}, ()))
            else:
                shown = self._body["thinking"].get("display") != "omitted"
                block = {"type": "thinking", "thinking": text if shown else ""}
                block["signature"] = signature(block["thinking"])
                made.append((block, tuple(said.reasoning) if shown else ()))
        for call in said.calls:
            arguments = "".join(call.arguments)
            block = {"type": "tool_use", "id": f"toolu_sim{next(_numbers):08x}", "name": call.name}
            made.append(({**block, "input": msgspec.json.decode(arguments)}, call.arguments))
        if not said.calls and not self.declined and said.tokens:
            text_block: dict[str, Any] = {"type": "text", "text": "".join(said.tokens)}
            if (cited := self._citation()) is not None:
                text_block["citations"] = [cited]
            made.append((text_block, tuple(said.tokens)))
        return made

    def _citation(self) -> dict[str, Any] | None:
        """The beginning of the first document that is to be cited and is plain text."""
        contents = [message["content"] for message in self._body["messages"] if isinstance(message["content"], list)]
        documents = [block for content in contents for block in content if block["type"] == "document"]
        for index, block in enumerate(documents):
            if (block.get("citations") or {}).get("enabled") and block["source"]["type"] == "text":
                cited = block["source"]["data"][:20]
                return {
                    "type": "char_location",
                    "cited_text": cited,
                    "document_index": index,
                    "document_title": block.get("title"),
                    "file_id": None,
                    "start_char_index": 0,
                    "end_char_index": len(cited),
                }
        return None

    def _end(self) -> dict[str, Any]:
        said = self._said
        details = None
        if self.declined:
            reason = "refusal"
            details = {"type": "refusal", "category": None, "explanation": "The simulator was told to decline."}
        elif said.calls:
            reason = "tool_use"
        elif said.cut:
            reason = "max_tokens"
        else:
            reason = "end_turn" if self.stopped is None else "stop_sequence"
        sequence = self.stopped if reason == "stop_sequence" else None
        return {"stop_reason": reason, "stop_sequence": sequence, "stop_details": details}

    def _usage(self, made: int) -> dict[str, Any]:
        return {
            "input_tokens": max(0, prompt_tokens(self._body) - self._read - self._written),
            "cache_creation_input_tokens": self._written,
            "cache_read_input_tokens": self._read,
            "output_tokens": made,
        }

    def usage(self) -> dict[str, Any]:
        thought = {"thinking_tokens": len(self._said.reasoning)}
        return {**self._usage(self._said.count), "output_tokens_details": thought}

    def _head(self) -> dict[str, Any]:
        return {"id": self._id, "type": "message", "role": "assistant", "model": self._model}

    # --- the answer ----------------------------------------------------------------------------------------------

    def whole(self) -> dict[str, Any]:
        content = [block for block, _ in self._blocks()]
        more = {"cache_creation": {"ephemeral_5m_input_tokens": self._written, "ephemeral_1h_input_tokens": 0}}
        used = {**self.usage(), **more, "service_tier": "standard"}
        return {**self._head(), "content": content, **self._end(), "usage": used}

    def events(self) -> Iterator[StreamItem]:
        nothing = {"stop_reason": None, "stop_sequence": None, "stop_details": None}
        used = {**self._usage(1), "service_tier": "standard"}
        yield _event("message_start", message={**self._head(), "content": [], **nothing, "usage": used})
        yield _event("ping")
        for index, (block, pieces) in enumerate(self._blocks()):
            yield from _block_events(index, block, pieces)
        yield _event("message_delta", delta=self._end(), usage=self.usage())
        yield _event("message_stop")._replace(last=True)


def _event(kind: str, tokens: int = 0, **fields: Any) -> Event:
    return Event(_encode({"type": kind, **fields}), kind, tokens)


def _block_events(index: int, block: dict[str, Any], pieces: tuple[str, ...]) -> Iterator[StreamItem]:
    def delta(kind: str, tokens: int = 0, **fields: Any) -> Event:
        return _event("content_block_delta", tokens, index=index, delta={"type": kind, **fields})

    kind = block["type"]
    empty: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    start = {name: value for name, value in {**block, **empty.get(kind, {})}.items() if name != "citations"}
    yield _event("content_block_start", int(kind == "tool_use"), index=index, content_block=start)
    for cited in block.get("citations") or ():
        yield delta("citations_delta", citation=cited)
    for piece in pieces:
        if kind == "text":
            yield delta("text_delta", 1, text=piece)
        elif kind == "thinking":
            yield delta("thinking_delta", 1, thinking=piece)
        else:
            yield delta("input_json_delta", 1, partial_json=piece)
    if kind == "thinking":
        yield delta("signature_delta", signature=block["signature"])
    yield _event("content_block_stop", index=index)
