"""The innermost handler for a service over HTTP: a dialect, a transport, and the key that the call holds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.backends.spec import BackendSpec
from ipfs_accelerate_py.dialects.base import Dialect, StreamDecoder, WireRequest
from ipfs_accelerate_py.errors import BackendError, ConfigurationError, ProtocolError, ReadTimeout
from ipfs_accelerate_py.pipeline.keys import Key, Lease
from ipfs_accelerate_py.settings import Settings, Timeouts
from ipfs_accelerate_py.stream import Stream
from ipfs_accelerate_py.transport import HttpRequest, HttpResponse, Limits, Transport
from ipfs_accelerate_py.types import Call, Reply, Usage

__all__ = ["HttpBackend"]

#: After an answer is complete, its terminator (or the end of the body) may take this long; then it is done without.
TERMINATOR_GRACE = 1.0
#: An error's body is read up to this size; it is for people.
MOST_ERROR_BYTES = 64 * 1024


class HttpBackend:
    """Asks one service: ``async (Call) -> Reply``."""

    def __init__(
        self,
        spec: BackendSpec,
        dialect: Dialect,
        transport: Transport,
        base_url: str,
        settings: Settings,
        headers: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.spec = spec
        self.dialect = dialect
        self.transport = transport
        self.base_url = base_url.rstrip("/")
        self._settings = settings
        self._headers = dict(headers or {})
        self._options = dict(options or {})
        #: Events of streams that could not be read and held no content.
        self.skipped_events = 0

    async def __call__(self, call: Call) -> Reply:
        lease: Lease = call.lease
        wire = self.dialect.encode(call)
        request = self._request(wire, call, lease.key)
        timeouts = call.timeouts or self._settings.timeouts
        if call.limits is not None:
            timeouts = timeouts.with_limits(call.limits)
        limits = Limits(
            timeouts.connect, timeouts.first_byte, timeouts.idle, call.deadline, self._settings.max_body_bytes
        )
        began = time.monotonic()
        try:
            response = await self.transport.send(request, limits)
            headers = response.headers
            rates = self.dialect.rate_limits(headers)
            if rates is not None:
                lease.observe(rates)
            if response.status >= 300 or response.status < 200:
                raise await self._refused(response)
            if call.stream:
                reply = await self._stream(call, response, timeouts)
            else:
                reply = await self._unary(call, response, timeouts)
        except BackendError as error:
            self._sign(error, lease.key)
            raise
        reply.upstream = time.monotonic() - began
        reply.backend = self.spec.name
        reply.verbatim = call.passthrough is not None
        reply.upstream_request_id = _request_id(headers)
        if wire.ignored:
            reply.ignored = wire.ignored
        return reply

    # --- the request ---------------------------------------------------------------------------------------------

    def _request(self, wire: WireRequest, call: Call, key: Key) -> HttpRequest:
        headers = key.header
        if headers is None:
            headers = key.header = self._key_headers(key)
        if wire.headers or call.headers:
            headers = {**headers, **(wire.headers or {}), **(call.headers or {})}
        if call.passthrough is not None and call.passthrough.headers:
            headers = {**headers, **call.passthrough.headers}
        path = wire.path
        if path.startswith("/"):
            return HttpRequest(wire.method, self.base_url + path, headers, wire.body, call.propagation, wire.once)
        self._check_origin(path)
        return HttpRequest(wire.method, path, headers, wire.body, call.propagation, wire.once)

    def _key_headers(self, key: Key) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",
            "User-Agent": _user_agent(),
            **self.spec.headers,
            **self._headers,
        }
        secret = None if key.secret is None else key.secret.reveal()
        return {**headers, **self.spec.authorize(self.spec, secret, self._options)}

    def _check_origin(self, url: str) -> None:
        """A full URL (the older API passes them) must be this backend's own: the key goes with the request."""
        from urllib.parse import urlsplit

        ours, theirs = urlsplit(self.base_url), urlsplit(url)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            raise ConfigurationError(
                f"the URL is on {theirs.netloc or 'no host'}, but the backend {self.spec.name!r} is on {ours.netloc}; "
                "a key is sent to its own service only (set base_url to use another)"
            )

    # --- answers -------------------------------------------------------------------------------------------------

    async def _unary(self, call: Call, response: HttpResponse, timeouts: Timeouts) -> Reply:
        body = await response.read() if response.done else await self._read(call, response, timeouts)
        try:
            reply = self.dialect.decode(call, body, response.headers)
        except BackendError as error:
            if error.status is None:
                error.status = response.status
            error.request_id = error.request_id or _request_id(response.headers)
            raise
        return reply

    async def _read(self, call: Call, response: HttpResponse, timeouts: Timeouts) -> bytes:
        """The whole body. As with streams, silence before its first byte is thinking, and has a limit of its own."""
        until, most, sooner = call.deadline, timeouts.first_content, False
        if most is not None:
            limit = time.monotonic() + most
            sooner = until is None or limit < until
            until = limit if sooner else until
        response.wait_at_most(None, until)
        try:
            begun = await response.read_some()
        except ReadTimeout as error:
            raise _too_late(error, most or 0, sooner) from None
        response.wait_at_most(timeouts.idle, call.deadline)
        return begun + await response.read()

    async def _stream(self, call: Call, response: HttpResponse, timeouts: Timeouts) -> Reply:
        """Read up to the first content, so that whatever fails before it fails like a unary call."""
        try:
            kind = response.headers.get("Content-Type", "")
            if kind.partition(";")[0].strip() in ("text/html", "application/json"):  # and not application/jsonl
                return await self._not_a_stream(call, response, kind)
            source = _StreamSource(self, call, response, timeouts)
            first = await source.begin()
        except BaseException:
            response.abort()
            raise
        reply = Reply(backend=self.spec.name, model=source.model, stream=Stream(source, first))
        reply.content_type = kind or "text/event-stream"
        return reply

    async def _not_a_stream(self, call: Call, response: HttpResponse, kind: str) -> Reply:
        # A JSON body where a stream was asked for is mostly an error that came with status 200.
        body = await response.read()
        if kind.startswith("application/json"):
            self.dialect.decode(call, body, response.headers)  # raises the error that is in it
        raise ProtocolError(
            f"a stream was asked for and the upstream answered with {kind.split(';')[0]}: "
            f"{body[:200].decode('utf-8', 'replace')!r}",
            status=response.status,
        )

    async def _refused(self, response: HttpResponse) -> BackendError:
        parts: list[bytes] = []
        size = 0
        try:
            while size < MOST_ERROR_BYTES and (part := await response.read_some()):
                parts.append(part)
                size += len(part)
        except BackendError:
            pass  # the status alone tells enough
        finally:
            response.abort()
        return self.dialect.error(response.status, response.headers, b"".join(parts)[:MOST_ERROR_BYTES])

    def _sign(self, error: BackendError, key: Key) -> None:
        """Add whose error it is, and take out the key where the service quoted it back."""
        error.backend = self.spec.name
        if key.secret is not None:
            value = key.secret.reveal()
            for field in ("message", "code", "type", "param", "request_id", "body"):
                found = getattr(error, field)
                if found is not None:
                    setattr(error, field, _without(found, value, f"[key {key.name}]"))
            error.args = (error.message,)


