"""Which model a probe asks where nobody named one."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["SIMULATORS", "default_model"]

#: The simulator's name for each backend that has one.
SIMULATORS: Mapping[str, str] = {
    "openai": "openai",
    "groq": "openai",
    "llvm": "openai",
    "claude": "anthropic",
    "gemini": "gemini",
    "ollama": "ollama",
    "hf_tgi": "tgi",
    "hf_tei": "tei",
    "ovms": "ovms",
    "opea": "opea",
}

#: Small and cheap ones, of the hosted services; a server of one's own serves what it serves.
_LIVE: Mapping[str, Mapping[str, str]] = {
    "openai": {
        "chat": "gpt-4o-mini",
        "complete": "gpt-3.5-turbo-instruct",
        "embed": "text-embedding-3-small",
        "moderate": "omni-moderation-latest",
        "transcribe": "gpt-4o-mini-transcribe",
        "speak": "gpt-4o-mini-tts",
        "image": "gpt-image-1",
    },
    "groq": {"chat": "openai/gpt-oss-20b", "transcribe": "whisper-large-v3-turbo"},
    "claude": {"chat": "claude-haiku-4-5"},
    "gemini": {"chat": "gemini-2.5-flash", "embed": "gemini-embedding-001"},
    "hf_tgi": {"chat": "openai/gpt-oss-20b"},
    "hf_tei": {"embed": "sentence-transformers/all-MiniLM-L6-v2"},
}


def default_model(backend: str, kind: str, listed: list[str], *, live: bool) -> str:
    """A model for this kind of probe: the usual one, else the first that the service lists, else no name at all."""
    usual = _LIVE.get(backend, {}).get(kind)
    if usual is not None:
        return usual
    return listed[0] if live and listed else f"{kind}-model"
