"""Google's Gemini API: generateContent and its stream, embeddings, counts of tokens, models.

Source: the API's reference (ai.google.dev/api), its protobuf (google.ai.generativelanguage.v1beta), and the errors its
service is seen to send. ``gemini-3`` and later sign their tool calls and want the signatures back; older ones do not.
"""

from __future__ import annotations

import itertools
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from ipfs_accelerate_py.simulator.limits import Refusal
from ipfs_accelerate_py.simulator.wire import Answer, Event, Problem, Refused, Request, Settings

from . import embedding, generating
from .messages import BATCH, COUNT, EMBED, GENERATE, parse, refuse

__all__ = ["Gemini"]

_encode = msgspec.json.Encoder().encode
_numbers = itertools.count(1)
_PREFIXES: Final = ("/v1beta/", "/v1/", "/v1alpha/")
_VERBS: Final = {
    "generateContent": GENERATE,
    "streamGenerateContent": GENERATE,
    "embedContent": EMBED,
    "batchEmbedContents": BATCH,
    "countTokens": COUNT,
}
#: The models listed where none were configured.
_MODELS: Final = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-pro-preview", "gemini-embedding-001")
_WORDS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_RPC: Final = "type.googleapis.com/google.rpc."
#: What Google says where the faults, which are named after OpenAI's codes, say it in OpenAI's words.
_SAYINGS: Final = {
    "context_length_exceeded": "The input token count (9001) exceeds the maximum number of tokens allowed (8192).",
    "model_not_found": (
        "models/unknown is not found for API version v1beta, or is not supported for generateContent. Call ListModels "
        "to see the list of available models and their supported methods."
    ),
    "insufficient_quota": (
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        "error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
    ),
}


class Gemini:
    """Google's wire format; see :class:`~ipfs_accelerate_py.simulator.wire.Service`."""

    name = "gemini"
    base_path = "/v1beta"

    def credential(self, headers: dict[str, str]) -> str | None:
        given = headers.get("x-goog-api-key")
        if given is not None:
            return given or None
        scheme, _, value = headers.get("authorization", "").partition(" ")
        return value.strip() or None if scheme.lower() == "bearer" else None

    def answer(self, request: Request, settings: Settings) -> Answer:
        prefix = next((prefix for prefix in _PREFIXES if request.path.startswith(prefix)), None)
        if prefix is None:
            refuse("Requested entity was not found.", 404)
        place = request.path[len(prefix) :]
        if place == "models" and request.method in ("GET", "HEAD"):
            return _listed(request, settings)
        folder, _, rest = place.partition("/")
        if folder not in ("models", "tunedModels") or not rest:
            refuse("Requested entity was not found.", 404)
        if request.method in ("GET", "HEAD"):
            _known(rest, settings, "generateContent")
            return Answer(body=_encode(_model(rest)))
        model, _, verb = rest.rpartition(":")
        if request.method != "POST" or verb not in _VERBS or not model:
            refuse("Requested entity was not found.", 404)
        _known(model, settings, verb)
        body = _body(request, verb)
        if verb == "generateContent":
            return generating.answer(body, model, settings)
        if verb == "streamGenerateContent":
            return generating.stream(body, model, settings, sse=_query(request, "alt") == "sse")
        if verb == "countTokens":
            return embedding.count(body, model, settings)
        return (embedding.one if verb == "embedContent" else embedding.batch)(body, model, settings)

    def headers(self) -> list[tuple[str, str]]:
        return [("server", "simulator"), ("x-simulator-request", f"sim{next(_numbers):08x}")]

    def refuse(self, problem: Problem) -> Answer:
        if problem.code == "content_policy_violation":  # Google answers this one with 200, and no candidates
            made = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 4}}
            return Answer(body=_encode({**made, "responseId": f"sim{next(_numbers):08x}"}))
        return Answer(problem.status, body=_encode(_error(problem)))

    def unauthorized(self, *, missing: bool) -> Problem:
        if missing:
            message = (
                "Method doesn't allow unregistered callers (callers without established identity). Please use API Key "
                "or other form of API consumer identity to call this API."
            )
            return Problem(403, message)
        return Problem(400, "API key not valid. Please pass a valid API key.", None, "API_KEY_INVALID")

    def limited(self, request: Request, refusal: Refusal) -> Answer:
        made = _error(Problem(429, _SAYINGS["insufficient_quota"]))
        kind = {"tokens": "GenerateContentInputTokensPerModelPerMinute"}.get(
            refusal.kind, "GenerateRequestsPerMinutePerProjectPerModel"
        )
        details: list[dict[str, Any]] = [_quota(kind, refusal.limit)]
        if refusal.retry_after is not None:
            details.append({"@type": _RPC + "RetryInfo", "retryDelay": f"{refusal.retry_after:.9g}s"})
        made["error"]["details"] = details
        return Answer(429, body=_encode(made))

    def error_event(self, problem: Problem, request: Request) -> Event:
        return Event(_encode(_error(problem)))

    def cost(self, request: Request, settings: Settings) -> int:
        model, _, verb = request.path.rpartition(":")
        if verb not in _VERBS or not model:
            return 0
        try:
            body = _body(request, verb)
        except Refused:
            return 0
        if verb == "batchEmbedContents":
            return sum(_tokens({"contents": [each.get("content", {})]}) for each in body.get("requests", ()))
        if verb == "embedContent":
            return _tokens({"contents": [body.get("content", {})]})
        if verb == "countTokens":
            return 0
        return _tokens(body) + int(body.get("generationConfig", {}).get("maxOutputTokens", settings.tokens))

    def limit_headers(self, states: dict[str, tuple[int, int, float]]) -> list[tuple[str, str]]:
        return []  # Google has none


