"""Google's Gemini API: generateContent and its stream, embeddings, counts of tokens, models, images and speech.

Source: ai.google.dev/api and the protobuf google.ai.generativelanguage.v1beta. The key travels in a header (the row's
``x-goog-api-key``), never in the URL, and a model's name is a piece of the path that cannot leave its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from ipfs_accelerate_py.dialects.base import StreamDecoder, WireRequest
from ipfs_accelerate_py.dialects.gemini import answers
from ipfs_accelerate_py.dialects.gemini.errors import error_from_body, error_from_status
from ipfs_accelerate_py.dialects.gemini.messages import Contents, wrong
from ipfs_accelerate_py.dialects.gemini.options import apply, camel, candidates, voice
from ipfs_accelerate_py.dialects.gemini.stream import GeminiStream, RawStream
from ipfs_accelerate_py.dialects.headers import rate_limits
from ipfs_accelerate_py.dialects.reading import count
from ipfs_accelerate_py.errors import BackendError, ConfigurationError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    CountRequest,
    EmbedRequest,
    ImageRequest,
    ModelsRequest,
    Operation,
    RateLimits,
    RawRequest,
    Reply,
    SpeechRequest,
    Usage,
)

__all__ = ["GeminiDialect", "model_path"]

_decode = msgspec.json.Decoder().decode
_MODELS_A_PAGE = 1000  # the most that the service gives
_VERBS = {Operation.CHAT: "generateContent", Operation.EMBED: "batchEmbedContents", Operation.COUNT: "countTokens"}
#: Hints of embeddings: how vectors travel is ours to choose, and they come back as floats either way.
_EMBED_HINTS = frozenset(("encoding_format", "user"))
_EMBED_OPTIONS = {
    "dimensions": "outputDimensionality",
    "output_dimensionality": "outputDimensionality",
    "outputDimensionality": "outputDimensionality",
    "task_type": "taskType",
    "taskType": "taskType",
    "title": "title",
}
_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "quality": ("auto", "standard"),
    "response_format": ("b64_json",),
    "background": ("auto",),
    "output_format": ("png",),
    "moderation": ("auto",),
    "stream": (False,),
}


def _plain(value: Any) -> Any:
    # numpy scalars and arrays and pydantic models arrive in options and inputs; none of them is imported for it.
    for method in ("tolist", "model_dump"):
        convert = getattr(value, method, None)
        if convert is not None:
            return convert()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def model_path(model: str) -> str:
    """Where a model is: ``/models/<name>``, or ``/tunedModels/<name>``; the name percent-encoded, so it stays there."""
    for folder in ("models/", "tunedModels/"):
        if model.startswith(folder):
            break
    else:
        folder = "models/"
    name = model.removeprefix(folder)
    if not name:
        raise ConfigurationError("the model's name is empty")
    return f"/{folder}{quote(name, safe='')}"


class GeminiDialect:
    """The translation."""

    name = "gemini"
    operations = frozenset(
        (
            Operation.CHAT,
            Operation.EMBED,
            Operation.COUNT,
            Operation.IMAGE,
            Operation.SPEAK,
            Operation.MODELS,
            Operation.RAW,
        )
    )

    # --- requests ------------------------------------------------------------------------------------------------

    def encode(self, call: Call) -> WireRequest:
        request = call.request
        if isinstance(request, RawRequest):
            return _raw(request)
        if isinstance(request, ModelsRequest):
            return WireRequest("GET", f"/models?{urlencode(_page(request.options))}", None)
        if call.stream and call.operation is not Operation.CHAT:
            raise UnsupportedOperation(f"Google's Gemini API does not stream {call.operation}")
        if call.passthrough is not None and call.operation in _VERBS:
            return WireRequest("POST", self._path(call), call.passthrough.body)
        fields: dict[str, Any]
        ignored: set[str] = set()
        if isinstance(request, ChatRequest):
            fields, ignored = _generation(request)
        elif isinstance(request, CountRequest):
            inner, ignored = _generation(request)
            fields = {"generateContentRequest": {"model": _full(request.model), **inner}}
        elif isinstance(request, EmbedRequest):
            fields, ignored = _embedding(request)
        elif isinstance(request, SpeechRequest):
            fields, ignored = _speech(request)
        elif isinstance(request, ImageRequest):
            fields, ignored = _image(request)
        else:
            raise UnsupportedOperation(f"Google's Gemini API has no operation {call.operation}")
        return WireRequest("POST", self._path(call), _json(fields), ignored=tuple(sorted(ignored)))

    def _path(self, call: Call) -> str:
        place = model_path(call.model)
        if call.stream:
            return f"{place}:streamGenerateContent?alt=sse"
        return f"{place}:{_VERBS.get(call.operation, 'generateContent')}"

    # --- answers -------------------------------------------------------------------------------------------------

    def decode(self, call: Call, body: bytes, headers: Mapping[str, str]) -> Reply:
        raw_call = call.operation is Operation.RAW
        if raw_call and not body:
            return Reply()
        kind = headers.get("content-type", "application/json")
        if raw_call and "json" not in kind:
            return Reply(body=body, content_type=kind)
        try:
            raw = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            beginning = repr(body[:80].decode("utf-8", "replace"))
            raise ProtocolError(f"the upstream's answer is not JSON; it begins with {beginning}") from None
        if raw_call:
            counts = raw.get("usageMetadata") if isinstance(raw, dict) else None
            return Reply(raw=raw, usage=answers.usage_of(counts))
        if isinstance(raw, list) and len(raw) == 1 and isinstance(raw[0], dict) and raw[0].get("error"):
            raw = raw[0]
        if not isinstance(raw, dict):
            raise ProtocolError(f"the upstream's answer is not a JSON object but a {type(raw).__name__}")
        if raw.get("error"):
            raise error_from_body(raw)
        try:
            reply = _read(call, raw)
        except BackendError:
            raise
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as problem:
            raise ProtocolError(
                f"the upstream's answer is not Google's {call.operation} format: {type(problem).__name__}: {problem}",
                body=raw,
            ) from None
        if call.passthrough is not None:
            reply.body = body
        else:
            reply.raw = raw
        return reply

    def stream_decoder(self, call: Call) -> StreamDecoder:
        if call.operation is Operation.CHAT:
            return GeminiStream(candidates(call.request.options))
        if call.operation is Operation.RAW:
            return RawStream()
        raise UnsupportedOperation(f"Google's Gemini API does not stream {call.operation}")

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
        return error_from_status(status, headers, body)

    def rate_limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        return rate_limits(headers)  # Google sends none; who stands in front of it may


def _read(call: Call, raw: dict[str, Any]) -> Reply:
    request = call.request
    if call.operation is Operation.CHAT:
        return answers.chat(raw)
    if call.operation is Operation.EMBED:
        known = isinstance(request, EmbedRequest) and call.passthrough is None
        return answers.vectors(raw, len(request.input) if known and isinstance(request, EmbedRequest) else None)
    if call.operation is Operation.COUNT:
        tokens, cached = count(raw["totalTokens"]), count(raw.get("cachedContentTokenCount"))
        return Reply(usage=Usage(tokens, cached_tokens=cached, reported=True))
    if call.operation is Operation.MODELS:
        return answers.models(raw)
    if call.operation is Operation.SPEAK:
        return answers.speech(raw, request.options.get("response_format") != "pcm")
    reply = answers.chat(raw)
    if not reply.images:
        said = f"; it said: {reply.text[:200]!r}" if reply.text else ""
        raise ProtocolError(f"the upstream's answer has no image (it ended with {reply.finish_reason!r}){said}")
    return reply


# --- bodies, one per operation -----------------------------------------------------------------------------------


def _generation(request: ChatRequest | CountRequest) -> tuple[dict[str, Any], set[str]]:
    """A `GenerateContentRequest` without its model."""
    messages = Contents(request.messages, request.model)
    fields: dict[str, Any] = {"contents": messages.contents}
    if messages.system:
        fields["systemInstruction"] = {"parts": messages.system}
    ignored = apply(request.options, request.model, fields) | messages.ignored
    if messages.resolution is not None:
        fields.setdefault("generationConfig", {}).setdefault("mediaResolution", messages.resolution)
    return fields, ignored


def _embedding(request: EmbedRequest) -> tuple[dict[str, Any], set[str]]:
    shared: dict[str, Any] = {"model": _full(request.model)}
    ignored: set[str] = set()
    for name, value in request.options.items():
        if value is None:
            continue
        if name in _EMBED_HINTS:
            ignored.add(name)
        else:
            shared[_EMBED_OPTIONS.get(name, name)] = value
    requests = []
    for position, item in enumerate(request.input):
        if isinstance(item, str):
            content: Any = {"parts": [{"text": item}]}
        elif isinstance(item, dict) and "parts" in item:
            content = item  # Google's own, for models that embed more than text
        else:
            raise UnsupportedOperation(
                f"Google's Gemini API embeds texts, and input[{position}] is a {type(item).__name__}"
            )
        requests.append({**shared, "content": content})
    return {"requests": requests}, ignored


def _speech(request: SpeechRequest) -> tuple[dict[str, Any], set[str]]:
    options = {name: value for name, value in request.options.items() if value is not None}
    form = options.pop("response_format", "wav")
    if form not in ("wav", "pcm"):
        raise UnsupportedOperation(f"Google's Gemini API speaks PCM (response_format 'pcm' or 'wav'), not {form!r}")
    if options.pop("speed", 1) != 1:
        raise UnsupportedOperation("Google's Gemini API has no counterpart of speed; say it in the instructions")
    style = options.pop("instructions", None)
    named = options.pop("voice", None)
    options.pop("stream_format", None)
    fields: dict[str, Any] = {
        "contents": [{"role": "user", "parts": [{"text": f"{style}: {request.input}" if style else request.input}]}]
    }
    config: dict[str, Any] = {"responseModalities": ["AUDIO"]}
    if named is not None:
        config["speechConfig"] = voice(named)
    ignored = apply(options, request.model, fields)
    fields["generationConfig"] = {**config, **fields.get("generationConfig", {})}
    return fields, ignored


def _image(request: ImageRequest) -> tuple[dict[str, Any], set[str]]:
    if request.model.removeprefix("models/").startswith("imagen-"):
        raise UnsupportedOperation(
            "Imagen's models are asked in another way (:predict), which is not spoken here; "
            "Gemini's image models are, for instance gemini-2.5-flash-image"
        )
    options = {name: value for name, value in request.options.items() if value is not None}
    for name, neutral in _NEUTRAL.items():
        if name in options and options.pop(name) not in neutral:
            raise UnsupportedOperation(f"Google's Gemini API has no counterpart of {name}={request.options[name]!r}")
    if "style" in options:
        raise UnsupportedOperation("Google's Gemini API has no counterpart of style; say it in the prompt")
    config: dict[str, Any] = {"responseModalities": ["IMAGE"]}
    size = options.pop("size", "auto")
    if size != "auto":
        config["imageConfig"] = _image_config(size)
    fields: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": request.prompt}]}]}
    ignored = apply(options, request.model, fields)
    fields["generationConfig"] = {**config, **fields.get("generationConfig", {})}
    return fields, ignored


def _image_config(size: Any) -> dict[str, Any]:
    """``1536x1024`` as a ratio, which is what the service has; ``3:2`` is one already."""
    width, _, height = str(size).partition("x")
    if size in _RATIOS:
        return {"aspectRatio": size}
    if width.isdigit() and height.isdigit() and int(width) and int(height):
        shared = math.gcd(int(width), int(height))
        ratio = f"{int(width) // shared}:{int(height) // shared}"
        if ratio in _RATIOS:
            longest = max(int(width), int(height))
            scale = {"imageSize": "4K" if longest >= 4096 else "2K"} if longest >= 2048 else {}
            return {"aspectRatio": ratio, **scale}
    raise UnsupportedOperation(f"Google's Gemini API has images of the ratios {', '.join(_RATIOS)}; size is {size!r}")


def _page(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {camel(name): value for name, value in options.items() if value is not None}
    unknown = sorted(given.keys() - {"pageSize", "pageToken"})
    if unknown:
        raise UnsupportedOperation(f"Google's list of models has no counterpart of {unknown[0]}")
    return {"pageSize": _MODELS_A_PAGE, **given}


def _raw(request: RawRequest) -> WireRequest:
    if isinstance(request.body, bytes):
        return WireRequest(request.method, request.path, request.body, {"Content-Type": request.content_type})
    return WireRequest(request.method, request.path, None if request.body is None else _json(request.body))


def _full(model: str) -> str:
    """A model's full name, as bodies have it."""
    if not model:
        raise wrong("the model's name is empty", "model")
    return model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"


def _json(value: Any) -> bytes:
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError, UnicodeEncodeError) as problem:
        raise ConfigurationError(f"the request cannot be written as JSON: {problem}") from None
