"""How many tokens a call may need, before anybody has counted them: what rates and budgets reserve."""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    ClassifyRequest,
    CompletionRequest,
    EmbedRequest,
    ImageRequest,
    ModerationRequest,
    RerankRequest,
    ResponseRequest,
    SpeechRequest,
    TranscriptionRequest,
)

__all__ = ["bound_input", "estimate_input", "estimate_tokens", "most_output"]


def estimate_tokens(call: Call) -> int:
    """Tokens to reserve: a quarter of the input's characters, and the most the answer may have.

    Providers count the same way: OpenAI's limiter charges the greater of ``max_tokens`` and an estimate from the
    number of characters before the call runs.
    """
    return estimate_input(call) + (most_output(call) or 0)


def estimate_input(call: Call) -> int:
    """Tokens of the input: a quarter of its characters, and one."""
    request = call.request
    if call.passthrough is not None:
        size = len(call.passthrough.body)
    elif isinstance(request, ChatRequest):
        size = _characters(request.messages)
    elif isinstance(request, CompletionRequest):
        size = _characters(request.prompt)
    elif isinstance(request, ResponseRequest | EmbedRequest):
        size = _characters(request.input)
    else:
        size = 0
    return size // 4 + 1


def most_output(call: Call) -> int | None:
    """The most tokens that the request lets its answer have; None where it does not say."""
    options = call.request.options
    most = options.get("max_completion_tokens") or options.get("max_tokens") or options.get("max_output_tokens")
    return most if type(most) is int and most > 0 else None  # -1 is "no limit" to some servers


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(4 if isinstance(item, int) else _characters(item) for item in value)
    if isinstance(value, dict):
        return sum(_characters(item) for key, item in value.items() if key not in ("type", "image_url", "input_audio"))
    return 0


def bound_input(call: Call) -> int:
    """Tokens that the input has at most: as many as its text has bytes, and 4,096 for each picture or file.

    A token is one byte at least, in every tokenizer of language models that is in use.
    """
    if call.passthrough is not None:
        return len(call.passthrough.body)
    request = call.request
    if isinstance(request, ChatRequest):
        size = _bytes(request.messages)
    elif isinstance(request, CompletionRequest):
        size = _bytes(request.prompt)
    elif isinstance(request, ResponseRequest | EmbedRequest | ClassifyRequest | ModerationRequest):
        size = _bytes(request.input)
    elif isinstance(request, RerankRequest):
        size = _bytes(request.documents) + (len(request.query) * 4 + 8) * len(request.documents)
    elif isinstance(request, ImageRequest):
        size = _bytes(request.prompt)
    elif isinstance(request, SpeechRequest):
        size = _bytes(request.input)
    elif isinstance(request, TranscriptionRequest):
        size = len(request.audio) // 100
    else:
        size = 0
    tools = request.options.get("tools")
    return size + (_bytes(tools) if tools else 0) + _AROUND


#: What a service puts around the messages, and what a part that is no text comes to.
_AROUND, _PART = 64, 4096
_NO_TEXT = ("image_url", "input_audio", "image", "audio", "video_url", "file", "input_image", "input_file")


def _bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, list):
        return sum(4 if isinstance(item, int) else _bytes(item) + 8 for item in value)
    if isinstance(value, dict):
        return sum(_PART if name in _NO_TEXT else _bytes(item) + 8 for name, item in value.items())
    return 8
