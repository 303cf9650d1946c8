"""The serving half of a wire format: what the gateway needs to answer a vendor's own clients. Pure.

An *ingress* turns a body of its format into a request of the vocabulary (or, for a target of the same format, into a
body to be forwarded) and a reply into its format's answer. Any ingress may be answered by any backend: between them is
the vocabulary, and what it cannot carry from one to the other is refused with the name of the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from ipfs_accelerate_py.errors import (
    AccelerateError,
    BackendError,
    BudgetExceeded,
    ConfigurationError,
    InvalidRequest,
    RateLimited,
    UnsupportedOperation,
)
from ipfs_accelerate_py.types import Chunk, ModelInfo, Operation, Passthrough, Reply, Request

__all__ = [
    "Answer",
    "ErrorAnswer",
    "Ingress",
    "ServedRequest",
    "StreamWriter",
    "bad_request",
    "is_final",
    "placed",
    "retry_after_of",
    "status_of",
]


#: Vendors' own clients wait no longer than this before they ask again (seconds).
_LONGEST_RETRY = 60.0


class Answer(msgspec.Struct):
    """A whole answer's body and type, and headers that the format has beside them."""

    body: bytes
    content_type: str = "application/json"
    headers: Sequence[tuple[bytes, bytes]] = ()


class ErrorAnswer(msgspec.Struct):
    """An error as it is answered.

    ``retry_after`` is in seconds. ``final`` says that asking again cannot help although the status sounds like it
    might: it is for whoever runs this to mend, or for time, and more of it than a client waits.
    """

    status: int
    body: bytes
    retry_after: float | None = None
    final: bool = False
    code: str | None = None


class ServedRequest(Protocol):
    """A request that has passed the check."""

    operation: Operation
    model: str
    stream: bool

    def passthrough(self, model: str, *, stream_usage: bool = True) -> Passthrough | None:
        """The body for a target of the same format that calls its model ``model``; None where it cannot be forwarded.

        ``stream_usage`` says that the target knows ``stream_options`` (which matters to OpenAI's format alone).
        """
        ...

    def summary(self, model: str) -> Request:
        """The request beside a passthrough body: what the pipeline reads of it (the length of the answer), no more."""
        ...

    def request(self, model: str) -> Request:
        """The whole request in the vocabulary. Raises `InvalidRequest` for a field that it cannot carry."""
        ...


class StreamWriter(Protocol):
    """Chunks of another format as this format's stream.

    Where a format has more than one kind of stream (Gemini's is a JSON array unless events are asked for), a writer has
    a ``content_type`` and an ``error_event(error)`` of its own, which then count.
    """

    def encode(self, chunks: Iterable[Chunk]) -> bytes:
        """What these chunks are on the wire; maybe nothing."""
        ...

    def end(self) -> bytes:
        """What ends a complete stream."""
        ...


class Ingress(Protocol):
    """One format, as a server speaks it."""

    #: Equal to the name of the dialect that speaks it as a client: then bodies are forwarded.
    name: str
    #: Of a stream.
    stream_type: str

    def decode(
        self, operation: Operation, body: bytes, content_type: str, path: Mapping[str, str], *, stream: bool | None
    ) -> ServedRequest:
        """Check a body. Raises `InvalidRequest` (400) whose ``param`` names the field that is wrong.

        ``content_type`` is as the client wrote it (its boundary separates the parts of a form). ``path`` holds what
        the route took from the path (``model``, for the formats that have it there). ``stream`` is set where the
        route says whether a stream is wanted, and None where the body does.
        """
        ...

    def encode(self, request: ServedRequest, reply: Reply, model: str, created: int) -> Answer:
        """A whole answer. ``model`` is the name that the client asked for; ``created`` is seconds since 1970."""
        ...

    def writer(self, request: ServedRequest, model: str, request_id: str, created: int) -> StreamWriter:
        """Writes the answer to one request as a stream. Raises `UnsupportedOperation` where there is none."""
        ...

    # ``request_id`` is the gateway's, for the formats that have it in the body of an error.

    def error(self, error: AccelerateError, request_id: str = "") -> ErrorAnswer:
        """An error of the tree as the whole answer: status and body."""
        ...

    def failure(self, status: int, message: str, code: str, request_id: str = "") -> ErrorAnswer:
        """An error that is none of the tree's (no such path, a method not allowed)."""
        ...

    def error_event(self, error: AccelerateError, operation: Operation, request_id: str = "") -> bytes:
        """An error in band, after which the stream ends without its terminator."""
        ...

    def models(self, models: Iterable[ModelInfo]) -> bytes:
        """The list of models."""
        ...

    def model(self, model: ModelInfo) -> bytes:
        """One model."""
        ...


def bad_request(message: str, code: str | None = None, param: str | None = None, status: int = 400) -> InvalidRequest:
    """A refusal of ours. ``code`` is a word for programs, ``param`` the field (or header) that is wrong."""
    return InvalidRequest(message, status=status, type="invalid_request_error", param=param, code=code)


#: A message in the vocabulary; where its content's parts come from is not followed.
_MESSAGE = re.compile(r"messages\[(\d+)\](?:\.(?:content|tool_calls)\b[\w.\[\]]*)?")


def placed(error: AccelerateError, places: Sequence[str]) -> None:
    """Name in an error the places of the client's own body: ``places`` has one for each message of the vocabulary."""

    def place(found: re.Match[str]) -> str:
        index = int(found[1])
        return places[index] if index < len(places) else found[0]

    error.message = _MESSAGE.sub(place, error.message)
    error.args = (error.message, *error.args[1:])
    if isinstance(error, BackendError) and error.param:
        error.param = _MESSAGE.sub(place, error.param)


def status_of(error: AccelerateError) -> int:
    """The HTTP status that an error is answered with, the same for every format.

    A status of 4xx that the upstream gave is passed on, and 508, which says that calls go in a circle; its other 5xx
    become 502, for it is not this server that failed. A missing key or package is 5xx too: the request was right.
    """
    if isinstance(error, BackendError):
        if error.status is not None and (400 <= error.status < 500 or error.status == 508):
            return error.status
        return error.http_status
    if isinstance(error, ConfigurationError) and error.http_status < 501:
        return 400 if isinstance(error, UnsupportedOperation) else 500
    return error.http_status


def retry_after_of(error: AccelerateError, status: int) -> float | None:
    """Seconds after which the client may ask again, or None. A 429 always says when."""
    if error.retry_after is None and status == 429 and isinstance(error, RateLimited):
        return 1.0
    return error.retry_after


def is_final(error: AccelerateError, status: int) -> bool:
    """Whether a client had better not ask again by itself (`ErrorAnswer.final`).

    A budget that is spent has the status of a rate limit, after which vendors' clients ask again at once, or after a
    few seconds where they are told of more time than they wait. What is reserved for calls under way is soon free.
    """
    if isinstance(error, BudgetExceeded):
        return error.retry_after is None or error.retry_after > _LONGEST_RETRY
    return status in (500, 501)
