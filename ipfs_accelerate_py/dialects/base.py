"""What a dialect is: a pure translation between the vocabulary and one wire format. No I/O, no vendor SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import msgspec

from ipfs_accelerate_py.errors import BackendError
from ipfs_accelerate_py.types import Call, Chunk, Operation, RateLimits, Reply, Usage

__all__ = ["Dialect", "DialectFactory", "StreamDecoder", "WireRequest"]


class WireRequest(msgspec.Struct):
    """A request in a wire format.

    ``path`` (with its query) is joined to the backend's base URL, or is a full URL. ``headers`` are sent beside the
    backend's own. ``ignored`` names what the caller set, the format cannot say, and the answer does not depend on.
    ``once`` is for requests that make something each time they are sent.
    """

    method: str
    path: str
    body: bytes | None
    headers: dict[str, str] | None = None
    ignored: tuple[str, ...] = ()
    once: bool = False


class StreamDecoder(Protocol):
    """Reads one streaming answer, fed with bytes split anywhere.

    ``content_seen`` turns true with the first piece of content (text, reasoning, refusal or tool call); ``complete``
    when the answer has semantically ended, and then nothing but its terminator can follow; ``finished`` with the
    terminator. ``skipped`` counts events that could not be read and held no content. ``error`` is the error that came
    after what was just handed out; nothing follows it.
    """

    model: str
    usage: Usage
    finish_reason: str | None
    content_seen: bool
    complete: bool
    finished: bool
    skipped: int
    error: BackendError | None

    def feed(self, data: bytes) -> list[Chunk]:
        """Decode what is complete by now. Raises the error that the provider sent in band, or `ProtocolError`."""
        ...

    def forward(self, data: bytes, hide_usage: bool = False) -> list[bytes]:
        """For passthrough: the same reading, but the complete events come back verbatim (joined in one item).

        ``hide_usage`` leaves out the event with the usage, where we asked for it and the caller did not.
        """
        ...

    def end(self) -> list[Any]:
        """The body has ended: raises `StreamCut` unless the answer is complete.

        Returns what is left: chunks of a last line that had no end; or, where the stream is forwarded, the bytes that
        its reader still needs to see its end (a terminator that was left out).
        """
        ...


class Dialect(Protocol):
    """One wire format."""

    name: str
    operations: frozenset[Operation]

    def encode(self, call: Call) -> WireRequest:
        """The call as this format writes it. Raises `UnsupportedOperation` for what the format cannot say."""
        ...

    def decode(self, call: Call, body: bytes, headers: Mapping[str, str]) -> Reply:
        """A unary answer. Raises `ProtocolError` for what is not one, and the error that a 200 may hold.

        ``headers`` are the answer's; names are found in any case.
        """
        ...

    def stream_decoder(self, call: Call) -> StreamDecoder:
        """Raises `UnsupportedOperation` where the operation has no stream; `encode` does so before it is sent."""
        ...

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
        """The provider's error as one of the tree."""
        ...

    def rate_limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        """What the provider's headers say of its limits, or None."""
        ...


DialectFactory: TypeAlias = Callable[[str, Mapping[str, Any]], Dialect]
"""Makes a backend's dialect from its base URL and its row's options (see `BackendSpec`)."""
