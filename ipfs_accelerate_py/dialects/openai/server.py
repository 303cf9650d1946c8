"""The serving half of OpenAI's format, requests: a body as it came in, checked, and made into what a target is sent.

Pure, as the client's half is. A body is decoded twice: once into types, which is the check (a wrong type is refused
with the name of the field), and once into top-level fields kept as they are written, so that a target which speaks the
same format gets every option that we know nothing of. The second is what is sent, put together again: a key that
occurs twice, one of them for us and one for the target, occurs once in it.

Source: OpenAI's API specification (openai.openapi.yaml). Types are checked and bounds are not: whether a temperature of
3 makes sense is for the target to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.checking import Fields, checked, decoded
from ipfs_accelerate_py.dialects.openai.checks import CHECKS, Body, EmbeddingBody
from ipfs_accelerate_py.dialects.openai.responses import chat_request
from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.types import (
    ChatRequest,
    ClassifyRequest,
    CompletionRequest,
    EmbedRequest,
    ImageRequest,
    ModerationRequest,
    Operation,
    Passthrough,
    Request,
    RerankRequest,
    ResponseRequest,
    SpeechRequest,
)

__all__ = ["ServerRequest", "decode_body"]

_decode_fields = msgspec.json.Decoder(Fields).decode
_encode = msgspec.json.Encoder().encode

_FORWARDED = frozenset((Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE, Operation.EMBED))
_STREAMED = _FORWARDED - {Operation.EMBED}
_TRUE = msgspec.Raw(b"true")
_FALSE = msgspec.Raw(b"false")
_INCLUDE_USAGE = msgspec.Raw(b'{"include_usage":true}')


# --- the way in --------------------------------------------------------------------------------------------------


class ServerRequest:
    """A request that has passed the check.

    Attributes:
        operation: what is asked.
        model: the name the client asked for.
        stream: whether the answer is to be a stream.
        usage_wanted: whether the client asked for the counts at a stream's end.
        fields: every top-level field as the client wrote it.
        ignored: names of what `request` left out because no answer depends on it.
        places: where in the body each message was, where the messages of `request` are no field of it.
    """

    __slots__ = ("_body", "_typed", "fields", "ignored", "model", "operation", "places", "stream", "usage_wanted")

    def __init__(self, operation: Operation, typed: Body, fields: Fields, body: bytes) -> None:
        self.operation = operation
        self.model = typed.model
        self.stream = typed.stream is True
        options = typed.stream_options
        self.usage_wanted = options is not None and options.include_usage is True
        self.fields = fields
        self.ignored: tuple[str, ...] = ()
        self.places: tuple[str, ...] = ()
        self._typed = typed
        self._body = body

    @property
    def base64(self) -> bool:
        """Whether embeddings are asked for as base64."""
        return isinstance(self._typed, EmbeddingBody) and self._typed.encoding_format == "base64"

    def passthrough(self, model: str, *, stream_usage: bool = True) -> Passthrough | None:
        """The body for a target of the same format; None for what is not worth it, or no JSON both ways.

        ``stream_usage`` says that the target knows ``stream_options``; then a stream is asked for its counts, whether
        or not the client wants to see them.
        """
        if self.operation not in _FORWARDED:
            return None
        fields = self.fields.copy()
        fields["model"] = msgspec.Raw(_encode(model))
        hide = False
        if self.operation is Operation.RESPONSE:
            # Some servers stream this one unless they are told not to.
            fields["stream"] = _TRUE if self.stream else _FALSE
        elif self.stream and stream_usage and not self.usage_wanted and self.operation is not Operation.EMBED:
            hide = True
            options = fields.get("stream_options")
            if self._typed.stream_options is None or options is None:
                fields["stream_options"] = _INCLUDE_USAGE
            else:
                fields["stream_options"] = msgspec.Raw(_encode({**_decode_fields(options), "include_usage": _TRUE}))
        return Passthrough("openai", _encode(fields), hide)

    def summary(self, model: str) -> Request:
        """The request beside a passthrough body: what the pipeline reads of it, and no more."""
        typed = self._typed
        options: dict[str, Any] = {}
        if typed.n is not None:
            options["n"] = typed.n
        if typed.answer_tokens is not None:
            options["max_tokens"] = typed.answer_tokens
        if typed.temperature is not None:
            options["temperature"] = typed.temperature
        if typed.seed is not None:
            options["seed"] = typed.seed
        if self.operation is Operation.CHAT:
            return ChatRequest(model, [], options)
        if self.operation is Operation.COMPLETION:
            return CompletionRequest(model, "", options)
        if self.operation is Operation.RESPONSE:
            return ResponseRequest(model, "", options)
        return EmbedRequest(model, [], options)

    def request(self, model: str) -> Request:
        """The whole request in the vocabulary, for a target of another format.

        The Responses API is OpenAI's alone: for any other target it is a chat.
        """
        options = self.decoded()
        for name in ("model", "stream"):
            options.pop(name, None)
        options = {name: value for name, value in options.items() if value is not None}
        if self.operation is Operation.RESPONSE:
            made, self.ignored, self.places = chat_request(model, options)
            return made
        options.pop("stream_options", None)
        if self.operation in _STREAMED:
            _check_answer(options, stream=self.stream)
        if self.operation is Operation.CHAT:
            return ChatRequest(model, options.pop("messages"), options)
        if self.operation is Operation.COMPLETION:
            return CompletionRequest(model, options.pop("prompt", ""), options)
        return _REQUESTS[self.operation](model, options)

    def decoded(self) -> dict[str, Any]:
        """Every field, decoded."""
        options: dict[str, Any] = decoded(self._body)
        return options


def _check_answer(options: dict[str, Any], *, stream: bool) -> None:
    """Refuse what a target of another format would be asked for, and its answer could not be given on."""
    for name, why in _NOT_TOLD.items():
        if options.get(name):
            raise _foreign(name, why)
    if options.get("n") not in (None, 1) and not stream:
        raise _foreign("n", "several answers are given on in a stream alone")
    wanted = options.get("modalities")
    if options.get("audio") or (isinstance(wanted, list) and "audio" in wanted):
        raise _foreign("audio" if options.get("audio") else "modalities", "no sound is given on")


_NOT_TOLD = dict.fromkeys(("logprobs", "top_logprobs"), "probabilities of tokens are not given on")


def _foreign(name: str, why: str) -> InvalidRequest:
    return bad_request(
        f"Unsupported parameter: '{name}': this model is served by a backend of another format, and {why}.",
        "unsupported_parameter",
        name,
    )


def _several(given: Any) -> list[Any]:
    """One text, or one text as its tokens, is a list of one."""
    return given if isinstance(given, list) and not isinstance(given[0], int) else [given]


_REQUESTS: dict[Operation, Callable[[str, dict[str, Any]], Request]] = {
    Operation.EMBED: lambda model, rest: EmbedRequest(model, _several(rest.pop("input")), rest),
    Operation.RERANK: lambda model, rest: RerankRequest(model, rest.pop("query"), rest.pop("documents"), rest),
    Operation.CLASSIFY: lambda model, rest: ClassifyRequest(model, _several(rest.pop("input")), rest),
    Operation.MODERATE: lambda model, rest: ModerationRequest(model, _several(rest.pop("input")), rest),
    Operation.IMAGE: lambda model, rest: ImageRequest(model, rest.pop("prompt"), rest),
    Operation.SPEAK: lambda model, rest: SpeechRequest(model, rest.pop("input"), rest),
}


def decode_body(operation: Operation, body: bytes) -> ServerRequest:
    """Check a request's body. Raises `InvalidRequest` (400) whose ``param`` names the field that is wrong."""
    typed, fields = checked(body, CHECKS[operation])
    if isinstance(typed, EmbeddingBody):
        _check_embedding(typed)
    if typed.stream and operation not in _STREAMED:
        raise bad_request(
            "Unsupported parameter: 'stream'. Chat, completions and responses stream, and nothing else here.",
            "unsupported_parameter",
            "stream",
        )
    return ServerRequest(operation, typed, fields, body)


def _check_embedding(typed: EmbeddingBody) -> None:
    if isinstance(typed.input, list) and len({type(item) for item in typed.input}) > 1:
        raise bad_request(
            "Invalid type for 'input': expected a text, a list of texts, or lists of token numbers, not a mixture.",
            "invalid_type",
            "input",
        )
    if typed.encoding_format not in (None, "float", "base64"):
        raise bad_request(
            "Invalid value for 'encoding_format': expected 'float' or 'base64'.", "invalid_value", "encoding_format"
        )
