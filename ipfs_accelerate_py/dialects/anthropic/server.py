"""The serving half of Anthropic's format, requests: a body as it came in, checked, and made into what a target is sent.

Pure. For a target of the same format the body goes on as it is but for the model's name; for others it is translated
(``vocabulary``). Types are checked and bounds are not: those are for the target to say.

Source: Anthropic's API reference ("Messages", "Count tokens").
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from ipfs_accelerate_py.dialects.anthropic.vocabulary import as_vocabulary
from ipfs_accelerate_py.dialects.checking import Fields, checked, decoded, wrong_of
from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.types import ChatRequest, CountRequest, Operation, Passthrough, Request

__all__ = ["MessagesRequest", "decode_body"]

_Object = dict[str, Any]


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: _Object | None = None
    tool_use_id: str | None = None
    content: str | list[Any] | _Object | None = None
    is_error: bool | None = None
    source: str | _Object | None = None
    title: str | None = None
    cache_control: _Object | None = None


class _Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: _Object | None = None


class _ToolChoice(msgspec.Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None


class _Count(msgspec.Struct, kw_only=True):
    model: Annotated[str, msgspec.Meta(min_length=1)]
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    system: str | list[_Block] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _ToolChoice | None = None
    thinking: _Thinking | None = None
    output_config: _Object | None = None


class _Chat(_Count, kw_only=True):
    max_tokens: int
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    metadata: _Object | None = None
    service_tier: str | None = None


_CHECKS: dict[Operation, msgspec.json.Decoder[Any]] = {
    Operation.CHAT: msgspec.json.Decoder(_Chat),
    Operation.COUNT: msgspec.json.Decoder(_Count),
}
_encode = msgspec.json.Encoder().encode


class MessagesRequest:
    """A request that has passed the check; see `ServedRequest`.

    ``ignored`` holds names of what `request` left out because no answer depends on it, and ``places`` tells
    where in the body each of its messages was.
    """

    __slots__ = ("_body", "_fields", "_typed", "ignored", "model", "operation", "places", "stream")

    def __init__(self, operation: Operation, typed: _Count, fields: Fields, body: bytes) -> None:
        self.operation = operation
        self.model = typed.model
        self.stream = isinstance(typed, _Chat) and typed.stream is True
        self.ignored: tuple[str, ...] = ()
        self.places: tuple[str, ...] = ()
        self._typed = typed
        self._fields = fields
        self._body = body

    def passthrough(self, model: str, *, stream_usage: bool = True) -> Passthrough | None:
        return Passthrough("anthropic", _encode({**self._fields, "model": model}))

    def summary(self, model: str) -> Request:
        if isinstance(self._typed, _Chat):
            options: dict[str, Any] = {"max_tokens": self._typed.max_tokens}
            if self._typed.temperature is not None:
                options["temperature"] = self._typed.temperature
            return ChatRequest(model, [], options)
        return CountRequest(model, [])

    def request(self, model: str) -> Request:
        messages, options, self.ignored, self.places = as_vocabulary(decoded(self._body))
        if self.operation is Operation.COUNT:
            return CountRequest(model, messages, options)
        return ChatRequest(model, messages, options)


def decode_body(operation: Operation, body: bytes) -> MessagesRequest:
    """Check a request's body. Raises `InvalidRequest` (400) whose ``param`` names the field that is wrong."""
    check = _CHECKS.get(operation)
    if check is None:
        raise bad_request(f"Anthropic's format has no operation {operation}.", "unsupported_operation")
    typed, fields = checked(body, check, wrong=_wrong_field, refuse=_forbidden)
    return MessagesRequest(operation, typed, fields, body)


# --- words for what is wrong: the field's place, a colon, and what is asked ---------------------------------------

_WORDS = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "array": "list",
    "object": "object",
}


def _wrong_field(text: str) -> InvalidRequest:
    wrong = wrong_of(text)
    place = wrong.place
    if wrong.missing:
        return bad_request(f"{place}: Field required", "missing_required_parameter", place)
    if wrong.expected:
        words = [_WORDS.get(word, word) for word in wrong.expected if word != "null"]
        where = place or "The request body"
        return bad_request(f"{where}: Input should be a valid {' or '.join(words)}", "invalid_type", place or None)
    return bad_request(f"{place}: {wrong.text}" if place else wrong.text, "invalid_value", place or None)


def _forbidden(name: str) -> InvalidRequest:
    return bad_request(f"{name}: Extra inputs are not permitted.", "unsupported_parameter", name)
