"""``/v1/messages/batches``: requests handed in together, worked off bit by bit, answered in one file.

Nothing here knows the time: a batch goes on by one step each time that somebody looks at it. Results are in another
order than the requests, for the service promises none; and its counts are told when all has ended, as it tells them.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from ipfs_accelerate_py.simulator.wire import Answer, Problem, Refused, Request, Settings

from .checks import a_list, a_string, an_object, body_of, only, refuse
from .checks import field as required

__all__ = ["Batches"]

_encode = msgspec.json.Encoder().encode
_numbers = itertools.count(1)
_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MOST: Final = 100_000
_DAY: Final = 86_400
#: Looks at a batch until it has ended.
_STEPS: Final = 2

Serve = Callable[[Request, Settings], Answer]


@dataclass
class _Batch:
    about: dict[str, Any]
    requests: list[dict[str, Any]]
    #: Those that it was handed in with: version and betas hold for each request in it.
    headers: dict[str, str]
    looks: int = 0
    results: list[bytes] = field(default_factory=list)


class Batches:
    """The batches of one simulated account."""

    def __init__(self, serve: Serve, error: Callable[[Problem], dict[str, str]]) -> None:
        """``serve`` answers a request for a message; ``error`` is a problem as an error object."""
        self._serve = serve
        self._error = error
        self._batches: dict[str, _Batch] = {}

    def answer(self, request: Request, rest: list[str], settings: Settings, root: str) -> Answer | None:
        """``rest`` is the path after ``/v1/messages/batches``; ``root`` is where clients find the service."""
        if not rest:
            if request.method == "POST":
                return _json(self._create(request))
            return _json(self._page(request))
        batch = self._batches.get(rest[0])
        if batch is None:
            refuse(f"No message batch found with id {rest[0]}", 404, "not_found_error")
        about = batch.about
        if rest[1:] == ["results"] and request.method == "GET":
            if about["processing_status"] != "ended":
                refuse(f"Message batch {rest[0]} is still processing.", 404, "not_found_error")
            return Answer(body=b"\n".join(reversed(batch.results)) + b"\n", content_type="application/x-jsonl")
        if rest[1:] == ["cancel"] and request.method == "POST":
            if about["processing_status"] != "ended":
                about["processing_status"] = "canceling"
                about["cancel_initiated_at"] = about["cancel_initiated_at"] or _now()
        elif rest[1:]:
            return None
        elif request.method == "DELETE":
            if about["processing_status"] != "ended":
                refuse("A message batch must have ended before it can be deleted.")
            del self._batches[rest[0]]
            return _json({"id": rest[0], "type": "message_batch_deleted"})
        else:
            self._step(batch, settings, root)
        return _json(about)

    def _create(self, request: Request) -> dict[str, Any]:
        body = body_of(request)
        given = required("", body, "requests", a_list)
        only("", body, {"requests": a_list})
        if not 1 <= len(given) <= _MOST:
            refuse(f"requests: a batch has 1 to {_MOST} requests")
        names = set()
        for place, each in enumerate(given):
            where = f"requests.{place}"
            an_object(where, each)
            name = required(where, each, "custom_id", a_string)
            required(where, each, "params", an_object)
            only(where, each, {"custom_id": a_string, "params": an_object})
            if not _ID.fullmatch(name):
                refuse(f"{where}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
            if name in names:
                refuse(f"{where}.custom_id: custom_id must be unique in a batch")
            names.add(name)
        identity = f"msgbatch_sim{next(_numbers):08x}"
        about = {
            "id": identity,
            "type": "message_batch",
            "processing_status": "in_progress",
            "request_counts": {"processing": len(given), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
            "created_at": _now(),
            "expires_at": _now(_DAY),
            "ended_at": None,
            "cancel_initiated_at": None,
            "archived_at": None,
            "results_url": None,
        }
        self._batches[identity] = _Batch(about, given, request.headers)
        return about

    def _step(self, batch: _Batch, settings: Settings, root: str) -> None:
        about = batch.about
        if about["processing_status"] == "ended":
            return
        cancelled = about["processing_status"] == "canceling"
        batch.looks += 1
        done = len(batch.results)
        upto = len(batch.requests) if batch.looks >= _STEPS else len(batch.requests) // 2
        for each in batch.requests[done:] if cancelled else batch.requests[done:upto]:
            result = {"type": "canceled"} if cancelled else self._result(batch, each, settings)
            batch.results.append(_encode({"custom_id": each["custom_id"], "result": result}))
        if len(batch.results) == len(batch.requests):
            counts = about["request_counts"]
            counts["processing"] = 0
            for line in batch.results:
                counts[msgspec.json.decode(line)["result"]["type"]] += 1
            about["processing_status"] = "ended"
            about["ended_at"] = _now()
            about["results_url"] = f"{root}/v1/messages/batches/{about['id']}/results"

    def _result(self, batch: _Batch, each: dict[str, Any], settings: Settings) -> dict[str, Any]:
        request = Request(0, "POST", "/v1/messages", "", batch.headers, body=each["params"])
        try:
            if each["params"].get("stream"):
                refuse("stream: Streaming is not supported in batches")
            answer = self._serve(request, settings)
        except Refused as refused:
            error = {"type": "error", "error": self._error(refused.problem), "request_id": None}
            return {"type": "errored", "error": error}
        assert isinstance(answer.body, bytes)
        return {"type": "succeeded", "message": msgspec.Raw(answer.body)}

    def _page(self, request: Request) -> dict[str, Any]:
        query = parse_qs(request.query)
        after, limit = query.get("after_id", [""])[-1], query.get("limit", ["20"])[-1]
        items = [batch.about for batch in reversed(self._batches.values())]
        start = next((place + 1 for place, item in enumerate(items) if item["id"] == after), 0)
        page = items[start : start + int(limit)]
        return {
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": start + len(page) < len(items),
        }


def _now(later: int = 0) -> str:
    return datetime.fromtimestamp(time.time() + later, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(value: Any) -> Answer:
    return Answer(body=_encode(value))
