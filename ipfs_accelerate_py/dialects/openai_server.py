"""The serving half of OpenAI's format, requests: a body as it came in, checked, and made into what a target is sent.

Pure, as the client's half is. A body is decoded twice: once into types, which is the check (a wrong type is refused
with the name of the field), and once into top-level fields kept as they are written, so that a target which speaks the
same format gets every option that we know nothing of. The second is what is sent, put together again: a key that
occurs twice, one of them for us and one for the target, occurs once in it.

Source: OpenAI's API specification (openai.openapi.yaml). Types are checked and bounds are not: whether a temperature of
3 makes sense is for the target to say.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.types import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Operation,
    Passthrough,
    Request,
    ResponseRequest,
)

__all__ = ["ServerRequest", "bad_request", "decode_body"]

Fields = dict[str, msgspec.Raw]

#: Would choose the target's address or credentials if a target that is a gateway itself obeyed them; ours are chosen by
#: whoever runs this, so they are refused rather than passed on.
FORBIDDEN = frozenset(
    {
        "api_base",
        "api_key",
        "api_type",
        "api_version",
        "base_url",
        "custom_llm_provider",
        "default_headers",
        "extra_headers",
        "extra_query",
        "headers",
        "organization",
    }
)


# --- what is checked ---------------------------------------------------------------------------------------------
# An object whose inside is the target's affair is a dict of raw values: it must be an object, and that is all.

_Object = Fields
_Objects = list[_Object]
_Texts = list[str]
_Input = str | Annotated[list[str | int | list[int]], msgspec.Meta(min_length=1)]
_Name = Annotated[str, msgspec.Meta(min_length=1)]


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Base(msgspec.Struct):
    model: _Name
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None
    metadata: _Object | None = None
    seed: int | None = None
    n: int | None = None
    max_tokens: int | None = None
    store: bool | None = None
    tools: _Objects | None = None
    tool_choice: str | _Object | None = None
    parallel_tool_calls: bool | None = None
    service_tier: str | None = None

    @property
    def answer_tokens(self) -> int | None:
        return self.max_tokens


class _ToolFunction(msgspec.Struct, gc=False):
    name: str
    arguments: str


class _MessageToolCall(msgspec.Struct):
    id: str | None = None
    type: str | None = None
    function: _ToolFunction | None = None


class _Message(msgspec.Struct):
    role: _Name
    content: str | _Objects | None = None
    name: str | None = None
    tool_calls: list[_MessageToolCall] | None = None
    tool_call_id: str | None = None


class _Chat(_Base, kw_only=True):
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    max_completion_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | _Texts | None = None
    logit_bias: _Object | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: _Object | None = None
    modalities: _Texts | None = None
    audio: _Object | None = None
    reasoning_effort: str | None = None

    @property
    def answer_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class _Completion(_Base, kw_only=True):
    prompt: _Input | None = None
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | None = None
    logit_bias: _Object | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | _Texts | None = None


class _Response(_Base, kw_only=True):
    input: str | _Objects | None = None
    instructions: str | _Objects | None = None
    max_output_tokens: int | None = None
    previous_response_id: str | None = None
    include: _Texts | None = None
    reasoning: _Object | None = None
    text: _Object | None = None
    truncation: str | None = None
    background: bool | None = None

    @property
    def answer_tokens(self) -> int | None:
        return self.max_output_tokens


class _Embedding(_Base, kw_only=True):
    input: _Input
    encoding_format: str | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None


_CHECKS: dict[Operation, msgspec.json.Decoder[Any]] = {
    Operation.CHAT: msgspec.json.Decoder(_Chat),
    Operation.COMPLETION: msgspec.json.Decoder(_Completion),
    Operation.RESPONSE: msgspec.json.Decoder(_Response),
    Operation.EMBED: msgspec.json.Decoder(_Embedding),
}
_decode_fields = msgspec.json.Decoder(Fields).decode
_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

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
    """

    __slots__ = ("_body", "_typed", "fields", "model", "operation", "stream", "usage_wanted")

    def __init__(self, operation: Operation, typed: _Base, fields: Fields, body: bytes) -> None:
        self.operation = operation
        self.model = typed.model
        self.stream = typed.stream is True
        options = typed.stream_options
        self.usage_wanted = options is not None and options.include_usage is True
        self.fields = fields
        self._typed = typed
        self._body = body

    @property
    def base64(self) -> bool:
        """Whether embeddings are asked for as base64."""
        return isinstance(self._typed, _Embedding) and self._typed.encoding_format == "base64"

    def passthrough(self, model: msgspec.Raw, *, stream_usage: bool = True) -> Passthrough:
        """The body for a target of the same format.

        ``model`` is the target's name of the model as JSON. ``stream_usage`` says that the target knows
        ``stream_options``; then a stream is asked for its counts, whether or not the client wants to see them.
        """
        fields = self.fields
        fields["model"] = model
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
        if self.operation is Operation.CHAT:
            return ChatRequest(model, [], options)
        if self.operation is Operation.COMPLETION:
            return CompletionRequest(model, "", options)
        if self.operation is Operation.RESPONSE:
            return ResponseRequest(model, "", options)
        return EmbedRequest(model, [], options)

    def request(self, model: str) -> Request:
        """The whole request in the vocabulary, for a target of another format."""
        try:
            options = _decode_any(self._body)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise _not_json(problem) from None
        for name in ("model", "stream", "stream_options"):
            options.pop(name, None)
        options = {name: value for name, value in options.items() if value is not None}
        if self.operation is Operation.CHAT:
            return ChatRequest(model, options.pop("messages"), options)
        if self.operation is Operation.COMPLETION:
            return CompletionRequest(model, options.pop("prompt", ""), options)
        if self.operation is Operation.RESPONSE:
            return ResponseRequest(model, options.pop("input", ""), options)
        given = options.pop("input")
        # One text, or one text as its tokens, is a list of one.
        several = isinstance(given, list) and not isinstance(given[0], int)
        return EmbedRequest(model, given if several else [given], options)


