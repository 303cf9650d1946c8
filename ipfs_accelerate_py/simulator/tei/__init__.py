"""Text Embeddings Inference (TEI): its own endpoints, ``/v1/embeddings``, and a hosted model's tasks.

Source: TEI's OpenAPI description. The kinds of its errors, and the few words by which clients tell an input that is too
long, are facts looked up in its published router. Of the hosted router: what Hugging Face's client asks it. A real
server has one model, which embeds, reranks or classifies; this one does all three.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.limits import Refusal, retry_headers
from ipfs_accelerate_py.simulator.text import count_tokens
from ipfs_accelerate_py.simulator.wire import Answer, Event, Problem, Refused, Request, Settings

from . import endpoints
from .checks import MOST_INPUT

__all__ = ["Tei"]

_encode = msgspec.json.Encoder().encode
_HOSTED: Final = re.compile(r"/hf-inference/models/(.+?)(?:/pipeline/([a-z-]+))?")
_TASKS: Final[dict[str | None, Callable[[Request, Settings], Answer]]] = {
    "feature-extraction": endpoints.embed,
    "sentence-similarity": endpoints.similarity,
    "text-classification": endpoints.classify,
    None: endpoints.classify,
}
_KINDS: Final = {
    413: "Validation",
    422: "Tokenizer",
    424: "Backend",
    429: "Overloaded",
    503: "Unhealthy",
}
_OWN_KINDS: Final = frozenset((*_KINDS.values(), "Empty"))
_METRICS: Final = "# TYPE te_request_count counter\nte_request_count 1\n# TYPE te_queue_size gauge\nte_queue_size 0\n"


class Tei:
    """TEI's wire format; see :class:`~ipfs_accelerate_py.simulator.wire.Service`."""

    name = "tei"
    base_path = ""

    def __init__(self) -> None:
        vocabulary = endpoints.Vocabulary()
        self._post: dict[str, Callable[[Request, Settings], Answer]] = {
            "/": endpoints.embed,
            "/invocations": endpoints.embed,
            "/embed": endpoints.embed,
            "/embed_all": endpoints.embed_all,
            "/embed_sparse": endpoints.embed_sparse,
            "/similarity": endpoints.similarity,
            "/predict": endpoints.predict,
            "/rerank": endpoints.rerank,
            "/tokenize": vocabulary.tokenize,
            "/decode": vocabulary.decode,
            "/embeddings": endpoints.openai,
            "/v1/embeddings": endpoints.openai,
        }

    def credential(self, headers: dict[str, str]) -> str | None:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        return value.strip() or None if scheme.lower() == "bearer" else None

    def answer(self, request: Request, settings: Settings) -> Answer:
        path = request.path or "/"
        if request.method in ("GET", "HEAD"):
            if path in ("/", "/health", "/ping"):
                return Answer(content_type="")
            if path == "/info":
                return Answer(body=_encode(endpoints.info(settings)))
            if path == "/metrics":
                return Answer(body=_METRICS.encode(), content_type="text/plain; charset=utf-8")
        asked = self._post.get(path)
        if asked is None and (hosted := _HOSTED.fullmatch(path)) is not None:
            if settings.models is not None and hosted[1] not in settings.models:
                raise Refused(Problem(404, f"Model {hosted[1]} does not exist", "model_not_found"))
            asked = _TASKS.get(hosted[2])
        if asked is None:
            raise Refused(Problem(404, ""))
        if request.method != "POST":
            raise Refused(Problem(405, ""))
        try:
            return asked(request, settings)
        except Refused as refused:
            if path.endswith("/embeddings") and refused.problem.type in _OWN_KINDS:
                raise Refused(refused.problem._replace(code="openai")) from None
            raise

    def headers(self) -> list[tuple[str, str]]:
        return [("x-compute-type", "simulator")]

    def refuse(self, problem: Problem) -> Answer:
        if not problem.message:  # of the framework: a wrong path, method or key
            return Answer(problem.status, content_type="")
        if problem.type == "deserialize":
            return Answer(problem.status, body=problem.message.encode(), content_type="text/plain; charset=utf-8")
        problem = _translated(problem)
        kind = problem.type if problem.type in _OWN_KINDS else None
        if problem.code == "openai":
            made: dict[str, Any] = {"message": problem.message, "code": problem.status, "type": kind}
        else:
            kind = kind or _KINDS.get(problem.status) or problem.code or problem.type or "Backend"
            made = {"error": problem.message, "error_type": kind}
        return Answer(problem.status, body=_encode(made))

    def unauthorized(self, *, missing: bool) -> Problem:
        return Problem(401, "")

    def limited(self, request: Request, refusal: Refusal) -> Answer:
        answer = self.refuse(Problem(429, "Model is overloaded", "Overloaded"))
        if refusal.retry_after is not None:
            answer.headers += retry_headers(refusal.retry_after)
        return answer

    def error_event(self, problem: Problem, request: Request) -> Event:
        answer = self.refuse(problem)  # nothing streams here
        return Event(answer.body if isinstance(answer.body, bytes) else b"")

    def cost(self, request: Request, settings: Settings) -> int:
        body = request.body
        if request.method != "POST" or not isinstance(body, dict):
            return 0
        given = [body.get(name) for name in ("inputs", "input", "query", "texts")]
        return sum(_tokens(each) for each in given)

    def limit_headers(self, states: dict[str, tuple[int, int, float]]) -> list[tuple[str, str]]:
        return []  # TEI sends none


def _tokens(value: Any) -> int:
    if isinstance(value, str):
        return count_tokens(value)
    if isinstance(value, dict):
        return sum(_tokens(each) for each in value.values())
    return sum(_tokens(each) for each in value) if isinstance(value, list) else int(isinstance(value, int))


def _translated(problem: Problem) -> Problem:
    """Problems that faults speak of in OpenAI's words, in this server's or the router's."""
    if problem.code == "context_length_exceeded":
        return Problem(413, f"`inputs` must have less than {MOST_INPUT} tokens. Given: 9001", "Validation")
    if problem.code == "insufficient_quota":
        message = "You have exceeded your monthly included credits for Inference Providers."
        return Problem(402, message, "insufficient_quota")
    return problem
