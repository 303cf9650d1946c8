"""OpenAI's wire format: what is sent, and which reader an answer goes to.

Source: OpenAI's API specification (openai.openapi.yaml). Groq, vLLM, llama.cpp and many others speak it too, with
liberties: counts missing, content as a list of parts, errors in other shapes. What can be read is read. Some add
operations of their own (rankings, labels, counts of tokens); which service has which is said where it is described,
in a row of `backends`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.dialects.base import StreamDecoder, WireRequest
from ipfs_accelerate_py.dialects.headers import rate_limits
from ipfs_accelerate_py.dialects.openai.count import COUNTED, count_fields, count_path, read_count
from ipfs_accelerate_py.dialects.openai.errors import error_from_body, error_from_status
from ipfs_accelerate_py.dialects.openai.media import (
    encode_transcription,
    read_images,
    read_moderations,
    read_speech,
    read_transcription,
)
from ipfs_accelerate_py.dialects.openai.messages import plain_messages, plain_tools
from ipfs_accelerate_py.dialects.openai.ranking import classify_fields, read_labels, read_ranking
from ipfs_accelerate_py.dialects.openai.readers import (
    read_chat,
    read_completion,
    read_embeddings,
    read_models,
    read_response,
)
from ipfs_accelerate_py.dialects.openai.stream import AnyStreamDecoder, ChatStreamDecoder, ResponseStreamDecoder
from ipfs_accelerate_py.dialects.openai.verbatim import decode_object, read_passed, read_raw
from ipfs_accelerate_py.dialects.raw import RawStream, as_json, raw_request
from ipfs_accelerate_py.errors import BackendError, ConfigurationError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    ClassifyRequest,
    CompletionRequest,
    CountRequest,
    EmbedRequest,
    ImageRequest,
    ModerationRequest,
    Operation,
    RateLimits,
    RawRequest,
    Reply,
    RerankRequest,
    ResponseRequest,
    SpeechRequest,
    TranscriptionRequest,
)

if TYPE_CHECKING:
    from ipfs_accelerate_py.dialects.batches import BatchFormat

__all__ = ["OpenAIDialect"]


PATHS = {
    Operation.CHAT: "/chat/completions",
    Operation.COMPLETION: "/completions",
    Operation.RESPONSE: "/responses",
    Operation.EMBED: "/embeddings",
    Operation.IMAGE: "/images/generations",
    Operation.SPEAK: "/audio/speech",
    Operation.MODERATE: "/moderations",
    Operation.RERANK: "/rerank",
    Operation.MODELS: "/models",
}
#: What the dialect can say; what a service has of it is for its row to tell.
OPERATIONS = frozenset(PATHS) | {Operation.TRANSCRIBE, Operation.CLASSIFY, Operation.COUNT, Operation.RAW}
_STREAMED = frozenset((Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE, Operation.RAW))


class OpenAIDialect:
    """The translation.

    Args:
        stream_usage: off for servers that refuse ``stream_options``.
        operations: those that the service has.
        service: what the service is called in refusals.
        root: the server's address above ``/v1``, where vLLM has some of its operations.
        counts: how the service counts tokens: see ``count``.
        extended: off for a service that refuses what the vocabulary adds to OpenAI's messages.
        refused: options that the service is known to refuse.
        batched: operations that its batch API takes, where it has one; ``windows`` how long that may take.
    """

    name = "openai"

    def __init__(
        self,
        *,
        stream_usage: bool = True,
        operations: Collection[Operation] = OPERATIONS,
        service: str = "OpenAI's format",
        root: str = "",
        counts: str = "responses",
        extended: bool = True,
        refused: Collection[str] = (),
        batched: Collection[Operation] = (),
        windows: tuple[str, ...] = ("24h",),
    ) -> None:
        if counts not in COUNTED:
            raise ConfigurationError(f"tokens are counted by one of {', '.join(COUNTED)}, not by {counts!r}")
        self.stream_usage = stream_usage
        self.operations = frozenset(operations)
        self._service = service
        self._root = root
        self._counts = counts
        self._extended = extended
        self._refused = refused
        self._batched = batched
        self._windows = windows

    @property
    def batches(self) -> BatchFormat | None:
        """The service's batch API; None where it has none."""
        if not self._batched:
            return None
        from ipfs_accelerate_py.dialects.openai.batches import OpenAIBatches

        return OpenAIBatches(self, self._batched, self._windows)

    # --- requests ------------------------------------------------------------------------------------------------

    def encode(self, call: Call) -> WireRequest:
        request, operation = call.request, call.operation
        if operation not in self.operations:
            raise UnsupportedOperation(f"{self._service} has no operation {operation}")
        if call.stream and operation not in _STREAMED:
            raise UnsupportedOperation(f"{self._service} does not stream {operation}")
        if isinstance(request, RawRequest):
            return raw_request(request)
        for name in self._refused:
            if request.options.get(name) is not None:
                raise UnsupportedOperation(f"{self._service} has no option {name!r}")
        if isinstance(request, TranscriptionRequest):
            form, kind = encode_transcription(request)
            path = "/audio/translations" if request.translate else "/audio/transcriptions"
            return WireRequest("POST", path, form, {"Content-Type": kind})
        if operation is Operation.CLASSIFY:
            path = self._root + "/classify"
        elif operation is Operation.COUNT:
            path = count_path(self._counts, self._root)
        else:
            path = PATHS[operation]
        if call.passthrough is not None:
            return WireRequest("POST", path, call.passthrough.body)
        if operation is Operation.MODELS:
            return WireRequest("GET", path, None)
        fields, ignored = self._fields(call)
        return WireRequest("POST", path, as_json(fields), ignored=ignored)

    def _fields(self, call: Call) -> tuple[dict[str, Any], tuple[str, ...]]:
        request = call.request
        fields: dict[str, Any]
        ignored: tuple[str, ...] = ()
        if isinstance(request, ChatRequest):
            fields, ignored = self._chat_fields(request)
        elif isinstance(request, CompletionRequest):
            fields = {"model": request.model, "prompt": request.prompt, **request.options}
        elif isinstance(request, ResponseRequest):
            # Always said: some servers stream this operation unless told not to.
            fields = {"model": request.model, "input": request.input, **request.options, "stream": call.stream}
        elif isinstance(request, EmbedRequest | ModerationRequest | SpeechRequest):
            fields = {"model": request.model, "input": request.input, **request.options}
        elif isinstance(request, ImageRequest):
            fields = {"model": request.model, "prompt": request.prompt, **request.options}
        elif isinstance(request, RerankRequest):
            fields = {"model": request.model, "query": request.query, "documents": request.documents, **request.options}
        elif isinstance(request, ClassifyRequest):
            fields = classify_fields(request)
        elif isinstance(request, CountRequest):
            fields, ignored = count_fields(self._counts, request)
        else:
            raise UnsupportedOperation(f"{self._service} has no operation {call.operation}")
        if call.stream and call.operation is not Operation.RESPONSE:
            fields["stream"] = True
            if self.stream_usage:
                fields["stream_options"] = {"include_usage": True, **(fields.get("stream_options") or {})}
        return fields, ignored

    def _chat_fields(self, request: ChatRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
        if self._extended:
            return {"model": request.model, "messages": request.messages, **request.options}, ()
        messages, ignored = plain_messages(request.messages)
        fields = {"model": request.model, "messages": messages, **request.options}
        if "tools" in fields:
            fields["tools"], more = plain_tools(fields["tools"])
            ignored = tuple(dict.fromkeys(ignored + more))
        return fields, ignored

    # --- answers -------------------------------------------------------------------------------------------------

    def decode(self, call: Call, body: bytes, headers: Mapping[str, str]) -> Reply:
        read = _UNDECODED.get(call.operation)
        if read is not None:
            return _guarded(lambda: read(call, body, headers), call)
        if call.passthrough is not None:
            return read_passed(call, body)
        raw = decode_object(body)
        error = raw.get("error")
        if error and not any(mark in raw for mark in ("choices", "data", "output", "results")):
            raise error_from_body(raw)
        reply = _guarded(lambda: _READERS[call.operation](raw, call), call, raw)
        reply.raw = raw
        return reply

    def stream_decoder(self, call: Call) -> StreamDecoder:
        if call.operation is Operation.RESPONSE:
            return ResponseStreamDecoder()
        if call.operation in (Operation.CHAT, Operation.COMPLETION):
            count = call.request.options.get("n") or 1
            return ChatStreamDecoder(count if isinstance(count, int) else 1)
        if isinstance(call.request, RawRequest):
            # Lines of a file are content: what one of them says of an error is not said of this answer.
            return RawStream() if call.request.path.startswith("/files/") else AnyStreamDecoder()
        raise UnsupportedOperation(f"{self._service} does not stream {call.operation}")

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
        return error_from_status(status, headers, body)

    def rate_limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        return rate_limits(headers)


def _guarded(read: Callable[[], Reply], call: Call, raw: Any = None) -> Reply:
    try:
        return read()
    except BackendError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, struct.error) as problem:
        raise ProtocolError(
            f"the upstream's answer is not OpenAI's {call.operation} format: {type(problem).__name__}: {problem}",
            body=raw,
        ) from None


_READERS: dict[Operation, Callable[[dict[str, Any], Call], Reply]] = {
    Operation.CHAT: read_chat,
    Operation.COMPLETION: read_completion,
    Operation.RESPONSE: read_response,
    Operation.EMBED: read_embeddings,
    Operation.MODELS: read_models,
    Operation.IMAGE: read_images,
    Operation.MODERATE: read_moderations,
    Operation.RERANK: read_ranking,
    Operation.CLASSIFY: read_labels,
    Operation.COUNT: read_count,
}


#: Readers that are given the bytes.
_UNDECODED: dict[Operation, Callable[[Call, bytes, Mapping[str, str]], Reply]] = {
    Operation.RAW: read_raw,
    Operation.TRANSCRIBE: read_transcription,
    Operation.SPEAK: read_speech,
}