def decode_body(operation: Operation, body: bytes) -> ServerRequest:
    """Check a request's body. Raises `InvalidRequest` (400) whose ``param`` names the field that is wrong."""
    try:
        if not body.isascii():
            body.decode()  # what is passed on as it is written has to be text as well
        typed = _CHECKS[operation].decode(body)
        fields = _decode_fields(body)
    except msgspec.ValidationError as problem:
        raise _wrong_field(str(problem)) from None
    except UnicodeDecodeError as problem:
        raise bad_request(f"The body is not valid UTF-8 (byte {problem.start}).", "invalid_utf8") from None
    except RecursionError:
        raise bad_request("The body is nested too deeply.", "invalid_json") from None
    except msgspec.DecodeError as problem:
        raise _not_json(problem) from None
    if not FORBIDDEN.isdisjoint(fields):
        name = min(FORBIDDEN & fields.keys())
        raise bad_request(
            f"Unsupported parameter: '{name}'. Where a model is served and with which key is set by this gateway's "
            "configuration, never by a request.",
            "unsupported_parameter",
            name,
        )
    if isinstance(typed, _Embedding):
        _check_embedding(typed)
    return ServerRequest(operation, typed, fields, body)


def bad_request(message: str, code: str | None = None, param: str | None = None, status: int = 400) -> InvalidRequest:
    """A refusal of ours, in the words of OpenAI's error object."""
    return InvalidRequest(message, status=status, type="invalid_request_error", param=param, code=code)


def _check_embedding(typed: _Embedding) -> None:
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
    if typed.stream:
        raise bad_request(
            "Unsupported parameter: 'stream'. Embeddings do not stream.", "unsupported_parameter", "stream"
        )


# --- words for what is wrong -------------------------------------------------------------------------------------

_MISSING = re.compile(r"^Object missing required field `([^`]+)`")
_EXPECTED = re.compile(r"^Expected `(.+)`, got `([^`]+)`")
_WHERE = re.compile(r" - at `\$\.?(.*)`$")
#: JSON's own words for msgspec's.
_WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "bytes": "string"}


def _wrong_field(text: str) -> InvalidRequest:
    found = _WHERE.search(text)
    place = found[1] if found is not None else ""
    text = text[: found.start()] if found is not None else text
    if (missing := _MISSING.match(text)) is not None:
        name: str = f"{place}.{missing[1]}" if place else missing[1]
        return bad_request(f"Missing required parameter: '{name}'.", "missing_required_parameter", name)
    if (expected := _EXPECTED.match(text)) is not None:
        wanted = " or ".join(_WORDS.get(word, word) for word in expected[1].split(" | "))
        got = _WORDS.get(expected[2], expected[2])
        if not place:
            return bad_request(f"The body must be a JSON {wanted}, but got {got}.", "invalid_type")
        return bad_request(f"Invalid type for '{place}': expected {wanted}, but got {got}.", "invalid_type", place)
    return bad_request(f"Invalid value for '{place}': {text}." if place else f"{text}.", "invalid_value", place or None)


def _not_json(problem: Exception) -> InvalidRequest:
    return bad_request(f"The body is not valid JSON: {problem}.", "invalid_json")
