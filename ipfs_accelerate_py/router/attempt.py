"""The call that a target is given: the caller's, with the target's own model, format and limits of time."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from ipfs_accelerate_py.requests import RawRequest, Request
from ipfs_accelerate_py.router.loops import HOPS_HEADER, hops
from ipfs_accelerate_py.router.routed import Routed
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call

__all__ = ["attempt_call", "with_model"]

_DEFAULT_FIRST_BYTE = Settings.first_byte_timeout or 0.0


def with_model(request: Request, model: str) -> Request:
    """The request for another model; one in a service's own words has the name in its body too."""
    if isinstance(request, RawRequest) and isinstance(request.body, dict) and "model" in request.body:
        return replace(request, model=model, body={**request.body, "model": model})
    return replace(request, model=model)


def attempt_call(call: Call, target: Routed, alias: str, patience: float | None, clock: Callable[[], float]) -> Call:
    """A copy of ``call`` for ``target``; ``patience`` is None where nobody else can be asked.

    The list of attempts is the caller's own. Raises what the caller's `Variants` raise where the request has no
    counterpart in the target's format.
    """
    passthrough = None
    if call.variants is not None:
        request, passthrough = call.variants(target.dialect, target.operations, target.model, target.stream_usage)
    else:
        request = with_model(call.request, target.model)
    headers = call.headers
    if target.own_url:
        headers = {**(headers or {}), HOPS_HEADER: str(hops(headers) + 1)}
    deadline = call.deadline
    if "total_timeout" in target.target.settings and (most := target.backend.settings.total_timeout) is not None:
        limit = clock() + most
        deadline = limit if deadline is None else min(deadline, limit)
    return replace(
        call,
        operation=request.operation,
        request=request,
        passthrough=passthrough,
        headers=headers,
        deadline=deadline,
        alias=alias,
        patience=patience,
        limits=_limits(call, target.backend.settings, patience is None, clock),
        variants=None,
        queued=0.0,
        lease=None,
        hurry=None,
    )


def _limits(call: Call, settings: Settings, last: bool, clock: Callable[[], float]) -> dict[str, float | None] | None:
    """The call's limits of time, and what follows from there being others to ask, or not.

    The limit for the first content says when another target is asked; where there is none, the call's deadline ends the
    wait, unless the caller himself set that limit. And where nobody has set one for the first byte, a target of a
    stream may be silent for at most half of the time that the call has left, so that another one can still answer.
    """
    limits = call.limits
    if call.timeouts is not None:
        return limits
    if last:
        if settings.first_content_timeout is None or (limits is not None and "first_content_timeout" in limits):
            return limits
        return {**(limits or {}), "first_content_timeout": None}
    if (
        call.stream
        and call.deadline is not None
        and settings.first_byte_timeout == _DEFAULT_FIRST_BYTE
        and (limits is None or "first_byte_timeout" not in limits)
    ):
        half = (call.deadline - clock()) / 2
        if half < 0.9 * _DEFAULT_FIRST_BYTE:
            return {**(limits or {}), "first_byte_timeout": max(half, 0.001)}
    return limits
