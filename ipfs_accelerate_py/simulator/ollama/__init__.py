"""Ollama's own wire format: chat, generate, embed, tags, show, pull, ps, version.

Source: Ollama's API description (ollama.openapi.yaml), its documentation (docs/api), and the errors its server is seen
to send. It streams unless told not to, and ``/`` says that it is running.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.limits import Refusal, retry_headers
from ipfs_accelerate_py.simulator.wire import Answer, Event, Problem, Request, Settings

from . import answers, models

__all__ = ["Ollama"]

_encode = msgspec.json.Encoder().encode
VERSION: Final = "0.0.0-simulator"


class Ollama:
    """Ollama's wire format; see :class:`~ipfs_accelerate_py.simulator.wire.Service`.

    A pulled model is served from then on, and one that was asked is listed as running.
    """

    name = "ollama"
    base_path = "/api"

    def __init__(self) -> None:
        self._pulled: set[str] = set()
        self._running: dict[str, None] = {}

    def credential(self, headers: dict[str, str]) -> str | None:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        return value.strip() or None if scheme.lower() == "bearer" else None

    def answer(self, request: Request, settings: Settings) -> Answer:
        path, reading = request.path, request.method in ("GET", "HEAD")
        if path == "/" and reading:
            return Answer(body=b"Ollama is running", content_type="text/plain; charset=utf-8")
        route = path.removeprefix("/api/")
        if route in ("tags", "ps", "version"):
            if not reading:
                return _plain(405, "405 method not allowed")
            if route == "version":
                return Answer(body=_encode({"version": VERSION}))
            return models.tags(settings, self._pulled) if route == "tags" else models.ps(settings, self._running)
        work: dict[str, Any] = {
            "chat": answers.chat,
            "generate": answers.generate,
            "embed": models.embed,
            "embeddings": models.embeddings,
            "show": models.show,
        }
        if not path.startswith("/api/") or (route not in work and route != "pull"):
            return _plain(404, "404 page not found")
        if request.method != "POST":
            return _plain(405, "405 method not allowed")
        if route == "pull":
            return models.pull(request, self._pulled)
        made: Answer = work[route](request, settings, self._pulled)
        if route != "show":
            self._use(request.body)
        return made

    def _use(self, body: dict[str, Any]) -> None:
        name = models.tagged(body.get("model") or body["name"])
        if body.get("keep_alive") in (0, "0"):
            self._running.pop(name, None)
        else:
            self._running[name] = None

    def headers(self) -> list[tuple[str, str]]:
        return []

    def refuse(self, problem: Problem) -> Answer:
        return Answer(problem.status, body=_encode({"error": problem.message}))

    def unauthorized(self, *, missing: bool) -> Problem:
        return Problem(401, "unauthorized")

    def limited(self, request: Request, refusal: Refusal) -> Answer:
        if refusal.kind == "concurrency":
            return self.refuse(Problem(503, "server busy, please try again.  maximum pending requests exceeded"))
        answer = self.refuse(Problem(429, "too many requests"))
        if refusal.retry_after is not None:
            answer.headers += retry_headers(refusal.retry_after)
        return answer

    def error_event(self, problem: Problem, request: Request) -> Event:
        return Event(_encode({"error": problem.message}))

    def cost(self, request: Request, settings: Settings) -> int:
        body = request.body
        if not isinstance(body, dict) or request.path.rpartition("/")[2] in ("show", "pull"):
            return 0
        if request.path.startswith("/api/embed"):
            return models.embed_tokens(body)
        options = body.get("options")
        most = options.get("num_predict") if isinstance(options, dict) else None
        return answers.prompt_tokens(body) + (most if isinstance(most, int) and most >= 0 else settings.tokens)

    def limit_headers(self, states: dict[str, tuple[int, int, float]]) -> list[tuple[str, str]]:
        return []


def _plain(status: int, text: str) -> Answer:
    """What the server's router says by itself."""
    return Answer(status, body=text.encode(), content_type="text/plain")
