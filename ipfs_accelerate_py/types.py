"""The vocabulary: what a call is made of, and what comes back.

One envelope (`Call`) carries one request through the pipeline, and one result (`Reply`) comes back, unary or
streaming. The shape of every policy and of every backend is `Handler`.

What can be asked is in ``requests``, and the parts of answers that are not text are in ``results``; both are to be had
from here too.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.requests import (
    ChatRequest,
    ClassifyRequest,
    CompletionRequest,
    CountRequest,
    EmbedRequest,
    ImageRequest,
    InferRequest,
    Message,
    ModelsRequest,
    ModerationRequest,
    Operation,
    Passthrough,
    RawRequest,
    Request,
    RerankRequest,
    ResponseRequest,
    SpeechRequest,
    StoreRequest,
    TranscriptionRequest,
)
from ipfs_accelerate_py.results import Image, Label, Moderation, Ranked, Segment, Tensor

if TYPE_CHECKING:
    from ipfs_accelerate_py.settings import Timeouts
    from ipfs_accelerate_py.stream import Stream

__all__ = [
    "Attempt",
    "Call",
    "ChatRequest",
    "Chunk",
    "ClassifyRequest",
    "CompletionRequest",
    "CountRequest",
    "EmbedRequest",
    "Handler",
    "Image",
    "ImageRequest",
    "InferRequest",
    "Label",
    "Message",
    "ModelInfo",
    "ModelsRequest",
    "Moderation",
    "ModerationRequest",
    "Operation",
    "Passthrough",
    "Priority",
    "Ranked",
    "RateLimits",
    "RawRequest",
    "Reply",
    "Request",
    "RerankRequest",
    "ResponseRequest",
    "Segment",
    "SpeechRequest",
    "StoreRequest",
    "Tensor",
    "ToolCall",
    "TranscriptionRequest",
    "Usage",
    "new_request_id",
]


class Priority(enum.IntEnum):
    """Order in the queue: every HIGH before any NORMAL before any LOW, first come first served within one."""

    HIGH = 0
    NORMAL = 1
    LOW = 2

    @classmethod
    def parse(cls, value: Priority | int | str) -> Priority:
        """Accept ``"HIGH"`` or 0, ``"NORMAL"`` or 1, ``"LOW"`` or 2; anything else is a `ConfigurationError`."""
        found = None
        if isinstance(value, str):
            found = _PRIORITIES.get(value.upper())
        elif isinstance(value, int) and not isinstance(value, bool):
            found = _PRIORITIES.get(value)
        if found is None:
            raise ConfigurationError(f'priority must be "HIGH" (0), "NORMAL" (1) or "LOW" (2), not {value!r}')
        return found


_PRIORITIES: dict[Any, Priority] = {p: p for p in Priority} | {p.name: p for p in Priority}


# --- the envelope ------------------------------------------------------------------------------------------------


class Attempt(msgspec.Struct):
    """One attempt of a call: which key it used, how long it took (seconds), and how it ended."""

    number: int
    key: str | None
    seconds: float
    error: str | None = None
    status: int | None = None


class Call(msgspec.Struct, kw_only=True):
    """The envelope: one request on its way through the pipeline.

    ``deadline`` is an instant of `time.monotonic` that covers queue, attempts and answer; None is no limit.
    ``cost`` is the estimate of tokens that rate buckets reserve before the answer tells the truth.
    """

    operation: Operation
    request: Request
    request_id: str
    stream: bool = False
    priority: Priority = Priority.NORMAL
    deadline: float | None = None
    key_name: str | None = None
    #: How the key is chosen, where otherwise than the settings say.
    key_strategy: str | None = None
    timeouts: Timeouts | None = None
    headers: dict[str, str] | None = None
    passthrough: Passthrough | None = None
    cost: int = 0
    # What the pipeline writes as the call goes along.
    attempts: list[Attempt] = []
    queued: float = 0.0
    lease: Any = None

    @property
    def model(self) -> str:
        return self.request.model

    def __repr__(self) -> str:
        # Without headers and content: a caller's headers may hold a key, and prompts are nobody's business in a log.
        return f"Call({self.operation.value!r}, {self.model!r}, request_id={self.request_id!r})"


def new_request_id() -> str:
    """A new request id: ``req_`` and 24 hex digits. `random` reseeds itself in a forked child, so ids stay apart."""
    return f"req_{random.getrandbits(96):024x}"


class RateLimits(msgspec.Struct):
    """What a provider's headers say: limit, what is left, and the seconds until the limit is whole again."""

    requests_limit: float | None = None
    requests_remaining: float | None = None
    requests_reset: float | None = None
    tokens_limit: float | None = None
    tokens_remaining: float | None = None
    tokens_reset: float | None = None


# --- what comes back ---------------------------------------------------------------------------------------------


