"""The older API's answers: plain dictionaries made from the replies of the core."""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.types import Reply, ToolCall, Usage

__all__ = ["CircuitState", "embedding_result", "media_result", "text_result", "tool_calls", "usage"]


class CircuitState(str):
    """``CLOSED``, ``OPEN`` or ``HALF-OPEN``; the last is equal to ``HALF_OPEN`` as well, which the core calls it."""

    __slots__ = ()

    def __new__(cls, state: str) -> CircuitState:
        return super().__new__(cls, state.replace("_", "-"))

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other.replace("_", "-")) if isinstance(other, str) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def text_result(reply: Reply) -> dict[str, Any]:
    """A chat answer or a completion: ``text`` and what belongs to it; ``raw`` is the provider's own object."""
    return {
        "text": reply.text,
        "model": reply.model,
        "finish_reason": reply.finish_reason,
        "tool_calls": tool_calls(reply.tool_calls),
        "reasoning": reply.reasoning,
        "refusal": reply.refusal,
        **_common(reply),
    }


def embedding_result(reply: Reply, *, single: bool) -> dict[str, Any]:
    """``embeddings`` has a vector for each input; ``embedding`` is the vector itself where one input was given."""
    return {
        "embedding": reply.vectors[0] if single and reply.vectors else reply.vectors,
        "embeddings": reply.vectors,
        "model": reply.model,
        **_common(reply),
    }


def media_result(reply: Reply, **fields: Any) -> dict[str, Any]:
    """An answer that is neither a text nor vectors."""
    return {**fields, "model": reply.model, **_common(reply)}


def _common(reply: Reply) -> dict[str, Any]:
    return {
        "usage": usage(reply.usage),
        "id": reply.id,
        "request_id": reply.request_id,
        "upstream_request_id": reply.upstream_request_id,
        "attempts": reply.attempts,
        "api_key_name": reply.key_name,
        "raw": reply.raw,
    }


def usage(counts: Usage) -> dict[str, int]:
    """Tokens under OpenAI's names; empty where the service did not report any."""
    if not counts.reported:
        return {}
    return {
        "prompt_tokens": counts.input_tokens,
        "completion_tokens": counts.output_tokens,
        "total_tokens": counts.total_tokens,
        "cached_tokens": counts.cached_tokens,
        "reasoning_tokens": counts.reasoning_tokens,
    }


def tool_calls(calls: list[ToolCall]) -> list[dict[str, Any]]:
    """Tool calls in OpenAI's shape, ready to be sent back in an assistant message, with their signatures."""
    return [call.as_dict() for call in calls]
