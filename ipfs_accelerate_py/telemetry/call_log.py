"""A line in the log for each call that is over: who was asked, how long it took, how it ended. Never content."""

from __future__ import annotations

import logging
from typing import Any

from ipfs_accelerate_py.records import CallRecord

__all__ = ["CALL_LOGGER", "CallLog"]

#: Name of the logger; its records have the attribute ``call``, a dictionary, for formatters that write JSON.
CALL_LOGGER = "ipfs_accelerate_py.calls"


class CallLog:
    """An observer that logs. A call that failed is logged as a warning, if that is more than ``level``."""

    def __init__(self, level: int | str = logging.INFO) -> None:
        number = logging.getLevelName(level.upper()) if isinstance(level, str) else level
        if isinstance(number, bool) or not isinstance(number, int):
            from ipfs_accelerate_py.errors import ConfigurationError

            raise ConfigurationError(f"level must be DEBUG, INFO, WARNING or a number, not {level!r}")
        self._level = number
        self._logger = logging.getLogger(CALL_LOGGER)

    def __call__(self, record: CallRecord) -> None:
        failed = record.outcome == "failure"
        level = max(self._level, logging.WARNING) if failed else self._level
        if not self._logger.isEnabledFor(level):
            return
        fields = _fields(record)
        text = " ".join(f"{name}={value}" for name, value in fields.items())
        self._logger.log(level, "%s", text, extra={"call": fields})


def _fields(record: CallRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "request_id": record.request_id,
        "operation": record.operation.value,
        "backend": record.backend,
        "model": record.model,
        "outcome": record.outcome,
        "latency": round(record.latency, 6),
        "attempts": record.attempts,
    }
    for name in ("alias", "key", "tenant", "caller", "error", "status", "cache", "upstream_request_id"):
        if (value := getattr(record, name)) and value != record.model:
            fields[name] = value
    if record.stream:
        fields["stream"] = True
    if record.first_content is not None:
        fields["first_content"] = round(record.first_content, 6)
    if record.queued:
        fields["queued"] = round(record.queued, 6)
        fields["priority"] = record.priority.name
    if record.usage.reported:
        fields["input_tokens"] = record.usage.input_tokens
        fields["output_tokens"] = record.usage.output_tokens
    if record.cost is not None:
        fields["cost_usd"] = record.cost.total
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    # Names of models and tenants come from callers, and one call is one line.
    if isinstance(value, str) and (not value.isprintable() or len(value) > 200):
        return "".join(c if c.isprintable() else "?" for c in value[:200])
    return value
