"""What the services that speak OpenAI's format have of it: data for their rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ipfs_accelerate_py.dialects.base import Dialect
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.types import Operation

__all__ = ["groq_dialect", "openai_dialect", "server_dialect"]

_TEXT: Final = frozenset((Operation.CHAT, Operation.RESPONSE, Operation.EMBED, Operation.MODELS, Operation.RAW))
_SOUND: Final = frozenset((Operation.TRANSCRIBE, Operation.SPEAK))
#: OpenAI's API specification.
OPENAI: Final = _TEXT | _SOUND | {Operation.COMPLETION, Operation.IMAGE, Operation.MODERATE, Operation.COUNT}
#: console.groq.com/docs/api-reference, and the resources of Groq's own client.
GROQ: Final = _TEXT | _SOUND
#: Servers of one's own: vLLM and llama.cpp together. One that lacks an operation says so itself, with a 404.
SERVER: Final = OPENAI | {Operation.RERANK, Operation.CLASSIFY}

#: What each takes in batches. OpenAI's API specification (it also takes edits of images and videos, which nothing here
#: asks for); console.groq.com/docs/batch (of recordings it takes addresses, which no operation here has).
OPENAI_BATCHED: Final = frozenset(
    (Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE, Operation.EMBED, Operation.MODERATE, Operation.IMAGE)
)
GROQ_BATCHED: Final = frozenset((Operation.CHAT,))
GROQ_WINDOWS: Final = ("24h", "7d")

#: How each server counts tokens (see `dialects.openai.count`).
SERVERS: Final[Mapping[str, str]] = {"vllm": "tokenize", "llama.cpp": "chat"}


def openai_dialect(base_url: str, options: Mapping[str, Any]) -> Dialect:
    """OpenAI, or what else is put in its place; only OpenAI itself refuses what others add to its messages."""
    from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
    from ipfs_accelerate_py.dialects.openai.messages import NOT_OPENAI

    own = base_url.startswith("https://api.openai.com/")
    return OpenAIDialect(
        operations=OPENAI,
        service="OpenAI",
        extended=not own,
        refused=NOT_OPENAI if own else (),
        batched=OPENAI_BATCHED,
    )


def groq_dialect(base_url: str, options: Mapping[str, Any]) -> Dialect:
    from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect

    own = base_url.startswith("https://api.groq.com/")
    return OpenAIDialect(operations=GROQ, service="Groq", extended=not own, batched=GROQ_BATCHED, windows=GROQ_WINDOWS)


def server_dialect(base_url: str, options: Mapping[str, Any]) -> Dialect:
    """A server of one's own; the option ``server`` says of which make, for the few things in which they differ."""
    from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect

    make = options.get("server") or "vllm"
    if make not in SERVERS:
        raise ConfigurationError(f"server must be one of {', '.join(SERVERS)}, not {make!r}")
    root = base_url.rstrip("/").removesuffix("/v1")
    return OpenAIDialect(operations=SERVER, service="the server", root=root, counts=SERVERS[make])
