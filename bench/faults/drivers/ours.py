"""Ours, asynchronous or (``ours.py sync``) synchronous: a client without a fallback, a router with one."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from bench.faults.drivers.common import Ask, failure, main
from ipfs_accelerate_py import Alias, AsyncClient, AsyncRouter, Client, Router, Target

SYNC = "sync" in sys.argv[1:]


def make(setup: dict[str, Any]) -> Ask:
    loop = asyncio.new_event_loop()
    limit = setup["limit"]
    settings: dict[str, Any] = {
        "first_byte_timeout": limit,
        "first_content_timeout": limit,
        "idle_timeout": limit,
        "circuit_reset_timeout": 1.0,
    }
    made: dict[str, Any] = {}

    def client(cell: str) -> tuple[Any, str]:
        about = setup["cells"][cell]
        found = made.get(cell)
        if not about["fallback"]:
            if found is None:
                # What there is to move on to is nowhere: a late first token is waited for.
                alone = {**settings, "first_content_timeout": None, "max_retries": 2}
                kind: Any = Client if SYNC else AsyncClient
                found = made[cell] = kind("openai", base_url=about["primary"], api_key="sk-test", **alone)
            return found, setup["primary_model"]
        if found is None:
            first = Target("openai", setup["primary_model"], base_url=about["primary"], api_key="sk-test")
            second = Target("openai", setup["fallback_model"], base_url=about["fallback"], api_key="sk-test")
            refuses = cell.startswith("f14-")
            second.accepts_continuation = not refuses
            aliases: dict[str, Any] = {"m": [first, second]}
            if about["kind"] == "context":
                aliases = {"m": Alias([first], context_fallbacks=["large"]), "large": [second]}
            kind = Router if SYNC else AsyncRouter
            found = made[cell] = kind(aliases, **settings)
        return found, "m"

    async def unary(chosen: Any, model: str, deadline: float) -> Any:
        return await chosen.chat(model, "Hello", timeout=deadline)

    async def streamed(chosen: Any, model: str, deadline: float, seen: dict[str, Any]) -> None:
        stream = chosen.stream(model, "Hello", timeout=deadline)
        try:
            async for chunk in stream:
                seen["text"] = chunk.text if chunk.restart else seen["text"] + chunk.text
        finally:
            finish(stream, seen)

    def finish(stream: Any, seen: dict[str, Any]) -> None:
        seen["finish_reason"] = stream.finish_reason
        seen["model"] = stream.model
        seen["output_tokens"] = stream.usage.output_tokens

    def ask(cell: str, stream: bool, deadline: float) -> dict[str, Any]:
        chosen, model = client(cell)
        seen: dict[str, Any] = {"text": ""}
        try:
            if stream and SYNC:
                chunks = chosen.stream(model, "Hello", timeout=deadline)
                try:
                    for chunk in chunks:
                        seen["text"] = chunk.text if chunk.restart else seen["text"] + chunk.text
                finally:
                    finish(chunks, seen)
            elif stream:
                loop.run_until_complete(streamed(chosen, model, deadline, seen))
            else:
                reply = (
                    chosen.chat(model, "Hello", timeout=deadline)
                    if SYNC
                    else loop.run_until_complete(unary(chosen, model, deadline))
                )
                seen = {
                    "text": reply.text,
                    "finish_reason": reply.finish_reason,
                    "model": reply.model,
                    "output_tokens": reply.usage.output_tokens,
                }
        except Exception as error:
            seen.update(failure(error))
        return seen

    return ask


if __name__ == "__main__":
    main(make)
