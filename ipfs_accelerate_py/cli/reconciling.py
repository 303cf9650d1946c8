"""Asks a provider for its figures of an organization's usage and costs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from ipfs_accelerate_py.credentials import Credentials
from ipfs_accelerate_py.errors import MissingCredential
from ipfs_accelerate_py.ledger.reconcile import Figures, add_costs, add_usage
from ipfs_accelerate_py.sync import Client

__all__ = ["ask_provider"]

_KEYS = {
    "openai": ("OPENAI_ADMIN_KEY",),
    "anthropic": ("ANTHROPIC_ADMIN_KEY", "ANTHROPIC_ADMIN_API_KEY"),
}
#: Pages followed at most: a year of days, and some.
_MOST = 500

Books = dict[tuple[str, str], Figures]


def ask_provider(provider: str, base_url: str | None, start: int, end: int) -> Books:
    """The provider's figures by day and model, from ``start`` until ``end`` (seconds since 1970, UTC).

    Raises `MissingCredential` without an administrator's key, and what calls raise.
    """
    names = _KEYS[provider]
    key = Credentials().value(None, (), names)
    if not key:
        raise MissingCredential(
            f"{provider}'s figures need an administrator's key: set {names[0]} (made in the provider's console, under "
            "its organization's admin keys)"
        )
    books: Books = {}
    backend = "claude" if provider == "anthropic" else provider
    with Client(backend, base_url=base_url, api_key={"admin": key}) as client:

        def follow(path: str, enter: Callable[[Books, Any], str | None], query: dict[str, Any]) -> None:
            page: str | None = None
            for _ in range(_MOST):
                asked = {**query, **({} if page is None else {"page": page})}
                answer = client.request(f"{path}?{urlencode(asked, doseq=True)}", method="GET")
                page = enter(books, answer.raw)
                if page is None:
                    return

        if provider == "openai":
            times = {"start_time": start, "end_time": end, "bucket_width": "1d", "limit": 31}
            for kind in ("completions", "embeddings"):
                follow(f"/organization/usage/{kind}", add_usage, {**times, "group_by": ["model"]})
            follow("/organization/costs", add_costs, {**times, "group_by": ["line_item"]})
        else:
            times = {"starting_at": _text(start), "ending_at": _text(end), "bucket_width": "1d", "limit": 31}
            follow("/organizations/usage_report/messages", add_usage, {**times, "group_by[]": ["model"]})
            follow("/organizations/cost_report", add_costs, {**times, "group_by[]": ["description"]})
    return books


def _text(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
