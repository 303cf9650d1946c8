"""OPEA's wire: megaservices (``/v1/chatqna`` and its like), and microservices in OpenAI's format and in their own.

Source: OPEA's GenAIComps (``comps/cores/proto/api_protocol.py``, ``comps/cores/mega``) and GenAIExamples, versions
1.0 to 1.5. A megaservice takes OpenAI's chat request, reads a handful of its fields and drops the rest without a
word; what it would drop is refused here. It streams unless it is told not to, and its counts of tokens are zeros.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.base import StreamDecoder, WireRequest
from ipfs_accelerate_py.dialects.headers import rate_limits
from ipfs_accelerate_py.dialects.opea.errors import error_from_status, model_failed
from ipfs_accelerate_py.dialects.opea.messages import lone_text, opea_messages
from ipfs_accelerate_py.dialects.opea.stream import OpeaStreamDecoder, read_whole
from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
from ipfs_accelerate_py.dialects.reading import name
from ipfs_accelerate_py.errors import BackendError, ConfigurationError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    Operation,
    Ranked,
    RateLimits,
    RawRequest,
    Reply,
    RerankRequest,
    Usage,
)

__all__ = ["OpeaDialect"]

_decode = msgspec.json.Decoder().decode
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*")
#: What a base URL may end in: a version, or a service as people copy it out of OPEA's own examples.
_IN_URL = re.compile(r"/v1(?:/(?P<service>[^?#]*?))?/*$")
#: The services that are OpenAI's format itself.
_OPENAI = {
    Operation.EMBED: "embeddings",
    Operation.SPEAK: "audio/speech",
    Operation.TRANSCRIBE: "audio/transcriptions",
}
_RERANKING = "/v1/reranking"

# What a megaservice accepts and then drops (`handle_request` of GenAIExamples); the values that make no difference.
_DROPPED: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": (),
    "logit_bias": (),
    "logprobs": (),
    "modalities": (["text"],),
    "moderation": (),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "prediction": (),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "seed": (),
    "stop": (),
    "tool_choice": ("none", "auto"),
    "tools": (),
    "top_logprobs": (),
    "verbosity": (),
    "web_search_options": (),
}
_HINTS = frozenset(
    """
    metadata prompt_cache_key prompt_cache_options prompt_cache_retention safety_identifier service_tier store
    stream_options user
    """.split()  # noqa: SIM905
)
_NOT_OF_CODETRANS = ("max_tokens", "temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty")


class OpeaDialect:
    """The translation. ``service`` is the megaservice that is chatted with, or ``chat/completions``.

    ``base_url`` may end in ``/v1`` or in a service (``http://localhost:8888/v1/codegen``), which is then the one.
    """

    name = "opea"

    def __init__(self, base_url: str = "", *, service: str | None = None) -> None:
        found = _IN_URL.search(base_url)
        #: Paths are joined to the base URL, or to what is left of it without its version and service.
        self._root = base_url[: found.start()] if found is not None else ""
        in_url = found["service"] if found is not None else None
        self.service = _named(service or in_url or "chatqna")
        self._openai = OpenAIDialect()
        delegated = {operation for operation in _OPENAI if operation in self._openai.operations}
        self.operations = frozenset({Operation.CHAT, Operation.RERANK, Operation.RAW} | delegated)

    # --- requests ------------------------------------------------------------------------------------------------

    def encode(self, call: Call) -> WireRequest:
        request = call.request
        if isinstance(request, RawRequest):
            wire = self._openai.encode(call)
            if wire.path.startswith("/"):
                wire.path = self._root + wire.path
            return wire
        if isinstance(request, ChatRequest):
            return self._chat(call, request)
        if isinstance(request, RerankRequest):
            return self._rerank(request)
        if call.operation in self.operations:
            return self._microservice(call, _OPENAI[call.operation], request.options)
        raise UnsupportedOperation(
            f"OPEA has no operation {call.operation} (it has: {', '.join(sorted(self.operations))})"
        )

    def _microservice(self, call: Call, service: str, options: Mapping[str, Any]) -> WireRequest:
        """A request in OpenAI's format. Microservices have a model of their own where none is named."""
        wire = self._openai.encode(msgspec.structs.replace(call, request=_with_options(call.request, options)))
        wire.path = f"{self._root}/v1/{service}"
        if not call.model and wire.body is not None and wire.body.startswith(b"{"):
            fields = _decode(wire.body)
            fields.pop("model", None)
            wire.body = _json(fields)
        return wire

    def _chat(self, call: Call, request: ChatRequest) -> WireRequest:
        options = dict(request.options)
        service = self._service(options)
        if service == "chat/completions":
            return self._microservice(call, service, options)
        if call.passthrough is not None:
            return WireRequest("POST", f"{self._root}/v1/{service}", call.passthrough.body)
        options, ignored = _told(service, options)
        fields: dict[str, Any]
        if service == "codetrans":
            fields = _code_to_translate(request, options)
        else:
            said, lost = opea_messages(service, request.messages)
            fields = {"messages": said, **options}
            ignored += lost
            if request.model:
                fields["model"] = request.model
            if service == "docsum":
                fields.setdefault("type", "text")
        fields["stream"] = call.stream  # always said: a megaservice streams unless it is told not to
        return WireRequest("POST", f"{self._root}/v1/{service}", _json(fields), ignored=ignored)

    def _service(self, options: dict[str, Any]) -> str:
        given = options.pop("service", None)
        return self.service if given is None else _named(given)

    def _rerank(self, request: RerankRequest) -> WireRequest:
        options = dict(request.options)
        options.pop("return_documents", None)  # the service sends them back whatever is said
        ignored = ("model",) if request.model else ()  # the microservice has the one that it was started with
        fields = {
            "input": request.query,
            "retrieved_docs": [{"text": _document(each)} for each in request.documents],
            "top_n": len(request.documents),  # the service's own default is 1
            **{option: value for option, value in options.items() if value is not None},
        }
        return WireRequest("POST", self._root + _RERANKING, _json(fields), ignored=ignored)

    # --- answers -------------------------------------------------------------------------------------------------

    def decode(self, call: Call, body: bytes, headers: Mapping[str, str]) -> Reply:
        if call.operation is Operation.RAW or call.operation in _OPENAI:
            return _counted(self._openai.decode(call, body, headers))
        if call.operation is Operation.CHAT and headers.get("content-type", "").startswith("text/event-stream"):
            return read_whole(body)  # codetrans streams whatever it is told
        try:
            raw = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProtocolError(
                f"the upstream's answer is not JSON; it begins with {body[:80].decode('utf-8', 'replace')!r}"
            ) from None
        if not isinstance(raw, dict):
            raise ProtocolError(f"the upstream's answer is not a JSON object but a {type(raw).__name__}", body=raw)
        if call.operation is Operation.RERANK:
            return _ranked(call, raw)
        if "choices" not in raw and isinstance(raw.get("text"), str):
            return Reply(text=raw["text"], finish_reason="stop", model=name(raw.get("model")), raw=raw)
        reply = _counted(self._openai.decode(call, body, headers))
        if reply.text == "Response Error" and reply.model == "codegen":
            raise model_failed("the megaservice had no answer from the model behind it and said 'Response Error'")
        return reply

    def stream_decoder(self, call: Call) -> StreamDecoder:
        if call.operation is Operation.CHAT:
            return OpeaStreamDecoder()
        if call.operation is Operation.RAW:
            return self._openai.stream_decoder(call)
        raise UnsupportedOperation(f"OPEA does not stream {call.operation}")

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
        return error_from_status(status, headers, body)

    def rate_limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        return rate_limits(headers)


def _named(service: Any) -> str:
    """A service as ``/v1/chatqna``, ``v1/chatqna`` or ``chatqna``."""
    if not isinstance(service, str):
        raise ConfigurationError(f"service must be the name of an OPEA service, not {service!r}")
    plain = service.strip("/").removeprefix("v1/")
    if not _SERVICE.fullmatch(plain):
        raise ConfigurationError(f'service must be the name of an OPEA service, such as "chatqna", not {service!r}')
    return plain


def _told(service: str, options: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Options as a megaservice reads them, and the names of those that make no difference to it."""
    kept: dict[str, Any] = {}
    ignored: list[str] = []
    for option, value in options.items():
        if value is None:
            continue
        if option in _HINTS:
            ignored.append(option)
        elif option in _DROPPED:
            if value and value not in _DROPPED[option]:
                raise UnsupportedOperation(
                    f"OPEA's megaservice {service!r} drops the option {option!r} without a word; leave it out, or ask "
                    'the model itself with service="chat/completions"'
                )
            ignored.append(option)
        elif option == "max_completion_tokens":
            kept["max_tokens"] = value
        else:
            kept[option] = value
    return kept, tuple(ignored)


def _code_to_translate(request: ChatRequest, options: dict[str, Any]) -> dict[str, Any]:
    """The code translation service reads three fields, and nothing of a chat."""
    for option in _NOT_OF_CODETRANS:
        if option in options:
            raise UnsupportedOperation(f"OPEA's megaservice 'codetrans' has no option {option!r}")
    if "source_code" not in options:
        options["source_code"] = lone_text(request.messages)
    missing = [each for each in ("language_from", "language_to", "source_code") if not options.get(each)]
    if missing:
        raise ConfigurationError(
            f"OPEA's megaservice 'codetrans' needs {missing[0]!r}: the options language_from and language_to, and the "
            "source code as the one message"
        )
    return options


def _with_options(request: Any, options: Mapping[str, Any]) -> Any:
    return msgspec.structs.replace(request, options=dict(options))


def _document(value: Any) -> str:
    text = value.get("text") if isinstance(value, Mapping) else value
    if not isinstance(text, str):
        raise ConfigurationError("a document must be a text, or an object with a text under 'text'")
    return text


def _ranked(call: Call, raw: dict[str, Any]) -> Reply:
    """The service answers with the texts and not with their places, which are found again by the text."""
    request = call.request
    assert isinstance(request, RerankRequest)
    found = raw.get("reranked_docs")
    if not isinstance(found, list):
        raise ProtocolError("the upstream's answer is not OPEA's reranking format: it has no 'reranked_docs'", body=raw)
    places: dict[str, list[int]] = {}
    for index in range(len(request.documents) - 1, -1, -1):
        places.setdefault(_document(request.documents[index]), []).append(index)
    wanted = request.options.get("return_documents") is not False
    ranking = []
    for each in found:
        text = each.get("text") if isinstance(each, dict) else each
        left = places.get(text) if isinstance(text, str) else None
        if not left:
            raise ProtocolError("the upstream ranked a document that it was not sent", body=raw)
        score = each.get("score") if isinstance(each, dict) else None
        index = left.pop()
        document = request.documents[index] if wanted else None
        ranking.append(Ranked(index, float(score) if isinstance(score, int | float) else 0.0, document))
    ranking.sort(key=lambda one: -one.score)
    return Reply(ranking=ranking, raw=raw)


def _counted(reply: Reply) -> Reply:
    """A megaservice's counts are zeros: it has none, and says so with numbers."""
    if not reply.usage.total_tokens:
        reply.usage = Usage()
    return reply


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError, UnicodeEncodeError) as problem:
        raise ConfigurationError(f"the request cannot be written as JSON: {problem}") from None