class Usage(msgspec.Struct):
    """Tokens of one call, as the backend counted them.

    ``cached_tokens`` (read from the provider's cache), ``cache_write_tokens`` (written to it) and
    ``input_audio_tokens`` are parts of ``input_tokens``; ``reasoning_tokens`` and ``output_audio_tokens`` are parts of
    ``output_tokens``. ``reported`` is False where the backend sent no counts, and then they are all zero.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    cache_write_tokens: int = 0
    reported: bool = False

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def classes(self) -> dict[str, int]:
        """The total in classes that do not overlap, as they are priced, and that sum to it exactly.

        ``input`` and ``output`` are what is left beside the special classes. Where a provider's special counts are
        more than their whole (cached audio is counted twice by some), the later ones of a whole give way.
        """
        found = {}
        for whole, parts in (
            ("input", ("cached_tokens", "cache_write_tokens", "input_audio_tokens")),
            ("output", ("reasoning_tokens", "output_audio_tokens")),
        ):
            left: int = getattr(self, f"{whole}_tokens")
            for part in parts:
                count = found[part.removesuffix("_tokens")] = min(left, getattr(self, part))
                left -= count
            found[whole] = left
        return found


class ToolCall(msgspec.Struct):
    """One call of a tool the model asks for. ``arguments`` is JSON text, as the model wrote it.

    In a `Chunk` it is a piece: ``index`` says which call it belongs to, and the pieces of ``arguments`` add up.
    ``signature`` is opaque text that some providers (Gemini) want back with the call in the next turn.
    """

    id: str = ""
    name: str = ""
    arguments: str = ""
    index: int = 0
    type: str = "function"
    signature: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The call in OpenAI's shape, as an assistant's message holds it, with its signature where it has one."""
        made: dict[str, Any] = {
            "id": self.id,
            "type": self.type,
            "function": {"name": self.name, "arguments": self.arguments},
        }
        if self.signature:
            made["extra_content"] = {"google": {"thought_signature": self.signature}}
        return made


class ModelInfo(msgspec.Struct):
    """One model a backend offers; ``raw`` is the provider's own record."""

    id: str
    owner: str = ""
    created: int = 0
    raw: dict[str, Any] = {}


class Chunk(msgspec.Struct):
    """A piece of a streaming answer.

    ``finish_reason`` (``stop``, ``length``, ``tool_calls``, ``content_filter``) and ``usage`` come on the last ones.
    ``index`` is the choice's number where several were asked for. ``thinking_blocks`` holds blocks of signed reasoning
    that are complete now (see `Reply`), ``images`` whole ones. ``data`` is the provider's own JSON.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str = ""
    index: int = 0
    event: str = ""
    data: bytes = b""
    thinking_blocks: Sequence[dict[str, Any]] = ()
    images: Sequence[Image] = ()

    @property
    def raw(self) -> dict[str, Any]:
        """The provider's own object, decoded when asked for."""
        value = msgspec.json.decode(self.data) if self.data else {}
        return value if isinstance(value, dict) else {}


class Reply(msgspec.Struct, kw_only=True):
    """The answer to one call; what an operation does not have is empty.

    ``raw`` is the provider's whole decoded answer. ``stream`` is set on a streaming answer, and then the other fields
    are those known before its first content. ``body`` holds the undecoded answer of a passthrough call, and what is no
    JSON (a recording, a page of metrics), of type ``content_type``.

    ``finish_reason`` is ``stop``, ``length``, ``tool_calls``, ``content_filter``, or the provider's own word where it
    means none of these. ``thinking_blocks`` holds the reasoning in signed blocks, as Anthropic writes them; put into
    the next turn's assistant message under that name they go back as they are, which providers ask for beside tool
    calls. ``ignored`` names options that the target has no counterpart of and that change nothing of the answer (hints
    to a cache, for instance); what would change it is refused instead.
    """

    backend: str = ""
    id: str = ""
    model: str = ""
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[ToolCall] = []
    finish_reason: str | None = None
    vectors: list[list[float]] = []
    models: list[ModelInfo] = []
    usage: Usage = msgspec.field(default_factory=Usage)
    raw: Any = None
    body: bytes = b""
    content_type: str = "application/json"
    stream: Stream | None = None
    thinking_blocks: Sequence[dict[str, Any]] = ()
    ignored: Sequence[str] = ()
    # Of the operations that have one. For a count of tokens: ``usage.input_tokens``.
    ranking: Sequence[Ranked] = ()
    labels: Sequence[Sequence[Label]] = ()
    segments: Sequence[Segment] = ()
    images: Sequence[Image] = ()
    moderations: Sequence[Moderation] = ()
    tensors: Sequence[Tensor] = ()
    # Written by the pipeline.
    request_id: str = ""
    upstream_request_id: str | None = None
    attempts: int = 1
    key_name: str | None = None
    latency: float = 0.0

    def message(self) -> Message:
        """The answer as the assistant's message of the next turn, with its calls and what the service signed."""
        made: Message = {"role": "assistant", "content": self.text or None}
        if self.tool_calls:
            made["tool_calls"] = [call.as_dict() for call in self.tool_calls]
        if self.thinking_blocks:
            made["thinking_blocks"] = list(self.thinking_blocks)
        if self.refusal:
            made["refusal"] = self.refusal
        return made


Handler: TypeAlias = Callable[[Call], Awaitable[Reply]]
"""The one shape: a policy wraps a handler, and a backend is the innermost one."""
