"""The bodies of Ollama's requests, as far as a server checks them: types are checked, and bounds are not.

Source: ollama.openapi.yaml; ``context`` and ``template`` are in its documentation only.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ipfs_accelerate_py.dialects.checking import Fields

__all__ = [
    "Body",
    "ChatBody",
    "EmbedBody",
    "GenerateBody",
    "LegacyEmbedBody",
    "MessageBody",
    "OptionsBody",
]

_Name = Annotated[str, msgspec.Meta(min_length=1)]


class OptionsBody(msgspec.Struct):
    """The members of ``options`` that have a counterpart elsewhere; what others are is the target's affair."""

    num_predict: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    num_ctx: int | None = None


class Body(msgspec.Struct):
    """What chat and generate have in common."""

    model: _Name
    stream: bool | None = None
    options: OptionsBody | None = None
    format: str | Fields | None = None
    think: bool | str | None = None
    keep_alive: str | float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class _Function(msgspec.Struct):
    name: str
    arguments: Fields | None = None


class CallBody(msgspec.Struct):
    function: _Function
    id: str | None = None


class MessageBody(msgspec.Struct):
    role: _Name
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[CallBody] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ChatBody(Body, kw_only=True):
    messages: list[MessageBody] | None = None
    tools: list[Fields] | None = None


class GenerateBody(Body, kw_only=True):
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    raw: bool | None = None
    context: list[int] | None = None
    images: list[str] | None = None


class EmbedBody(msgspec.Struct):
    model: _Name
    input: str | list[str] | None = None
    truncate: bool | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    options: Fields | None = None
    keep_alive: str | float | None = None


class LegacyEmbedBody(msgspec.Struct):
    """Of ``/api/embeddings``, which ``/api/embed`` took the place of."""

    model: _Name
    prompt: str
    options: Fields | None = None
    keep_alive: str | float | None = None
