"""The ``openai`` client: with its own retries against an upstream, or with none against a gateway that has its own."""

from __future__ import annotations

import sys
from typing import Any

import openai

from bench.faults.drivers.common import Ask, failure, main


def make(setup: dict[str, Any]) -> Ask:
    gateway = setup.get("gateway")
    clients: dict[str, openai.OpenAI] = {}

    def client(cell: str) -> openai.OpenAI:
        found = clients.get(cell)
        if found is None:
            limit = setup["deadline"] if gateway else setup["limit"]
            found = clients[cell] = openai.OpenAI(
                api_key=setup.get("key", "sk-test"),
                base_url=gateway or setup["cells"][cell]["primary"],
                max_retries=0 if gateway else 2,
                timeout=limit + 2 if gateway else limit,
            )
        return found

    def ask(cell: str, stream: bool, deadline: float) -> dict[str, Any]:
        seen: dict[str, Any] = {"text": ""}
        model = cell if gateway else setup["primary_model"]
        messages: Any = [{"role": "user", "content": "Hello"}]
        try:
            if not stream:
                answer = client(cell).chat.completions.create(model=model, messages=messages)
                return {
                    "text": answer.choices[0].message.content or "",
                    "finish_reason": answer.choices[0].finish_reason,
                    "model": answer.model,
                    "output_tokens": answer.usage.completion_tokens if answer.usage else 0,
                }
            for chunk in client(cell).chat.completions.create(
                model=model, messages=messages, stream=True, stream_options={"include_usage": True}
            ):
                seen["model"] = chunk.model or seen.get("model", "")
                if chunk.usage:
                    seen["output_tokens"] = chunk.usage.completion_tokens
                for choice in chunk.choices:
                    seen["text"] += choice.delta.content or ""
                    seen["finish_reason"] = choice.finish_reason or seen.get("finish_reason")
        except Exception as error:
            seen.update(failure(error))
        return seen

    return ask


if __name__ == "__main__":
    main(make)
    sys.exit(0)
