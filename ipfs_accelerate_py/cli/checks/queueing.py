"""Whether the queue does what it says: so many at once, order of priorities, refusal when full, back-off, breaker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.cli.checks.backends import Result
from ipfs_accelerate_py.cli.checks.models import SIMULATORS
from ipfs_accelerate_py.cli.checks.probes import Wrong
from ipfs_accelerate_py.cli.failures import summary
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import AccelerateError, CircuitOpen, QueueFull, ServerError, UnsupportedOperation

if TYPE_CHECKING:
    from ipfs_accelerate_py.simulator import Simulator

__all__ = ["Wanted", "check_queue"]

#: Seconds that the simulator takes for an answer, so that calls meet.
LATENCY = 0.05
_TIMEOUT = 60.0


@dataclass(frozen=True)
class Wanted:
    """What is checked: a backend, at its simulator unless ``host`` says where a real one is."""

    backend: str
    model: str
    queue_size: int
    max_concurrent: int
    host: str | None


async def check_queue(wanted: Wanted, told: Callable[[Result], None]) -> list[Result]:
    """Each check with a client of its own. Those that need faults need the simulator, and are skipped without it."""
    results = []
    for name, check, needs_simulator in _CHECKS:
        began = time.monotonic()
        if needs_simulator and wanted.host is not None:
            status, detail = "skipped", "a real service does not fail on request"
        else:
            try:
                async with _opened(wanted) as (client, simulator):
                    status, detail = "ok", await check(client, simulator, wanted)
            except Wrong as wrong:
                status, detail = "failed", str(wrong)
            except AccelerateError as error:
                status, detail = "failed", f"{type(error).__name__}: {summary(error)}"
        result = Result(wanted.backend, name, status, time.monotonic() - began, detail)
        results.append(result)
        told(result)
    return results


@asynccontextmanager
async def _opened(wanted: Wanted) -> AsyncIterator[tuple[AsyncClient, Simulator | None]]:
    settings: dict[str, Any] = {
        "max_concurrent_requests": wanted.max_concurrent,
        "queue_size": wanted.queue_size,
        "max_retries": 0,
        "total_timeout": _TIMEOUT,
    }
    if wanted.host is not None:
        async with AsyncClient(wanted.backend, base_url=wanted.host, **settings) as client:
            yield client, None
        return
    if wanted.backend not in SIMULATORS:
        raise UnsupportedOperation(f"there is no simulator of {wanted.backend!r}; --host names a real one")
    from ipfs_accelerate_py.simulator import Simulator

    async with (
        Simulator(SIMULATORS[wanted.backend], latency=LATENCY, dimensions=8) as simulator,
        AsyncClient(wanted.backend, base_url=simulator.url, api_key="simulated-key", **settings) as client,
    ):
        yield client, simulator


async def _ask(client: AsyncClient, wanted: Wanted, priority: str = "NORMAL") -> str:
    """One call; ``ok``, or the name of the error."""
    try:
        if wanted.backend == "hf_tei":
            await client.embed(wanted.model, "Hello", priority=priority)
        else:
            await client.chat(wanted.model, "Hello", priority=priority, max_tokens=8)
    except AccelerateError as error:
        return type(error).__name__
    return "ok"


def _expect(holds: object, what: str) -> None:
    if not holds:
        raise Wrong(what)


async def _at_once(client: AsyncClient, simulator: Simulator | None, wanted: Wanted) -> str:
    most = 0
    watching = True

    async def watch() -> None:
        nonlocal most
        while watching:
            most = max(most, client.active_requests)
            await asyncio.sleep(0)

    watcher = asyncio.create_task(watch())
    calls = min(wanted.max_concurrent + wanted.queue_size, wanted.max_concurrent * 3)
    ended = await asyncio.gather(*(_ask(client, wanted) for _ in range(calls)))
    watching = False
    await watcher
    _expect(ended.count("ok") == calls, f"{calls - ended.count('ok')} of {calls} calls failed: {set(ended) - {'ok'}}")
    _expect(most <= wanted.max_concurrent, f"{most} calls at once, {wanted.max_concurrent} allowed")
    return f"{calls} calls, {most} at once"


async def _full(client: AsyncClient, simulator: Simulator | None, wanted: Wanted) -> str:
    room = wanted.max_concurrent + wanted.queue_size
    ended = await asyncio.gather(*(_ask(client, wanted) for _ in range(room + 3)))
    refused = ended.count(QueueFull.__name__)
    _expect(refused == 3, f"of {room + 3} calls for {room} places {refused} were refused, not 3")
    _expect(ended.count("ok") == room, f"{room - ended.count('ok')} calls that had a place failed")
    return f"{room} answered, 3 refused at once"


async def _priorities(client: AsyncClient, simulator: Simulator | None, wanted: Wanted) -> str:
    order: list[str] = []

    async def one(priority: str) -> None:
        _expect(await _ask(client, wanted, priority) == "ok", f"a {priority} call failed")
        order.append(priority)

    client.max_concurrent_requests = 1
    each = max(1, min(3, (wanted.queue_size - 1) // 3))
    first = asyncio.create_task(one("NORMAL"))
    await asyncio.sleep(0)
    rest = [asyncio.create_task(one(priority)) for priority in ("LOW", "NORMAL", "HIGH") for _ in range(each)]
    await asyncio.gather(first, *rest)
    expected = ["HIGH"] * each + ["NORMAL"] * each + ["LOW"] * each
    _expect(order[1:] == expected, f"answered in the order {order[1:]}")
    return " > ".join(dict.fromkeys(expected))


async def _back_off(client: AsyncClient, simulator: Simulator | None, wanted: Wanted) -> str:
    from ipfs_accelerate_py.simulator import Fault

    assert simulator is not None
    client.max_retries = 3
    simulator.script(Fault.status(429, retry_after=1))
    began = time.monotonic()
    _expect(await _ask(client, wanted) == "ok", "the call was not repeated after a 429")
    waited = time.monotonic() - began
    _expect(waited >= 1.0, f"repeated after {waited:.2f} s, although the service asked for 1 s")
    client.initial_retry_delay = 0.01
    simulator.script(Fault.status(500), Fault.status(503))
    _expect(await _ask(client, wanted) == "ok", "the call was not repeated after a 500 and a 503")
    return f"waited {waited:.2f} s as asked; repeated after 500 and 503"


async def _breaker(client: AsyncClient, simulator: Simulator | None, wanted: Wanted) -> str:
    from ipfs_accelerate_py.simulator import Fault

    assert simulator is not None
    client.circuit_failure_threshold, client.circuit_reset_timeout = 3, 0.2
    simulator.always(Fault.status(500))
    ended = [await _ask(client, wanted) for _ in range(5)]
    _expect(
        ended == [ServerError.__name__] * 3 + [CircuitOpen.__name__] * 2, f"after three failures it went on: {ended}"
    )
    _expect(client.circuit_state == "OPEN", f"the breaker is {client.circuit_state}")
    simulator.clear()
    await asyncio.sleep(0.25)
    _expect(await _ask(client, wanted) == "ok", "the probe was not admitted when the time was up")
    _expect(client.circuit_state == "CLOSED", f"after a good probe the breaker is {client.circuit_state}")
    return "opened after 3 failures, refused without asking, closed by a probe"


_Check = Callable[[AsyncClient, "Simulator | None", Wanted], Awaitable[str]]
_CHECKS: tuple[tuple[str, _Check, bool], ...] = (
    ("calls at once", _at_once, False),
    ("full queue", _full, False),
    ("priorities", _priorities, False),
    ("back-off", _back_off, True),
    ("circuit breaker", _breaker, True),
)
