"""The vocabulary: what a call is made of, and what comes back.

One envelope (`Call`) carries one request through the pipeline, and one result (`Reply`) comes back, unary or
streaming. The shape of every policy and of every backend is `Handler`.

What can be asked is in ``requests``, the parts of answers that are not text are in ``results``, and what a call has
used in ``usage``; all are to be had from here too.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

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
    TaskRequest,
    TranscriptionRequest,
)
from ipfs_accelerate_py.results import Image, Label, Moderation, Ranked, Segment, TaskResult, Tensor
from ipfs_accelerate_py.usage import Cost, RateLimits, Usage

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
    "Cost",
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
    "TaskRequest",
    "TaskResult",
    "Tensor",
    "ToolCall",
    "TranscriptionRequest",
    "Usage",
    "Variants",
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
    """One attempt of a call: which key it used, how long it took (seconds), and how it ended.

    ``backend`` and ``model`` say who was asked, where a call may go to several targets. ``began`` is an instant of
    `time.monotonic`, 0 where nobody noted it; the wait in the queue is part of an attempt.
    """

    number: int
    key: str | None
    seconds: float
    error: str | None = None
    status: int | None = None
    backend: str = ""
    model: str = ""
    began: float = 0.0


class Variants(Protocol):
    """What one request is for a target: a call that may go to several of them is written anew for each.

    Called with the target's wire format and the operations it can say (None where it has no format), its own name of
    the model, and whether its streams report usage when asked. Gives the request in the vocabulary, and the body to be
    forwarded where the caller's format is the target's.

    One whose calls may be shared or cached has an attribute ``fingerprint`` (bytes): the caller's format, and all of
    the request that makes it what it is (see ``pipeline/fingerprint.py``). Without it they are not.
    """

    def __call__(
        self, dialect: str | None, operations: frozenset[Operation] | None, model: str, stream_usage: bool
    ) -> tuple[Request, Passthrough | None]: ...


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
    #: Limits of time by the names of settings (``first_byte_timeout``, ...), where otherwise than the target has them.
    limits: dict[str, float | None] | None = None
    #: Who pays: caches, budgets and the ledger keep tenants apart. Empty for a program of its own.
    tenant: str = ""
    #: Name of the gateway's key that the caller showed.
    caller: str = ""
    #: What the caller asked for, where that is an alias of several targets; ``request.model`` is the target's own name.
    alias: str = ""
    #: Calls of one session stay with one target, where the router is told so.
    session: str = ""
    #: "" lets caches decide, "refresh" asks anew and keeps the answer, "off" neither looks nor keeps, "on" insists.
    cache: str = ""
    #: The caller's own marks, for the ledger: short texts by name.
    tags: dict[str, str] | None = None
    #: What becomes of a stream that breaks after its first content, where otherwise than the alias says.
    mid_stream: str = ""
    #: The longest delay that is worth waiting for this target; None where there is no other to turn to.
    patience: float | None = None
    #: Names of a router's targets that are to be left out, where there is another to ask.
    avoid: tuple[str, ...] = ()
    #: The request for another target than it was written for; None where replacing the model's name is enough.
    variants: Variants | None = None
    #: Who answers, where a front serves many targets (the gateway's).
    route: Handler | None = None
    #: The caller's span, for tracing (W3C trace context headers, or OpenTelemetry's context).
    trace: Any = None
    #: Headers that tell the upstream whose call this is (trace context, request id), and are no part of what is asked.
    propagation: dict[str, str] | None = None
    # What the pipeline writes as the call goes along.
    attempts: list[Attempt] = []
    #: Names of the targets that a router has asked so far, in order.
    asked: list[str] = []
    queued: float = 0.0
    lease: Any = None
    #: Its place in the queue is that of a call which came at this instant, where not now (`time.monotonic`).
    since: float | None = None
    #: Name of a key that has refused it, and until when it must not ask that one again (`time.monotonic`).
    barred: tuple[str, float] | None = None
    #: While it waits in a queue: gives it another priority.
    hurry: Callable[[Priority], None] | None = None

    @property
    def model(self) -> str:
        return self.request.model

    def __repr__(self) -> str:
        # Without headers and content: a caller's headers may hold a key, and prompts are nobody's business in a log.
        return f"Call({self.operation.value!r}, {self.model!r}, request_id={self.request_id!r})"


def new_request_id() -> str:
    """A new request id: ``req_`` and 24 hex digits. `random` reseeds itself in a forked child, so ids stay apart."""
    return f"req_{random.getrandbits(96):024x}"


# --- what comes back ---------------------------------------------------------------------------------------------


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

    ``restart`` is True on a chunk that says: the target failed, another one begins the answer anew, and everything
    that came before this chunk is to be thrown away. Only routers that are told so send it (see ``mid_stream``).
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
    restart: bool = False

    @property
    def raw(self) -> dict[str, Any]:
        """The provider's own object, decoded when asked for."""
        value = msgspec.json.decode(self.data) if self.data else {}
        return value if isinstance(value, dict) else {}


class Reply(msgspec.Struct, kw_only=True, weakref=True):
    """The answer to one call; what an operation does not have is empty.

    ``raw`` is the provider's whole decoded answer. ``stream`` is set on a streaming answer, and then the other fields
    are those known before its first content. ``body`` holds the undecoded answer of a passthrough call, and what is no
    JSON (a recording, a page of metrics), of type ``content_type``.

    ``finish_reason`` is ``stop``, ``length``, ``tool_calls``, ``content_filter``, or the provider's own word where it
    means none of these. ``thinking_blocks`` holds the reasoning in signed blocks, as Anthropic writes them; put into
    the next turn's assistant message under that name they go back as they are, which providers ask for beside tool
    calls. ``ignored`` names options that the target has no counterpart of and that change nothing of the answer (hints
    to a cache, for instance); what would change it is refused instead.

    ``cost`` is known where prices are (see ``docs/costs.md``); of a stream, when it has ended. ``cache`` says where the
    answer comes from if not from a call of its own: "exact", "semantic" (then ``similarity`` is the cosine), "shared"
    (with an identical call in flight).
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
    #: One per input of a `TaskRequest`, in order; which type it is depends on the task.
    results: Sequence[TaskResult] = ()
    # Written by the pipeline.
    request_id: str = ""
    upstream_request_id: str | None = None
    attempts: int = 1
    key_name: str | None = None
    latency: float = 0.0
    #: When the attempt began that has answered: an instant of `time.monotonic`, 0 where there was none.
    began: float = 0.0
    #: Seconds of it that were spent waiting for the service: until the whole answer, or a stream's first content.
    upstream: float = 0.0
    cost: Cost | None = None
    cache: str = ""
    similarity: float | None = None
    #: The target's own name of the model that was asked, where the caller asked for an alias.
    target_model: str = ""
    #: The answer's bytes are the backend's own, in the caller's format (`Call.passthrough`).
    verbatim: bool = False

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
