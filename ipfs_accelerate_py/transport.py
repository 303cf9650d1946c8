"""The edge to the network: the one module that imports an HTTP client library (aiohttp).

The seam is one method, `Transport.send`. Everything above it sees bytes, a status and headers, and the error tree, so a
leaner transport can take this one's place without a word changed elsewhere.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
import time
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import msgspec

from ipfs_accelerate_py.deadlines import Deadlines
from ipfs_accelerate_py.errors import (
    BackendError,
    ConfigurationError,
    ConnectFailed,
    ProtocolError,
    ReadTimeout,
    StreamCut,
    TransportError,
)

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

__all__ = ["AiohttpTransport", "HttpRequest", "HttpResponse", "Limits", "Transport"]


#: How many kept-alive connections may turn out dead, one after the other, before a call counts that as a failure.
MOST_STALE = 3
_DEADLINE = "the upstream's answer did not end within the call's limit of time"


class HttpRequest(msgspec.Struct):
    """A request as it goes on the wire. ``headers`` is not changed, so one mapping may serve many requests."""

    method: str
    url: str
    headers: Any
    body: bytes | None = None

    def __repr__(self) -> str:
        return f"HttpRequest({self.method!r}, {self.url.partition('?')[0]!r})"  # the headers hold the key


class Limits(msgspec.Struct):
    """Limits of one exchange. Durations in seconds, ``deadline`` an instant of `time.monotonic`, sizes in bytes."""

    connect: float | None = 10.0
    first_byte: float | None = 300.0
    idle: float | None = 120.0
    deadline: float | None = None
    max_body: int = 256 * 1024 * 1024


class HttpResponse(Protocol):
    """An answer whose headers are here."""

    status: int
    headers: Mapping[str, str]

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
        """Send, and wait for the answer's headers. Raises `TransportError`s and `ProtocolError` only."""
        ...

    async def aclose(self) -> None: ...


class AiohttpTransport:
    """A pool of connections on aiohttp.

    Keeps connections alive, sets TCP_NODELAY (aiohttp does), verifies certificates, follows no redirect (a key must
    never follow one), keeps no cookies, and takes proxies from the environment once per URL. The pool itself sets no
    limit: admission does. Belongs to the event loop that first uses it; after a fork, or when that loop has closed, it starts
    anew.
    """

    def __init__(
        self,
        *,
        max_header_bytes: int = 32 * 1024,
        keepalive: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
        trust_env: bool = True,
    ) -> None:
        self._max_header_bytes = max_header_bytes
        self._keepalive = keepalive
        self._ssl = ssl_context
        self._trust_env = trust_env
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._deadlines = Deadlines()
        self._urls: dict[str, tuple[URL, str | None]] = {}
        self._timeouts: dict[float | None, aiohttp.ClientTimeout] = {}

    async def send(self, request: HttpRequest, limits: Limits) -> HttpResponse:
        session = self._session
        loop = asyncio.get_running_loop()
        if session is None or self._loop is not loop or self._pid != os.getpid():
            session = self._open(loop)
        url, proxy = self._urls.get(request.url) or self._resolve(request.url)
        timeout = self._timeouts.get(limits.connect) or self._timeout(limits.connect)
        # aiohttp's own limits cover the body as well, and do not tell the two apart.
        until = _earliest(
            limits.deadline, None if limits.first_byte is None else time.monotonic() + limits.first_byte
        )
        connector: Any = session.connector
        stale = 0
        try:
            with self._deadlines.limit(until):
                while True:
                    opened = connector.opened
                    try:
                        raw = await session.request(
                            request.method,
                            url,
                            data=request.body,
                            headers=request.headers,
                            timeout=timeout,
                            proxy=proxy,
                            allow_redirects=False,
                        )
                        break
                    except _gone():
                        # A server may close a kept-alive connection in the moment we use it (many do right after a
                        # 500). That says nothing of its health and the request was never answered: ask again.
                        if connector.opened != opened or stale >= MOST_STALE:
                            raise
                        stale += 1
        except TimeoutError as error:
            raise _timed_out(error, limits, until) from error
        except Exception as error:
            raise _translate(error, answered=False) from error
        response = _Response(raw, limits)
        if 300 <= response.status < 400 and response.status != 304:
            response.abort()
            raise ProtocolError(
                f"the upstream answered with a redirect (HTTP {response.status}), which is refused because a key must "
                "not follow one; set the base URL to the service's final address",
                status=response.status,
            )
        return response

    async def aclose(self) -> None:
        """Close every connection. A later `send` opens the pool anew."""
        session, self._session = self._session, None
        self._deadlines.close()
        if session is not None and self._loop is asyncio.get_running_loop() and self._pid == os.getpid():
            await session.close()

    @property
    def open_connections(self) -> int:
        """Connections in use right now (not those kept alive)."""
        if self._session is None or self._session.connector is None:
            return 0
        return len(self._session.connector._acquired)

    def _open(self, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
        import aiohttp

        previous, pid = self._loop, self._pid
        if (
            previous is not None
            and pid == os.getpid()
            and previous is not loop
            and previous.is_running()
            and self._session is not None
        ):
            raise ConfigurationError(
                "this client belongs to another event loop that is still running; make one AsyncClient for each loop, "
                "or use Client, which may be used from any thread"
            )
        stale, self._session = self._session, None
        if stale is not None:
            _forget(stale, forked=pid != os.getpid())
        connector = _connector_class()(
            limit=0,
            keepalive_timeout=self._keepalive,
            ssl=self._ssl if self._ssl is not None else True,
            family=socket.AF_UNSPEC,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=min(self._max_header_bytes, 16 * 1024),
            max_field_size=self._max_header_bytes,
            read_bufsize=256 * 1024,
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept"),
        )
        self._loop, self._pid = loop, os.getpid()
        self._deadlines = Deadlines()
        return self._session

    def _resolve(self, url: str) -> tuple[URL, str | None]:
        from yarl import URL

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"the base URL must start with http:// or https:// and name a host, not {url!r}")
        if parts.username or parts.password:
            raise ConfigurationError("a base URL must not hold a user name or password; give the key as api_key")
        proxy = _environment_proxy(parts.scheme, parts.netloc) if self._trust_env else None
        if len(self._urls) > 4096:  # raw URLs come from callers; paths of a backend are few
            self._urls.clear()
        found = self._urls[url] = (URL(url), proxy)
        return found

    def _timeout(self, connect: float | None) -> aiohttp.ClientTimeout:
        import aiohttp

        if len(self._timeouts) > 256:
            self._timeouts.clear()
        made = self._timeouts[connect] = aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)
        return made


