"""Tokens of a text that nobody counts: an estimate, which says that it is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ipfs_accelerate_py.errors import UnsupportedOperation
from ipfs_accelerate_py.types import Message
from ipfs_accelerate_py.verbs import chat_messages

__all__ = ["TokenEstimate", "estimate_tokens"]

#: Of a message (its role, and what separates it from the next) and of the answer's beginning, as templates have it.
_OF_A_MESSAGE = 4
_OF_THE_ANSWER = 3


class TokenEstimate(int):
    """A number of tokens, to be calculated with as any number; printed, it says that it is an estimate."""

    __slots__ = ()

    estimated = True

    def __repr__(self) -> str:
        return f"about {int(self)} tokens (an estimate)"

    __str__ = __repr__


def estimate_tokens(messages: str | Sequence[Message], tools: Sequence[Any] = ()) -> TokenEstimate:
    """A token for every four bytes of UTF-8, which is near the truth for English prose.

    Raises `UnsupportedOperation` for what is no text: of an image or a recording its length says nothing.
    """
    listed = chat_messages(messages)
    size = sum(_bytes(message.get("content")) + _json(message.get("tool_calls")) for message in listed)
    size += _json(tools)
    return TokenEstimate(-(-size // 4) + _OF_A_MESSAGE * len(listed) + _OF_THE_ANSWER)


def _bytes(content: Any) -> int:
    if isinstance(content, str):
        return len(content.encode("utf-8", "replace"))
    return sum(_part(part) for part in content or ())


def _part(part: Any) -> int:
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    if kind not in ("text", "refusal"):
        raise UnsupportedOperation(f"the tokens of {kind!r} in a message cannot be estimated")
    return _bytes(part.get(kind) or "")


def _json(value: Any) -> int:
    return len(msgspec.json.encode(list(value), enc_hook=str)) if value else 0
