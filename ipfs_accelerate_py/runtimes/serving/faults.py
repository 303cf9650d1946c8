"""Errors across a process boundary: the same type, message and verdict on the other side."""

from __future__ import annotations

from typing import Any

import msgspec

from ipfs_accelerate_py import errors
from ipfs_accelerate_py.errors import AccelerateError, MemoryExhausted, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.scheduled import is_out_of_memory

__all__ = ["Fault", "from_error", "to_error"]

_PLAIN = (str, int, float, bool, type(None))


class Fault(msgspec.Struct):
    """An error: its class's name in `errors`, its message, and what else it says that is plain."""

    kind: str
    message: str
    state: dict[str, Any] = {}


def from_error(error: BaseException) -> Fault:
    """What to send for ``error``; one of ours keeps its type, anything else becomes `RuntimeUnavailable`."""
    if isinstance(error, AccelerateError):
        kind = next(each for each in type(error).__mro__ if each.__module__ == errors.__name__)
        state = {name: value for name, value in vars(error).items() if isinstance(value, _PLAIN)}
        return Fault(kind.__name__, error.message, state)
    kind_of_ours = MemoryExhausted if is_out_of_memory(error) else RuntimeUnavailable
    return Fault(kind_of_ours.__name__, f"the model failed: {type(error).__name__}: {error}")


def to_error(fault: Fault) -> AccelerateError:
    """The error that was sent."""
    kind = getattr(errors, fault.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, AccelerateError)):
        return RuntimeUnavailable(fault.message)
    error = kind.__new__(kind, fault.message)
    error.__dict__.update({"message": fault.message, **fault.state})
    return error
