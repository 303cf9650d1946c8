"""Every backend that answers chat, each in front of its own simulator, and what is the same of all of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from ipfs_accelerate_py import AsyncClient
from ipfs_accelerate_py.simulator import Simulator
from tests.upstreams import QUICK

__all__ = ["CHAT", "EMBED", "MODEL", "TOOLS", "Place", "opened"]

#: Backends and the simulators that stand for them.
CHAT = {
    "openai": "openai",
    "groq": "openai",
    "llvm": "openai",
    "claude": "anthropic",
    "gemini": "gemini",
    "ollama": "ollama",
    "hf_tgi": "tgi",
    "ovms": "ovms",
    "opea": "opea",
}
EMBED = {"openai": "openai", "gemini": "gemini", "ollama": "ollama", "hf_tei": "tei", "ovms": "ovms", "opea": "opea"}
#: Backends whose services have tools; TGI calls one at a time.
TOOLS = tuple(name for name in CHAT if name != "opea")
MODEL = "model-1"
KEY = "sk-conformance-0123456789"


class Place(NamedTuple):
    sim: Simulator
    client: AsyncClient


@contextlib.asynccontextmanager
async def opened(backend: str, *, sim: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[Place]:
    """A client of the backend, and the simulator it asks; retries are off unless they are set."""
    name = CHAT.get(backend) or EMBED[backend]
    async with (
        Simulator(name, api_keys={"key": KEY}, dimensions=6, **(sim or {})) as simulator,
        AsyncClient(backend, base_url=simulator.url, api_key=KEY, **{**QUICK, "max_retries": 0, **settings}) as client,
    ):
        yield Place(simulator, client)
