"""Ollama's chat and generate."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.things.base import PNG, SCHEMA, Body, Thing, each, thing

OLLAMA: Body = {"model": "m", "stream": False, "messages": [{"role": "user", "content": "Hello"}]}
OLLAMA_TOOLS: Body = {**OLLAMA, "tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]}
OLLAMA_TURN: Body = {
    **OLLAMA_TOOLS,
    "messages": [
        *OLLAMA["messages"],
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {}}}]},
        {"role": "tool", "content": "Sunny.", "tool_name": "weather"},
    ],
}
PROMPT: Body = {"model": "m", "stream": False, "prompt": "Hello"}
_RUNNER = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep")
_SAMPLERS = ("tfs_z", "typical_p", "min_p", "repeat_penalty", "mirostat_tau", "mirostat_eta")


def _of_both(base: Body) -> Iterator[Thing]:
    yield from each(
        base,
        ("options.temperature", 0.37),
        ("options.top_p", 0.83),
        ("options.top_k", 37),
        ("options.num_predict", 377, "max_tokens"),
        ("options.stop", ["zqstop"]),
        ("options.seed", 41),
        ("options.presence_penalty", 0.7),
        ("options.frequency_penalty", 0.6),
        *((f"options.{name}", 0.6) for name in _SAMPLERS),
        ("options.mirostat", 2),
        ("options.repeat_last_n", 33),
        ("options.penalize_newline", True),
        *((f"options.{name}", 7) for name in _RUNNER),
        ("options.numa", True),
        ("options.low_vram", True),
        ("options.use_mmap", False),
        ("format", "json", "response_format"),
        ("format", SCHEMA, "response_format"),
        ("think", True, "reasoning_effort"),
        ("think", False, "reasoning_effort"),
        ("think", "high", "reasoning_effort"),
        ("keep_alive", "5m"),
        ("truncate", False),
        ("shift", False),
        ("logprobs", True),
        ("zq_unknown", "zqvalue"),
    )


def chats() -> Iterator[Thing]:
    yield from _of_both(OLLAMA)
    yield from each(
        OLLAMA,
        ("messages.0.images", [PNG], "image_url"),
        ("messages.+", {"role": "system", "content": "zqsystem"}),
        ("messages.+", {"role": "assistant", "content": "zqprefill"}),
        ("messages.0.zq_unknown", "zqvalue"),
    )
    yield thing(OLLAMA_TOOLS, "tools.0.function.description", "zqdescription")
    yield thing(OLLAMA_TURN, "messages.1.thinking", "zqthought", "reasoning_content")
    yield thing(OLLAMA_TURN, "messages.2.content", "zqresult")
    yield thing(OLLAMA_TURN, "messages.2.images", [PNG], "image_url")


def prompts() -> Iterator[Thing]:
    yield from _of_both(PROMPT)
    yield from each(
        PROMPT,
        ("system", "zqsystem"),
        ("images", [PNG], "image_url"),
        ("template", "zqtemplate"),
        ("context", [1, 2]),
        ("raw", True, "completion"),
        ("suffix", "zqsuffix", "completion"),
        ("width", 7),
    )
