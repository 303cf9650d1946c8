"""Faults in what is said: statuses, bodies, headers, encodings."""

from __future__ import annotations

import itertools
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import msgspec

from .faults import Fault, register
from .framing import http_date, sse
from .wire import Answer, Event, Problem, Raw, Request, Service, StreamItem

__all__: list[str] = []

_JSON: Final = "application/json"
_HTML: Final = (
    b"<!DOCTYPE html>\n<html><head><title>%b</title></head>\n"
    b"<body><center><h1>%b</h1></center><hr><center>simulator</center></body></html>\n"
)


@register
@dataclass(frozen=True, slots=True)
class Ok(Fault):
    """No fault: the healthy answer."""

    word: ClassVar[str] = "ok"
    healthy: ClassVar[bool] = True


#: Message, type and code of OpenAI's errors ("error codes", platform.openai.com); other statuses are server errors.
_STATUSES: Final[dict[int, tuple[str, str, str | None]]] = {
    400: ("The request is not valid.", "invalid_request_error", None),
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    402: ("Payment is required.", "insufficient_quota", "insufficient_quota"),
    403: ("The key has no permission to do this.", "permission_error", None),
    404: ("The resource does not exist.", "invalid_request_error", None),
    408: ("The request timed out.", "timeout", None),
    409: ("The request conflicts with another.", "conflict_error", None),
    413: ("The request is too large.", "invalid_request_error", None),
    422: ("The request could not be processed.", "invalid_request_error", None),
    429: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request.", "server_error", None),
    503: ("The engine is currently overloaded, please try again later.", "server_error", None),
    529: ("The server is overloaded.", "overloaded_error", None),
}


@register
@dataclass(frozen=True, slots=True)
class Status(Fault):
    """An error status with the service's error body, and the headers that tell a client when to retry.

    ``retry_after`` (seconds) goes into ``Retry-After``, as an HTTP date where ``http_date``; ``retry_after_ms`` and
    ``should_retry`` into ``retry-after-ms`` and ``x-should-retry``. ``body`` replaces the whole body, with
    ``content_type``. ``headers`` are added.
    """

    word: ClassVar[str] = "status"
    code: int = 500
    retry_after: float | None = None
    retry_after_ms: float | None = None
    http_date: bool = False
    should_retry: bool | None = None
    error_code: str | None = None
    type: str | None = None
    message: str | None = None
    param: str | None = None
    body: str | None = None
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        message, kind, code = _STATUSES.get(self.code, ("The upstream failed.", "server_error", None))
        said = service.refuse(
            Problem(self.code, self.message or message, self.type or kind, self.error_code or code, self.param)
        )
        if self.body is not None:
            said.body = self.body.encode()
            said.content_type = self.content_type or ("text/html" if "<html" in self.body.lower() else "text/plain")
        if self.retry_after is not None:
            # Rounded up to the next whole second, so that a client that obeys never comes too early.
            when = http_date(time.time() + self.retry_after + 1) if self.http_date else _number(self.retry_after)
            said.headers.append(("retry-after", when))
        if self.retry_after_ms is not None:
            said.headers.append(("retry-after-ms", _number(self.retry_after_ms)))
        if self.should_retry is not None:
            said.headers.append(("x-should-retry", str(self.should_retry).lower()))
        said.headers.extend(self.headers)
        return said


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


class _Named(Fault):
    __slots__ = ()
    problem: ClassVar[Problem]

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        return service.refuse(self.problem)


@register
@dataclass(frozen=True, slots=True)
class ContextLengthExceeded(_Named):
    """400: the prompt does not fit into the model's context."""

    word: ClassVar[str] = "context_length_exceeded"
    problem: ClassVar[Problem] = Problem(
        400,
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. "
        "Please reduce the length of the messages.",
        "invalid_request_error",
        "context_length_exceeded",
        "messages",
    )


@register
@dataclass(frozen=True, slots=True)
class ContentPolicyViolation(_Named):
    """400: the provider's content policy refuses the request."""

    word: ClassVar[str] = "content_policy_violation"
    problem: ClassVar[Problem] = Problem(
        400,
        "Your request was rejected as a result of our safety system.",
        "invalid_request_error",
        "content_policy_violation",
    )


@register
@dataclass(frozen=True, slots=True)
class ModelNotFound(_Named):
    """404: there is no such model."""

    word: ClassVar[str] = "model_not_found"

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        model = request.body.get("model") if isinstance(request.body, dict) else None
        message = f"The model `{model}` does not exist or you do not have access to it."
        return service.refuse(Problem(404, message, "invalid_request_error", "model_not_found"))


@register
@dataclass(frozen=True, slots=True)
class InsufficientQuota(_Named):
    """429: the account has nothing left to spend; waiting does not help."""

    word: ClassVar[str] = "insufficient_quota"
    problem: ClassVar[Problem] = Problem(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    )


@register
@dataclass(frozen=True, slots=True)
class Html(Fault):
    """An HTML page, as a proxy in the way would send, with this status."""

    word: ClassVar[str] = "html"
    code: int = 200
    title: str = "502 Bad Gateway"

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        title = self.title.encode()
        return Answer(self.code, body=_HTML % (title, title), content_type="text/html")


