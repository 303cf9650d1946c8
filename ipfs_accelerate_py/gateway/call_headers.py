"""The gateway's own headers: what a client may ask for beside its vendor's format, and what it is told."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping

from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import ConfigurationError, InvalidRequest
from ipfs_accelerate_py.types import Call, Priority, Reply

__all__ = ["NAMES", "cost_text", "read_headers", "told"]

_PREFIX = b"x-ipfs-accelerate-"
#: Counts the gateways that a call has been through (`router.loops`).
_HOPS = b"x-ipfs-accelerate-hops"
_MOST_TAGS = 16
_SESSION = re.compile(r"[\x20-\x7e]{1,128}")
_TAG = re.compile(r"\s*([\w.-]{1,64})\s*=\s*([^,=]{0,128}?)\s*")


def read_headers(headers: Mapping[bytes, bytes], call: Call, *, hops: int = 1) -> None:
    """Write into a call what its client asks for. Raises `InvalidRequest` that names the header that is wrong.

    ``hops`` is what is added to the number of gateways that the call has been through.
    """
    for name, write in _HEADERS.items():
        value = headers.get(name)
        if value is not None:
            write(call, value.decode("latin-1").strip())
    if call.trace is not None and (state := headers.get(b"tracestate")) is not None:
        call.trace["tracestate"] = state.decode("latin-1").strip()
    if (through := headers.get(_HOPS)) is not None:
        from ipfs_accelerate_py.router.loops import HOPS_HEADER, check_hops

        count = check_hops({HOPS_HEADER: through.decode("latin-1")})
        call.headers = {**(call.headers or {}), HOPS_HEADER: str(count + hops)}


def _priority(call: Call, text: str) -> None:
    try:
        call.priority = Priority.parse(int(text) if text.isdigit() else text)
    except (ConfigurationError, ValueError):
        raise _wrong("X-Priority", "must be HIGH, NORMAL or LOW") from None


def _timeout(call: Call, text: str) -> None:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise _wrong("X-Timeout", "must be a number of seconds of more than 0")
    until = time.monotonic() + seconds
    call.deadline = until if call.deadline is None else min(until, call.deadline)


def _session(call: Call, text: str) -> None:
    if _SESSION.fullmatch(text) is None:
        raise _wrong("X-Session", "must be a text of at most 128 printable characters")
    call.session = text


def _cache(call: Call, text: str) -> None:
    """``no-store``: neither look nor keep; ``no-cache``: ask anew, and keep the answer. Nothing else concerns us."""
    words = {word.strip().lower() for word in text.split(",")}
    if "no-store" in words:
        call.cache = "off"
    elif "no-cache" in words:
        call.cache = "refresh"


def _tags(call: Call, text: str) -> None:
    tags = {}
    for each in text.split(","):
        found = _TAG.fullmatch(each)
        if found is None or not each.isprintable():
            raise _wrong("X-Tags", "must be name=value, name=value, ...; short texts without commas")
        tags[found[1]] = found[2]
    if len(tags) > _MOST_TAGS:
        raise _wrong("X-Tags", f"must have at most {_MOST_TAGS} tags")
    call.tags = tags


def _parent(call: Call, text: str) -> None:
    """The caller's span (W3C trace context); whether it is one, tracing will see."""
    call.trace = {"traceparent": text}


_HEADERS: dict[bytes, Callable[[Call, str], None]] = {
    b"x-priority": _priority,
    b"x-timeout": _timeout,
    b"x-session": _session,
    b"cache-control": _cache,
    b"x-tags": _tags,
    b"traceparent": _parent,
}

#: Headers that `read_headers` reads.
NAMES = frozenset((*_HEADERS, _HOPS))


def _wrong(name: str, text: str) -> InvalidRequest:
    return bad_request(f"The header '{name}' {text}.", "invalid_value", name.lower())


def told(call: Call, reply: Reply, *, caching: bool, alias: bool) -> list[tuple[bytes, bytes]]:
    """The headers of an answer: who answered for an alias, after how many attempts, what it cost, whence it came."""
    headers: list[tuple[bytes, bytes]] = []
    attempts = max(reply.attempts, len(call.attempts) + 1) if not reply.cache else 0
    if alias:
        headers.append((_PREFIX + b"model", _value(reply.target_model or reply.model)))
        headers.append((_PREFIX + b"backend", _value(reply.backend)))
        headers.append((_PREFIX + b"attempts", b"%d" % attempts))
    elif attempts > 1:
        headers.append((_PREFIX + b"attempts", b"%d" % attempts))
    if reply.cost is not None and reply.stream is None:
        headers.append((_PREFIX + b"cost", cost_text(reply.cost.total).encode()))
    if caching:
        headers.append((_PREFIX + b"cache", reply.cache.encode() or b"miss"))
        if reply.similarity is not None:
            headers.append((_PREFIX + b"similarity", b"%.4f" % reply.similarity))
    return headers


def cost_text(dollars: float) -> str:
    """US dollars as a plain decimal number, to a billionth."""
    return f"{dollars:.9f}".rstrip("0").rstrip(".") if dollars else "0"


def _value(text: str) -> bytes:
    return "".join(c if c.isprintable() else "?" for c in text).encode("latin-1", "replace")
