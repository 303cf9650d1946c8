"""Text Generation Inference (TGI): its own endpoints, its OpenAI-compatible ones, and a hosted model's folder.

Source: TGI's OpenAPI description (3.3). The kinds of its errors, and the few words by which clients tell a prompt that
is too long, are facts looked up in its published router. Of the hosted router: what Hugging Face's client asks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.limits import Refusal, retry_headers
from ipfs_accelerate_py.simulator.wire import Answer, Event, Problem, Refused, Request, Settings

from . import chat
from .checks import MOST_INPUT, MOST_STOPS, MOST_TOKENS, body_of
from .generating import generate, input_tokens, tokenize

__all__ = ["Tgi"]

_encode = msgspec.json.Encoder().encode
_HOSTED: Final = re.compile(r"/hf-inference/models/(.+?)(/v1/chat/completions)?")
_OWN_KINDS: Final = frozenset(
    (
        "validation",
        "generation",
        "overloaded",
        "incomplete_generation",
        "healthcheck",
        "template_error",
        "tool_error",
        "suffix not supported",
        "batch size exceeded",
    )
)
_KINDS: Final = {
    422: "validation",
    424: "generation",
    429: "overloaded",
    500: "incomplete_generation",
    503: "healthcheck",
}
_METRICS: Final = (
    "# TYPE tgi_request_count counter\ntgi_request_count 1\n# TYPE tgi_queue_size gauge\ntgi_queue_size 0\n"
)


def _tokenize(request: Request, settings: Settings) -> Answer:
    return Answer(body=_encode(tokenize(body_of(request, "inputs")["inputs"])))


def _compat(request: Request, settings: Settings) -> Answer:
    return generate(request, settings, listed=True)


def _invocations(request: Request, settings: Settings) -> Answer:
    body = body_of(request)
    if "messages" in body:
        return chat.chat(request, settings)
    if "prompt" in body:
        return chat.completions(request, settings)
    return _compat(request, settings)


_POST: Final[dict[str, Callable[[Request, Settings], Answer]]] = {
    "/": _compat,
    "/generate": lambda request, settings: generate(request, settings, stream=False),
    "/generate_stream": lambda request, settings: generate(request, settings, stream=True),
    "/v1/chat/completions": chat.chat,
    "/v1/completions": chat.completions,
    "/chat_tokenize": chat.chat_tokenize,
    "/tokenize": _tokenize,
    "/invocations": _invocations,
}


class Tgi:
    """TGI's wire format; see :class:`~ipfs_accelerate_py.simulator.wire.Service`."""

    name = "tgi"
    base_path = ""

    def credential(self, headers: dict[str, str]) -> str | None:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        return value.strip() or None if scheme.lower() == "bearer" else None

    def answer(self, request: Request, settings: Settings) -> Answer:
        path = request.path or "/"
        get = self._get(path, settings) if request.method in ("GET", "HEAD") else None
        if get is not None:
            return get
        asked = _POST.get(path)
        if asked is None and (hosted := _HOSTED.fullmatch(path)) is not None:
            if settings.models is not None and hosted[1] not in settings.models:
                raise Refused(Problem(404, f"Model {hosted[1]} does not exist", "model_not_found"))
            asked = chat.chat if hosted[2] else _compat
        if asked is None:
            raise Refused(Problem(404, ""))
        if request.method != "POST":
            raise Refused(Problem(405, ""))
        return asked(request, settings)

    def _get(self, path: str, settings: Settings) -> Answer | None:
        if path in ("/health", "/ping"):
            return Answer(content_type="")
        if path == "/info":
            return Answer(body=_encode(_info(settings)))
        if path == "/v1/models":
            names = settings.models or (chat.model_id(settings),)
            models = [{"id": name, "object": "model", "created": 0, "owned_by": name} for name in names]
            return Answer(body=_encode({"object": "list", "data": models}))
        if path == "/metrics":
            return Answer(body=_METRICS.encode(), content_type="text/plain; charset=utf-8")
        return None

    def headers(self) -> list[tuple[str, str]]:
        return [("x-compute-type", "simulator")]

    def refuse(self, problem: Problem) -> Answer:
        if not problem.message:  # of the framework: a wrong path, method or key
            return Answer(problem.status, content_type="")
        if problem.type == "deserialize":
            return Answer(problem.status, body=problem.message.encode(), content_type="text/plain; charset=utf-8")
        problem = _translated(problem)
        kind = problem.type if problem.type in _OWN_KINDS else None
        kind = kind or _KINDS.get(problem.status) or problem.code or problem.type or "unknown"
        return Answer(problem.status, body=_encode({"error": problem.message, "error_type": kind}))

    def unauthorized(self, *, missing: bool) -> Problem:
        return Problem(401, "")

    def limited(self, request: Request, refusal: Refusal) -> Answer:
        answer = self.refuse(Problem(429, "Model is overloaded", "overloaded"))
        if refusal.retry_after is not None:
            answer.headers += retry_headers(refusal.retry_after)
        return answer

    def error_event(self, problem: Problem, request: Request) -> Event:
        if request.path.endswith("/v1/chat/completions"):
            error: Any = {"message": problem.message, "http_status_code": problem.status}
            return Event(_encode({"error": error}))
        answer = self.refuse(problem)
        return Event(answer.body if isinstance(answer.body, bytes) else b"")

    def cost(self, request: Request, settings: Settings) -> int:
        body = request.body
        if request.method != "POST" or not isinstance(body, dict):
            return 0
        parameters = body.get("parameters")
        limit = (parameters.get("max_new_tokens") if isinstance(parameters, dict) else None) or body.get("max_tokens")
        given: Any = body.get("inputs", body.get("prompt"))
        try:
            text = chat.prompt_of(body) if isinstance(body.get("messages"), list) else given
        except Refused:
            return 0
        most = limit if isinstance(limit, int) else settings.tokens
        return most + (input_tokens(text) if isinstance(text, str) else 0)

    def limit_headers(self, states: dict[str, tuple[int, int, float]]) -> list[tuple[str, str]]:
        return []  # TGI sends none


def _translated(problem: Problem) -> Problem:
    """Problems that faults speak of in OpenAI's words, in this server's or the router's."""
    if problem.code == "context_length_exceeded":
        words = (
            f"`inputs` tokens + `max_new_tokens` must be <= {MOST_TOKENS}. Given: 9001 `inputs` tokens and 20 "
            "`max_new_tokens`"
        )
        return Problem(422, words, "validation")
    if problem.code == "insufficient_quota":
        return Problem(
            402, "You have exceeded your monthly included credits for Inference Providers.", "insufficient_quota"
        )
    return problem


def _info(settings: Settings) -> dict[str, Any]:
    return {
        "model_id": chat.model_id(settings),
        "model_sha": None,
        "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": 128,
        "max_best_of": 2,
        "max_stop_sequences": MOST_STOPS,
        "max_input_tokens": MOST_INPUT,
        "max_total_tokens": MOST_TOKENS,
        "validation_workers": 2,
        "max_client_batch_size": 4,
        "router": "simulator",
        "version": "3.3.6",
        "sha": None,
        "docker_label": None,
    }
