"""Routers over simulators, and what it means that nothing is held."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

from ipfs_accelerate_py import AsyncRouter, Router, Target
from ipfs_accelerate_py.backends import Backend
from ipfs_accelerate_py.backends.spec import BackendSpec
from ipfs_accelerate_py.credentials import Credential, Secret
from ipfs_accelerate_py.router.routed import Routed
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, ChatRequest, Operation
from tests.upstreams import PATIENCE, QUICK, holding

__all__ = ["QUICK", "chat_call", "held", "make_routed", "nothing_held", "nothing_held_sync", "quick", "target"]


def target(sim: Any, model: str = "m-1", **options: Any) -> Target:
    """A target of OpenAI's format at a simulator, or at any URL."""
    url = sim if isinstance(sim, str) else sim.url
    return Target("openai", model, base_url=url, **{"api_key": "sk-test", **options})


def quick(aliases: Any, **options: Any) -> AsyncRouter:
    """A router that is quick about everything."""
    return AsyncRouter(aliases, **{**QUICK, "max_retries": 1, **options})


def held(router: AsyncRouter) -> dict[str, Any]:
    """What a router holds right now, by target; what is 0 is left out."""
    found: dict[str, Any] = {}
    for name, each in router.targets.items():
        counts = {**holding(SimpleNamespace(_backend=each.backend)), "outstanding": each.outstanding}  # type: ignore[arg-type]
        left = {what: count for what, count in counts.items() if count}
        if left:
            found[name] = left
    if router.usage_policy.in_flight:
        found["in flight"] = router.usage_policy.in_flight
    return found


async def nothing_held(router: AsyncRouter, patience: float = PATIENCE) -> None:
    """Assert that the router, within a moment, holds nothing, and has left no task of its own."""
    until = time.monotonic() + patience
    while left := held(router) or [
        task
        for task in asyncio.all_tasks()
        if "ipfs_accelerate_py/router" in task.get_coro().cr_code.co_filename  # type: ignore[union-attr]
    ]:
        assert time.monotonic() < until, f"still held: {left}"
        await asyncio.sleep(0.002)


def nothing_held_sync(router: Router, patience: float = PATIENCE) -> None:
    router.portal().call(nothing_held, router.asynchronous, patience)


def chat_call(model: str = "smart", **options: Any) -> Call:
    return Call(
        operation=Operation.CHAT,
        request=ChatRequest(model, [{"role": "user", "content": "hello"}]),
        request_id="req_test",
        **options,
    )


def make_routed(name: str, clock: Any = time.monotonic, slots: int = 5, **options: Any) -> Routed:
    """A target that is not asked anything: for the arithmetic."""
    settings = Settings()
    settings.update({"max_concurrent_requests": slots})
    backend = Backend(
        BackendSpec(name), settings, [Credential("a", Secret("sk-1"), "explicit")], "http://127.0.0.1:9/v1"
    )
    return Routed(name, Target("openai", options.pop("model", "m"), name=name, **options), backend, clock=clock)
