"""Anthropic's wire format: messages, counts of tokens, models.

Source: Anthropic's API reference and guides, for ``anthropic-version: 2023-06-01``. Other services speak it too, some
without the parts that came late; fields that are not there are not missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from ipfs_accelerate_py.dialects.anthropic.answers import read_count, read_message, read_models, usage
from ipfs_accelerate_py.dialects.anthropic.errors import error_from_body, error_from_status, rate_limits
from ipfs_accelerate_py.dialects.anthropic.messages import as_messages
from ipfs_accelerate_py.dialects.anthropic.options import Reasoning, as_fields
from ipfs_accelerate_py.dialects.anthropic.parts import Notes, as_blocks
from ipfs_accelerate_py.dialects.anthropic.stream import MessageStreamDecoder
from ipfs_accelerate_py.dialects.base import StreamDecoder, WireRequest
from ipfs_accelerate_py.dialects.raw import RawStream, as_json, raw_reply, raw_request
from ipfs_accelerate_py.dialects.reading import name
from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import BackendError, ConfigurationError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    CountRequest,
    Operation,
    RateLimits,
    RawRequest,
    Reply,
)

if TYPE_CHECKING:
    from ipfs_accelerate_py.dialects.batches import BatchFormat

__all__ = ["MAX_TOKENS", "AnthropicDialect"]

#: Length of an answer where the caller does not limit it; the service has no default of its own.
MAX_TOKENS = 4096
#: Models on one page of the list; the service gives 20 unless asked, and never more than this.
MOST_MODELS = 1000

_decode = msgspec.json.Decoder().decode
_PATHS = {
    Operation.CHAT: "/messages",
    Operation.COUNT: "/messages/count_tokens",
    Operation.MODELS: "/models",
}


class AnthropicDialect:
    """The translation.

    Args:
        model: asked for where a request names none.
        max_tokens: of an answer where a request sets none.
        reasoning: how ``reasoning_effort`` is said; see `Reasoning`.
    """

    name = "anthropic"
    operations = frozenset(_PATHS) | {Operation.RAW}

    def __init__(self, *, model: str = "", max_tokens: int = MAX_TOKENS, reasoning: str = "auto") -> None:
        self._model = model
        self._max_tokens = _whole(max_tokens)
        if reasoning not in ("auto", "budget", "effort"):
            raise ConfigurationError(f"reasoning must be 'auto', 'budget' or 'effort', not {reasoning!r}")
        self._reasoning = Reasoning(reasoning)

    @property
    def batches(self) -> BatchFormat:
        """The service's batch API."""
        from ipfs_accelerate_py.dialects.anthropic.batches import AnthropicBatches

        return AnthropicBatches(self)

    # --- requests ------------------------------------------------------------------------------------------------

    def encode(self, call: Call) -> WireRequest:
        request = call.request
        if isinstance(request, RawRequest):
            return raw_request(request)
        path = _PATHS.get(call.operation)
        if path is None:
            raise UnsupportedOperation(f"Anthropic's API has no operation {call.operation}")
        if call.operation is Operation.MODELS:
            query = {"limit": MOST_MODELS, **request.options}
            return WireRequest("GET", f"{path}?{urlencode(query, doseq=True)}", None)
        if call.passthrough is not None:
            return WireRequest("POST", path, call.passthrough.body)
        assert isinstance(request, ChatRequest | CountRequest)
        notes = Notes()
        fields, headers = self._fields(call, request, notes)
        return WireRequest("POST", path, as_json(fields), headers, notes.names)

    def _fields(
        self, call: Call, request: ChatRequest | CountRequest, notes: Notes
    ) -> tuple[dict[str, Any], dict[str, str] | None]:
        model = request.model or self._model
        options = dict(request.options)
        betas = options.pop("betas", None)
        system, messages = as_messages(request.messages, notes)
        if not messages:
            raise bad_request("'messages' must have a message of the user's", param="messages")
        fields: dict[str, Any] = {"model": model, "messages": messages}
        given = options.pop("system", None)
        if given is not None:  # Anthropic's own way to say it; it comes first, as the field does
            blocks = as_blocks(given, "system", notes)
            system = given if system is None else [*blocks, *as_blocks(system, "system", notes)]
        if system is not None:
            fields["system"] = system
        fields |= as_fields(
            options,
            model,
            notes,
            most=self._max_tokens,
            reasoning=self._reasoning,
            counting=call.operation is Operation.COUNT,
        )
        if call.stream:
            fields["stream"] = True
        headers = None
        if betas:
            headers = {"anthropic-beta": betas if isinstance(betas, str) else ",".join(map(str, betas))}
        return fields, headers

    # --- answers -------------------------------------------------------------------------------------------------

    def decode(self, call: Call, body: bytes, headers: Mapping[str, str]) -> Reply:
        if call.operation is Operation.RAW:
            reply = raw_reply(body, headers)
            if isinstance(reply.raw, dict):
                reply.usage = usage(reply.raw.get("usage"))
            return reply
        if call.passthrough is not None:
            return _passed(call, body)
        raw = _object(body)
        try:
            reply = _READERS[call.operation](raw)
        except BackendError:
            raise
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as problem:
            raise ProtocolError(
                f"the upstream's answer is not Anthropic's {call.operation} format: "
                f"{type(problem).__name__}: {problem}",
                body=raw,
            ) from None
        reply.raw = raw
        return reply

    def stream_decoder(self, call: Call) -> StreamDecoder:
        if call.operation is Operation.CHAT:
            return MessageStreamDecoder()
        if call.operation is Operation.RAW:
            return RawStream()
        raise UnsupportedOperation(f"Anthropic's format does not stream {call.operation}")

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
        return error_from_status(status, headers, body)

    def rate_limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        return rate_limits(headers)


