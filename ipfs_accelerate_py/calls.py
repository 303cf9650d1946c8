"""What every call takes beside its request: read from a verb's options, and checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.settings import MID_STREAM, TIME_LIMITS, Settings, Timeouts, check_limit
from ipfs_accelerate_py.types import Call, Operation, Priority, Request, new_request_id

__all__ = ["Maker", "make_call"]

#: From the options that are left to a request.
Maker = Callable[[dict[str, Any]], Request]


def make_call(
    settings: Settings, operation: Operation, options: dict[str, Any], request: Maker, *, stream: bool = False
) -> Call:
    """A call: what every verb takes is taken out of ``options``, and ``request`` makes its part of the rest.

    Raises `ConfigurationError` for a value that makes no sense.
    """
    timeout = options.pop("timeout", None)
    if timeout is None:
        timeout = settings.total_timeout
    elif isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ConfigurationError(f"timeout must be a number of seconds above 0, not {timeout!r}")
    limits = None
    if not options.keys().isdisjoint(TIME_LIMITS):
        limits = {name: check_limit(name, options.pop(name)) for name in TIME_LIMITS if name in options}
        timeout = limits.pop("total_timeout", timeout)
    timeouts = options.pop("timeouts", None)
    if timeouts is not None and not isinstance(timeouts, Timeouts):
        raise ConfigurationError("timeouts must be a Timeouts(connect=, first_byte=, first_content=, idle=)")
    headers = options.pop("headers", None)
    if headers is not None:
        headers = _headers(headers)
    request_id = options.pop("request_id", None)
    if request_id is not None and not isinstance(request_id, str):
        raise ConfigurationError(f"request_id must be a text, not {type(request_id).__name__}")
    priority = options.pop("priority", Priority.NORMAL)
    cache = options.pop("cache", "")
    if cache not in ("", "on", "off", "refresh"):
        raise ConfigurationError(f'cache must be "on", "off" or "refresh", not {cache!r}')
    mid_stream = options.pop("mid_stream", "")
    if mid_stream not in ("", *MID_STREAM):
        raise ConfigurationError(f"mid_stream must be one of {', '.join(MID_STREAM)}, not {mid_stream!r}")
    # Arguments are evaluated in order: the last one gets what the others have left.
    return Call(
        operation=operation,
        stream=stream,
        priority=priority if priority is Priority.NORMAL else Priority.parse(priority),
        deadline=None if timeout is None else time.monotonic() + timeout,
        timeouts=timeouts,
        request_id=request_id or new_request_id(),
        key_name=options.pop("api_key_name", None),
        headers=headers,
        limits=limits,
        tenant=_text("tenant", options.pop("tenant", "")),
        session=_text("session", options.pop("session", "")),
        cache=cache,
        mid_stream=mid_stream,
        tags=_tags(options.pop("tags", None)),
        request=_checked(request(options)),
    )


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a text, not {type(value).__name__}")
    return value


def _tags(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(text, str) for name, text in value.items()
    ):
        raise ConfigurationError('tags must be a mapping of texts, as {"feature": "search"}')
    return dict(value)


def _headers(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(text, str) for name, text in value.items()
    ):
        raise ConfigurationError('headers must be a mapping of texts, as {"X-Name": "value"}')
    return dict(value)


def _checked(request: Request) -> Request:
    if not isinstance(request.model, str):
        raise ConfigurationError(f"model must be a text, not {type(request.model).__name__}")
    return request
