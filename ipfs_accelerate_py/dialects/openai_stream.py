"""Streaming answers in OpenAI's format: chat and completions (chunks), and the Responses API (named events).

An event is decoded into just the fields that are needed; `Chunk.data` keeps its bytes for who wants the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from ipfs_accelerate_py.dialects.openai_errors import error_from_body
from ipfs_accelerate_py.dialects.reading import (
    arguments,
    chat_usage,
    content,
    count,
    name,
    part,
    response_finish,
    response_usage,
)
from ipfs_accelerate_py.errors import BackendError, ProtocolError, StreamCut
from ipfs_accelerate_py.framing import SSEDecoder, SSEvent
from ipfs_accelerate_py.types import Chunk, ToolCall, Usage

__all__ = ["ChatStreamDecoder", "ResponseStreamDecoder"]

T = TypeVar("T")

#: Images and sound come as base64 in one event.
MOST_EVENT_BYTES = 32 << 20
DONE = b"data: [DONE]\n\n"

# An event that cannot be read is skipped, unless it held a piece of the answer: then skipping it would leave a gap in
# the text that nobody could see.
_CONTENT_MARKS = (b'"delta"', b'"choices"', b'"content"', b'"text"')


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
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
    error: msgspec.Raw = msgspec.Raw(b"")


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_any = msgspec.json.Decoder().decode


class _SSEStream:
    """What the two kinds of stream have in common: framing, the terminator, unreadable events, the end."""

    def __init__(self) -> None:
        self._sse = SSEDecoder(max_line=MOST_EVENT_BYTES, max_event=MOST_EVENT_BYTES)
        self.model = ""
        self.usage = Usage()
        self.finish_reason: str | None = None
        self.content_seen = False
        self.complete = False
        self.finished = False
        self.skipped = 0
        self.error: BackendError | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        chunks: list[Chunk] = []
        for event in self._sse.feed(data):
            try:
                chunks += self._guarded(self._read, event)
            except BackendError as error:
                if not chunks:
                    raise
                self.error = error
                break
        return chunks

    def forward(self, data: bytes, hide_usage: bool = False) -> list[bytes]:
        whole, events = self._sse.split(data)
        for position, event in enumerate(events):
            skipped = self.skipped
            try:
                only_usage = self._guarded(self._look, event)
            except BackendError as error:
                if position == 0:
                    raise
                self.error = error
                whole = _without(whole, events[position:])
                break
            if self.skipped > skipped or (hide_usage and only_usage):
                whole = _without(whole, [event])
        return [whole] if whole else []

    def end(self) -> bytes:
        """The body has ended: what a reader of the forwarded stream still needs to see its end."""
        if self.error is not None:
            raise self.error
        if self.finished:
            return b""
        if not self.complete:
            raise StreamCut("the upstream's stream broke off before its end; what came so far is not the whole answer")
        self.finished = True
        return self._terminator()

    def _terminator(self) -> bytes:
        return b""

    def _guarded(self, read: Callable[[SSEvent], T], event: SSEvent) -> T:
        try:
            return read(event)
        except BackendError:
            raise
        except (TypeError, AttributeError, KeyError, ValueError) as problem:
            raise ProtocolError(
                f"an event of the upstream's stream is not of OpenAI's format: {type(problem).__name__}: {problem}"
            ) from None

    def _read(self, event: SSEvent) -> list[Chunk]:
        """An event as chunks; the state is brought up to date by it."""
        raise NotImplementedError

    def _look(self, event: SSEvent) -> bool:
        """Bring the state up to date, and tell whether the event held nothing but the usage."""
        self._read(event)
        return False

    def _unreadable(self, data: bytes) -> None:
        if any(mark in data for mark in _CONTENT_MARKS):
            raise ProtocolError(
                "an event of the upstream's stream cannot be read and held a piece of the answer, "
                "which is therefore not whole"
            )
        self.skipped += 1


class ChatStreamDecoder(_SSEStream):
    """``chat.completion.chunk`` objects (and those of plain completions), ended by ``[DONE]``."""

    def __init__(self, choices: int = 1) -> None:
        super().__init__()
        self._choices = choices
        self._ended: set[int] = set()
        self._begun = False

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
        return [_chunk(choice, usage, self.model, data) for choice in choices]

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
        choices = decoded.choices or []
        for choice in choices:
            self._begun = True
            if not self.content_seen:
                self.content_seen = _has_content(choice)
            if choice.finish_reason:  # some servers send an empty one with every chunk
                self.finish_reason = self.finish_reason or choice.finish_reason
                self._ended.add(choice.index)
                self.complete = len(self._ended) >= self._choices
        return choices, usage

    def _lenient(self, data: bytes) -> tuple[_Event, Usage | None]:
        """JSON whose shape is not the specification's: content as parts, counts as floats. Read what is there."""
        raw = _decode_any(data)
        if not isinstance(raw, dict):
            self._unreadable(data)
            return _Event(choices=[]), None
        if raw.get("error"):
            raise _in_band(data)
        usage = chat_usage(raw["usage"]) if isinstance(raw.get("usage"), dict) else None
        event = _Event(choices=[], model=name(raw.get("model")))
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
                    )
                    if "text" not in choice
                    else None,
                    text=content(choice.get("text")),
                    finish_reason=name(choice.get("finish_reason")),
                )
            )
        return event, usage


class ResponseStreamDecoder(_SSEStream):
    """The Responses API's named events; ``response.completed`` (``.incomplete``) ends it and carries the usage."""

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
        self.usage = chunk.usage = response_usage(response.get("usage"))
        self.finish_reason = chunk.finish_reason = response_finish(response, bool(self._calls))
        self.model = chunk.model = name(response.get("model")) or self.model
        self.complete = self.finished = True


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


def _without(whole: bytes, events: list[SSEvent]) -> bytes:
    """Verbatim bytes without some of their events (those that nobody must see, or that come after an error)."""
    for event in reversed(events):
        block = _frame(event)
        at = whole.rfind(block)
        if at > 0 and whole[at - 1 : at] != b"\n":
            at = -1
        if at < 0:  # not framed in the usual way: the rest is framed anew
            decoder = SSEDecoder(max_line=MOST_EVENT_BYTES, max_event=MOST_EVENT_BYTES)
            whole = b"".join(_frame(each) for each in decoder.feed(whole) if each.data != event.data)
            continue
        whole = whole[:at] + whole[at + len(block) :]
    return whole


def _frame(event: SSEvent) -> bytes:
    named = b"event: " + event.event.encode() + b"\n" if event.event else b""
    return named + b"".join(b"data: " + line + b"\n" for line in event.data.split(b"\n")) + b"\n"


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
    )


def _loose_tool_call(value: Any) -> _ToolCall:
    call = part(value)
    function = part(call.get("function"))
    made = _Function(name(function.get("name")), arguments(function.get("arguments")))
    index = count(call["index"]) if call.get("index") is not None else None
    return _ToolCall(index, name(call.get("id")), name(call.get("type")), made)


def _usage(usage: _Usage) -> Usage:
    made = Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0, reported=True)
    if (details := usage.prompt_tokens_details) is not None:
        made.cached_tokens = details.cached_tokens or 0
        made.input_audio_tokens = details.audio_tokens or 0
    if (details := usage.completion_tokens_details) is not None:
        made.reasoning_tokens = details.reasoning_tokens or 0
        made.output_audio_tokens = details.audio_tokens or 0
    return made
