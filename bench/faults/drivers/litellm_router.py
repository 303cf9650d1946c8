"""LiteLLM's Router: two retries, one fallback, and its limits of time and cooldown as short as everybody's."""

from __future__ import annotations

import asyncio
from typing import Any

import litellm

from bench.faults.drivers.common import Ask, failure, main

litellm.suppress_debug_info = True


def make(setup: dict[str, Any]) -> Ask:
    loop = asyncio.new_event_loop()
    limit = setup["limit"]
    routers: dict[str, litellm.Router] = {}

    def entry(name: str, model: str, url: str) -> dict[str, Any]:
        return {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{model}",
                "api_base": url,
                "api_key": "sk-test",
                "timeout": limit,
                "stream_timeout": limit,
            },
        }

    def router(cell: str) -> litellm.Router:
        found = routers.get(cell)
        if found is None:
            about = setup["cells"][cell]
            models = [entry("m", setup["primary_model"], about["primary"])]
            options: dict[str, Any] = {}
            if about["fallback"]:
                models.append(entry("backup", setup["fallback_model"], about["fallback"]))
                options["context_window_fallbacks" if about["kind"] == "context" else "fallbacks"] = [{"m": ["backup"]}]
            found = routers[cell] = litellm.Router(
                model_list=models, num_retries=2, cooldown_time=1, allowed_fails=3, **options
            )
        return found

    async def go(cell: str, stream: bool) -> dict[str, Any]:
        seen: dict[str, Any] = {"text": ""}
        messages = [{"role": "user", "content": "Hello"}]
        try:
            if not stream:
                answer: Any = await router(cell).acompletion("m", messages)
                return {
                    "text": answer.choices[0].message.content or "",
                    "finish_reason": answer.choices[0].finish_reason,
                    "model": answer.model,
                    "output_tokens": answer.usage.completion_tokens,
                }
            chunks: Any = await router(cell).acompletion(
                "m", messages, stream=True, stream_options={"include_usage": True}
            )
            async for chunk in chunks:
                seen["model"] = chunk.model or seen.get("model", "")
                if getattr(chunk, "usage", None):
                    seen["output_tokens"] = chunk.usage.completion_tokens
                for choice in chunk.choices:
                    seen["text"] += choice.delta.content or ""
                    seen["finish_reason"] = choice.finish_reason or seen.get("finish_reason")
        except Exception as error:
            seen.update(failure(error))
        return seen

    def ask(cell: str, stream: bool, deadline: float) -> dict[str, Any]:
        async def bounded() -> dict[str, Any]:
            return await asyncio.wait_for(go(cell, stream), deadline + 3)

        return loop.run_until_complete(bounded())

    return ask


if __name__ == "__main__":
    main(make)
