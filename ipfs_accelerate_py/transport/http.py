"""The transport: HTTP/1.1 by ourselves, on a parser and the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from threading import get_ident
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py import forks
from ipfs_accelerate_py.errors import BackendError, ConfigurationError, ProtocolError
from ipfs_accelerate_py.transport.heads import Head, encode
from ipfs_accelerate_py.transport.response import Answer
from ipfs_accelerate_py.transport.seam import HttpRequest, HttpResponse, Limits
from ipfs_accelerate_py.transport.urls import Origin, Route, resolve

if TYPE_CHECKING:
    from ipfs_accelerate_py.transport.pool import Pool

__all__ = ["HttpTransport"]

#: How many kept-alive connections may turn out dead, one after the other, before a call opens one of its own.
MOST_STALE = 3


class HttpTransport:
    """A pool of connections.

    Keeps connections alive, sets TCP_NODELAY, verifies certificates, follows no redirect (a key must never follow
    one), keeps no cookies, and takes proxies from the environment once per URL. The pool itself sets no limit:
    admission does. Belongs to the event loop that first uses it; after a fork, or when that loop has closed, it starts
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
        self._pool: Pool | None = None
        self._origins: dict[tuple[str, str, int, str | None], Origin] = {}
        self._routes: dict[str, Route] = {}
        self._heads: dict[tuple[str, str, int], Head] = {}

    async def send(self, request: HttpRequest, limits: Limits) -> HttpResponse:
        pool = self._pool
        # Which loop runs here? To ask is a system call (up to Python 3.11); a thread runs one at a time.
        if (
            pool is None
            or pool.thread != get_ident()
            or pool.fork != forks.generation()
            or pool.closed
            or not pool.loop.is_running()
        ):
            pool = self._open()
        url, headers = request.url, request.headers
        route = self._routes.get(url) or self._resolve(url)
        head = self._heads.get((request.method, url, id(headers)))
        if head is None:
            head = self._encode(request, route)
        if request.extra:
            head = head.with_extra(request.extra)
        stale = 0
        while True:
            # A new one is never stale, so the last try is made with one.
            connection = None if request.once or stale == MOST_STALE else pool.take(route.origin)
            if connection is None:
                connection = await pool.connect(route.origin, limits, self._ssl)
            answer = Answer(pool.loop, pool.deadlines, limits)
            connection.ask(answer, head, request.body)
            await answer.wait(limits.first_byte)
            if not answer.stale:
                break
            stale += 1
        if not answer.status:
            failure: BackendError | None = answer.failure()
            assert failure is not None
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame: do not keep each other alive
        if 300 <= answer.status < 400 and answer.status != 304:
            answer.abort()
            raise ProtocolError(
                f"the upstream answered with a redirect (HTTP {answer.status}), which is refused because a key must "
                "not follow one; set the base URL to the service's final address",
                status=answer.status,
            )
        answer.prepare()
        return answer

    async def aclose(self) -> None:
        """Close every connection. A later `send` opens the pool anew."""
        pool, self._pool = self._pool, None
        self._heads.clear()
        if pool is None:
            return
        if pool.loop is asyncio.get_running_loop() and pool.fork == forks.generation():
            pool.close()
            await asyncio.sleep(0)  # the sockets are closed in the loop's next turn
        else:
            _forget(pool)

    def forget(self) -> None:
        """Leave the connections to the process this one was forked from."""
        pool, self._pool = self._pool, None
        if pool is not None:
            _inherited.append(pool)

    def __del__(self) -> None:
        # A client that goes out of scope closes its connections: nobody should have to close one that is used up.
        pool: Any = getattr(self, "_pool", None)
        if pool is not None:
            _forget(pool)

    def warm_up(self) -> None:
        """Import and make now what the first call would."""
        from ipfs_accelerate_py.transport.connecting import default_context
        from ipfs_accelerate_py.transport.pool import Pool  # noqa: F401  # the import is the purpose

        if self._ssl is None:
            default_context()

    @property
    def open_connections(self) -> int:
        """Connections in use right now, or being made (not those kept alive)."""
        pool = self._pool
        return 0 if pool is None else len(pool.busy) + len(pool.connecting)

    def _open(self) -> Pool:
        from ipfs_accelerate_py.transport.pool import Pool

        loop = asyncio.get_running_loop()
        previous = self._pool
        if previous is not None:
            ours = previous.fork == forks.generation()
            if ours and previous.loop is loop and not previous.closed:
                previous.thread = get_ident()  # the loop has moved to another thread
                return previous
            if ours and previous.loop.is_running() and not previous.closed:
                raise ConfigurationError(
                    "this client belongs to another event loop that is still running; make one AsyncClient for each "
                    "loop, or use Client, which may be used from any thread"
                )
            self._pool = None
            _forget(previous)
        self._pool = pool = Pool(loop, self._keepalive, self._max_header_bytes)
        return pool

    def _resolve(self, url: str) -> Route:
        if len(self._routes) > 4096:  # raw URLs come from callers; paths of a backend are few
            self._routes.clear()
        route = self._routes[url] = resolve(url, self._origins, trust_env=self._trust_env)
        return route

    def _encode(self, request: HttpRequest, route: Route) -> Head:
        head = encode(request.method, route.target, route.host, route.extra, request.headers)
        if len(self._heads) >= 64:  # a caller's own headers are another mapping each time
            self._heads.clear()
        self._heads[request.method, request.url, id(request.headers)] = head
        return head


# Pools that a forked child inherited: never to be closed, nor collected (see `_forget`).
_inherited: list[Pool] = []


def _forget(pool: Pool) -> None:
    """Drop a pool from wherever we are: another thread, after its loop has closed, or in a forked child.

    A child must not close what it inherited: that would speak on connections that its parent still uses (a TLS
    farewell, for one), and collecting the transports closes them. So it keeps them, untouched, until it ends.
    """
    if pool.fork != forks.generation():
        _inherited.append(pool)
        return
    if not pool.loop.is_closed():
        with contextlib.suppress(RuntimeError):  # closed this very moment
            pool.loop.call_soon_threadsafe(pool.close)
            return
    pool.leave()
