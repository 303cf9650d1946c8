"""A transport on aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import socket
import ssl
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ipfs_accelerate_py import forks
from ipfs_accelerate_py.deadlines import Deadlines, Limit
from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError, ProtocolError
from ipfs_accelerate_py.transport.aiohttp_response import AiohttpResponse
from ipfs_accelerate_py.transport.failures import connection_gone, timed_out, translate
from ipfs_accelerate_py.transport.seam import HttpRequest, HttpResponse, Limits, earliest

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

__all__ = ["AiohttpTransport"]

#: How many kept-alive connections may turn out dead, one after the other, before a call counts that as a failure.
MOST_STALE = 3
#: A larger body is given to aiohttp as a file, which it writes in pieces.
LARGE_BODY = 1 << 20


class _Sending:
    """One request on its way to its headers: it hears from the connector whether its connection is a new one."""

    __slots__ = ("_limits", "connecting", "fresh", "limit", "until")

    def __init__(self, limits: Limits, deadlines: Deadlines, task: asyncio.Task[Any]) -> None:
        self._limits = limits
        self.fresh = False
        self.connecting = False
        self.until = self._first_byte()
        self.limit: Limit = deadlines.limit(self.until, task)

    def _first_byte(self) -> float | None:
        limits = self._limits
        return earliest(limits.deadline, None if limits.first_byte is None else time.monotonic() + limits.first_byte)

    def begin_connecting(self) -> None:
        # The connection has a limit of its own (aiohttp's), and the wait for the first byte begins after it.
        self.fresh = self.connecting = True
        self.until = self._limits.deadline
        self.limit.move(self.until)

    def connected(self) -> None:
        self.connecting = False
        self.until = self._first_byte()
        self.limit.move(self.until)


# aiohttp opens connections in the task that asks for one, so this tells the connector for whom it does.
_sending: ContextVar[_Sending | None] = ContextVar("_sending", default=None)


class AiohttpTransport:
    """A pool of connections on aiohttp.

    Keeps connections alive, sets TCP_NODELAY (aiohttp does), verifies certificates, follows no redirect (a key must
    never follow one), keeps no cookies, and takes proxies from the environment once per URL. The pool itself sets no
    limit: admission does. Belongs to the event loop that first uses it; after a fork, or when that loop has closed,
    it starts anew.
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
        self._fork = 0
        self._deadlines = Deadlines()
        self._responses: set[AiohttpResponse] = set()
        self._urls: dict[str, tuple[URL, str | None]] = {}
        self._timeouts: dict[float | None, aiohttp.ClientTimeout] = {}

    async def send(self, request: HttpRequest, limits: Limits) -> HttpResponse:
        session = self._session
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in a task
        loop = task.get_loop()
        if session is None or self._loop is not loop or self._fork != forks.generation():
            session = self._open(loop)
        url, proxy = self._urls.get(request.url) or self._resolve(request.url)
        timeout = self._timeouts.get(limits.connect) or self._timeout(limits.connect)
        body = request.body
        large = body is not None and len(body) > LARGE_BODY
        # aiohttp's own limits cover the body as well, and do not tell the two apart.
        sending = _Sending(limits, self._deadlines, task)
        token = _sending.set(sending)
        stale = 0
        failure: AccelerateError
        try:
            with sending.limit:
                while True:
                    try:
                        raw = await session.request(
                            request.method,
                            url,
                            data=io.BytesIO(body) if large and body is not None else body,
                            headers=request.headers,
                            timeout=timeout,
                            proxy=proxy,
                            allow_redirects=False,
                        )
                        break
                    except connection_gone():
                        # A server may close a kept-alive connection in the moment we use it (many do right after a
                        # 500). That says nothing of its health and the request was never answered: ask again.
                        if sending.fresh or stale >= MOST_STALE:
                            raise
                        stale += 1
        except TimeoutError as error:
            failure = timed_out(error, limits, sending.until, sending.connecting)
        except Exception as error:
            failure = translate(error, answered=False)
        else:
            return self._checked(raw, limits)
        finally:
            _sending.reset(token)
        # Raised out here, so that aiohttp's error is not dragged along: it holds our headers, and they hold the key.
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame: do not keep each other alive

    def _checked(self, raw: aiohttp.ClientResponse, limits: Limits) -> HttpResponse:
        response = AiohttpResponse(raw, limits, self._responses)
        if 300 <= response.status < 400 and response.status != 304:
            response.abort()
            raise ProtocolError(
                f"the upstream answered with a redirect (HTTP {response.status}), which is refused because a key must "
                "not follow one; set the base URL to the service's final address",
                status=response.status,
            )
        if sum([len(name) + len(value) + 4 for name, value in raw.raw_headers]) > self._max_header_bytes:
            response.abort()
            raise ProtocolError(
                "the upstream's headers are larger than max_header_bytes allows", status=response.status
            )
        return response

    async def aclose(self) -> None:
        """Close every connection. A later `send` opens the pool anew."""
        session, self._session = self._session, None
        self._deadlines.close()
        if session is not None and self._loop is asyncio.get_running_loop() and self._fork == forks.generation():
            for response in list(self._responses):
                response.client_closed()
            await session.close()

    def forget(self) -> None:
        """Leave the connections to the process this one was forked from."""
        session, self._session = self._session, None
        if session is not None:
            _forget(session, forked=True)

    def __del__(self) -> None:
        # A client that goes out of scope closes its connections: nobody should have to close one that is used up.
        session: Any = getattr(self, "_session", None)
        if session is None:
            return
        loop, connector = self._loop, session._connector
        forked = self._fork != forks.generation()
        if loop is not None and not forked and connector is not None and not loop.is_closed():
            session._connector = None
            with contextlib.suppress(RuntimeError):  # closed this very moment
                loop.call_soon_threadsafe(connector._close)
            return
        _forget(session, forked=forked)

    def warm_up(self) -> None:
        """Import aiohttp now rather than at the first call."""
        import aiohttp  # noqa: F401  # the import is the purpose

    @property
    def open_connections(self) -> int:
        """Connections in use right now (not those kept alive)."""
        if self._session is None or self._session.connector is None:
            return 0
        return len(self._session.connector._acquired)

    def _open(self, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
        import aiohttp

        previous, fork = self._loop, self._fork
        if (
            previous is not None
            and fork == forks.generation()
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
            _forget(stale, forked=fork != forks.generation())
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
        )
        self._loop, self._fork = loop, forks.generation()
        self._deadlines = Deadlines()
        self._responses = set()
        return self._session

    def _resolve(self, url: str) -> tuple[URL, str | None]:
        from yarl import URL

        shown = repr(url) if "@" not in url else "one with a password in it"
        try:
            parts = urlsplit(url)
            made, host = URL(url), parts.hostname
        except ValueError:
            raise ConfigurationError(f"the base URL is not a URL: {shown}") from None
        if parts.username or parts.password:
            raise ConfigurationError("a base URL must not hold a user name or password; give the key as api_key")
        if parts.scheme not in ("http", "https") or not host:
            raise ConfigurationError(f"the base URL must start with http:// or https:// and name a host, not {shown}")
        proxy = _environment_proxy(parts.scheme, parts.netloc) if self._trust_env else None
        if len(self._urls) > 4096:  # raw URLs come from callers; paths of a backend are few
            self._urls.clear()
        found = self._urls[url] = (made, proxy)
        return found

    def _timeout(self, connect: float | None) -> aiohttp.ClientTimeout:
        import aiohttp

        if len(self._timeouts) > 256:
            self._timeouts.clear()
        made = self._timeouts[connect] = aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)
        return made


@functools.cache
def _connector_class() -> type[aiohttp.TCPConnector]:
    import aiohttp

    class Connector(aiohttp.TCPConnector):
        """Tells each request when a connection is opened for it."""

        async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
            sending = _sending.get()
            if sending is not None:
                sending.begin_connecting()
            made = await super()._create_connection(*args, **kwargs)
            if sending is not None:
                sending.connected()
            return made

    return Connector


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
