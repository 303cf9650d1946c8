"""Each verb is written once, as a coroutine on the portal's loop, and offered twice: blocking, and awaitable.

A client's queue, breaker and keys are confined to one event loop, the portal's. So the awaitable twin does not run
the verb on the caller's loop: it starts it on the portal's and awaits the outcome from there, and a cancelled caller
cancels the call (see `Pending`). ``chat`` and ``achat`` therefore share one queue, one breaker and one set of keys, and
may be called from any number of threads and loops at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from ipfs_accelerate_py.client import AsyncClient

if TYPE_CHECKING:
    from ipfs_accelerate_py.api_backends.base import ApiBackend

__all__ = ["awaitable", "blocking"]

S = TypeVar("S", bound="ApiBackend")
P = ParamSpec("P")
R = TypeVar("R")

Verb = Callable[Concatenate[S, AsyncClient, P], Awaitable[R]]


def blocking(verb: Callable[Concatenate[S, AsyncClient, P], Awaitable[R]]) -> Callable[Concatenate[S, P], R]:
    """The verb for ordinary code: ``chat = blocking(_chat)``."""

    def call(self: ApiBackend, *args: Any, **options: Any) -> Any:
        return self._call(verb, *args, **options)

    _dress(call, verb, "")
    return cast("Callable[Concatenate[S, P], R]", call)


def awaitable(
    verb: Callable[Concatenate[S, AsyncClient, P], Awaitable[R]],
) -> Callable[Concatenate[S, P], Awaitable[R]]:
    """The verb for asyncio: ``achat = awaitable(_chat)``."""

    async def call(self: ApiBackend, *args: Any, **options: Any) -> Any:
        return await self._begin(verb, *args, **options)

    _dress(call, verb, "a")
    return cast("Callable[Concatenate[S, P], Awaitable[R]]", call)


def _dress(call: Any, verb: Any, prefix: str) -> None:
    """Name, documentation and signature as a reader expects them, without the client that the verb is given."""
    call.__name__ = prefix + verb.__name__.lstrip("_")
    call.__qualname__ = verb.__qualname__.rpartition(".")[0] + "." + call.__name__
    call.__module__ = verb.__module__
    call.__doc__ = verb.__doc__
    signature = inspect.signature(verb)
    shown = [parameter for name, parameter in signature.parameters.items() if name != "client"]
    call.__signature__ = signature.replace(parameters=shown)
