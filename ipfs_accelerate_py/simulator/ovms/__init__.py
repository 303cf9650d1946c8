"""OpenVINO Model Server: ``/v2`` (Open Inference Protocol), ``/v1`` (TensorFlow Serving), ``/v3`` (OpenAI's format).

Sources: the Open Inference Protocol's specification, OpenVINO Model Server's documentation of its REST APIs and of its
metrics. ``/v3`` is answered by the simulated OpenAI service.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.limits import Refusal, retry_headers
from ipfs_accelerate_py.simulator.openai import OpenAI
from ipfs_accelerate_py.simulator.wire import Answer, Event, Problem, Refused, Request, Settings

from . import about, infer, predict
from .tensors import refuse

__all__ = ["Ovms"]

_encode = msgspec.json.Encoder().encode
_OIP: Final = re.compile(r"/v2/models/(?P<model>.+?)(?:/versions/(?P<version>[^/]+))?(?:/(?P<verb>infer|ready))?/?")
_TFS: Final = re.compile(
    r"/v1/models/(?P<model>.+?)(?:/versions/(?P<version>[^/:]+))?(?:(?P<verb>:predict|/metadata))?/?"
)


class Ovms:
    """OpenVINO Model Server; see :class:`~ipfs_accelerate_py.simulator.wire.Service`."""

    name = "ovms"
    base_path = ""

    def __init__(self) -> None:
        self._openai = OpenAI()
        self._answered: Counter[tuple[str, str, str]] = Counter()
        self._failed: Counter[tuple[str, str, str]] = Counter()

    def credential(self, headers: dict[str, str]) -> str | None:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        return value.strip() or None if scheme.lower() == "bearer" else None

    def answer(self, request: Request, settings: Settings) -> Answer:
        path = request.path
        if path.startswith("/v3/"):
            return self._openai.answer(_as_openai(request), settings)
        names = about.NAMES if settings.models is None else settings.models
        plain: dict[str, Callable[[], Any]] = {
            "/v2": about.server,
            "/v2/": about.server,
            "/v2/health/live": lambda: None,
            "/v2/health/ready": lambda: None,
            "/v1/config": lambda: about.config(names),
        }
        if path in plain:
            _need("GET", request)
            said = plain[path]()
            return Answer(body=b"" if said is None else _encode(said))
        if path == "/v1/config/reload":
            _need("POST", request)
            return Answer(body=_encode(about.config(names)))
        if path == "/metrics":
            _need("GET", request)
            page = about.metrics(names, self._answered, self._failed)
            return Answer(body=page, content_type="text/plain; version=0.0.4; charset=utf-8")
        if found := _OIP.fullmatch(path):
            methods = {"infer": "ModelInfer", "ready": "ModelReady", None: "ModelMetadata"}
            return self._counted("KServe", methods[found["verb"]], found, request, settings)
        if found := _TFS.fullmatch(path):
            methods = {":predict": "Predict", "/metadata": "GetModelMetadata", None: "GetModelStatus"}
            return self._counted("TensorFlowServing", methods[found["verb"]], found, request, settings)
        raise refuse("Invalid request URL", 404 if path.startswith("/v") else 400)

    def _counted(self, api: str, method: str, found: re.Match[str], request: Request, settings: Settings) -> Answer:
        model = found["model"]
        try:
            _need("POST" if method in ("ModelInfer", "Predict") else "GET", request)
            if settings.models is not None and model not in settings.models:
                raise refuse("Model with requested name is not found", 404)
            if found["version"] not in (None, about.VERSION):
                raise refuse("Model with requested version is not found", 404)
            answer = _answer(method, model, request)
        except Refused:
            self._failed[api, method, model] += 1
            raise
        self._answered[api, method, model] += 1
        return answer

    def headers(self) -> list[tuple[str, str]]:
        return []

    def refuse(self, problem: Problem) -> Answer:
        return Answer(problem.status, body=_encode({"error": problem.message}))

    def unauthorized(self, *, missing: bool) -> Problem:
        return Problem(401, "Missing API key" if missing else "Invalid API key")

    def limited(self, request: Request, refusal: Refusal) -> Answer:
        answer = self.refuse(Problem(429, f"Too many {refusal.kind}: limit {refusal.limit}, used {refusal.used}"))
        if refusal.retry_after is not None:
            answer.headers += retry_headers(refusal.retry_after)
        return answer

    def error_event(self, problem: Problem, request: Request) -> Event:
        return Event(_encode({"error": problem.message}))

    def cost(self, request: Request, settings: Settings) -> int:
        return self._openai.cost(_as_openai(request), settings) if request.path.startswith("/v3/") else 0

    def limit_headers(self, states: dict[str, tuple[int, int, float]]) -> list[tuple[str, str]]:
        return []


def _answer(method: str, model: str, request: Request) -> Answer:
    if method == "ModelInfer":
        return infer.answer(request, model, about.VERSION)
    if method == "Predict":
        return predict.answer(request)
    if method == "ModelReady":
        return Answer()
    said = {
        "ModelMetadata": lambda: about.metadata(model),
        "GetModelMetadata": lambda: about.signature(model),
        "GetModelStatus": about.status,
    }[method]()
    return Answer(body=_encode(said))


def _as_openai(request: Request) -> Request:
    return replace(request, path="/v1" + request.path.removeprefix("/v3"))


def _need(method: str, request: Request) -> None:
    if request.method not in ((method, "HEAD") if method == "GET" else (method,)):
        raise refuse(f"Unsupported method: {request.method}", 405)
