"""Anthropic's wire format: messages, batches of them, counts of tokens and models.

Source: Anthropic's API reference and guides, and the errors its service is seen to send.
"""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from ipfs_accelerate_py.simulator.limits import Refusal, retry_headers
from ipfs_accelerate_py.simulator.wire import Answer, Event, Problem, Refused, Request, Settings

from . import messages, organization
from .batches import Batches
from .checks import refuse

__all__ = ["Anthropic"]

_encode = msgspec.json.Encoder().encode
_numbers = itertools.count(1)
_BATCHES: Final = "/v1/messages/batches"
#: The models listed where none were configured.
_MODELS: Final = ("claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-4-5", "claude-sonnet-4-5")
_RELEASED: Final = "2026-01-01T00:00:00Z"
_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
#: What the service says to what faults call by OpenAI's names; it has no codes of its own for them.
_NAMED: Final = {
    "context_length_exceeded": (400, "prompt is too long: 210000 tokens > 200000 maximum"),
    "content_policy_violation": (400, "Output blocked by content filtering policy"),
    "insufficient_quota": (402, "Your account has nothing left to spend. Please go to Plans & Billing."),
}


class Anthropic:
    """Anthropic's wire format; see :class:`~ipfs_accelerate_py.simulator.wire.Service`."""

    name = "anthropic"
    #: Anthropic's clients put the version into the path themselves.
    base_path = ""

    def __init__(self) -> None:
        self._cache: set[bytes] = set()
        self._batches = Batches(
            lambda request, settings: messages.answer(request, settings, self._cache),
            lambda problem: _error(problem)[1],
        )

    def credential(self, headers: dict[str, str]) -> str | None:
        given = headers.get("x-api-key")
        if given is not None:
            return given or None
        scheme, _, value = headers.get("authorization", "").partition(" ")
        return value.strip() or None if scheme.lower() == "bearer" else None

    def answer(self, request: Request, settings: Settings) -> Answer:
        path = request.path
        if path in ("/v1/messages", "/v1/messages/count_tokens"):
            if request.method != "POST":
                refuse("Method Not Allowed", 405)
            if path.endswith("count_tokens"):
                return messages.count(request, settings)
            return messages.answer(request, settings, self._cache)
        if path == _BATCHES or path.startswith(_BATCHES + "/"):
            rest = [part for part in path[len(_BATCHES) :].split("/") if part]
            found = self._batches.answer(request, rest, settings, f"http://{request.headers.get('host', '')}")
            if found is not None:
                return found
        names = _MODELS if settings.models is None else settings.models
        if path == "/v1/models":
            return Answer(body=_encode(_page(names, request.query)))
        if path.startswith("/v1/models/"):
            name = path[11:]
            if settings.models is not None and name not in names:
                refuse(f"model: {name}", 404, "not_found_error")
            return Answer(body=_encode(_model(name)))
        if path.startswith(organization.PREFIX) and request.method == "GET":
            page = organization.answer(request, settings)
            if page is not None:
                return page
        return refuse("Not Found", 404, "not_found_error")

    def headers(self) -> list[tuple[str, str]]:
        return [("request-id", f"req_sim{next(_numbers):08x}"), ("anthropic-organization-id", "org-simulator")]

    def refuse(self, problem: Problem) -> Answer:
        identity = f"req_sim{next(_numbers):08x}"
        status, error = _error(problem)
        body = {"type": "error", "error": error, "request_id": identity}
        return Answer(status, [("request-id", identity)], _encode(body))

    def unauthorized(self, *, missing: bool) -> Problem:
        if missing:
            return Problem(401, "x-api-key header is required", "authentication_error")
        return Problem(401, "invalid x-api-key", "authentication_error")

    def limited(self, request: Request, refusal: Refusal) -> Answer:
        if refusal.kind == "concurrency":
            text = "Number of concurrent connections has exceeded your rate limit. Please try again later."
        else:
            unit = "requests" if refusal.kind == "requests" else "input tokens"
            text = f"This request would exceed your organization's rate limit of {refusal.limit} {unit} per minute."
        answer = self.refuse(Problem(429, text, "rate_limit_error"))
        if refusal.retry_after is not None:
            answer.headers += retry_headers(refusal.retry_after)
        return answer

    def error_event(self, problem: Problem, request: Request) -> Event:
        return Event(_encode({"type": "error", "error": _error(problem)[1]}), "error")

    def cost(self, request: Request, settings: Settings) -> int:
        body = request.body
        if request.path != "/v1/messages" or not isinstance(body, dict):
            return 0
        most = body.get("max_tokens")
        try:
            return messages.prompt_tokens(body) + (most if isinstance(most, int) else 0)
        except (Refused, TypeError, AttributeError):
            return 0  # it is refused for what it is, in a moment

    def limit_headers(self, states: dict[str, tuple[int, int, float]]) -> list[tuple[str, str]]:
        headers = []
        for kind, (limit, remaining, reset) in states.items():
            at = datetime.fromtimestamp(time.time(), UTC) + timedelta(seconds=reset)
            headers += [
                (f"anthropic-ratelimit-{kind}-limit", str(limit)),
                (f"anthropic-ratelimit-{kind}-remaining", str(remaining)),
                (f"anthropic-ratelimit-{kind}-reset", at.isoformat(timespec="milliseconds").replace("+00:00", "Z")),
            ]
        return headers


def _error(problem: Problem) -> tuple[int, dict[str, str]]:
    """Status and error object; faults speak of types that this service does not have."""
    status, message = _NAMED.get(problem.code or "", (problem.status, problem.message))
    if problem.status == status != 400:
        message = problem.message
    kind = problem.type
    if kind not in _TYPES.values() or status != problem.status or (kind == "invalid_request_error" and status != 400):
        kind = _TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
    return status, {"type": str(kind), "message": message}


def _model(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": f"{name} (simulated)",
        "created_at": _RELEASED,
        "lifecycle": "active",
    }


def _page(names: tuple[str, ...], query: str) -> dict[str, Any]:
    """One page of the list: after or before a model, and so many of them."""
    given = {name: values[-1] for name, values in parse_qs(query).items()}
    for name in given:
        if name not in ("limit", "after_id", "before_id", "lifecycle", "lifecycle[]", "beta"):
            refuse(f"{name}: Extra inputs are not permitted")
    limit = given.get("limit", "20")
    if not limit.isdecimal() or not 1 <= int(limit) <= 1000:
        refuse("limit: Input should be between 1 and 1000")
    for name in ("after_id", "before_id"):
        if name in given and given[name] not in names:
            refuse(f"{name}: there is no such model")
    start = names.index(given["after_id"]) + 1 if "after_id" in given else 0
    end = names.index(given["before_id"]) if "before_id" in given else len(names)
    if "before_id" in given:
        start = max(start, end - int(limit))
    shown = names[start : min(end, start + int(limit))]
    return {
        "data": [_model(name) for name in shown],
        "has_more": start > 0 if "before_id" in given else start + len(shown) < len(names),
        "first_id": shown[0] if shown else None,
        "last_id": shown[-1] if shown else None,
    }
