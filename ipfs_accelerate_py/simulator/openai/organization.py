"""What the service has counted and what it costs, for administrators: ``/v1/organization/usage/...`` and ``/costs``.

Source: OpenAI's API reference, "Usage".
"""

from __future__ import annotations

import time
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from ipfs_accelerate_py.simulator.books import Books, Served
from ipfs_accelerate_py.simulator.wire import Answer, Request, Settings

from .checks import refuse

__all__ = ["PREFIX", "answer"]

PREFIX: Final = "/v1/organization/"
_encode = msgspec.json.Encoder().encode
#: Seconds of a bucket, and how many buckets a page has, by default and at most.
_WIDTHS: Final = {"1m": (60, 60, 1440), "1h": (3600, 24, 168), "1d": (86400, 7, 31)}
_GROUPS: Final = ("model", "api_key_id", "project_id", "user_id", "batch", "service_tier", "line_item")


def answer(request: Request, settings: Settings) -> Answer | None:
    """A page of buckets; None for what is no address of this."""
    what = request.path[len(PREFIX) :]
    if what not in ("usage/completions", "usage/embeddings", "costs"):
        return None
    books = settings.books or Books()
    given = parse_qs(request.query)
    costs = what == "costs"
    width, default, most = _WIDTHS["1d"] if costs else _width(given)
    if costs:
        most = 180
    start = _integer(given, "start_time", None)
    end = _integer(given, "end_time", int(time.time()) + 1)
    limit = _integer(given, "limit", default)
    if not 1 <= limit <= most:
        refuse(f"Invalid 'limit': integer must be between 1 and {most}.", "limit")
    groups = given.get("group_by", []) + given.get("group_by[]", [])
    for group in groups:
        if group not in _GROUPS:
            refuse(f"Invalid value: '{group}'.", "group_by")
    first = _integer(given, "page", start // width * width)
    buckets: list[dict[str, Any]] = []
    at = first
    while at < end and len(buckets) < limit:
        results = _costs(books, at, at + width, groups) if costs else _usage(books, at, at + width, what[6:], groups)
        buckets.append({"object": "bucket", "start_time": at, "end_time": at + width, "results": results})
        at += width
    more = at < end
    page = {"object": "page", "data": buckets, "has_more": more, "next_page": str(at) if more else None}
    return Answer(body=_encode(page))


def _usage(books: Books, start: int, end: int, kind: str, groups: list[str]) -> list[dict[str, Any]]:
    found: dict[tuple[str | None, str | None], Served] = {}
    for model, key, served in books.between(start, end, kind):
        place = (model if "model" in groups else None, key if "api_key_id" in groups else None)
        found.setdefault(place, Served()).add(served)
    made = []
    for (name, key_id), served in found.items():
        one: dict[str, Any] = {
            "object": f"organization.usage.{kind}.result",
            "input_tokens": served.input_tokens,
            "num_model_requests": served.requests,
            "project_id": None,
            "user_id": None,
            "api_key_id": key_id,
            "model": name,
        }
        if kind == "completions":
            one |= {
                "output_tokens": served.output_tokens,
                "input_cached_tokens": served.cached_tokens,
                "input_audio_tokens": 0,
                "output_audio_tokens": 0,
                "batch": None,
                "service_tier": None,
            }
        made.append(one)
    return made


def _costs(books: Books, start: int, end: int, groups: list[str]) -> list[dict[str, Any]]:
    found: dict[str | None, float] = {}
    for model, _, served in books.between(start, end):
        rates = books.rates(model)
        parts = {"input": served.input_tokens - served.cached_tokens, "cached input": served.cached_tokens}
        for (name, tokens), rate in zip((*parts.items(), ("output", served.output_tokens)), rates, strict=True):
            if tokens:
                line = f"{model}, {name}" if "line_item" in groups else None
                found[line] = found.get(line, 0.0) + tokens * rate / 1e6
    return [
        {
            "object": "organization.costs.result",
            "amount": {"value": value, "currency": "usd"},
            "line_item": line,
            "project_id": None,
        }
        for line, value in found.items()
    ]


def _width(given: dict[str, list[str]]) -> tuple[int, int, int]:
    found = _WIDTHS.get(given.get("bucket_width", ["1d"])[-1])
    if found is None:
        refuse("Invalid value: 'bucket_width'. Supported values are: '1m', '1h', and '1d'.", "bucket_width")
    return found


def _integer(given: dict[str, list[str]], name: str, default: int | None) -> int:
    values = given.get(name)
    if values is None:
        if default is None:
            refuse(f"Missing required parameter: '{name}'.", name)
        return default
    if not values[-1].isdecimal():
        refuse(f"Invalid type for '{name}': expected an integer.", name)
    return int(values[-1])
