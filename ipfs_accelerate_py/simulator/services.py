"""The wire formats the simulator speaks, by name."""

from __future__ import annotations

from collections.abc import Callable

from ipfs_accelerate_py.errors import UnknownBackend

from .openai import OpenAI
from .wire import Service

__all__ = ["available", "service"]

_SERVICES: dict[str, Callable[[], Service]] = {"openai": OpenAI}


def available() -> tuple[str, ...]:
    """Names of the services that can be simulated."""
    return tuple(sorted(_SERVICES))


def service(name: str) -> Service:
    """The service of this name. Raises ``UnknownBackend``, naming those there are."""
    try:
        make = _SERVICES[name]
    except KeyError:
        raise UnknownBackend(f"The simulator does not speak {name!r}. It speaks: {', '.join(available())}.") from None
    return make()
