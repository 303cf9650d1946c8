"""What a service (one wire format) and the server say to each other.

A *service* is pure: it is given a :class:`Request` and returns an :class:`Answer`. It does no I/O and knows nothing of
faults, limits or time. The server turns the answer into bytes, and faults (see ``faults``) change what is said
(:attr:`Answer` fields), the events of a stream, or the bytes on the wire.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .limits import Refusal

if TYPE_CHECKING:
    from .books import Books

__all__ = [
    "Answer",
    "Close",
    "Down",
    "Event",
    "Flush",
    "Problem",
    "Raw",
    "Refused",
    "Request",
    "Service",
    "Settings",
    "Sleep",
    "StreamItem",
    "WireItem",
    "key_label",
]


def key_label(value: str) -> str:
    """The name under which records and limits speak of a key: ``key-`` and 8 hex digits of its SHA-256."""
    return "key-" + hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:8]


@dataclass(slots=True)
class Request:
    """One request as the simulator saw it, and what became of it. ``Simulator.requests`` is a list of these.

    Attributes:
        number: position in the order of arrival, from 1.
        method, path, query: of the request line; ``path`` is without the query.
        headers: names in lower case; credentials are replaced by the key's name.
        body: the decoded JSON body, or None where there was none or it was not JSON (see ``invalid_json``). Requests
            with equal bodies may share it, so it is not to be changed.
        raw: the body's bytes, where it was not JSON or was sent as something else.
        key: the name of the key used (never its value), or None.
        fault: the fault played, as text, or None.
        t_start, t_end: clock times of the request's last byte and of the answer's end; ``t_end`` is None while it runs.
        status: HTTP status answered, 0 where none was.
        aborted_by_client: the client went away before the answer's end.
        streamed_chunks: events of a stream that were produced, the terminator not counted.
        streamed_tokens: tokens of the answer in them.
        at: seconds since 1970 when it came in.
        model, usage: of an answer that has usage: the model asked for, and the counts as the answer reports them.
        complete: the answer went out to its end.
    """

    number: int
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: Any = None
    raw: bytes = b""
    invalid_json: bool = False
    key: str | None = None
    fault: str | None = None
    t_start: float = 0.0
    t_end: float | None = None
    status: int = 0
    aborted_by_client: bool = False
    streamed_chunks: int = 0
    streamed_tokens: int = 0
    at: float = 0.0
    model: str = ""
    usage: dict[str, Any] | None = None
    complete: bool = False


class Event(NamedTuple):
    """One event of a stream.

    ``tokens`` is how many tokens of the answer it carries (0 for structure, such as a role or usage), which is what
    faults "after k tokens" count. ``last`` marks the terminator of the format (``[DONE]``).
    """

    data: bytes
    name: str = ""
    tokens: int = 0
    last: bool = False


class Raw(NamedTuple):
    """Bytes in the place of an event, sent as they are."""

    data: bytes


class Sleep(NamedTuple):
    """Wait; None waits until the client goes away."""

    seconds: float | None


class Close(NamedTuple):
    """End the connection here: with FIN, or with RST where ``rst``."""

    rst: bool = False


class Down(NamedTuple):
    """Reset this connection and refuse every other for this long; None refuses until told otherwise."""

    seconds: float | None


class Flush(NamedTuple):
    """Give what came so far to the network before going on, so that it travels on its own."""


StreamItem = Event | Raw | Sleep | Close | Flush
WireItem = bytes | Sleep | Close | Down | Flush


@dataclass(slots=True)
class Answer:
    """What is answered: either ``body``, or ``events`` for a stream.

    ``body`` may be an iterator of pieces, which are sent with chunked framing unless ``length`` says how many bytes
    they are, or claim to be.
    ``encode`` turns an event into the bytes of the format's own framing (SSE, JSON lines). ``renew`` makes the body
    once more, for another request with the same path and body: the same answer under a new id. ``model`` and ``usage``
    are what the provider counts the answer by.
    """

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | Iterable[WireItem] = b""
    length: int | None = None
    events: Iterator[StreamItem] | None = None
    content_type: str = "application/json"
    encode: Callable[[Event], bytes] | None = None
    renew: Callable[[], bytes] | None = None
    model: str = ""
    usage: dict[str, Any] | None = None


class Problem(NamedTuple):
    """An error in no particular wire format; a service gives it its own shape."""

    status: int
    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None


class Refused(Exception):  # it is an answer, not an error of the simulator's
    """Raised inside a service to answer with a :class:`Problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(slots=True, frozen=True)
class Settings:
    """What a service needs to know to make up answers.

    Attributes:
        models: names served, or None to take any name.
        tokens: length of an answer in tokens, where the request does not set a lower limit.
        seed: changes every generated text and vector.
        reply: the text to answer with instead of generated text, or a function from the decoded request body to it.
        dimensions: length of embedding vectors, where the request does not say.
        books: the provider's account of what it has served.
    """

    models: tuple[str, ...] | None = None
    tokens: int = 20
    seed: int = 0
    reply: str | Callable[[Any], str] | None = None
    dimensions: int = 1536
    books: Books | None = None


class Service(Protocol):
    """One wire format. Implementations are registered by name in ``services``."""

    name: str
    #: Path that clients' base URLs end in.
    base_path: str

    def credential(self, headers: dict[str, str]) -> str | None:
        """The key's value in these headers, or None."""
        ...

    def answer(self, request: Request, settings: Settings) -> Answer:
        """The healthy answer. Wrong requests raise :class:`Refused`."""
        ...

    def headers(self) -> list[tuple[str, str]]:
        """The headers of every good answer."""
        ...

    def refuse(self, problem: Problem) -> Answer:
        """The problem in this format's error shape."""
        ...

    def unauthorized(self, *, missing: bool) -> Problem:
        """What is said to a request with a wrong key, or with none."""
        ...

    def limited(self, request: Request, refusal: Refusal) -> Answer:
        """What is said to a request over a rate limit; rate-limit headers are added by the server."""
        ...

    def error_event(self, problem: Problem, request: Request) -> Event:
        """The problem as an event in mid-stream."""
        ...

    def cost(self, request: Request, settings: Settings) -> int:
        """Tokens a request is charged against a tokens-per-minute limit."""
        ...

    def limit_headers(self, states: dict[str, tuple[int, int, float]]) -> list[tuple[str, str]]:
        """Rate-limit headers. ``states`` maps ``requests`` and ``tokens`` to limit, remaining, seconds to full."""
        ...
