"""The wire formats that the gateway's clients may speak, by name."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast

from ipfs_accelerate_py.dialects.serving import Ingress

__all__ = ["ingress"]

_HOMES = {
    "openai": ("openai.ingress", "OpenAIIngress"),
    "anthropic": ("anthropic.ingress", "AnthropicIngress"),
    "gemini": ("gemini.ingress", "GeminiIngress"),
    "tei": ("tei.ingress", "TeiIngress"),
    "ollama": ("ollama.ingress", "OllamaIngress"),
}


@cache
def ingress(name: str) -> Ingress:
    """One of them; they keep no state, so one serves everybody. Imported when it is first spoken."""
    module, kind = _HOMES[name]
    return cast(Ingress, getattr(import_module(f"ipfs_accelerate_py.dialects.{module}"), kind)())