@functools.cache
def _gone() -> tuple[type[Exception], ...]:
    import aiohttp

    return aiohttp.ServerDisconnectedError, aiohttp.ClientOSError


@functools.cache
def _connector_class() -> type[aiohttp.TCPConnector]:
    import aiohttp

    class Connector(aiohttp.TCPConnector):
        """Counts the connections it opens, so that a failed exchange knows whether its connection was an old one."""

        opened = 0

        async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
            self.opened += 1
            return await super()._create_connection(*args, **kwargs)

    return Connector


class _Response:
    """An answer read through aiohttp, with its own watchdog.

    The watchdog is one timer for the whole body: a wait notes when it began, and the timer looks at that when it
    fires. A timer set and cancelled for each chunk would cost more than the chunk.
    """

    __slots__ = (
        "_content",
        "_deadline",
        "_expired",
        "_idle",
        "_inflate",
        "_left",
        "_raw",
        "_timer",
        "_waiting",
        "headers",
        "status",
    )

    def __init__(self, raw: aiohttp.ClientResponse, limits: Limits) -> None:
        self._raw = raw
        self._content = raw.content
        self.status: int = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self._idle = limits.idle
        self._deadline = limits.deadline
        self._left = limits.max_body
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: float | None = None
        self._expired = ""
        self._inflate: Any = None
        encoding = raw.headers.get("Content-Encoding")
        if encoding and encoding.lower() != "identity":
            self._inflate = _inflater(encoding.lower(), self)

    async def read(self) -> bytes:
        length = self._raw.content_length
        if length is not None and length > self._left:
            raise self._oversize()
        parts: list[bytes] = []
        while part := await self.read_some():
            parts.append(part)
        if not parts:
            return b""
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_some(self) -> bytes:
        content = self._content
        try:
            data: bytes = content.read_nowait()
            if not data and not content.at_eof():
                self._waiting = now = time.monotonic()
                if self._deadline is not None and now >= self._deadline:
                    self._expired = _DEADLINE
                    raise TimeoutError
                if self._timer is None:
                    self._watch()
                data = await content.readany()
                self._waiting = None
        except asyncio.CancelledError:
            self.abort()
            raise
        except Exception as error:
            self.abort()
            if self._expired:
                raise ReadTimeout(self._expired, status=self.status) from None
            raise _translate(error, answered=True) from error
        if not data:
            self.abort()
            return b""
        self._left -= len(data)
        if self._left < 0:
            raise self._oversize()
        return data if self._inflate is None else await self._inflated(data)

    def wait_at_most(self, idle: float | None, until: float | None) -> None:
        self._idle = idle
        self._deadline = until
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def abort(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._raw.closed:
            self._raw.close()

    def _watch(self) -> None:
        # Only while a read waits: a reader that takes its time must not look like a silent upstream.
        waiting = self._waiting
        if waiting is None:
            self._timer = None
            return
        until = _earliest(self._deadline, None if self._idle is None else waiting + self._idle)
        if until is None:
            return
        left = until - time.monotonic()
        if left <= 0:
            self._expired = (
                _DEADLINE
                if until == self._deadline
                else f"the upstream fell silent in the middle of its answer for {self._idle:g} s (idle_timeout)"
            )
            self._timer = None
            self._raw.close()
            return
        self._timer = asyncio.get_running_loop().call_later(left, self._watch)

    async def _inflated(self, data: bytes) -> bytes:
        # Bounded by what is left of the body's limit, so a small answer cannot swell without end.
        try:
            out: bytes = self._inflate.decompress(data, max(1, self._left))
        except zlib.error as error:
            self.abort()
            raise ProtocolError(f"the answer is not the gzip it says it is: {error}", status=self.status) from None
        self._left -= len(out)
        if self._left <= 0 or self._inflate.unconsumed_tail:
            raise self._oversize()
        return out or await self.read_some()

    def _oversize(self) -> ProtocolError:
        self.abort()
        return ProtocolError("the upstream's answer is larger than max_body_bytes allows", status=self.status)


def _earliest(a: float | None, b: float | None) -> float | None:
    if a is None:
        return b
    if b is None:
        return a
    return a if a < b else b


def _inflater(encoding: str, response: _Response) -> Any:
    if encoding in ("gzip", "x-gzip"):
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    if encoding == "deflate":
        return zlib.decompressobj()
    response.abort()
    raise ProtocolError(f"the upstream answered in a content encoding that was not asked for: {encoding!r}")


def _timed_out(error: BaseException, limits: Limits, until: float | None) -> TransportError:
    import aiohttp

    if isinstance(error, aiohttp.ConnectionTimeoutError | aiohttp.ServerTimeoutError):
        return ConnectFailed(f"no connection within connect_timeout ({limits.connect:g} s)")
    if until is not None and until == limits.deadline:
        return ReadTimeout("the upstream did not answer before the call's deadline")
    return ReadTimeout(f"the upstream did not begin to answer within first_byte_timeout ({limits.first_byte:g} s)")


def _translate(error: Exception, *, answered: bool) -> BackendError | Exception:
    """An aiohttp or socket error in our own words. No URL is quoted: a full one could hold what it should not."""
    import aiohttp

    if isinstance(error, BackendError):
        return error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return ConnectFailed(f"TLS: the upstream's certificate was refused: {error.certificate_error}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ConnectFailed(f"DNS: the upstream's host name {error.host!r} was not found")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return ConnectFailed(f"TLS: no secure connection to {error.host!r}: {error.os_error}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectFailed(f"no connection to {error.host}:{error.port}: {error.os_error.strerror or error.os_error}")
    if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
        return ConnectFailed("no connection through the proxy that the environment names")
    if isinstance(error, aiohttp.ClientPayloadError):
        return StreamCut("the upstream's answer broke off before its end")
    if isinstance(error, aiohttp.ClientResponseError):
        return ProtocolError(f"the upstream's answer is not HTTP that can be read: {error.message}")
    if isinstance(error, aiohttp.InvalidURL):
        return ConfigurationError("the base URL is not a URL")
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        if answered:
            return StreamCut("the connection broke in the middle of the upstream's answer")
        return TransportError("the upstream closed the connection without an answer")
    if isinstance(error, aiohttp.ClientError):
        return TransportError(f"the exchange with the upstream failed: {type(error).__name__}")
    return error


def _environment_proxy(scheme: str, host: str) -> str | None:
    # Once per URL rather than per request: aiohttp's own trust_env asks a thread (and ~/.netrc) each time.
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if proxy is None or proxy_bypass(host):
        return None
    return proxy


# Pools that a forked child inherited: never to be closed, nor collected (see `_forget`).
_inherited: list[Any] = []


def _forget(session: aiohttp.ClientSession, *, forked: bool) -> None:
    """Drop a pool whose loop is gone, or which this process inherited by a fork.

    Closing would speak on connections that the parent still uses (a TLS farewell, for one), and collecting the
    transports closes them; so a forked child keeps what it inherited, untouched, until it ends.
    """
    connector = session._connector
    session._connector = None
    if connector is None:
        return
    connector._closed = True  # spares aiohttp's complaint about a pool nobody closed
    if forked:
        _inherited.append(connector)
    else:
        connector._conns.clear()
