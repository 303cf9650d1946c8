"""The ledger held against the provider's own figures, by day and model. Pure: whoever calls it does the asking.

Source: OpenAI's API reference, "Usage" (``/organization/usage/...``, ``/organization/costs``); Anthropic's, "Usage and
cost" (``/organizations/usage_report/messages``, ``/organizations/cost_report``).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.ledger.queries import UsageRow

__all__ = [
    "MEASURES",
    "OPERATIONS",
    "Difference",
    "Figures",
    "add_costs",
    "add_usage",
    "compare",
    "model_family",
    "ours",
    "read_export",
]

Books = dict[tuple[str, str], "Figures"]
#: What is compared; ``cost`` in US dollars.
MEASURES: Final = ("requests", "input_tokens", "output_tokens", "cost")
#: The operations that the providers' reports of usage are about.
OPERATIONS: Final = frozenset(("chat", "completion", "response", "embed"))
_SNAPSHOT: Final = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")


class Figures(msgspec.Struct):
    """One day of one model. None: that side does not say."""

    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None

    def add(self, **more: float | None) -> None:
        """Add to what is there; what is None stays as it is."""
        for name, value in more.items():
            if value is not None:
                setattr(self, name, (getattr(self, name) or 0) + value)


class Difference(msgspec.Struct):
    """What one side says and the other does not; ``measures`` names what is too far apart, and is empty where all is
    well."""

    day: str
    model: str
    ours: Figures
    theirs: Figures
    measures: tuple[str, ...] = ()


def model_family(name: str) -> str:
    """A model's name without the date of its snapshot: who asks for ``gpt-4o`` is billed for ``gpt-4o-2024-08-06``."""
    return _SNAPSHOT.sub("", name.rpartition("/")[2])


def ours(rows: Iterable[UsageRow]) -> Books:
    """The ledger's side, of `totals` by day, model, operation and outcome."""
    books: Books = {}
    for row in rows:
        if row.group["operation"] not in OPERATIONS:
            continue
        figures = _place(books, row.group["day"], row.group["model"])
        figures.add(
            requests=row.calls - row.cache_hits if row.group["outcome"] == "success" else None,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cost=row.cost,
        )
    return {place: figures for place, figures in books.items() if any(getattr(figures, name) for name in MEASURES)}


def add_usage(books: Books, page: Any) -> str | None:
    """Enter a page of a provider's report of usage, OpenAI's or Anthropic's; gives the next page's name, or None."""
    for day, result in _results(page):
        if "uncached_input_tokens" in result:
            written = result.get("cache_creation") or {}
            given = _sum(result, "uncached_input_tokens", "cache_read_input_tokens")
            given += _sum(written, "ephemeral_1h_input_tokens", "ephemeral_5m_input_tokens")
            requests = None
        else:
            given = _sum(result, "input_tokens")
            requests = _sum(result, "num_model_requests")
        figures = _place(books, day, str(result.get("model") or ""))
        figures.add(requests=requests, input_tokens=given, output_tokens=_sum(result, "output_tokens"))
    return _next(page)


def add_costs(books: Books, page: Any) -> str | None:
    """Enter a page of a provider's report of costs, with its lines apart (OpenAI's ``line_item``, Anthropic's
    ``description``); gives the next page's name, or None."""
    for day, result in _results(page):
        amount = result.get("amount")
        if isinstance(amount, Mapping):
            dollars = float(amount.get("value") or 0)
            model = str(result.get("line_item") or "").partition(",")[0].strip()
        else:
            dollars = float(amount or 0) / 100  # a text, in cents
            model = str(result.get("model") or "")
        _place(books, day, model).add(cost=dollars)
    return _next(page)


