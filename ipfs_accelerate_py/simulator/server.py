"""The simulator: a server on a real socket that speaks a provider's wire format and fails as it is told to."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import msgspec

from .books import Books, Served
from .connection import Connection
from .faults import Fault
from .limits import Limiter
from .plan import Plan
from .ports import reserve
from .services import service as find_service
from .wire import Answer, Problem, Refused, Request, Settings, key_label

__all__ = ["Simulator"]

_SECRET_HEADERS = frozenset(
    ("authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie")
)
_SECRET_QUERY = re.compile(r"((?:^|&)(?!page_?token=)[^=&]*(?:key|token|secret)[^=&]*=)[^&]*", re.IGNORECASE)
#: Answers remembered at once, and the longest request body that is remembered.
_MEMO_SIZE = 256
_MEMO_BODY = 8192
_decode = msgspec.json.Decoder().decode


class Simulator:
    """A simulated provider.

    ::

        async with Simulator("openai", latency=0.05) as sim:
            sim.script(Fault.status(429, retry_after=2))
            client = openai.AsyncOpenAI(base_url=sim.url, api_key="any")

    Args:
        service: name of the wire format; see :func:`~ipfs_accelerate_py.simulator.available`.
        host, port: where to listen; port 0 takes a free one, see :attr:`port`.
        api_keys: keys that are accepted, as values or as a mapping of names to values; None accepts any, and none.
        latency: seconds before the first byte of a good answer.
        tokens: length of an answer in tokens, where the request does not limit it further.
        chunk_interval: seconds between two tokens of a stream.
        models: names served; None serves any.
        reply: text to answer with in place of generated text, or a function from the request's body to it.
        dimensions: length of embedding vectors where the request does not say.
        requests_per_minute, tokens_per_minute: limits of each key, refilled continuously.
        concurrency_per_key: requests of one key that may be under way at once; more are answered with 429.
        concurrency_retry_after: the ``Retry-After`` of such a refusal, in seconds.
        seed: changes every generated text and vector.
        prices: US dollars for a million tokens by model: of the prompt, of the cached prompt, of the answer.
        keep: how many requests :attr:`requests` holds at least; of more than twice as many the oldest are dropped.
        clock, sleep: for tests; ``time.monotonic`` and ``asyncio.sleep`` unless given. All waits and limits use them.

    Raises ``UnknownBackend`` for an unknown service, and ``ValueError`` for settings that make no sense.
    """

    def __init__(
        self,
        service: str = "openai",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_keys: Iterable[str] | Mapping[str, str] | None = None,
        latency: float = 0.0,
        tokens: int = 20,
        chunk_interval: float = 0.0,
        models: Iterable[str] | None = None,
        reply: str | Callable[[Any], str] | None = None,
        dimensions: int = 1536,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        concurrency_per_key: int | None = None,
        concurrency_retry_after: float = 1.0,
        seed: int = 0,
        prices: Mapping[str, tuple[float, float, float]] | None = None,
        keep: int = 10_000,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        for name, value in (("latency", latency), ("tokens", tokens), ("chunk_interval", chunk_interval)):
            if value < 0:
                raise ValueError(f"{name} must not be negative; got {value}")
        self.service = find_service(service)
        self.host = host
        self.port = port
        self.latency = latency
        self.chunk_interval = chunk_interval
        #: What was served, and would be billed.
        self.books = Books(prices)
        self.settings = Settings(
            models=None if models is None else tuple(models),
            tokens=tokens,
            seed=seed,
            reply=reply,
            dimensions=dimensions,
            books=self.books,
        )
        self._keys = _key_names(api_keys)
        self._labels: dict[str, str] = {}
        self.clock: Callable[[], float] = clock or time.monotonic
        self.sleep = sleep
        self.limiter = Limiter(
            self.clock,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            concurrency_per_key=concurrency_per_key,
            concurrency_retry_after=concurrency_retry_after,
        )
        self.requests: list[Request] = []
        self._keep = keep
        self.counts: Counter[str] = Counter()
        self.in_flight = 0
        self._number = 0
        self._memo: dict[tuple[str, bytes, bytes], tuple[Any, Answer]] = {}
        self._memo_of = self.settings
        self._held: set[int] = set()
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.plan = Plan()
        self._server: asyncio.Server | None = None
        self._holder: socket.socket | None = None
        self._down = False
        self._recovery: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- life ---------------------------------------------------------------------------------------------------

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("The simulator is not running: use it as `async with Simulator(...)`, or await start().")
        return self._loop

    @property
    def url(self) -> str:
        """Base URL for clients, for instance ``http://127.0.0.1:9100/v1``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.service.base_path}"

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    async def start(self) -> Self:
        """Listen. Raises ``OSError`` where the address cannot be had."""
        if self._server is not None:
            raise RuntimeError("The simulator is running already.")
        self._loop = asyncio.get_running_loop()
        self._holder, self.port = reserve(self.host, self.port)
        try:
            await self._listen()
        except BaseException:
            self._release_holder()
            raise
        return self

    async def _listen(self) -> None:
        self._server = await self.loop.create_server(
            lambda: Connection(self), self.host, self.port, reuse_address=True, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the socket and every connection, and wait until they are gone."""
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)
            self._recovery = None
        if self._server is not None:
            self._server.close()
            self._server = None
        self._release_holder()
        for connection in tuple(self._connections):
            connection.abort()
        while self._connections or self._tasks:  # noqa: ASYNC110  # one or two turns of the loop
            await asyncio.sleep(0)
        self._down = False

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _release_holder(self) -> None:
        if self._holder is not None:
            self._holder.close()
            self._holder = None

    def configure(self, **changes: Any) -> None:
        """Change ``models``, ``tokens``, ``seed``, ``reply`` or ``dimensions`` for the requests to come."""
        self.settings = replace(self.settings, **changes)

    # --- faults -------------------------------------------------------------------------------------------------

    def script(self, *faults: Fault | str) -> None:
        """Play these in order, one for each request that comes, before anything else. Text is parsed."""
        self.plan.script(faults)

    def always(self, *faults: Fault | str, when: Callable[[Request], bool] | None = None) -> None:
        """Play these together on every request that the script leaves over; with ``when``, on those it is true of."""
        self.plan.always(faults, when)

    def random(self, rate: float, faults: Iterable[Fault | str], seed: int = 0) -> None:
        """Play one of the faults on this share (0 to 1) of the requests that script and ``always`` leave over."""
        self.plan.random(rate, faults, seed)

    def clear(self) -> None:
        """Forget every fault; requests under way keep theirs."""
        self.plan = Plan()

    def down(self, seconds: float | None = None) -> None:
        """Reset every connection and refuse new ones for this long, or until :meth:`up`."""
        self._down = True
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._connections):
            connection.reset()
        if self._recovery is not None:
            self._recovery.cancel()
        self._recovery = None if seconds is None else self.loop.create_task(self._recover(seconds))

    async def up(self) -> None:
        """Listen again after :meth:`down`."""
        if self._recovery is not None and self._recovery is not asyncio.current_task():
            self._recovery.cancel()
        self._recovery = None
        if self._down:
            self._down = False
            await self._listen()

    async def _recover(self, seconds: float) -> None:
        await self.sleep(seconds)
        await self.up()

    # --- requests (called by connections) -----------------------------------------------------------------------

    def connection_opened(self, connection: Connection) -> bool:
        self._connections.add(connection)
        return not self._down

    def connection_closed(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def spawn(self, playing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task for an answer that takes time; :meth:`stop` waits for it."""
        task = self.loop.create_task(playing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def receive(
        self, method: str, url: bytes, raw_headers: list[tuple[bytes, bytes]], raw: bytes
    ) -> tuple[Request, Answer, Fault | None, float]:
        """Record a request and decide what is answered: the answer, the fault to play on it, and the latency."""
        self._number = number = self._number + 1
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw_headers}
        credential = self.service.credential(headers)
        key = None if credential is None else self._name(credential)
        for name in _SECRET_HEADERS & headers.keys():
            headers[name] = f"<{key or 'redacted'}>"
        path, _, query = url.decode("latin-1").partition("?")
        if "%" in path:
            path = unquote(path)
        if query:
            query = _SECRET_QUERY.sub(r"\1<redacted>", query)
        request = Request(number, method, path, query, headers, key=key, t_start=self.clock(), at=time.time())
        recalled = self._recall(method, url, raw)
        if recalled is not None:
            request.body, known = recalled
        else:
            known = None
            if raw:
                try:
                    request.body = _decode(raw)
                except msgspec.DecodeError:
                    request.invalid_json = True
                if request.invalid_json or not headers.get("content-type", "").startswith("application/json"):
                    request.raw = raw
        self.requests.append(request)
        if len(self.requests) >= 2 * self._keep:
            del self.requests[: -self._keep]
        self.in_flight += 1
        answer, latency = self._answer(request, credential, known)
        if answer.renew is not None and len(raw) <= _MEMO_BODY:
            self._memo[method, url, raw] = (request.body, answer)
        fault = self.plan.take(request)
        if fault is not None:
            request.fault = str(fault)
            answer = fault.edit(answer, request, self.service)
        request.model, request.usage = answer.model, answer.usage
        return request, answer, fault, latency

    def _recall(self, method: str, url: bytes, raw: bytes) -> tuple[Any, Answer] | None:
        """The decoded body of an equal request, and its answer, which can be made again.

        Answers depend on nothing but path, body and settings, and load tests ask the same thing over and over.
        """
        if self._memo_of is not self.settings or len(self._memo) >= _MEMO_SIZE:
            self._memo_of = self.settings
            self._memo.clear()
        return self._memo.get((method, url, raw))

    def _answer(self, request: Request, credential: str | None, known: Answer | None) -> tuple[Answer, float]:
        service = self.service
        if self._keys is not None and (credential is None or credential not in self._keys):
            return service.refuse(service.unauthorized(missing=credential is None)), 0.0
        limiter = self.limiter
        limited = limiter.active
        if limited:
            refusal = limiter.acquire(request.key, service.cost(request, self.settings))
            if refusal is not None:
                answer = service.limited(request, refusal)
                answer.headers += service.limit_headers(limiter.states(request.key))
                return answer, 0.0
            self._held.add(request.number)
        try:
            if known is not None and known.renew is not None:
                answer = Answer(body=known.renew(), model=known.model, usage=known.usage)
            else:
                answer = service.answer(request, self.settings)
            answer.headers = [*service.headers(), *answer.headers]
            latency = self.latency
        except Refused as refused:
            answer, latency = service.refuse(refused.problem), 0.0
        except Exception as error:  # a `reply` of the user's, most likely; the loop's handler reports it
            self.loop.call_exception_handler({"message": "The simulator could not answer", "exception": error})
            problem = Problem(
                500, f"The simulator could not answer: {type(error).__name__}: {error}", "simulator_error"
            )
            answer, latency = service.refuse(problem), 0.0
        if limited:
            answer.headers += service.limit_headers(limiter.states(request.key))
        return answer, latency

    def finished(self, request: Request) -> None:
        self.in_flight -= 1
        request.t_end = self.clock()
        self.counts[str(request.status)] += 1
        self.books.add(request)
        if request.aborted_by_client:
            self.counts["aborted"] += 1
        if request.number in self._held:
            self._held.discard(request.number)
            self.limiter.release(request.key)

    def served(self, by: str = "model") -> dict[str, Served]:
        """Requests and tokens that were served, by ``model`` or by name of ``key``, all since the start.

        Of an answer that did not go out whole it counts the prompt, and the tokens produced until it ended.
        """
        return self.books.totals(by)

    # --- keys ---------------------------------------------------------------------------------------------------

    def key_name(self, value: str) -> str:
        """The name under which records speak of this key."""
        return self._name(value)

    def _name(self, value: str) -> str:
        if self._keys is not None and value in self._keys:
            return self._keys[value]
        label = self._labels.get(value)
        if label is None:
            if len(self._labels) >= 10_000:
                self._labels.clear()
            label = self._labels[value] = key_label(value)
        return label


def _key_names(keys: Iterable[str] | Mapping[str, str] | None) -> dict[str, str] | None:
    """Names by value, which is the way they are looked up."""
    if keys is None:
        return None
    if isinstance(keys, str):
        raise ValueError("api_keys must be a collection of keys, not one string")
    if isinstance(keys, Mapping):
        return {value: name for name, value in keys.items()}
    return {value: key_label(value) for value in keys}
