"""A record as a row: the columns in their order, and the text in them made safe to store."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.records import CallRecord

__all__ = ["COLUMNS", "NAMES", "Row", "row_of"]

#: Name and kind of each column. No column holds anything of what was asked or answered, or a key's value.
COLUMNS: Final[tuple[tuple[str, str], ...]] = (
    ("uid", "text"),  # made by the writer: one row a record, however often it is sent
    ("started", "real"),
    ("day", "int"),  # days since 1970-01-01, UTC
    ("request_id", "text"),
    ("operation", "text"),
    ("alias", "text"),
    ("backend", "text"),
    ("model", "text"),
    ("key_name", "text"),
    ("tenant", "text"),
    ("caller", "text"),
    ("priority", "int"),
    ("stream", "int"),
    ("outcome", "text"),
    ("error", "text"),
    ("status", "int?"),
    ("attempts", "int"),
    ("latency", "real"),
    ("first_content", "real?"),
    ("queued", "real"),
    ("reported", "int"),
    ("input_tokens", "int"),
    ("output_tokens", "int"),
    ("cached_tokens", "int"),
    ("cache_write_tokens", "int"),
    ("reasoning_tokens", "int"),
    ("input_audio_tokens", "int"),
    ("output_audio_tokens", "int"),
    ("images", "int"),
    ("characters", "int"),
    ("seconds", "real"),
    ("tier", "text"),
    ("cost", "real?"),
    ("cost_parts", "text?"),  # JSON: dollars by class
    ("price_source", "text"),
    ("saved", "real"),
    ("cache", "text"),
    ("upstream_request_id", "text"),
    ("tags", "text?"),  # JSON
)
NAMES: Final = tuple(name for name, _ in COLUMNS)
Row = tuple[Any, ...]

#: Characters kept of a text: names come from callers.
_LONGEST: Final = 256
_MOST_TAGS: Final = 32
_encode = msgspec.json.Encoder(order="deterministic").encode


def row_of(record: CallRecord, uid: str) -> Row:
    """The row of a record, in the order of `COLUMNS`."""
    usage, cost = record.usage, record.cost
    started = _finite(record.started)
    return (
        uid,
        started,
        int(started // 86400),
        _text(record.request_id),
        _text(record.operation.value),
        _text(record.alias),
        _text(record.backend),
        _text(record.model),
        _text(record.key),
        _text(record.tenant),
        _text(record.caller),
        int(record.priority),
        int(record.stream),
        _text(record.outcome),
        _text(record.error),
        record.status,
        record.attempts,
        _finite(record.latency),
        None if record.first_content is None else _finite(record.first_content),
        _finite(record.queued),
        int(usage.reported),
        _count(usage.input_tokens),
        _count(usage.output_tokens),
        _count(usage.cached_tokens),
        _count(usage.cache_write_tokens),
        _count(usage.reasoning_tokens),
        _count(usage.input_audio_tokens),
        _count(usage.output_audio_tokens),
        _count(usage.images),
        _count(usage.characters),
        _finite(usage.seconds),
        _text(usage.tier),
        None if cost is None else _finite(cost.total),
        _encode(cost.parts).decode() if cost is not None and cost.parts else None,
        "" if cost is None else _text(cost.source),
        _finite(record.saved),
        _text(record.cache),
        _text(record.upstream_request_id),
        _tags(record.tags) if record.tags else None,
    )


def _text(value: Any) -> str:
    """Text that every database takes: no NUL, no halves of surrogate pairs, not without end."""
    text = value if isinstance(value, str) else str(value)
    if len(text) > _LONGEST:
        text = text[:_LONGEST]
    if text.isascii():
        return text.replace("\0", "�") if "\0" in text else text
    return text.replace("\0", "�").encode("utf-8", "replace").decode()


def _tags(tags: dict[str, str]) -> str:
    kept = list(tags.items())[:_MOST_TAGS]
    return _encode({_text(name): _text(value) for name, value in kept}).decode()


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _count(value: int) -> int:
    return min(max(0, value), 2**53)