@register
@dataclass(frozen=True, slots=True)
class NotObject(Fault):
    """200 with JSON that is not an object."""

    word: ClassVar[str] = "not_object"
    body: str = '["ok"]'

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        return Answer(body=self.body.encode())


@register
@dataclass(frozen=True, slots=True)
class Error200(Fault):
    """200 with an error object as its body."""

    word: ClassVar[str] = "error_200"
    message: str = "The upstream failed."
    error_code: str | None = None

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        said = service.refuse(Problem(500, self.message, "server_error", self.error_code))
        said.status = 200
        return said


@register
@dataclass(frozen=True, slots=True)
class Redirect(Fault):
    """A redirect to a URL."""

    word: ClassVar[str] = "redirect"
    to: str = "http://127.0.0.1:9/v1"
    code: int = 307

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        return Answer(self.code, headers=[("location", self.to)], content_type="")


@register
@dataclass(frozen=True, slots=True)
class BigHeaders(Fault):
    """The answer with this many bytes of headers more, as one header or in lines of ``line`` bytes."""

    word: ClassVar[str] = "big_headers"
    size: int = 64 * 1024
    line: int | None = None

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        step = self.line or self.size
        for number, at in enumerate(range(0, self.size, step)):
            name = f"x-padding-{number}"
            # Name, colon, space and line end count as bytes of the header.
            answer.headers.append((name, "x" * max(1, min(step, self.size - at) - len(name) - 4)))
        return answer


@register
@dataclass(frozen=True, slots=True)
class Oversized(Fault):
    """A body of this many bytes: the healthy JSON, and spaces after it; with ``chunked`` it does not say its length."""

    word: ClassVar[str] = "oversized"
    size: int = 256 * 1024 * 1024
    chunked: bool = False

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        start = answer.body if isinstance(answer.body, bytes) else b""
        length = None if self.chunked else max(self.size, len(start))
        return replace(answer, events=None, content_type=_JSON, body=_padded(start, self.size), length=length)


def _padded(start: bytes, size: int) -> Iterator[bytes]:
    yield start
    missing = size - len(start)
    block = b" " * 65536
    while missing > 0:
        yield block[:missing]
        missing -= len(block)


@register
@dataclass(frozen=True, slots=True)
class UnknownFields(Fault):
    """Fields that no client knows, in every object of the answer and of each event."""

    word: ClassVar[str] = "unknown_fields"

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        if answer.events is not None:
            return replace(answer, events=_map_events(answer.events))
        if isinstance(answer.body, bytes):
            return replace(answer, body=_with_unknown(answer.body))
        return answer


def _map_events(items: Iterator[StreamItem]) -> Iterator[StreamItem]:
    for item in items:
        yield item._replace(data=_with_unknown(item.data)) if isinstance(item, Event) and not item.last else item


def _with_unknown(data: bytes) -> bytes:
    try:
        return msgspec.json.encode(_extend(msgspec.json.decode(data)))
    except msgspec.DecodeError:  # an earlier fault has made it unreadable, and so it stays
        return data


def _extend(value: Any) -> Any:
    if isinstance(value, list):
        return [_extend(item) for item in value]
    if isinstance(value, dict):
        return {**{name: _extend(item) for name, item in value.items()}, "x_unknown": {"nested": [1, None, "?"]}}
    return value


@register
@dataclass(frozen=True, slots=True)
class Gzip(Fault):
    """The answer compressed with gzip; of a stream, each event is flushed."""

    word: ClassVar[str] = "gzip"

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        packer = zlib.compressobj(wbits=31)
        answer.headers.append(("content-encoding", "gzip"))
        if answer.events is None:
            if isinstance(answer.body, bytes):
                answer.body = packer.compress(answer.body) + packer.flush()
            return answer
        inner = answer.encode or sse
        answer.encode = lambda event: packer.compress(inner(event)) + packer.flush(zlib.Z_SYNC_FLUSH)
        answer.events = itertools.chain(answer.events, _trailer(packer.flush))
        return answer


def _trailer(finish: Callable[[], bytes]) -> Iterator[StreamItem]:
    yield Raw(finish())


@register
@dataclass(frozen=True, slots=True)
class GzipBomb(Fault):
    """A gzip body that expands without end: spaces, ``size`` bytes of them, made as the client takes them."""

    word: ClassVar[str] = "gzip_bomb"
    size: int = 1 << 30

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        start = answer.body if isinstance(answer.body, bytes) else b""
        answer.headers.append(("content-encoding", "gzip"))
        return replace(answer, events=None, content_type=_JSON, body=_bomb(start, self.size))


def _bomb(start: bytes, size: int) -> Iterator[bytes]:
    """A gzip member that expands to ``start`` and spaces.

    A full flush makes deflate forget what came before, so one compressed block of spaces can be sent again and again,
    and a client that takes all of it costs this side next to nothing.
    """
    packer = zlib.compressobj(wbits=31)
    yield packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = b" " * (1 << 20)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum, length = zlib.crc32(start), len(start)
    while length < size:
        yield packed
        checksum = zlib.crc32(block, checksum)
        length += len(block)
    # An empty last block, then the trailer of RFC 1952.
    yield b"\x03\x00" + struct.pack("<II", checksum, length & 0xFFFFFFFF)
