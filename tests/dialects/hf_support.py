"""Calls of TGI's and TEI's operations, and what their dialects make of them."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.base import WireRequest
from ipfs_accelerate_py.dialects.tei.dialect import TeiDialect
from ipfs_accelerate_py.dialects.tgi.dialect import TgiDialect
from ipfs_accelerate_py.errors import BackendError
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    Chunk,
    ClassifyRequest,
    CompletionRequest,
    CountRequest,
    EmbedRequest,
    Operation,
    Reply,
    Request,
    RerankRequest,
)

TGI, HOSTED = TgiDialect(), TgiDialect(hosted=True)
TEI, HOSTED_TEI = TeiDialect(), TeiDialect(hosted=True)


def _call(operation: Operation, request: Request, stream: bool = False) -> Call:
    return Call(operation=operation, request=request, request_id="r", stream=stream)


def complete(prompt: Any = "Once", *, model: str = "o/m", stream: bool = False, **options: Any) -> Call:
    return _call(Operation.COMPLETION, CompletionRequest(model, prompt, options), stream)


def chat(messages: Any = None, *, model: str = "o/m", stream: bool = False, **options: Any) -> Call:
    messages = messages if messages is not None else [{"role": "user", "content": "Hello"}]
    return _call(Operation.CHAT, ChatRequest(model, messages, options), stream)


def count(*messages: Any, **options: Any) -> Call:
    return _call(Operation.COUNT, CountRequest("o/m", list(messages), options))


def embed(*inputs: Any, model: str = "o/m", **options: Any) -> Call:
    return _call(Operation.EMBED, EmbedRequest(model, list(inputs), options))


def rerank(query: str, *documents: Any, **options: Any) -> Call:
    return _call(Operation.RERANK, RerankRequest("o/m", query, list(documents), options))


def classify(*inputs: Any, **options: Any) -> Call:
    return _call(Operation.CLASSIFY, ClassifyRequest("o/m", list(inputs), options))


def body(wire: WireRequest) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(wire.body or b"null")
    return made


def sent(call: Call, dialect: TgiDialect | TeiDialect = TGI) -> dict[str, Any]:
    return body(dialect.encode(call))


def read(
    call: Call, answer: Any, dialect: TgiDialect | TeiDialect = TGI, headers: dict[str, str] | None = None
) -> Reply:
    data = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
    return dialect.decode(call, data, headers or {})


def refused(status: int, said: Any, headers: dict[str, str] | None = None) -> BackendError:
    data = said if isinstance(said, bytes) else msgspec.json.encode(said)
    return TGI.error(status, headers or {}, data)


def token(text: str, index: int, *, special: bool = False, **more: Any) -> dict[str, Any]:
    """One event of TGI's stream."""
    made = {"id": 7, "text": text, "logprob": -0.5, "special": special}
    return {"index": index, "token": made, "generated_text": None, "details": None, **more}


def last(text: str, index: int, whole: str, reason: str = "length", **more: Any) -> dict[str, Any]:
    details = {"finish_reason": reason, "generated_tokens": index, "seed": None, "input_length": 3}
    return token(text, index, generated_text=whole, details=details, **more)


def events(*made: Any) -> bytes:
    """Events as TGI writes them, texts as they are; there is no terminator."""
    texts = [each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in made]
    return "".join(f"data:{text}\n\n" for text in texts).encode()


def play(data: bytes, call: Call | None = None, size: int = 0) -> tuple[list[Chunk], Any]:
    """Feed it, in pieces of so many bytes where given, and end it."""
    decoder = TGI.stream_decoder(call or complete(stream=True))
    found: list[Chunk] = []
    step = size or max(1, len(data))
    for at in range(0, len(data), step):
        found += decoder.feed(data[at : at + step])
    decoder.end()
    return found, decoder
