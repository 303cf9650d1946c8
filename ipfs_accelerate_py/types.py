"""The vocabulary: what a call is made of, and what comes back.

One envelope (`Call`) carries one request through the pipeline, and one result (`Reply`) comes back, unary or
streaming. The shape of every policy and of every backend is `Handler`.

Messages, tools and options are written as OpenAI's chat format writes them: it is the format most services speak, so
for most calls a translation is the identity. Other dialects translate from it.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from ipfs_accelerate_py.errors import ConfigurationError

if TYPE_CHECKING:
    from ipfs_accelerate_py.settings import Timeouts
    from ipfs_accelerate_py.stream import Stream

__all__ = [
    "Attempt",
    "Call",
    "ChatRequest",
    "Chunk",
    "CompletionRequest",
    "EmbedRequest",
    "Handler",
    "Message",
    "ModelInfo",
    "ModelsRequest",
    "Operation",
    "Passthrough",
    "Priority",
    "RateLimits",
    "RawRequest",
    "Reply",
    "Request",
    "ResponseRequest",
    "ToolCall",
    "Usage",
    "new_request_id",
]

Message: TypeAlias = dict[str, Any]
"""One chat message in OpenAI's shape: ``{"role": ..., "content": str | list of parts, ...}``."""


class Operation(enum.StrEnum):
    """What is asked of a backend."""

    CHAT = "chat"
    COMPLETION = "completion"
    RESPONSE = "response"
    EMBED = "embed"
    MODELS = "models"
    RAW = "raw"


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


# --- requests ----------------------------------------------------------------------------------------------------
# `options` holds what the caller set beside the named fields, under OpenAI's names. What is not set is not there, so
# it is not sent; what we do not know is there all the same, so it passes through.


class ChatRequest(msgspec.Struct):
    """A chat completion: ``messages`` in OpenAI's shape."""

    model: str
    messages: list[Message]
    options: dict[str, Any] = {}


class CompletionRequest(msgspec.Struct):
    """A plain text completion: ``prompt`` is a text, several texts, or token ids."""

    model: str
    prompt: str | list[Any]
    options: dict[str, Any] = {}


class ResponseRequest(msgspec.Struct):
    """A call of OpenAI's Responses API: ``input`` is a text or a list of items."""

    model: str
    input: str | list[Any]
    options: dict[str, Any] = {}


class EmbedRequest(msgspec.Struct):
    """Embeddings of several inputs: texts, or lists of token ids."""

    model: str
    input: list[Any]
    options: dict[str, Any] = {}


class ModelsRequest(msgspec.Struct):
    """The list of models a backend offers."""

    model: str = ""
    options: dict[str, Any] = {}


class RawRequest(msgspec.Struct):
    """A JSON body for a path or full URL of the backend, sent as it is (the older API's ``make_post_request``)."""

    path: str
    body: Any = None
    method: str = "POST"
    model: str = ""
    options: dict[str, Any] = {}


Request: TypeAlias = ChatRequest | CompletionRequest | ResponseRequest | EmbedRequest | ModelsRequest | RawRequest


class Passthrough(msgspec.Struct):
    """A body that is already in a dialect's own format, to be forwarded without being decoded and encoded again.

    ``body`` is the final JSON, model name and stream options already those of the target. ``hide_usage`` says that the
    stream options were ours, and that the caller must not see the event they bring.
    """

    dialect: str
    body: bytes
    hide_usage: bool = False


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

    ``cached_tokens`` and ``input_audio_tokens`` are parts of ``input_tokens``; ``reasoning_tokens`` and
    ``output_audio_tokens`` are parts of ``output_tokens``. ``reported`` is False where the backend sent no counts, and
    then they are all zero.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    reported: bool = False

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class ToolCall(msgspec.Struct):
    """One call of a tool the model asks for. ``arguments`` is JSON text, as the model wrote it.

    In a `Chunk` it is a piece: ``index`` says which call it belongs to, and the pieces of ``arguments`` add up.
    """

    id: str = ""
    name: str = ""
    arguments: str = ""
    index: int = 0
    type: str = "function"


class ModelInfo(msgspec.Struct):
    """One model a backend offers; ``raw`` is the provider's own record."""

    id: str
    owner: str = ""
    created: int = 0
    raw: dict[str, Any] = {}


class Chunk(msgspec.Struct):
    """A piece of a streaming answer.

    ``finish_reason`` (``stop``, ``length``, ``tool_calls``, ``content_filter``) and ``usage`` come on the last ones.
    ``index`` is the choice's number where several were asked for. ``data`` is the provider's own JSON.
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

    @property
    def raw(self) -> dict[str, Any]:
        """The provider's own object, decoded when asked for."""
        value = msgspec.json.decode(self.data) if self.data else {}
        return value if isinstance(value, dict) else {}


class Reply(msgspec.Struct, kw_only=True):
    """The answer to one call.

    ``raw`` is the provider's whole decoded answer. ``stream`` is set on a streaming answer, and then the other fields
    are those known before its first content. ``body`` holds the undecoded answer of a passthrough call.
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
    # Written by the pipeline.
    request_id: str = ""
    upstream_request_id: str | None = None
    attempts: int = 1
    key_name: str | None = None
    latency: float = 0.0


Handler: TypeAlias = Callable[[Call], Awaitable[Reply]]
"""The one shape: a policy wraps a handler, and a backend is the innermost one."""
