"""A request on its way through the application: what came, what was answered, and whether anybody still waits."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ipfs_accelerate_py.dialects.serving import ErrorAnswer, Ingress, bad_request
from ipfs_accelerate_py.errors import AccelerateError, InvalidRequest
from ipfs_accelerate_py.gateway.http1 import DISCONNECT
from ipfs_accelerate_py.gateway.keyring import ANYBODY
from ipfs_accelerate_py.types import new_request_id

__all__ = ["CLIENT_LEFT", "ClientLeft", "Incoming", "Receive", "Scope", "Send", "retry_after_headers"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: nginx's status for a client that left before its answer was complete; nobody is sent it.
CLIENT_LEFT = 499

_REQUEST_ID = re.compile(rb"[\x20-\x7e]{1,128}")
_JSON = (b"content-type", b"application/json")
#: Nobody is told to come back later than in a day (in seconds).
_LONGEST_WAIT = 86_400.0
_FORM_TYPE = re.compile(rb"multipart/form-data\s*;.*", re.I)
_JSON_TYPE = re.compile(rb"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.I)


class ClientLeft(Exception):  # nobody made a mistake
    """The client has left, and there is nobody to answer."""


class Incoming:
    """One request.

    Attributes:
        ingress: the wire format in which it is answered.
        headers: by lower-case name; of several with one name, the last.
        holder: whose key it showed.
        request_id: the client's own where that is sane, else a new one; every answer carries it.
        model: what metrics call the model, once it is known.
        status: what was answered.
        started: whether the answer has begun.
        left: the client has left.
    """

    __slots__ = (
        "_receive", "_watcher", "began", "headers", "holder", "ingress", "left", "model", "request_id", "scope", "send",
        "started", "status",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send, ingress: Ingress) -> None:
        self.scope = scope
        self.ingress = ingress
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.headers.get(b"x-request-id")
        sane = given is not None and _REQUEST_ID.fullmatch(given) is not None
        self.request_id = given.decode("ascii") if sane and given is not None else new_request_id()
        self.send = send
        self.holder = ANYBODY
        self.began = time.monotonic()
        self.model = ""
        self.status = 500
        self.started = False
        self.left = False
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None

    # --- the body ------------------------------------------------------------------------------------------------

    async def body(self, most: int, *, form: bool = False) -> bytes:
        """The body, at most so many bytes of it. Raises `InvalidRequest` from what the headers say before it reads.

        It has to be JSON, or a form with files where ``form``.
        """
        headers = self.headers
        kind = headers.get(b"content-type")
        if form:
            if kind is None or _FORM_TYPE.fullmatch(kind.strip()) is None:
                raise bad_request(
                    "The header 'Content-Type' must be multipart/form-data.",
                    "unsupported_media_type", "content-type", 415,
                )  # fmt: skip
        elif kind != b"application/json" and (kind is None or _JSON_TYPE.fullmatch(kind.strip()) is None):
            # Browsers send other types across sites without asking; a gateway without a key must not take them.
            raise bad_request(
                "The header 'Content-Type' must be application/json.", "unsupported_media_type", "content-type", 415
            )
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding.strip().lower() not in (b"", b"identity"):
            raise bad_request(
                "Compressed bodies are not taken; send it as it is, without 'Content-Encoding'.",
                "unsupported_content_encoding", "content-encoding", 415,
            )  # fmt: skip
        length = headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length) > most:
            raise _too_large(most)
        message = await self._receive()
        body: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body", False):
            if len(body) > most:
                raise _too_large(most)
            return body
        parts = [body]
        size = len(body)
        while message["type"] == "http.request" and message.get("more_body", False):
            if size > most:
                raise _too_large(most)
            message = await self._receive()
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
        if message["type"] != "http.request":
            self.left = True
            raise ClientLeft
        if size > most:
            raise _too_large(most)
        return b"".join(parts)

    # --- leaving -------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """From now on, cancel this task when the client leaves. Call it when the body has been read."""
        task = asyncio.current_task()
        assert task is not None

        def left() -> None:
            self.left = True
            task.cancel()

        register = (self.scope.get("extensions") or {}).get(DISCONNECT)
        if register is not None:
            register(left)
        else:  # another server than ours: somebody has to wait for its message
            self._watcher = asyncio.get_running_loop().create_task(self._wait(left))

    async def _wait(self, left: Callable[[], None]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        left()

    def unwatch(self) -> None:
        """The answer is complete."""
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    def identity(self) -> list[tuple[bytes, bytes]]:
        """The headers with the request's id: ours, and the one that the vendor's client looks at."""
        value = self.request_id.encode()
        headers = [(b"x-request-id", value)]
        if self.ingress.name == "anthropic":
            headers.append((b"request-id", value))
        return headers

    # --- answers -------------------------------------------------------------------------------------------------

    async def answer(
        self,
        status: int,
        body: bytes,
        kind: tuple[bytes, bytes] = _JSON,
        extra: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        """A whole answer."""
        self.status = status
        self.started = True
        headers = [kind, (b"content-length", b"%d" % len(body)), *self.identity()]
        if extra:
            headers += extra
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def refuse(self, error: AccelerateError | ErrorAnswer) -> None:
        """An error as the whole answer."""
        answer = self.ingress.error(error, self.request_id) if isinstance(error, AccelerateError) else error
        extra: list[tuple[bytes, bytes]] = []
        if answer.retry_after is not None:
            extra += retry_after_headers(answer.retry_after)
        if answer.final or answer.status == 508:
            extra.append((b"x-should-retry", b"false"))
        if answer.code == "invalid_api_key":
            extra.append((b"www-authenticate", b"Bearer"))
        await self.answer(answer.status, answer.body, extra=extra)


def retry_after_headers(seconds: float) -> list[tuple[bytes, bytes]]:
    """``Retry-After`` in whole seconds, as HTTP has it, and in milliseconds, which clients read first."""
    seconds = min(seconds, _LONGEST_WAIT)
    return [
        (b"retry-after", b"%d" % max(1, math.ceil(seconds))),
        (b"retry-after-ms", b"%d" % max(1, math.ceil(seconds * 1000))),
    ]


def _too_large(most: int) -> InvalidRequest:
    return bad_request(f"The body is larger than {most} bytes.", "request_too_large", None, 413)
