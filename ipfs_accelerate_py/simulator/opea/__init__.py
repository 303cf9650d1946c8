"""OPEA: megaservices and microservices, with the quirks they have.

Source: OPEA's GenAIComps and GenAIExamples, and FastAPI's way to say what is wrong. Where the model behind a
megaservice fails, a streaming answer is ``[DONE]`` and nothing else with status 200, and any other is the plain text
of a 500. Such a failure is played by the fault ``error_event`` and by asking for a model that is not among those
served; in the middle of an answer the stream then ends without its ``[DONE]``.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.limits import Refusal, retry_headers
from ipfs_accelerate_py.simulator.openai import OpenAI
from ipfs_accelerate_py.simulator.text import count_tokens
from ipfs_accelerate_py.simulator.wire import Answer, Event, Problem, Refused, Request, Settings

from . import mega
from .data import Documents, rerank

__all__ = ["Opea"]

_encode = msgspec.json.Encoder().encode
_numbers = itertools.count(1)
_OPENAI: Final = frozenset(("/v1/chat/completions", "/v1/embeddings", "/v1/audio/speech", "/v1/audio/transcriptions"))
_DATAPREP: Final = {f"/v1/dataprep/{verb}": verb for verb in ("ingest", "get", "delete")}
#: The model that a microservice was started with.
_MODEL: Final = "opea-model"


class Opea:
    """OPEA's wire formats; see :class:`~ipfs_accelerate_py.simulator.wire.Service`."""

    name = "opea"
    base_path = ""

    def __init__(self) -> None:
        self._openai = OpenAI()
        self._documents = Documents()

    def credential(self, headers: dict[str, str]) -> str | None:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        return value.strip() or None if scheme.lower() == "bearer" else None

    def answer(self, request: Request, settings: Settings) -> Answer:
        path = request.path
        if path in ("/v1/health_check", "/health") and request.method in ("GET", "HEAD"):
            return Answer(body=_encode({"Service Title": "simulator", "Service Description": "OPEA Microservice"}))
        service = path.removeprefix("/v1/")
        known = service in mega.SERVICES or path in _OPENAI or path in _DATAPREP
        if not known and path not in ("/v1/reranking", "/v1/retrieval"):
            raise Refused(Problem(404, "Not Found"))
        if request.method != "POST":
            raise Refused(Problem(405, "Method Not Allowed"))
        if path in _OPENAI:
            return self._openai.answer(_with_model(request, settings), settings)
        if path in _DATAPREP:
            return self._documents.answer(_DATAPREP[path], request, settings)
        if path == "/v1/reranking":
            return rerank(request, settings)
        if path == "/v1/retrieval":
            return self._documents.retrieve(request, settings)
        return mega.answer(service, request, settings)

    def headers(self) -> list[tuple[str, str]]:
        return [("x-request-id", f"opea-sim{next(_numbers):08x}"), ("server", "uvicorn")]

    def refuse(self, problem: Problem) -> Answer:
        headers = self.headers()
        if problem.type == "validation":
            return Answer(problem.status, headers, b'{"detail":%b}' % problem.message.encode())
        if problem.status == 500:
            return Answer(500, headers, b"Internal Server Error", content_type="text/plain; charset=utf-8")
        detail: dict[str, Any] = {"detail": problem.message}
        if problem.code is not None:  # what a model server said, in its words
            error = {"message": problem.message, "type": problem.type, "param": problem.param, "code": problem.code}
            detail = {"error": error}
        return Answer(problem.status, headers, _encode(detail))

    def unauthorized(self, *, missing: bool) -> Problem:
        return Problem(403, "Not authenticated") if missing else Problem(401, "Invalid API key")

    def limited(self, request: Request, refusal: Refusal) -> Answer:
        answer = self.refuse(Problem(429, f"Rate limit exceeded: {refusal.limit} {refusal.kind}"))
        if refusal.retry_after is not None:
            answer.headers += retry_headers(refusal.retry_after)
        return answer

    def error_event(self, problem: Problem, request: Request) -> Event:
        service = request.path.removeprefix("/v1/")
        if service in mega.CHUNKED or request.path in _OPENAI:
            error = {"message": problem.message, "type": problem.type, "param": None, "code": problem.code or 500}
            return Event(_encode({"error": error}))
        return mega.DONE if request.streamed_chunks <= 1 else Event(b"b''")

    def cost(self, request: Request, settings: Settings) -> int:
        body = request.body if isinstance(request.body, dict) else {}
        return count_tokens(str(body.get("messages") or body.get("input") or "")) + settings.tokens

    def limit_headers(self, states: dict[str, tuple[int, int, float]]) -> list[tuple[str, str]]:
        return []


def _with_model(request: Request, settings: Settings) -> Request:
    body = request.body
    if not isinstance(body, dict) or body.get("model"):
        return request
    return replace(request, body={**body, "model": settings.models[0] if settings.models else _MODEL})