def _tokens(body: dict[str, Any]) -> int:
    return sum(generating.prompt_counts(body).values())


def _body(request: Request, verb: str) -> dict[str, Any]:
    if request.invalid_json or request.body is None:
        refuse("Invalid JSON payload received. Unexpected token.\n^")
    return parse(request.body, _VERBS[verb])


def _error(problem: Problem) -> dict[str, dict[str, Any]]:
    word = _WORDS.get(problem.status, "INTERNAL" if problem.status >= 500 else "INVALID_ARGUMENT")
    error: dict[str, Any] = {
        "code": problem.status,
        "message": _SAYINGS.get(problem.code or "", problem.message),
        "status": word,
    }
    if problem.code == "insufficient_quota":
        error["details"] = [_quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", 250)]
    elif problem.code is not None and problem.code.isupper():
        error["details"] = [
            {
                "@type": _RPC + "ErrorInfo",
                "reason": problem.code,
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }
        ]
    return {"error": error}


def _quota(name: str, limit: int) -> dict[str, Any]:
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
        "quotaId": name,
        "quotaDimensions": {"location": "global"},
        "quotaValue": str(limit),
    }
    return {"@type": _RPC + "QuotaFailure", "violations": [violation]}


def _query(request: Request, name: str) -> str:
    return parse_qs(request.query).get(name, [""])[0]


def _known(model: str, settings: Settings, verb: str) -> None:
    if settings.models is not None and model not in settings.models:
        refuse(
            f"models/{model} is not found for API version v1beta, or is not supported for {verb}. Call ListModels to "
            "see the list of available models and their supported methods.",
            404,
        )


def _listed(request: Request, settings: Settings) -> Answer:
    names = _MODELS if settings.models is None else settings.models
    size, token = _query(request, "pageSize") or "50", _query(request, "pageToken") or "0"
    if not size.isdigit() or not token.isdigit():
        refuse("Invalid value at 'page_size' or 'page_token'.")
    start = int(token)
    end = start + (min(int(size), 1000) or 50)
    made: dict[str, Any] = {"models": [_model(name) for name in names[start:end]]}
    if end < len(names):
        made["nextPageToken"] = str(end)
    return Answer(body=_encode(made))


def _model(name: str) -> dict[str, Any]:
    embeds = "embed" in name
    return {
        "name": f"models/{name}",
        "version": "sim",
        "displayName": name,
        "description": "Made by the simulator.",
        "inputTokenLimit": 2048 if embeds else 1_048_576,
        "outputTokenLimit": 1 if embeds else 65_536,
        "supportedGenerationMethods": ["embedContent"] if embeds else ["generateContent", "countTokens"],
    }
