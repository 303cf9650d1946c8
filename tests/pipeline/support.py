"""A clock that moves when it is told to, calls made by hand, and backends that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.errors import CircuitOpen
from ipfs_accelerate_py.pipeline.admission import Admission
from ipfs_accelerate_py.pipeline.keys import KeyPool, Lease
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.stream import Stream
from ipfs_accelerate_py.types import Call, ChatRequest, Chunk, Operation, Priority, Reply, Usage


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def make_call(
    priority: Priority = Priority.NORMAL,
    *,
    deadline: float | None = None,
    key: str | None = None,
    cost: int = 0,
    stream: bool = False,
    model: str = "m",
    options: dict[str, Any] | None = None,
) -> Call:
    return Call(
        operation=Operation.CHAT,
        request=ChatRequest(model, [{"role": "user", "content": "hello"}], options or {}),
        request_id="req_test",
        priority=priority,
        deadline=deadline,
        key_name=key,
        cost=cost,
        stream=stream,
    )


def make_pool(settings: Settings, clock: Callable[[], float], *names: str, **limits: int) -> KeyPool:
    """Keys by name; ``limits`` are the most concurrent calls of some of them."""
    pool = KeyPool(settings, clock=clock)
    for name in names:
        pool.add(name, Secret(f"sk-value-of-{name}"), limits.get(name))
    return pool


class OpenGate:
    """A key pool in which a key is always free. Counts what is out."""

    def __init__(self) -> None:
        self.out = 0

    def acquire(self, call: Call) -> Any:
        self.out += 1
        return object()

    def cancel(self, lease: Any) -> None:
        self.out -= 1


class Source:
    """Where a made-up stream comes from: batches of chunks, and an error at its end where one is given."""

    def __init__(self, *batches: list[Chunk], error: BaseException | None = None, usage: Usage | None = None) -> None:
        self._batches = list(batches)
        self._error = error
        self.model = "m"
        self.usage = usage or Usage(3, 2, reported=True)
        self.finish_reason: str | None = "stop"
        self.aborted = 0
        #: While this is set, reading waits for it.
        self.gate: asyncio.Event | None = None

    async def read(self) -> list[Chunk]:
        if self.gate is not None:
            await self.gate.wait()
        if self._batches:
            return self._batches.pop(0)
        if self._error is not None:
            raise self._error
        return []

    def abort(self) -> None:
        self.aborted += 1


def stream_reply(source: Source, *first: Chunk) -> Reply:
    return Reply(model="m", stream=Stream(source, list(first)))


def text_reply(text: str = "hi", usage: Usage | None = None) -> Reply:
    return Reply(model="m", text=text, usage=usage or Usage(3, 2, reported=True))


class Backend:
    """Plays what it is given, one for each call: a reply is returned, an error raised, a callable called."""

    def __init__(self, *plays: Any) -> None:
        self.plays = list(plays)
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        play = self.plays.pop(0) if self.plays else text_reply()
        if isinstance(play, BaseException):
            try:
                raise play
            finally:
                del play  # its traceback holds this frame
        if isinstance(play, Reply):
            return play
        made = play(call)
        result: Reply = await made if isinstance(made, Awaitable) else made
        return result


async def settle(turns: int = 6) -> None:
    """Let the tasks that can go on go on."""
    for _ in range(turns):
        await asyncio.sleep(0)


def never() -> CircuitOpen | None:
    return None


class House:
    """An admission with one slot unless told otherwise, and a record of who was let in, in order."""

    def __init__(self, gate: Any = None, refusal: Any = lambda: None, clock: Clock | None = None, **settings: Any):
        self.settings = Settings()
        self.settings.update({"max_concurrent_requests": 1, **settings})
        self.clock = clock or Clock()
        self.gate: Any = OpenGate() if gate is None else gate
        self.admission = Admission(self.settings, self.gate, refusal, self.clock)
        self.order: list[str] = []
        self.inside: dict[str, Call] = {}

    async def enter(self, name: str, call: Call) -> None:
        await self.admission.acquire(call)
        self.order.append(name)
        self.inside[name] = call

    def arrive(self, name: str, priority: Priority = Priority.NORMAL, **options: Any) -> asyncio.Task[None]:
        return asyncio.create_task(self.enter(name, make_call(priority, **options)), name=name)

    async def leave(self, *names: str) -> None:
        for name in names:
            call = self.inside.pop(name)
            if isinstance(self.gate, KeyPool):
                self.gate.release(call.lease, Usage(), None)
            self.admission.release(call)
        await settle()

    async def empty(self) -> None:
        """Let everybody in and out, one by one."""
        while self.inside:
            await self.leave(next(iter(self.inside)))

    def idle(self) -> bool:
        found = self.admission.snapshot()
        return found["active"] == 0 and found["queued"] == 0 and not self.admission._heap


def waiting(pool: KeyPool, call: Call | None = None) -> float:
    """Seconds until a key may be free."""
    found = pool.acquire(call or make_call())
    assert isinstance(found, float), f"a key was free: {found}"
    return found


def take(pool: KeyPool, call: Call | None = None) -> Lease:
    lease = pool.acquire(call or make_call())
    assert isinstance(lease, Lease), f"no key: {lease}"
    return lease


def names(pool: KeyPool, times: int) -> list[str]:
    """Keys of so many calls, one after the other."""
    found = []
    for _ in range(times):
        lease = take(pool)
        found.append(lease.key.name)
        pool.release(lease, Usage(), None)
    return found
