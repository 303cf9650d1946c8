"""The words of OpenTelemetry's semantic conventions for generative AI, and ours in them.

As of version 1.41 (https://github.com/open-telemetry/semantic-conventions-genai; status: development). What they have
no word for has a name that begins with ``ipfs_accelerate.``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ipfs_accelerate_py.types import Operation, Usage

__all__ = [
    "IN_PROCESS", "OPERATIONS", "operation_name", "place", "provider_name", "request_attributes", "span_name",
    "usage_attributes",
]  # fmt: skip

#: ``gen_ai.operation.name`` where the conventions have a word; else ours is taken, as they allow.
OPERATIONS = {
    Operation.CHAT: "chat",
    Operation.RESPONSE: "chat",
    Operation.COMPLETION: "text_completion",
    Operation.EMBED: "embeddings",
}
#: ``gen_ai.provider.name`` by our name of the backend, where the conventions have one.
PROVIDERS = {"claude": "anthropic", "gemini": "gcp.gemini"}
#: Backends that run here: their spans are INTERNAL ones.
IN_PROCESS = frozenset(("local",))
#: Options of a request, under OpenAI's names, that have an attribute; with the types that are let through.
_OPTIONS: dict[str, tuple[str, tuple[type, ...]]] = {
    "temperature": ("gen_ai.request.temperature", (int, float)),
    "top_p": ("gen_ai.request.top_p", (int, float)),
    "top_k": ("gen_ai.request.top_k", (int, float)),
    "max_tokens": ("gen_ai.request.max_tokens", (int,)),
    "max_completion_tokens": ("gen_ai.request.max_tokens", (int,)),
    "max_output_tokens": ("gen_ai.request.max_tokens", (int,)),
    "frequency_penalty": ("gen_ai.request.frequency_penalty", (int, float)),
    "presence_penalty": ("gen_ai.request.presence_penalty", (int, float)),
    "seed": ("gen_ai.request.seed", (int,)),
    "n": ("gen_ai.request.choice.count", (int,)),
}


def operation_name(operation: Operation) -> str:
    """``gen_ai.operation.name``."""
    return OPERATIONS.get(operation) or operation.value


def provider_name(backend: str) -> str:
    """``gen_ai.provider.name``."""
    return PROVIDERS.get(backend, backend)


def span_name(operation: str, model: str) -> str:
    """``{operation} {model}``, or the operation alone where no model was named."""
    return f"{operation} {model}" if model else operation


def place(url: str) -> dict[str, Any]:
    """``server.address`` and ``server.port`` of a base URL; nothing else of it, for it may hold a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return {}
    if not host:
        return {}
    return {"server.address": host, "server.port": port or {"http": 80}.get(parts.scheme, 443)}


def request_attributes(options: Mapping[str, Any]) -> dict[str, Any]:
    """What was set of temperature, limits and the like; never a text that the caller wrote."""
    found: dict[str, Any] = {}
    for name in options.keys() & _OPTIONS.keys():
        attribute, kinds = _OPTIONS[name]
        value = options[name]
        if isinstance(value, kinds) and not isinstance(value, bool) and not (name == "n" and value == 1):
            found[attribute] = value
    return found


def usage_attributes(usage: Usage) -> dict[str, Any]:
    """Tokens, where the backend has counted them."""
    if not usage.reported:
        return {}
    found: dict[str, Any] = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
    }
    if usage.cached_tokens:
        found["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
    if usage.cache_write_tokens:
        found["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write_tokens
    if usage.reasoning_tokens:
        found["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
    return found
