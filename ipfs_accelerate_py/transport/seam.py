"""What a transport is given, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

__all__ = ["HttpRequest", "HttpResponse", "Limits", "Transport", "earliest"]


class HttpRequest(msgspec.Struct):
    """A request as it goes on the wire. ``headers`` is not changed, so one mapping may serve many requests.

    ``extra`` are headers of this request alone; one that is in ``headers`` too goes before it. ``once`` says that it
    must not be sent again by the transport itself, as is usual where a connection kept alive turns out to be gone.
    """

    method: str
    url: str
    headers: Any
    body: bytes | None = None
    extra: dict[str, str] | None = None
    once: bool = False

    def __repr__(self) -> str:
        return f"HttpRequest({self.method!r}, {self.url.partition('?')[0]!r})"  # the headers hold the key


class Limits(msgspec.Struct):
    """Limits of one exchange. Durations in seconds, ``deadline`` an instant of `time.monotonic`, sizes in bytes.

    ``connect`` covers DNS, TCP and TLS; ``first_byte`` the wait for the answer's headers, from the connection on.
    """

    connect: float | None = 10.0
    first_byte: float | None = 300.0
    idle: float | None = 120.0
    deadline: float | None = None
    max_body: int = 256 * 1024 * 1024


class HttpResponse(Protocol):
    """An answer whose headers are here."""

    status: int
    headers: Mapping[str, str]
    #: The whole body is here.
    done: bool

    async def read(self) -> bytes:
        """The whole body, bounded in size and time; the connection is given back."""
        ...

    async def read_some(self) -> bytes:
        """The next bytes of the body, as they come; ``b""`` is its end."""
        ...

    def wait_at_most(self, idle: float | None, until: float | None) -> None:
        """Limit each following wait to ``idle`` seconds, and all of them to the instant ``until``."""
        ...

    def abort(self) -> None:
        """Give the connection back (when the body has been read) or drop it. Never waits; harmless when repeated."""
        ...


class Transport(Protocol):
    """The seam."""

    async def send(self, request: HttpRequest, limits: Limits) -> HttpResponse:
        """Send, and wait for the answer's headers.

        Raises `TransportError`s and `ProtocolError`, and `ConfigurationError` for what cannot be sent at all.
        """
        ...

    async def aclose(self) -> None: ...


def earliest(a: float | None, b: float | None) -> float | None:
    """The earlier of two instants, where None is never."""
    if a is None:
        return b
    if b is None:
        return a
    return a if a < b else b
