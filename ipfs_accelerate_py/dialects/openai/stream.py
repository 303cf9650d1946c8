"""Streaming answers in OpenAI's format: chat and completions (chunks), and the Responses API (named events).

An event is decoded into just the fields that are needed; `Chunk.data` keeps its bytes for who wants the rest.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.openai.errors import error_from_body
from ipfs_accelerate_py.dialects.openai.readers import signature
from ipfs_accelerate_py.dialects.raw import RawStream
from ipfs_accelerate_py.dialects.reading import (
    arguments,
    chat_usage,
    content,
    count,
    ended,
    name,
    part,
    response_finish,
    response_usage,
    service_tier,
)
from ipfs_accelerate_py.dialects.streaming import EventStream
from ipfs_accelerate_py.errors import BackendError
from ipfs_accelerate_py.framing import SSEvent
from ipfs_accelerate_py.types import Chunk, ToolCall, Usage

__all__ = ["AnyStreamDecoder", "ChatStreamDecoder", "ResponseStreamDecoder"]

DONE = b"data: [DONE]\n\n"

_CONTENT_MARKS = (b'"delta"', b'"choices"', b'"content"', b'"text"')


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: _Function | None = None
    extra_content: Any = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    thinking_blocks: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Event(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    model: str | None = None
    service_tier: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_any = msgspec.json.Decoder().decode


class ChatStreamDecoder(EventStream):
    """``chat.completion.chunk`` objects (and those of plain completions), ended by ``[DONE]``."""

    content_marks = _CONTENT_MARKS

    def __init__(self, choices: int = 1) -> None:
        super().__init__()
        self._choices = choices
        self._ended: set[int] = set()
        self._called: set[int] = set()
        self._begun = False
        self._thinking: list[str] = []

    def _terminator(self) -> bytes:
        return DONE

    def _read(self, event: SSEvent) -> list[Chunk]:
        data = event.data
        seen = self._observe(event)
        if seen is None:
            return []
        choices, usage = seen
        if not choices:
            return [Chunk(usage=usage, model=self.model, data=data)]
        return [self._chunk(choice, usage, data) for choice in choices]

    def _look(self, event: SSEvent) -> bool:
        seen = self._observe(event)
        return seen is not None and seen[1] is not None and not seen[0]

    def _observe(self, event: SSEvent) -> tuple[list[_Choice], Usage | None] | None:
        """Choices and usage of an event, by which the state is brought up to date; None where it holds neither."""
        data = event.data
        if data == b"[DONE]":
            # Some servers send it after an answer that has no finish_reason at all; but alone it is no answer.
            self.complete = self.finished = self._begun
            return None
        try:
            decoded = _decode_event(data)
            usage = None if decoded.usage is None else _usage(decoded.usage)
        except msgspec.ValidationError:
            decoded, usage = self._lenient(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._unreadable(data)
            return None
        if decoded.error and bytes(decoded.error) != b"null":
            raise _in_band(data)
        if not decoded.choices and usage is None and (event.event == "error" or b'"error"' in data[:20]):
            raise _in_band(data)
        if decoded.model:
            self.model = decoded.model
        if usage is not None:
            self.usage = usage
            usage.tier = service_tier(decoded.service_tier)
        choices = decoded.choices or []
        for choice in choices:
            self._begun = True
            if not self.content_seen:
                self.content_seen = _has_content(choice)
            if choice.delta is not None and choice.delta.tool_calls:
                self._called.add(choice.index)
            if choice.finish_reason:  # some servers send an empty one with every chunk
                choice.finish_reason = ended(choice.finish_reason, choice.index in self._called)
                self.finish_reason = self.finish_reason or choice.finish_reason
                self._ended.add(choice.index)
                self.complete = len(self._ended) >= self._choices
        return choices, usage

    def _chunk(self, choice: _Choice, usage: Usage | None, data: bytes) -> Chunk:
        chunk = _chunk(choice, usage, self.model, data)
        if choice.delta is not None and choice.delta.thinking_blocks and choice.index == 0:
            chunk.thinking_blocks = [whole for block in choice.delta.thinking_blocks if (whole := self._block(block))]
        return chunk

    def _block(self, block: dict[str, Any]) -> dict[str, Any] | None:
        """A block of signed reasoning, where it is whole by now: some servers send its text in pieces, and then the
        signature."""
        block = {name: value for name, value in block.items() if name != "index"}  # its place in the list of them
        if block.get("type", "thinking") != "thinking":
            return block
        text = content(block.get("thinking"))
        if not block.get("signature"):
            self._thinking.append(text)
            return None
        before, self._thinking = "".join(self._thinking), []
        return block if text.startswith(before) else {**block, "thinking": before + text}

    def _lenient(self, data: bytes) -> tuple[_Event, Usage | None]:
        """JSON whose shape is not the specification's: content as parts, counts as floats. Read what is there."""
        raw = _decode_any(data)
        if not isinstance(raw, dict):
            self._unreadable(data)
            return _Event(choices=[]), None
        if raw.get("error"):
            raise _in_band(data)
        usage = chat_usage(raw["usage"]) if isinstance(raw.get("usage"), dict) else None
        event = _Event(choices=[], model=name(raw.get("model")), service_tier=name(raw.get("service_tier")))
        assert event.choices is not None
        for choice in raw.get("choices") or []:
            choice = part(choice)
            delta = part(choice.get("delta"))
            event.choices.append(
                _Choice(
                    index=count(choice.get("index")),
                    delta=_Delta(
                        content=content(delta.get("content")),
                        reasoning_content=content(delta.get("reasoning_content")) or content(delta.get("reasoning")),
                        refusal=content(delta.get("refusal")),
                        tool_calls=[_loose_tool_call(call) for call in delta.get("tool_calls") or []],
                        thinking_blocks=[part(block) for block in delta.get("thinking_blocks") or []],
                    )
                    if "text" not in choice
                    else None,
                    text=content(choice.get("text")),
                    finish_reason=name(choice.get("finish_reason")),
                )
            )
        return event, usage