_READERS = {
    Operation.CHAT: read_message,
    Operation.COUNT: read_count,
    Operation.MODELS: read_models,
}


def _whole(value: Any) -> int:
    """``max_tokens`` may come from the environment, as text."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise ConfigurationError(f"max_tokens must be a whole number above 0, not {value!r}")
    return number


def _object(body: bytes) -> dict[str, Any]:
    try:
        raw = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError(f"the upstream's answer is not JSON; it begins with {_beginning(body)}") from None
    if not isinstance(raw, dict):
        raise ProtocolError(f"the upstream's answer is not a JSON object but a {type(raw).__name__}")
    if raw.get("type") == "error" or ("error" in raw and "content" not in raw and "data" not in raw):
        raise error_from_body(raw)
    return raw


def _beginning(body: bytes) -> str:
    return repr(body[:80].decode("utf-8", "replace"))


# --- passthrough -------------------------------------------------------------------------------------------------


class _Passed(msgspec.Struct):
    """What is read of an answer whose bytes are forwarded; the rest is only checked to be JSON."""

    model: msgspec.Raw = msgspec.Raw(b"null")
    usage: msgspec.Raw = msgspec.Raw(b"null")
    content: msgspec.Raw = msgspec.Raw(b"null")
    input_tokens: msgspec.Raw = msgspec.Raw(b"null")


_decode_passed = msgspec.json.Decoder(_Passed).decode
_MARKS = {Operation.CHAT: "content", Operation.COUNT: "input_tokens"}


def _passed(call: Call, body: bytes) -> Reply:
    try:
        passed = _decode_passed(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _object(body)  # says what it is instead
        raise
    mark = _MARKS[call.operation]
    if bytes(getattr(passed, mark)) == b"null":
        _object(body)  # raises the error that is in it
        raise ProtocolError(f"the upstream's answer is not Anthropic's {call.operation} format: it has no {mark!r}")
    counts = {"input_tokens": _decode(passed.input_tokens)} if mark == "input_tokens" else _decode(passed.usage)
    return Reply(model=name(_decode(passed.model)), usage=usage(counts), body=body)
