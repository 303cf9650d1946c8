"""Fifty calls at once through one contestant, as a process of its own: prints a line of JSON. See `bench.limits`.

Imports nothing of this package but for our own contestants, for it also runs where the peers are installed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

MESSAGES = [{"role": "user", "content": "Say something short about foxes."}]
MODEL = "gpt-4o"

Ask = Callable[[], Awaitable[object]]


async def semaphore(url: str, keys: list[str], limit: int) -> Ask:
    """Somebody who knows the limit, and writes a semaphore for each key by hand."""
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    gates = [asyncio.Semaphore(limit) for _ in keys]
    turn = iter(range(10**9))

    async def ask() -> None:
        number = next(turn) % len(keys)
        async with (
            gates[number],
            session.post(
                f"{url}/chat/completions",
                json={"model": MODEL, "messages": MESSAGES},
                headers={"Authorization": f"Bearer {keys[number]}"},
            ) as response,
        ):
            await response.read()
            response.raise_for_status()

    return ask


def openai_client(retries: int) -> Callable[[str, list[str], int], Awaitable[Ask]]:
    async def make(url: str, keys: list[str], limit: int) -> Ask:
        from openai import AsyncOpenAI

        clients = [AsyncOpenAI(base_url=url, api_key=key, max_retries=retries) for key in keys]
        turn = iter(range(10**9))

        async def ask() -> object:
            messages: Any = MESSAGES
            client = clients[next(turn) % len(keys)]
            return await client.chat.completions.create(model=MODEL, messages=messages)

        return ask

    return make


def litellm_router(retries: int, **options: Any) -> Callable[[str, list[str], int], Awaitable[Ask]]:
    async def make(url: str, keys: list[str], limit: int) -> Ask:
        import litellm

        litellm.suppress_debug_info = True
        models = [
            {"model_name": "m", "litellm_params": {"model": f"openai/{MODEL}", "api_base": url, "api_key": key}}
            for key in keys
        ]
        router = litellm.Router(model_list=models, num_retries=retries, **options)

        async def ask() -> object:
            return await router.acompletion("m", MESSAGES)

        return ask

    return make


def ours(told: bool) -> Callable[[str, list[str], int], Awaitable[Ask]]:
    async def make(url: str, keys: list[str], limit: int) -> Ask:
        from ipfs_accelerate_py import AsyncClient

        most = limit * len(keys) if told else 50
        client = AsyncClient("openai", base_url=url, api_key="sk-none", max_concurrent_requests=most)
        client.remove_api_key(client.api_key_names[0])
        for number, key in enumerate(keys):
            client.add_api_key(f"key{number}", key, max_concurrent=limit if told else None)

        async def ask() -> object:
            return await client.chat(MODEL, MESSAGES)

        return ask

    return make


async def gateway(url: str, keys: list[str], limit: int) -> Ask:
    """The gateway is running already, and knows the keys itself; its callers have no retries."""
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def ask() -> None:
        async with session.post(f"{url}/chat/completions", json={"model": MODEL, "messages": MESSAGES}) as response:
            await response.read()
            response.raise_for_status()

    return ask


CONTESTANTS: dict[str, Callable[[str, list[str], int], Awaitable[Ask]]] = {
    "ours, limit configured": ours(True),
    "ours, limit unknown": ours(False),
    "our gateway, limit configured": gateway,
    "our gateway, limit unknown": gateway,
    "a semaphore by hand": semaphore,
    "openai client, 2 retries": openai_client(2),
    "openai client, 10 retries": openai_client(10),
    "litellm Router, 2 retries": litellm_router(2),
    "litellm Router, 10 retries": litellm_router(10),
    "litellm Router, 10 retries, no cooldowns": litellm_router(10, disable_cooldowns=True),
}


async def run(name: str, url: str, keys: list[str], limit: int, calls: int) -> None:
    ask = await CONTESTANTS[name](url, keys, limit)
    await ask()  # imports, connections: not what this is about
    sys.stdin.readline()  # the upstream is asked for its count first
    errors: dict[str, int] = {}

    async def one() -> float:
        began = time.perf_counter()
        try:
            await ask()
        except Exception as error:
            errors[type(error).__name__] = errors.get(type(error).__name__, 0) + 1
        return time.perf_counter() - began

    seconds = await asyncio.gather(*(one() for _ in range(calls)))
    print(json.dumps({"seconds": seconds, "errors": errors}), file=OUT, flush=True)


if __name__ == "__main__":
    OUT, sys.stdout = sys.stdout, sys.stderr
    told = json.loads(sys.stdin.readline())
    print("ready", file=OUT, flush=True)
    import os

    asyncio.run(run(**told))
    os._exit(0)  # sessions are left open on purpose: the process is over
