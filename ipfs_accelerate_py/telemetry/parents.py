"""Whose span a call belongs to: the W3C trace context (https://www.w3.org/TR/trace-context/) in and out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanContext

__all__ = ["headers_of", "parent_of"]

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
#: The standard lets a tracestate be cut at this length; longer ones are not worth their bytes.
_MOST_TRACESTATE = 512


def parent_of(given: Any) -> Context | None:
    """The context that a `Call.trace` stands for, or None: then the current one of the task is the parent.

    It is a ``traceparent`` header, a mapping of headers with that one and ``tracestate`` (texts or bytes), or a context
    of OpenTelemetry's. What cannot be read is nobody's span, as the standard says.
    """
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

    if given is None or isinstance(given, Context):
        return given
    state = ""
    if isinstance(given, Mapping):
        state = _text(given, "tracestate")
        given = _text(given, "traceparent")
    elif isinstance(given, bytes):
        given = given.decode("latin-1")
    found = _TRACEPARENT.fullmatch(given.strip()) if isinstance(given, str) else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    trace_id, span_id = int(found[2], 16), int(found[3], 16)
    if not trace_id or not span_id:
        return None
    kept = TraceState.from_header([state]) if state and len(state) <= _MOST_TRACESTATE else None
    context = SpanContext(trace_id, span_id, True, TraceFlags(int(found[4], 16)), kept)
    return set_span_in_context(NonRecordingSpan(context))


def headers_of(context: SpanContext) -> dict[str, str]:
    """What tells the upstream of this span."""
    headers = {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 255:02x}"}
    if context.trace_state:
        headers["tracestate"] = context.trace_state.to_header()
    return headers


def _text(headers: Mapping[Any, Any], name: str) -> str:
    value = headers.get(name)
    if value is None:
        value = headers.get(name.encode())
    return value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""
