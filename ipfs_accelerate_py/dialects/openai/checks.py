"""The bodies of OpenAI's requests, as far as a server checks them.

Source: openai.openapi.yaml; for rerank and classify, which OpenAI does not have, the bodies that vLLM, Jina and Cohere
take.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from ipfs_accelerate_py.types import Operation

__all__ = ["CHECKS", "Body", "EmbeddingBody"]

# An object whose inside is the target's affair is a dict of raw values: it must be an object, and that is all.

_Object = dict[str, msgspec.Raw]
_Objects = list[_Object]
_Texts = list[str]
_Input = str | Annotated[list[str | int | list[int]], msgspec.Meta(min_length=1)]
_Name = Annotated[str, msgspec.Meta(min_length=1)]


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class Body(msgspec.Struct):
    model: _Name
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None
    metadata: _Object | None = None
    seed: int | None = None
    n: int | None = None
    max_tokens: int | None = None
    store: bool | None = None
    tools: _Objects | None = None
    tool_choice: str | _Object | None = None
    parallel_tool_calls: bool | None = None
    service_tier: str | None = None

    @property
    def answer_tokens(self) -> int | None:
        return self.max_tokens


class _ToolFunction(msgspec.Struct, gc=False):
    name: str
    arguments: str


class _MessageToolCall(msgspec.Struct):
    id: str | None = None
    type: str | None = None
    function: _ToolFunction | None = None


class _Message(msgspec.Struct):
    role: _Name
    content: str | _Objects | None = None
    name: str | None = None
    tool_calls: list[_MessageToolCall] | None = None
    tool_call_id: str | None = None


class ChatBody(Body, kw_only=True):
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    max_completion_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | _Texts | None = None
    logit_bias: _Object | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: _Object | None = None
    modalities: _Texts | None = None
    audio: _Object | None = None
    reasoning_effort: str | None = None

    @property
    def answer_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionBody(Body, kw_only=True):
    prompt: _Input | None = None
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | None = None
    logit_bias: _Object | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | _Texts | None = None


class ResponseBody(Body, kw_only=True):
    input: str | _Objects | None = None
    instructions: str | _Objects | None = None
    max_output_tokens: int | None = None
    previous_response_id: str | None = None
    include: _Texts | None = None
    reasoning: _Object | None = None
    text: _Object | None = None
    truncation: str | None = None
    background: bool | None = None

    @property
    def answer_tokens(self) -> int | None:
        return self.max_output_tokens


class EmbeddingBody(Body, kw_only=True):
    input: _Input
    encoding_format: str | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None


class RerankBody(Body, kw_only=True):
    query: str
    documents: Annotated[list[str | _Object], msgspec.Meta(min_length=1)]
    top_n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    return_documents: bool | None = None


class ClassifyBody(Body, kw_only=True):
    input: str | Annotated[list[str | list[str]], msgspec.Meta(min_length=1)]


class ModerationBody(Body, kw_only=True):
    model: _Name = "omni-moderation-latest"  # the format's own default
    input: str | Annotated[list[str | _Object], msgspec.Meta(min_length=1)]


class ImageBody(Body, kw_only=True):
    prompt: str
    size: str | None = None
    quality: str | None = None
    style: str | None = None
    response_format: str | None = None


class SpeechBody(Body, kw_only=True):
    input: str
    voice: str | _Object | None = None
    response_format: str | None = None
    speed: float | None = None
    instructions: str | None = None


CHECKS: dict[Operation, msgspec.json.Decoder[Any]] = {
    Operation.CHAT: msgspec.json.Decoder(ChatBody),
    Operation.COMPLETION: msgspec.json.Decoder(CompletionBody),
    Operation.RESPONSE: msgspec.json.Decoder(ResponseBody),
    Operation.EMBED: msgspec.json.Decoder(EmbeddingBody),
    Operation.RERANK: msgspec.json.Decoder(RerankBody),
    Operation.CLASSIFY: msgspec.json.Decoder(ClassifyBody),
    Operation.MODERATE: msgspec.json.Decoder(ModerationBody),
    Operation.IMAGE: msgspec.json.Decoder(ImageBody),
    Operation.SPEAK: msgspec.json.Decoder(SpeechBody),
}
