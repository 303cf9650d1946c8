"""What the service has counted and what it costs, for administrators.

``/v1/organizations/usage_report/messages`` and ``/v1/organizations/cost_report``. Source: Anthropic's API reference,
"Usage and cost".
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from ipfs_accelerate_py.simulator.books import Books, Served
from ipfs_accelerate_py.simulator.wire import Answer, Request, Settings

from .checks import refuse

__all__ = ["PREFIX", "answer"]

PREFIX: Final = "/v1/organizations/"
_encode = msgspec.json.Encoder().encode
#: Seconds of a bucket, and how many buckets a page has, by default and at most.
_WIDTHS: Final = {"1m": (60, 60, 1440), "1h": (3600, 24, 168), "1d": (86400, 7, 31)}


def answer(request: Request, settings: Settings) -> Answer | None:
    """A page of buckets; None for what is no address of this."""
    what = request.path[len(PREFIX) :]
    if what not in ("usage_report/messages", "cost_report"):
        return None
    books = settings.books or Books()
    given = parse_qs(request.query)
    costs = what == "cost_report"
    width, default, most = _WIDTHS["1d"]
    if not costs:
        wanted = _WIDTHS.get(given.get("bucket_width", ["1d"])[-1])
        if wanted is None:
            refuse("bucket_width: Input should be '1d', '1m' or '1h'")
        width, default, most = wanted
    start = _instant(given, "starting_at", None)
    end = _instant(given, "ending_at", time.time() + 1)
    limit = given.get("limit", [str(default)])[-1]
    if not limit.isdecimal() or not 1 <= int(limit) <= most:
        refuse(f"limit: Input should be between 1 and {most}")
    groups = given.get("group_by[]", [])
    at = int(given["page"][-1].removeprefix("page_")) if "page" in given else int(start) // width * width
    buckets: list[dict[str, Any]] = []
    while at < end and len(buckets) < int(limit):
        results = _costs(books, at, at + width, groups) if costs else _usage(books, at, at + width, groups)
        buckets.append({"starting_at": _text(at), "ending_at": _text(at + width), "results": results})
        at += width
    more = at < end
    return Answer(body=_encode({"data": buckets, "has_more": more, "next_page": f"page_{at}" if more else None}))


def _usage(books: Books, start: int, end: int, groups: list[str]) -> list[dict[str, Any]]:
    found: dict[tuple[str | None, str | None], Served] = {}
    for model, key, served in books.between(start, end):
        place = (model if "model" in groups else None, key if "api_key_id" in groups else None)
        found.setdefault(place, Served()).add(served)
    return [
        {
            "uncached_input_tokens": served.input_tokens - served.cached_tokens - served.cache_write_tokens,
            "cache_creation": {
                "ephemeral_1h_input_tokens": 0,
                "ephemeral_5m_input_tokens": served.cache_write_tokens,
            },
            "cache_read_input_tokens": served.cached_tokens,
            "output_tokens": served.output_tokens,
            "server_tool_use": {"web_search_requests": 0},
            "api_key_id": key_id,
            "workspace_id": None,
            "model": name,
            "service_tier": None,
            "context_window": None,
        }
        for (name, key_id), served in found.items()
    ]


def _costs(books: Books, start: int, end: int, groups: list[str]) -> list[dict[str, Any]]:
    found: dict[str | None, float] = {}
    for model, _, served in books.between(start, end):
        name = model if "description" in groups else None
        found[name] = found.get(name, 0.0) + books.amount(model, served)
    return [
        {
            "currency": "USD",
            "amount": f"{dollars * 100:.6f}",  # in cents, as text
            "workspace_id": None,
            "description": None if name is None else f"{name} Usage",
            "cost_type": None if name is None else "tokens",
            "context_window": None,
            "model": name,
            "service_tier": None,
            "token_type": None,
        }
        for name, dollars in found.items()
    ]


def _instant(given: dict[str, list[str]], name: str, default: float | None) -> float:
    values = given.get(name)
    if values is None:
        if default is None:
            refuse(f"{name}: Field required")
        return default
    try:
        return datetime.fromisoformat(values[-1]).timestamp()
    except ValueError:
        refuse(f"{name}: Input should be a valid datetime")


def _text(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
