"""A client's request for whichever target is asked: its own body, or the request in the vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from ipfs_accelerate_py.dialects.serving import Ingress, ServedRequest
from ipfs_accelerate_py.errors import ConfigurationError, InvalidRequest
from ipfs_accelerate_py.gateway.routes import Asked
from ipfs_accelerate_py.types import Operation, Passthrough, Request

__all__ = ["RequestVariants"]

_encode_sorted = msgspec.json.Encoder(order="sorted").encode
#: Headers that say how a forwarded body is to be read.
_FORWARDED = {"anthropic": (b"anthropic-beta",), "openai": (b"openai-beta",)}
#: What another target can go on with in the middle of its answer. A response's events are made of ids and numbers that
#: belong to the service that wrote them.
_RESCUED = frozenset({Operation.CHAT, Operation.COMPLETION})


class RequestVariants:
    """See `Variants`. It holds no call, so that nothing keeps itself alive."""

    __slots__ = ("_asked", "_body", "_fingerprint", "_headers", "_request", "_rescued", "format")

    def __init__(
        self, request: ServedRequest, form: Ingress, asked: Asked, body: bytes, headers: Mapping[bytes, bytes]
    ) -> None:
        self._request = request
        #: The client's format: a verbatim answer is of use to clients of the same one.
        self.format = form.name
        self._asked = asked
        self._body = body
        self._headers: dict[str, str] | None = None
        self._rescued = False
        self._fingerprint = b""
        for name in _FORWARDED.get(form.name, ()):
            value = headers.get(name)
            if value is not None:
                self._headers = {**(self._headers or {}), name.decode(): value.decode("latin-1")}

    def rescue(self) -> None:
        """Streams are to be read in chunks, so that another target can go on where one breaks off."""
        self._rescued = self._request.stream and self._request.operation in _RESCUED

    def __call__(
        self, dialect: str | None, operations: frozenset[Operation] | None, model: str, stream_usage: bool
    ) -> tuple[Request, Passthrough | None]:
        request = self._request
        # A service that speaks the format may yet have no Responses API; then that is asked for as a chat.
        forwards = dialect == self.format and operations is not None and request.operation in operations
        if self._rescued and forwards:
            try:
                return request.request(model), None
            except (InvalidRequest, ConfigurationError):
                pass  # it asks for what the vocabulary has no word for (logprobs): better unrescued than refused
        passed = request.passthrough(model, stream_usage=stream_usage) if forwards else None
        if passed is None:
            return request.request(model), None
        passed.headers = self._headers
        if getattr(request, "places", ()):
            request.places = ()  # type: ignore[attr-defined]  # of the translation for another target
        return request.summary(model), passed

    def whole(self, model: str) -> tuple[Request, Passthrough | None]:
        """The request before it is known who answers: the client's own body, under the name that it asked for."""
        passed = self._request.passthrough(model)
        if passed is None:
            return self._request.request(model), None
        passed.headers = self._headers
        return self._request.summary(model), passed

    @property
    def fingerprint(self) -> bytes:
        """The client's format, and all of its request whatever order it was written in. Made where somebody asks."""
        if not self._fingerprint:
            try:
                body = _encode_sorted(msgspec.json.decode(self._body))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                body = self._body  # a form with files
            path = repr(sorted(self._asked.path.items())).encode()
            path += repr(sorted((self._headers or {}).items())).encode()
            head = b"%b %b %b %d " % (self.format.encode(), self._request.operation.value.encode(), path, len(body))
            self._fingerprint = hashlib.blake2b(head + body, digest_size=16).digest()
        return self._fingerprint
