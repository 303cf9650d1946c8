"""What of a call is the question, and what has to be the same beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ipfs_accelerate_py.pipeline.cache.answers import sharable
from ipfs_accelerate_py.pipeline.fingerprint import fingerprint
from ipfs_accelerate_py.types import Call, ChatRequest, CompletionRequest, Message

__all__ = ["Question", "question_of"]

_SYSTEM = ("system", "developer")
_TEXT_PARTS = ("text", "input_text")


class Question(NamedTuple):
    """``text`` may vary; ``partition`` names everything else: tenant, operation, model, system text, other messages,
    options, tools, images, and how the answer is wanted where that matters."""

    partition: bytes
    text: str
    #: The format in which a forwarded answer to this call is written; None where that is not known.
    format: str | None


def question_of(call: Call, *, multi_turn: bool, most: int) -> Question | None:
    """The question of a call, or None where it has none: no text of a user at the end, several turns (unless
    ``multi_turn``), more than ``most`` characters, or a request that cannot be put into our vocabulary."""
    request = call.request
    form: str | None = ""
    if call.variants is not None or call.passthrough is not None:
        if call.variants is None:
            return None
        form = getattr(call.variants, "format", None)
        try:
            request = call.variants(None, None, request.model, False)[0]
        except Exception:  # our vocabulary has no word for something in it
            return None
    if isinstance(request, ChatRequest):
        found = _blanked(request.messages, multi_turn)
        if found is None:
            return None
        text, messages = found
        bare: ChatRequest | CompletionRequest = ChatRequest(request.model, messages, request.options)
    elif isinstance(request, CompletionRequest) and isinstance(request.prompt, str):
        text = request.prompt
        bare = CompletionRequest(request.model, "", request.options)
    else:
        return None
    if not text.strip() or len(text) > most:
        return None
    blank = msgspec.structs.replace(call, operation=bare.operation, request=bare, passthrough=None, variants=None)
    # A forwarded answer is bytes of one format, whole or a stream; ours is either.
    apart = call.variants is not None or not sharable(blank)
    digest = fingerprint(blank, stream=apart)
    if digest is None:
        return None
    return Question(digest + (form or "").encode(), text, form)


def _blanked(messages: Sequence[Message], multi_turn: bool) -> tuple[str, list[Message]] | None:
    """The last user's text, and the messages without it."""
    if not messages or messages[-1].get("role") != "user":
        return None
    before = messages[:-1]
    if not multi_turn and any(message.get("role") not in _SYSTEM for message in before):
        return None
    last = messages[-1]
    content = last.get("content")
    if isinstance(content, str):
        return content, [*before, {**last, "content": ""}]
    if not isinstance(content, list):
        return None
    texts = [at for at, part in enumerate(content) if isinstance(part, dict) and part.get("type") in _TEXT_PARTS]
    if len(texts) != 1 or not isinstance(content[texts[0]].get("text"), str):
        return None
    [at] = texts
    parts: list[Any] = [*content[:at], {**content[at], "text": ""}, *content[at + 1 :]]
    return content[at]["text"], [*before, {**last, "content": parts}]
