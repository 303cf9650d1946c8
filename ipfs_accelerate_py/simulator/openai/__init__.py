"""OpenAI's wire format: text, vectors, images, sound, verdicts, batches; and what servers of one's own add to it.

Source: OpenAI's OpenAPI description, and the errors its service is seen to send. Rankings, labels and counts of tokens
are those of vLLM (docs.vllm.ai) and llama.cpp (tools/server/README.md), at the paths where these have them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.limits import Refusal, retry_headers
from ipfs_accelerate_py.simulator.wire import Answer, Event, Problem, Refused, Request, Settings

from . import audio, chat, completions, embeddings, images, judging, organization, responses
from .batches import Batches
from .common import FINGERPRINT

__all__ = ["OpenAI"]

_encode = msgspec.json.Encoder().encode
_numbers = itertools.count(1)
#: Some services have OpenAI's endpoints elsewhere (Groq: ``/openai/v1``), and some clients leave the version out.
_PREFIXES: Final = ("/openai/v1/", "/v1/", "/")
_POST: Final[dict[str, Callable[[Request, Settings], Answer]]] = {
    "chat/completions": chat.answer,
    "completions": completions.answer,
    "responses": responses.answer,
    "embeddings": embeddings.answer,
    "images/generations": images.answer,
    "images/edits": images.edit,
    "audio/speech": audio.speech,
    "audio/transcriptions": audio.transcription,
    "audio/translations": audio.translation,
    "moderations": judging.moderate,
    "rerank": judging.rerank,
    "responses/input_tokens": judging.response_count,
    "chat/completions/input_tokens": judging.chat_count,
}
#: vLLM has these above the version, and nowhere else.
_AT_THE_ROOT: Final[dict[str, Callable[[Request, Settings], Answer]]] = {
    "/classify": judging.classify,
    "/tokenize": judging.tokenize,
}
_COSTS: Final[dict[str, Callable[[dict[str, Any]], int]]] = {
    "chat/completions": chat.prompt_tokens,
    "completions": completions.cost,
    "responses": responses.prompt_tokens,
    "embeddings": embeddings.cost,
}
#: The models listed where none were configured.
_MODELS: Final = ("gpt-4o", "gpt-4o-mini", "o3-mini", "text-embedding-3-small")
_CREATED: Final = 1_700_000_000
_ENDPOINTS: Final = {prefix + name: name for prefix in reversed(_PREFIXES) for name in (*_POST, "models")}


class OpenAI:
    """OpenAI's wire format; see :class:`~ipfs_accelerate_py.simulator.wire.Service`."""

    name = "openai"
    base_path = "/v1"

    def __init__(self) -> None:
        self._batches = Batches(lambda name, request, settings: _POST[name](request, settings), _error)

    def credential(self, headers: dict[str, str]) -> str | None:
        given = headers.get("authorization")
        if given is not None:
            scheme, _, value = given.partition(" ")
            return value.strip() or None if scheme.lower() == "bearer" else None
        return headers.get("api-key")  # Azure's way

    def answer(self, request: Request, settings: Settings) -> Answer:
        endpoint = _ENDPOINTS.get(request.path)
        if endpoint is None:
            return self._elsewhere(request, settings)
        if endpoint == "models":
            if request.method in ("GET", "HEAD"):
                return Answer(body=_encode({"object": "list", "data": [_model(name) for name in _names(settings)]}))
        elif request.method == "POST":
            return _POST[endpoint](request, settings)
        raise _not_allowed(request)

    def _elsewhere(self, request: Request, settings: Settings) -> Answer:
        if (answer := _AT_THE_ROOT.get(request.path)) is not None:
            if request.method != "POST":
                raise _not_allowed(request)
            return answer(request, settings)
        if request.path.startswith(organization.PREFIX) and request.method == "GET":
            page = organization.answer(request, settings)
            if page is not None:
                return page
        if request.path.startswith(images.PICTURES) and request.method in ("GET", "HEAD"):
            picture = images.picture(request.path[len(images.PICTURES) :])
            if picture is not None:
                return picture
        for prefix in _PREFIXES:
            if request.path.startswith((prefix + "files", prefix + "batches")):
                found = self._batches.answer(request, request.path[len(prefix) :], settings)
                if found is not None:
                    return found
            if request.path.startswith(prefix + "models/"):
                return self._model(request, request.path[len(prefix) + 7 :], settings)
        raise Refused(Problem(404, f"Invalid URL ({request.method} {request.path})", "invalid_request_error"))

    def headers(self) -> list[tuple[str, str]]:
        return [
            ("x-request-id", f"req_sim{next(_numbers):08x}"),
            ("openai-version", "2020-10-01"),
            ("openai-processing-ms", "1"),
        ]

    def _model(self, request: Request, name: str, settings: Settings) -> Answer:
        if request.method not in ("GET", "HEAD"):
            raise _not_allowed(request)
        if settings.models is not None and name not in settings.models:
            message = f"The model '{name}' does not exist"
            raise Refused(Problem(404, message, "invalid_request_error", "model_not_found", "model"))
        return Answer(body=_encode(_model(name)))

    def refuse(self, problem: Problem) -> Answer:
        headers = [("x-request-id", f"req_sim{next(_numbers):08x}"), ("openai-version", "2020-10-01")]
        return Answer(problem.status, headers, _encode(_error(problem)))

    def unauthorized(self, *, missing: bool) -> Problem:
        if missing:
            return Problem(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                "invalid_request_error",
            )
        return Problem(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")

    def limited(self, request: Request, refusal: Refusal) -> Answer:
        model = request.body.get("model") if isinstance(request.body, dict) else None
        figures = f"Limit {refusal.limit}, Used {refusal.used}, Requested {refusal.requested}."
        if refusal.kind == "concurrency":
            text, kind = f"Too many concurrent requests for {model}: {figures}", "requests"
        elif refusal.retry_after is None:
            text, kind = f"Request too large for {model} on tokens per min (TPM): {figures}", "tokens"
        else:
            unit = "requests per min (RPM)" if refusal.kind == "requests" else "tokens per min (TPM)"
            wait = duration(refusal.retry_after)
            text = f"Rate limit reached for {model} on {unit}: {figures} Please try again in {wait}."
            kind = refusal.kind
        answer = self.refuse(Problem(429, text, kind, "rate_limit_exceeded"))
        if refusal.retry_after is not None:
            answer.headers += retry_headers(refusal.retry_after)
        return answer

    def error_event(self, problem: Problem, request: Request) -> Event:
        if _ENDPOINTS.get(request.path) == "responses":
            return responses.error_event(problem, request.streamed_chunks)
        return Event(_encode(_error(problem)))

    def cost(self, request: Request, settings: Settings) -> int:
        counted = _COSTS.get(_ENDPOINTS.get(request.path, ""))
        body = request.body
        if counted is None or not isinstance(body, dict):
            return 0
        try:
            tokens = counted(body)
        except Refused:
            return 0
        if counted is embeddings.cost:
            return tokens
        for name in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
            if isinstance(most := body.get(name), int):
                return tokens + most
        return tokens + settings.tokens

    def limit_headers(self, states: dict[str, tuple[int, int, float]]) -> list[tuple[str, str]]:
        headers = []
        for kind, (limit, remaining, reset) in states.items():
            headers += [
                (f"x-ratelimit-limit-{kind}", str(limit)),
                (f"x-ratelimit-remaining-{kind}", str(remaining)),
                (f"x-ratelimit-reset-{kind}", duration(reset)),
            ]
        return headers


def _error(problem: Problem) -> dict[str, dict[str, str | None]]:
    """OpenAI's error object; what is absent is null in it, and not left out."""
    kind = problem.type or "invalid_request_error"
    return {"error": {"message": problem.message, "type": kind, "param": problem.param, "code": problem.code}}


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them in rate-limit headers: ``6m0s``, ``1.5s``, ``20ms``."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    hours, rest = divmod(round(seconds, 3), 3600)
    minutes, rest = divmod(rest, 60)
    text = f"{int(hours)}h" if hours else ""
    text += f"{int(minutes)}m" if hours or minutes else ""
    return text + f"{round(rest, 3):g}s"


def _names(settings: Settings) -> tuple[str, ...]:
    return _MODELS if settings.models is None else settings.models


def _model(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "owned_by": "simulator",
        "system_fingerprint": FINGERPRINT,
    }


def _not_allowed(request: Request) -> Refused:
    return Refused(
        Problem(
            405,
            f"Not allowed to {request.method} on {request.path}. (HINT: Perhaps you meant to use a different HTTP "
            "method?)",
            "invalid_request_error",
            "method_not_supported",
        )
    )
