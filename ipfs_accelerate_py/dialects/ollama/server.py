"""The serving half of Ollama's format, requests: checked, and forwarded or made into those of the vocabulary. Pure.

``/api/generate`` puts its prompt into the model's chat template, so for a target of another format it is a chat of one
turn; with ``raw`` or a ``suffix`` it is a completion.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.checking import Fields, checked, decoded
from ipfs_accelerate_py.dialects.leftover import unread
from ipfs_accelerate_py.dialects.ollama.checks import (
    Body,
    ChatBody,
    EmbedBody,
    GenerateBody,
    LegacyEmbedBody,
    MessageBody,
)
from ipfs_accelerate_py.dialects.ollama.requests import RUNNER_OPTIONS
from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.types import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Message,
    Operation,
    Passthrough,
    Request,
)

__all__ = ["OllamaRequest", "decode_request"]

_chat = msgspec.json.Decoder(ChatBody)
_generate = msgspec.json.Decoder(GenerateBody)
_embed = msgspec.json.Decoder(EmbedBody)
_legacy_embed = msgspec.json.Decoder(LegacyEmbedBody)
_encode = msgspec.json.Encoder().encode

#: Where a model stays and how its window is used: no other target can be told, and none answers differently for it.
_HINTS = frozenset(("keep_alive", "shift", "truncate"))
_EFFORTS: dict[Any, str] = {True: "medium", False: "none", "max": "xhigh"}
#: Images come without their type; this is how each begins.
_IMAGES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}


def decode_request(operation: Operation, body: bytes, route: str) -> OllamaRequest:
    """Check a body. Raises `InvalidRequest` (400) whose ``param`` names the field that is wrong."""
    decoder: msgspec.json.Decoder[Any]
    if operation is Operation.CHAT:
        decoder = _chat
    elif operation is Operation.COMPLETION:
        decoder = _generate
    elif operation is Operation.EMBED:
        decoder = _legacy_embed if route.endswith("/embeddings") else _embed
    else:
        raise bad_request(f"Ollama's format has no operation {operation}")
    typed, fields = checked(body, decoder)
    return OllamaRequest(typed, fields, body)


class OllamaRequest:
    """A request that has passed the check; see `ServedRequest`.

    Attributes:
        operation: what is asked of a target; of ``/api/generate`` mostly a chat.
        generates: whether the answer is to be one of ``/api/generate``.
        legacy: whether it is to be one of ``/api/embeddings``.
        ignored: names of what `request` left out because no answer depends on it.
    """

    def __init__(
        self, typed: ChatBody | GenerateBody | EmbedBody | LegacyEmbedBody, fields: Fields, body: bytes
    ) -> None:
        self._typed = typed
        self._fields = fields
        self._body = body
        self.ignored: tuple[str, ...] = ()
        self.model = typed.model
        self.generates = isinstance(typed, GenerateBody)
        self.legacy = isinstance(typed, LegacyEmbedBody)
        self.stream = isinstance(typed, Body) and typed.stream is not False  # by default it streams
        self.operation = Operation.EMBED
        if isinstance(typed, GenerateBody) and (typed.raw or typed.suffix):
            self.operation = Operation.COMPLETION
        elif isinstance(typed, Body):
            self.operation = Operation.CHAT

    def passthrough(self, model: str, *, stream_usage: bool = True) -> Passthrough | None:
        """The body for an Ollama server. The older request for embeddings is none that its newer endpoint takes."""
        if self.legacy:
            return None
        fields = {**self._fields, "model": msgspec.Raw(_encode(model))}
        if isinstance(self._typed, Body):
            fields["stream"] = msgspec.Raw(b"true" if self.stream else b"false")
        return Passthrough("ollama", _encode(fields))

    def summary(self, model: str) -> Request:
        """What the pipeline reads of a request; by a completion the dialect knows ``/generate``."""
        typed = self._typed
        if not isinstance(typed, Body):
            return EmbedRequest(model, [])
        given = typed.options
        limit = None if given is None else given.num_predict
        options: dict[str, Any] = {} if limit is None or limit < 0 else {"max_tokens": limit}
        if given is not None and given.temperature is not None:
            options["temperature"] = given.temperature
        if given is not None and given.seed is not None:
            options["seed"] = given.seed
        return CompletionRequest(model, "", options) if self.generates else ChatRequest(model, [], options)

    def request(self, model: str) -> Request:
        """The whole request, for a target of another format."""
        typed = self._typed
        self.ignored = _ignored(decoded(self._body), chats=isinstance(typed, ChatBody))
        if isinstance(typed, LegacyEmbedBody):
            return EmbedRequest(model, [typed.prompt])
        if isinstance(typed, EmbedBody):
            return _embedding(typed, model, self._rest(EmbedBody))
        if isinstance(typed, GenerateBody):
            return _generation(typed, model, self._rest(GenerateBody))
        if not typed.messages:
            raise _nothing("messages")
        options = self._rest(ChatBody)
        if typed.tools:
            options["tools"] = decoded(self._fields["tools"])
        return ChatRequest(model, _messages(typed.messages), options)

    def _rest(self, kind: type[msgspec.Struct]) -> dict[str, Any]:
        """The options: those of ``options``, those that are translated, and the fields that nobody knows."""
        raw = {name: value for name, value in decoded(self._body).items() if value is not None}
        made = {name: value for name, value in raw.items() if name not in kind.__struct_fields__ and name not in _HINTS}
        own = raw.get("options") or {}
        for name, value in own.items():
            if name == "num_predict":
                if value is not None and value >= 0:  # below: as long as it likes
                    made["max_tokens"] = value
            elif value is not None and name not in RUNNER_OPTIONS:
                made[name] = value
        if raw.get("logprobs"):
            raise _foreign("logprobs")
        if "think" in raw:
            made["reasoning_effort"] = _EFFORTS.get(raw["think"], raw["think"])
        if wanted := raw.get("format"):
            made["response_format"] = _response_format(wanted)
        return made


def _ignored(raw: dict[str, Any], *, chats: bool) -> tuple[str, ...]:
    """What only a server of Ollama's own could heed, and members of messages that nobody knows."""
    found = [name for name in sorted(_HINTS) if raw.get(name) is not None]
    own = raw.get("options") or {}
    found += [f"options.{name}" for name in own if name in RUNNER_OPTIONS and own[name] is not None]
    for message in (raw.get("messages") or ()) if chats else ():
        found += [f"messages.{name}" for name in unread(message, MessageBody.__struct_fields__)]
    return tuple(dict.fromkeys(found))


