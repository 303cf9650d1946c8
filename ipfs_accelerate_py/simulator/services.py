"""The wire formats the simulator speaks, by name."""

from __future__ import annotations

from collections.abc import Callable

from ipfs_accelerate_py.errors import UnknownBackend

from .anthropic import Anthropic
from .gemini import Gemini
from .ollama import Ollama
from .opea import Opea
from .openai import OpenAI
from .ovms import Ovms
from .tei import Tei
from .tgi import Tgi
from .wire import Service

__all__ = ["available", "service"]

_SERVICES: dict[str, Callable[[], Service]] = {
    "anthropic": Anthropic,
    "gemini": Gemini,
    "ollama": Ollama,
    "opea": Opea,
    "openai": OpenAI,
    "ovms": Ovms,
    "tei": Tei,
    "tgi": Tgi,
}


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
