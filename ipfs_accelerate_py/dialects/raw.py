"""Requests of a service's own that no dialect translates (`Operation.RAW`): sent as they are, answered as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.base import WireRequest
from ipfs_accelerate_py.dialects.streaming import EventStream, Lines
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.framing import SSEvent
from ipfs_accelerate_py.types import Chunk, RawRequest, Reply

__all__ = ["RawStream", "as_json", "raw_reply", "raw_request"]

_decode = msgspec.json.Decoder().decode


def _plain(value: Any) -> Any:
    # numpy scalars and arrays and pydantic models arrive in options and inputs; none of them is imported for it.
    for method in ("tolist", "model_dump"):
        convert = getattr(value, method, None)
        if convert is not None:
            return convert()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def as_json(value: Any) -> bytes:
    """A request's body. Raises `ConfigurationError` for what cannot be written."""
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError, UnicodeEncodeError) as problem:
        raise ConfigurationError(f"the request cannot be written as JSON: {problem}") from None


def raw_request(request: RawRequest) -> WireRequest:
    """Its body as JSON, or its bytes under the type they have."""
    body = request.body
    if isinstance(body, bytes | bytearray | memoryview):
        headers = {"Content-Type": request.content_type}
        return WireRequest(request.method, request.path, bytes(body), headers, once=request.once)
    return WireRequest(request.method, request.path, None if body is None else as_json(body), once=request.once)


def raw_reply(body: bytes, headers: Mapping[str, str]) -> Reply:
    """JSON in ``raw``; anything else in ``body``, under its type."""
    if not body:
        return Reply()
    kind = headers.get("content-type") or "application/json"
    try:
        return Reply(raw=_decode(body), content_type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Reply(body=body, content_type=kind)


class RawStream(EventStream):
    """Any stream of events or JSON lines, which of them its first byte tells; the body's end is its end."""

    format = "a stream of events"
    content_marks = ()

    def __init__(self) -> None:
        super().__init__()
        self._held: bytes | None = b""

    def feed(self, data: bytes) -> list[Chunk]:
        if self._held is not None:
            data = self._held + data
            start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            if not start:
                self._held = data
                return []
            self._held = None
            if start in (b"{", b"["):
                self._framing = Lines()
        return super().feed(data)

    def end(self) -> list[Any]:
        self.complete = True
        return super().end()

    def _read(self, event: SSEvent) -> list[Chunk]:
        if event.data == b"[DONE]" or not event.data:
            return []
        self.content_seen = True
        return [Chunk(event=event.event, data=event.data)]