def _embedding(typed: EmbedBody, model: str, options: dict[str, Any]) -> EmbedRequest:
    if not typed.input:
        raise _nothing("input")
    if typed.dimensions is not None:
        options["dimensions"] = typed.dimensions
    return EmbedRequest(model, [typed.input] if isinstance(typed.input, str) else list(typed.input), options)


def _generation(typed: GenerateBody, model: str, options: dict[str, Any]) -> Request:
    for name in ("template", "context"):
        if getattr(typed, name):
            raise _foreign(name)
    if not typed.prompt and not typed.suffix:
        raise _nothing("prompt")
    if typed.raw or typed.suffix:
        for name in ("system", "images"):
            if getattr(typed, name):
                raise _foreign(name)
        if typed.suffix:
            options["suffix"] = typed.suffix
        return CompletionRequest(model, typed.prompt or "", options)
    said: list[Message] = [{"role": "system", "content": typed.system}] if typed.system else []
    said.append({"role": "user", "content": _content("", typed.prompt or "", typed.images)})
    return ChatRequest(model, said, options)


def _response_format(wanted: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(wanted, dict):
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted}}
    if wanted != "json":
        raise bad_request("Invalid value for 'format': expected 'json' or a JSON schema.", "invalid_value", "format")
    return {"type": "json_object"}


def _messages(given: list[MessageBody]) -> list[Message]:
    waiting: list[tuple[str, str]] = []  # calls without a result so far: id, and the tool's name
    return [_message(index, message, waiting) for index, message in enumerate(given)]


def _message(index: int, message: MessageBody, waiting: list[tuple[str, str]]) -> Message:
    place = f"messages[{index}]"
    made: Message = {
        "role": message.role,
        "content": _content(f"{place}.", message.content or "", message.images),
    }
    if message.thinking:
        made["reasoning_content"] = message.thinking
    if message.tool_calls:
        made["tool_calls"] = calls = []
        for number, call in enumerate(message.tool_calls):
            identity = call.id or f"call_{index}_{number}"
            waiting.append((identity, call.function.name))
            arguments = _encode(call.function.arguments or {}).decode()
            function = {"name": call.function.name, "arguments": arguments}
            calls.append({"id": identity, "type": "function", "function": function})
    if message.role == "tool":
        identity, name = _answered(place, message, waiting)
        made["tool_call_id"] = identity
        if name:
            made["name"] = name
    return made


def _answered(place: str, message: MessageBody, waiting: list[tuple[str, str]]) -> tuple[str, str]:
    """Which call a tool's result belongs to: by id, else by the tool's name, else the first without a result."""
    for position, (identity, name) in enumerate(waiting):
        wanted = message.tool_call_id in (None, "", identity)
        if wanted and (message.tool_call_id or message.tool_name in (None, "", name)):
            return waiting.pop(position)
    if message.tool_call_id:
        return message.tool_call_id, message.tool_name or ""
    raise bad_request(f"'{place}' is a tool's result, and no call of it stands before.", "invalid_value", place)


def _content(place: str, text: str, images: list[str] | None) -> str | list[dict[str, Any]]:
    if not images:
        return text
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    for index, image in enumerate(images):
        kind = _image_type(image)
        if kind is None:
            param = f"{place}images[{index}]"
            raise bad_request(f"'{param}' must be base64 of a PNG, JPEG, GIF or WebP image.", "invalid_value", param)
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{image}"}})
    return parts


def _image_type(image: str) -> str | None:
    try:
        start = base64.b64decode(image[:16], validate=True)
    except ValueError:
        return None
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    return next((kind for mark, kind in _IMAGES.items() if start.startswith(mark)), None)


def _foreign(name: str) -> InvalidRequest:
    return bad_request(
        f"Unsupported parameter: '{name}'. The model is served by a target of another format, which has no such thing.",
        "unsupported_parameter",
        name,
    )


def _nothing(name: str) -> InvalidRequest:
    return bad_request(
        f"'{name}' is empty. To load a model by asking it nothing is for Ollama itself, and this one is served by "
        "another.",
        "invalid_value",
        name,
    )