class ResponseStreamDecoder(EventStream):
    """The Responses API's named events; ``response.completed`` (``.incomplete``) ends it and carries the usage."""

    content_marks = _CONTENT_MARKS

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, int] = {}

    def _read(self, event: SSEvent) -> list[Chunk]:
        data = event.data
        if data == b"[DONE]":  # proxies add it to anything; what completes a response is its own event
            self.finished = self.complete
            return []
        try:
            raw = _decode_any(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._unreadable(data)
            return []
        if not isinstance(raw, dict):
            self._unreadable(data)
            return []
        kind = name(raw.get("type")) or event.event
        chunk = Chunk(event=kind, model=self.model, data=data)
        if kind == "response.output_text.delta":
            chunk.text = content(raw.get("delta"))
        elif kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            chunk.reasoning = content(raw.get("delta"))
        elif kind == "response.refusal.delta":
            chunk.refusal = content(raw.get("delta"))
        elif kind == "response.output_item.added" and part(raw.get("item")).get("type") == "function_call":
            item = raw["item"]
            chunk.tool_calls = [ToolCall(name(item.get("call_id")), name(item.get("name")), "", self._index(raw))]
        elif kind == "response.function_call_arguments.delta":
            chunk.tool_calls = [ToolCall("", "", content(raw.get("delta")), self._index(raw))]
        elif kind in ("response.created", "response.in_progress"):
            self.model = chunk.model = name(part(raw.get("response")).get("model")) or self.model
        elif kind in ("response.completed", "response.incomplete"):
            self._completed(part(raw.get("response")), chunk)
        elif kind == "response.failed":
            raise error_from_body(part(raw.get("response")))
        elif kind == "error" or raw.get("error"):
            raise error_from_body(raw)
        if chunk.text or chunk.reasoning or chunk.refusal or chunk.tool_calls:
            self.content_seen = True
        return [chunk]

    def _index(self, raw: dict[str, Any]) -> int:
        """Number of the tool call that an event is about: calls are counted, other items of the output are not."""
        return self._calls.setdefault(count(raw.get("output_index")), len(self._calls))

    def _completed(self, response: dict[str, Any], chunk: Chunk) -> None:
        self.usage = chunk.usage = response_usage(response.get("usage"), response.get("service_tier"))
        self.finish_reason = chunk.finish_reason = response_finish(response, bool(self._calls))
        self.model = chunk.model = name(response.get("model")) or self.model
        self.complete = self.finished = True


class AnyStreamDecoder(RawStream):
    """The stream of any path of the service: each event as it is, but for an error, which is raised."""

    def _read(self, event: SSEvent) -> list[Chunk]:
        chunks = super()._read(event)
        for chunk in chunks:
            try:
                raw = _decode_any(event.data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raw = None
            if isinstance(raw, dict):
                if raw.get("error") and (event.event == "error" or raw.get("type", "error") == "error"):
                    raise error_from_body(raw)
                chunk.event = chunk.event or name(raw.get("type"))
                self.model = chunk.model = name(raw.get("model")) or self.model
                if isinstance(raw.get("usage"), dict):
                    self.usage = chunk.usage = chat_usage(raw["usage"])
        return chunks


def _chunk(choice: _Choice, usage: Usage | None, model: str, data: bytes) -> Chunk:
    chunk = Chunk("", "", "", (), choice.finish_reason or None, usage, model, choice.index, "", data)
    delta = choice.delta
    if delta is None:
        chunk.text = choice.text or ""
        return chunk
    chunk.text = delta.content or ""
    chunk.reasoning = delta.reasoning_content or delta.reasoning or ""
    chunk.refusal = delta.refusal or ""
    if delta.tool_calls:
        chunk.tool_calls = [_tool_call(position, call) for position, call in enumerate(delta.tool_calls)]
    return chunk


def _has_content(choice: _Choice) -> bool:
    delta = choice.delta
    if delta is None:
        return bool(choice.text)
    return bool(delta.content or delta.reasoning_content or delta.reasoning or delta.tool_calls or delta.refusal)


def _in_band(data: bytes) -> BackendError:
    raw = _decode_any(data)
    return error_from_body(raw if isinstance(raw, dict) else {"error": raw})


def _tool_call(position: int, call: _ToolCall) -> ToolCall:
    function = call.function
    return ToolCall(
        call.id or "",
        (function.name or "") if function is not None else "",
        (function.arguments or "") if function is not None else "",
        position if call.index is None else call.index,
        call.type or "function",
        signature(call.extra_content) if call.extra_content else "",
    )


def _loose_tool_call(value: Any) -> _ToolCall:
    call = part(value)
    function = part(call.get("function"))
    made = _Function(name(function.get("name")), arguments(function.get("arguments")))
    index = count(call["index"]) if call.get("index") is not None else None
    return _ToolCall(index, name(call.get("id")), name(call.get("type")), made, call.get("extra_content"))


def _usage(usage: _Usage) -> Usage:
    made = Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0, reported=True)
    if (details := usage.prompt_tokens_details) is not None:
        made.cached_tokens = details.cached_tokens or 0
        made.cache_write_tokens = details.cache_write_tokens or 0
        made.input_audio_tokens = details.audio_tokens or 0
    if (details := usage.completion_tokens_details) is not None:
        made.reasoning_tokens = details.reasoning_tokens or 0
        made.output_audio_tokens = details.audio_tokens or 0
    return made