class _StreamSource:
    """Reads a streaming answer through its dialect's decoder."""

    def __init__(self, backend: HttpBackend, call: Call, response: HttpResponse, timeouts: Timeouts) -> None:
        self._backend = backend
        self._response = response
        self._decoder: StreamDecoder = backend.dialect.stream_decoder(call)
        self._key: Key = call.lease.key
        self._deadline = call.deadline
        self._idle = timeouts.idle
        self._first_content = timeouts.first_content
        self._passthrough = call.passthrough
        self._hide_usage = call.passthrough is not None and call.passthrough.hide_usage
        self._grace = TERMINATOR_GRACE

    @property
    def model(self) -> str:
        return self._decoder.model

    @property
    def usage(self) -> Usage:
        return self._decoder.usage

    @property
    def finish_reason(self) -> str | None:
        return self._decoder.finish_reason

    async def begin(self) -> list[Any]:
        """Items up to and with the first content. Silence until then is thinking, and bounded by its own limit."""
        until, most, sooner = self._deadline, self._first_content, False
        if most is not None:
            limit = time.monotonic() + most
            sooner = until is None or limit < until
            until = limit if sooner else until
        self._response.wait_at_most(None, until)
        items: list[Any] = []
        decoder = self._decoder
        try:
            while not decoder.content_seen and not decoder.complete:
                more = await self._items()
                if more is None:
                    break
                items.extend(more)
        except ReadTimeout as error:
            raise _too_late(error, most or 0, sooner) from None
        if not decoder.complete:
            self._response.wait_at_most(self._idle, self._deadline)
        return items

    async def read(self) -> list[Any]:
        try:
            while True:
                items = await self._items()
                if items is None:
                    return []
                if items:
                    return items
        except BackendError as error:
            self._backend._sign(error, self._key)
            raise

    def abort(self) -> None:
        self._backend.skipped_events += self._decoder.skipped
        self._decoder.skipped = 0
        self._response.abort()

    async def _items(self) -> list[Any] | None:
        """What the next bytes bring: maybe nothing, and None at the end."""
        decoder = self._decoder
        if decoder.error is not None:
            raise decoder.error
        if decoder.finished:
            await self._drain()
            return None
        if decoder.complete:
            data = await self._read_terminator()
        else:
            data = await self._response.read_some()
        if not data:
            return decoder.end() or None
        if self._passthrough is not None:
            return list(decoder.forward(data, self._hide_usage))
        return list(decoder.feed(data))

    async def _drain(self) -> None:
        """Read the end of the body, so that the connection can be used again."""
        while await self._read_terminator():
            pass

    async def _read_terminator(self) -> bytes:
        """Read on after a complete answer, for its counts and terminator; nothing that happens now makes it less.

        The grace is for all the waits together (an upstream may have no end of comments to make), and not for the
        time that a slow reader takes between them.
        """
        began = time.monotonic()
        until = began + self._grace
        self._response.wait_at_most(None, until if self._deadline is None else min(until, self._deadline))
        try:
            return await self._response.read_some()
        except BackendError:
            self._response.abort()
            return b""
        finally:
            self._grace -= time.monotonic() - began


def _too_late(error: ReadTimeout, limit: float, ours: bool) -> ReadTimeout:
    """The error, in the words of the limit it came from where that was not the call's deadline."""
    if not ours:
        return error
    return ReadTimeout(f"no content came within first_content_timeout ({limit:g} s)", status=error.status)


def _request_id(headers: Mapping[str, str]) -> str | None:
    return headers.get("x-request-id") or headers.get("request-id")  # Anthropic's


def _user_agent() -> str:
    from ipfs_accelerate_py._version import __version__

    return f"ipfs-accelerate-py/{__version__}"


def _without(value: Any, secret: str, name: str) -> Any:
    if isinstance(value, str):
        return value.replace(secret, name)
    if isinstance(value, dict):
        return {_without(key, secret, name): _without(item, secret, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_without(item, secret, name) for item in value]
    return value
