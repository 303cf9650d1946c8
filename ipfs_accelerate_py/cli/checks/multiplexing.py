"""Whether several keys are used as they should be: evenly, within their limits, and past one that is refused."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ipfs_accelerate_py.cli.checks.backends import Result
from ipfs_accelerate_py.cli.checks.models import SIMULATORS
from ipfs_accelerate_py.cli.checks.probes import Wrong
from ipfs_accelerate_py.cli.failures import summary
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import AccelerateError

if TYPE_CHECKING:
    from ipfs_accelerate_py.simulator import Simulator

__all__ = ["KEYED", "check_multiplexing"]

KEYS = {"first": "simulated-1", "second": "simulated-2", "third": "simulated-3"}
#: Backends with a pool of keys, as far as there is a simulator of them.
KEYED = ("openai", "groq", "claude", "gemini", "hf_tgi", "opea")


async def check_multiplexing(names: list[str], told: Callable[[Result], None]) -> list[Result]:
    """Every check on every backend's simulator."""
    results = []
    for name in names:
        for what, check in _CHECKS:
            began = time.monotonic()
            try:
                status, detail = "ok", await check(name)
            except Wrong as wrong:
                status, detail = "failed", str(wrong)
            except AccelerateError as error:
                status, detail = "failed", f"{type(error).__name__}: {summary(error)}"
            result = Result(name, what, status, time.monotonic() - began, detail)
            results.append(result)
            told(result)
    return results


def _client(name: str, simulator: Simulator, keys: dict[str, str], strategy: str = "round-robin") -> AsyncClient:
    return AsyncClient(
        name, base_url=simulator.url, api_key=keys, key_selection_strategy=strategy, max_retries=3,
        initial_retry_delay=0.01, max_concurrent_requests=30,
    )  # fmt: skip


def _simulator(name: str, **settings: object) -> Simulator:
    from ipfs_accelerate_py.simulator import Simulator

    return Simulator(SIMULATORS[name], **settings)  # type: ignore[arg-type]  # by name


def _used(simulator: Simulator) -> Counter[str]:
    return Counter(request.key or "-" for request in simulator.requests)


async def _ask(client: AsyncClient) -> None:
    await client.chat("chat-model", "Hello", max_tokens=8)


async def _evenly(name: str) -> str:
    async with _simulator(name, api_keys=KEYS) as simulator, _client(name, simulator, KEYS) as client:
        for _ in range(9):
            await _ask(client)
        used = _used(simulator)
    if set(used.values()) != {3}:
        raise Wrong(f"9 calls were spread as {dict(used)}")
    return "9 calls, 3 a key"


async def _least_loaded(name: str) -> str:
    async with (
        _simulator(name, api_keys=KEYS, latency=0.05) as simulator,
        _client(name, simulator, KEYS, "least-loaded") as client,
    ):
        await asyncio.gather(*(_ask(client) for _ in range(12)))
        used = _used(simulator)
    if set(used.values()) != {4}:
        raise Wrong(f"12 calls at once were spread as {dict(used)}")
    return "12 calls at once, 4 a key"


async def _past_a_bad_key(name: str) -> str:
    good = {key: value for key, value in KEYS.items() if key != "second"}
    async with _simulator(name, api_keys=good) as simulator, _client(name, simulator, KEYS) as client:
        for _ in range(8):
            await _ask(client)
        refused = sum(request.status in (400, 401, 403) for request in simulator.requests)
        quarantined = client.snapshot()["keys"]["second"]["quarantined"]
    if refused != 1 or not quarantined:
        raise Wrong(f"the refused key was tried {refused} times, and is {'' if quarantined else 'not '}in quarantine")
    return "8 of 8 answered; the refused key was tried once"


async def _named(name: str) -> str:
    async with _simulator(name, api_keys=KEYS) as simulator, _client(name, simulator, KEYS) as client:
        for _ in range(3):
            await client.chat("chat-model", "Hello", api_key_name="third", max_tokens=8)
        used = _used(simulator)
    if dict(used) != {"third": 3}:
        raise Wrong(f"3 calls for the key 'third' were sent with {dict(used)}")
    return "3 calls, all with the key named"


_CHECKS: tuple[tuple[str, Callable[[str], Awaitable[str]]], ...] = (
    ("round-robin", _evenly),
    ("least-loaded", _least_loaded),
    ("refused key", _past_a_bad_key),
    ("specific key", _named),
)