def read_export(data: bytes, name: str) -> Books:
    """A file of figures: JSON (pages of either report as they came, or rows), or CSV.

    Rows have ``date`` (or ``day``, ``start_time``), ``model``, and any of `MEASURES`; the names of the providers' own
    exports are understood (``num_model_requests``, ``n_context_tokens_total``, ``usage_output_tokens``,
    ``amount_value``, ...). Raises `ConfigurationError` for a file that is none of these.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name} is no text in UTF-8") from None
    books: Books = {}
    if text.lstrip()[:1] in ("{", "["):
        try:
            found = json.loads(text)
        except ValueError as error:
            raise ConfigurationError(f"{name} is no JSON: {error}") from None
        pages = found if isinstance(found, list) else [found]
        if pages and all(isinstance(page, dict) and isinstance(page.get("data"), list) for page in pages):
            for page in pages:
                is_cost = any("amount" in result for _, result in _results(page))
                (add_costs if is_cost else add_usage)(books, page)
            return books
        rows: Iterable[Mapping[str, Any]] = [row for row in pages if isinstance(row, dict)]
    else:
        rows = csv.DictReader(io.StringIO(text))
    for number, row in enumerate(rows, 1):
        _add_row(books, row, f"{name}, row {number}")
    if not books:
        raise ConfigurationError(f"{name} holds no figures: its rows need a date, a model, and numbers")
    return books


_DAYS: Final = ("date", "day", "usage_date_utc", "start_time_iso", "start_time", "starting_at")
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "requests": ("requests", "num_model_requests", "num_requests", "n_requests", "calls"),
    "input_tokens": ("input_tokens", "n_context_tokens_total", "prompt_tokens"),
    "output_tokens": ("output_tokens", "n_generated_tokens_total", "completion_tokens", "usage_output_tokens"),
    "cost": ("cost", "cost_usd", "amount_value", "amount_usd"),
}
#: Parts of an input that an export tells apart, and has no sum of.
_PARTS: Final = (
    "usage_input_tokens_no_cache",
    "usage_input_tokens_cache_read",
    "usage_input_tokens_cache_write_5m",
    "usage_input_tokens_cache_write_1h",
)


def _add_row(books: Books, row: Mapping[str, Any], where: str) -> None:
    day = next((_day(row[name], where) for name in _DAYS if row.get(name)), None)
    model = row.get("model") or row.get("model_version") or row.get("line_item") or row.get("snapshot_id") or ""
    if day is None:
        raise ConfigurationError(f"{where} has no date; there are: {', '.join(map(str, row))}")
    found: dict[str, float | None] = {}
    for measure, names in _COLUMNS.items():
        found[measure] = next((_number(row[name], where) for name in names if row.get(name) not in (None, "")), None)
    parts = [_number(row[name], where) for name in _PARTS if row.get(name) not in (None, "")]
    if parts:
        found["input_tokens"] = sum(parts)
    whole = {
        name: None if value is None else (value if name == "cost" else int(value)) for name, value in found.items()
    }
    _place(books, day, str(model).partition(",")[0].strip()).add(**whole)


def compare(mine: Books, theirs: Books, *, tolerance: float, dollars: float) -> list[Difference]:
    """Every day and model of both sides, in order.

    A measure differs where it is further apart than the share ``tolerance`` of the greater, and money also by more than
    ``dollars``. What the provider's figures do not have at all (Anthropic's have no requests) is not compared.
    """
    found = []
    said = {name for figures in theirs.values() for name in MEASURES if getattr(figures, name) is not None}
    if not theirs:
        said = set(MEASURES)  # it says that there was nothing
    for day, model in sorted(mine.keys() | theirs.keys()):
        one, other = mine.get((day, model), Figures()), theirs.get((day, model), Figures())
        apart = []
        for name in MEASURES:
            if name not in said:
                continue
            here, there = getattr(one, name) or 0, getattr(other, name) or 0
            distance = abs(here - there)
            if distance > tolerance * max(here, there) and (name != "cost" or distance > dollars):
                apart.append(name)
        found.append(Difference(day, model, one, other, tuple(apart)))
    return found


def _place(books: Books, day: str, model: str) -> Figures:
    return books.setdefault((day, model_family(model)), Figures())


def _results(page: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    data = page.get("data") if isinstance(page, Mapping) else None
    if not isinstance(data, list):
        raise ConfigurationError("this is no page of a provider's report: it has no list 'data'")
    for bucket in data:
        day = _day(bucket.get("start_time", bucket.get("starting_at")), "a bucket")
        for result in bucket.get("results") or ():
            yield day, result


def _next(page: Mapping[str, Any]) -> str | None:
    name = page.get("next_page")
    return str(name) if page.get("has_more") and name else None


def _day(value: Any, where: str) -> str:
    """A day in UTC, of seconds since 1970 or a date as ISO 8601 has it."""
    try:
        if isinstance(value, int | float) or str(value).isdecimal():
            return datetime.fromtimestamp(float(value), UTC).date().isoformat()
        at = datetime.fromisoformat(str(value).strip())
    except (ValueError, OverflowError):
        raise ConfigurationError(f"{where} has no date that can be read: {value!r}") from None
    return (at if at.tzinfo is None else at.astimezone(UTC)).date().isoformat()


def _number(value: Any, where: str) -> float:
    try:
        return float(str(value).replace(",", "").removeprefix("$"))
    except ValueError:
        raise ConfigurationError(f"{where} has no number where one must be: {value!r}") from None


def _sum(result: Mapping[str, Any], *names: str) -> int:
    return sum(int(result.get(name) or 0) for name in names)
