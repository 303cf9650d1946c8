"""Reading JSON that other people wrote: what can be understood is, and content that cannot is an error, never a gap."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from ipfs_accelerate_py.errors import ProtocolError
from ipfs_accelerate_py.types import Usage

__all__ = [
    "arguments",
    "chat_usage",
    "content",
    "count",
    "ended",
    "name",
    "part",
    "response_finish",
    "response_usage",
    "service_tier",
]


def content(value: Any) -> str:
    """A piece of the answer as text. Some servers (Mistral's reasoning models) send a list of parts."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return "".join(content(item.get("text")) for item in value if item.get("type", "text") == "text")
    raise ProtocolError(f"a piece of the upstream's answer is neither text nor parts but a {type(value).__name__}")


def name(value: Any) -> str:
    """An id or name; empty where it is anything but text."""
    return value if isinstance(value, str) else ""


def part(value: Any) -> dict[str, Any]:
    """An object inside the answer; empty where there is none."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise ProtocolError(f"where the upstream's answer must have an object it has a {type(value).__name__}")


def count(value: Any) -> int:
    """A number of tokens, an index or a time; 0 for what is none (an odd count must not cost the answer)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0
    return max(0, int(value))


def arguments(value: Any) -> str:
    """A tool's arguments as JSON text; some servers send the object itself."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


#: OpenAI's service tiers that have prices of their own.
_TIERS = frozenset(("flex", "priority", "batch", "scale"))


def chat_usage(raw: Any, tier: Any = None) -> Usage:
    """Counts as chat, completions and embeddings have them (``prompt_tokens``), or else as responses do.

    ``tier`` is the answer's ``service_tier``.
    """
    if not isinstance(raw, dict):
        return Usage()
    if not raw.get("prompt_tokens") and "input_tokens" in raw:
        return response_usage(raw, tier)
    return _usage(raw, "prompt_tokens", "completion_tokens", tier)


def response_usage(raw: Any, tier: Any = None) -> Usage:
    """Counts as the Responses API has them (``input_tokens``)."""
    return _usage(raw, "input_tokens", "output_tokens", tier) if isinstance(raw, dict) else Usage()


def _usage(raw: dict[str, Any], given: str, made: str, tier: Any) -> Usage:
    usage = Usage(count(raw.get(given)), count(raw.get(made)), reported=True)
    usage.tier = service_tier(tier)
    details = raw.get(given + "_details")
    if isinstance(details, dict):
        usage.cached_tokens = count(details.get("cached_tokens"))
        usage.cache_write_tokens = count(details.get("cache_write_tokens"))
        usage.input_audio_tokens = count(details.get("audio_tokens"))
    details = raw.get(made + "_details")
    if isinstance(details, dict):
        usage.reasoning_tokens = count(details.get("reasoning_tokens"))
        usage.output_audio_tokens = count(details.get("audio_tokens"))
    return usage


def service_tier(given: Any) -> str:
    """How a call was served, where that changes its price; else empty."""
    return given if isinstance(given, str) and given in _TIERS else ""


def ended(reason: str | None, called: bool) -> str | None:
    """Why an answer ended: one that calls tools ends for that, whatever the service calls it.

    OpenAI says ``stop`` where the tool was demanded by name, and many other servers always do; who runs tools looks for
    the one word.
    """
    return "tool_calls" if called and reason == "stop" else reason


def response_finish(raw: dict[str, Any], called: bool) -> str | None:
    """A Responses answer's end in the words of chat."""
    status = raw.get("status")
    if status == "incomplete":
        return "content_filter" if part(raw.get("incomplete_details")).get("reason") == "content_filter" else "length"
    if status in ("completed", None):
        return "tool_calls" if called else "stop"
    return str(status)
