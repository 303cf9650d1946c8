"""Every fault an upstream can show, through each client, streaming and not.

Whatever the fault: the call ends inside its deadline, a truncated answer is never presented as complete, the next
healthy call through the same client succeeds, and everything held is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, Client, Usage
from ipfs_accelerate_py.errors import (
    AccelerateError,
    BackendError,
    ConnectFailed,
)
from ipfs_accelerate_py.portal import new_event_loop
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from ipfs_accelerate_py.simulator.wire import Request
from tests.upstreams import QUICK, client_of, nothing_held, nothing_held_sync

#: Seconds a call may take, and some grace for a busy machine. A limit that is to strike is set by the test that waits
#: for it; no other may.
DEADLINE = 30.0
GRACE = 15.0
#: For the healthy call after a fault: its client may have limits that are short on purpose.
PATIENT: dict[str, Any] = {"first_byte_timeout": DEADLINE, "first_content_timeout": DEADLINE, "idle_timeout": DEADLINE}
TOKENS = 20
SETTINGS: dict[str, Any] = {
    **QUICK,
    "max_retries": 3,
    "initial_retry_delay": 0.01,
    "idle_timeout": 10.0,
    "first_byte_timeout": 10.0,
    "connect_timeout": 10.0,
    "max_body_bytes": 1 << 20,
}
MODES = ["async unary", "async stream", "sync unary", "sync stream"]


@dataclass
class Outcome:
    """What the caller saw."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    error: AccelerateError | None = None
    attempts: int = 0
    seconds: float = 0.0
    requests: list[Request] = field(default_factory=list)
    skipped: int = 0
    next_text: str = ""
    next_error: AccelerateError | None = None

    @property
    def gaps(self) -> list[float]:
        """Seconds between the requests, as the upstream saw them."""
        return [later.t_start - earlier.t_start for earlier, later in itertools.pairwise(self.requests)]


async def ask(client: AsyncClient, stream: bool, seen: Outcome, **limits: Any) -> None:
    if not stream:
        reply = await client.chat("gpt-4o", "Hello", timeout=DEADLINE, **limits)
        seen.text, seen.finish_reason, seen.usage, seen.attempts = (
            reply.text,
            reply.finish_reason,
            reply.usage,
            reply.attempts,
        )
        return
    running = client.stream("gpt-4o", "Hello", timeout=DEADLINE, **limits)
    try:
        async for chunk in running:
            seen.text += chunk.text
    finally:
        seen.finish_reason, seen.usage = running.finish_reason, running.usage
        seen.attempts = running.reply.attempts if running.reply else 0


def ask_sync(client: Client, stream: bool, seen: Outcome, **limits: Any) -> None:
    if not stream:
        reply = client.chat("gpt-4o", "Hello", timeout=DEADLINE, **limits)
        seen.text, seen.finish_reason, seen.usage, seen.attempts = (
            reply.text,
            reply.finish_reason,
            reply.usage,
            reply.attempts,
        )
        return
    running = client.stream("gpt-4o", "Hello", timeout=DEADLINE, **limits)
    try:
        for chunk in running:
            seen.text += chunk.text
    finally:
        seen.finish_reason, seen.usage = running.finish_reason, running.usage


def go(mode: str, url: str, heal: Callable[[], None], settings: dict[str, Any]) -> Outcome:
    """One call, then a healthy one through the same client, and nothing held after either."""
    seen, after = Outcome(), Outcome()
    kind, _, how = mode.partition(" ")
    stream = how == "stream"

    async def asynchronous() -> None:
        async with client_of(url, **settings) as client:
            began = time.monotonic()
            try:
                await asyncio.wait_for(ask(client, stream, seen), DEADLINE + GRACE)
            except AccelerateError as error:
                seen.error = error
            seen.seconds = time.monotonic() - began
            await nothing_held(client)
            seen.skipped = client.snapshot()["usage"]["skipped_events"]
            heal()
            with contextlib.suppress(ConnectFailed):
                await ask(client, stream, after, **PATIENT)
            await nothing_held(client)

    def synchronous() -> None:
        with Client("openai", base_url=url, **{"api_key": "sk-test", **settings}) as client:
            began = time.monotonic()
            try:
                ask_sync(client, stream, seen)
            except AccelerateError as error:
                seen.error = error
            seen.seconds = time.monotonic() - began
            nothing_held_sync(client)
            seen.skipped = client.snapshot()["usage"]["skipped_events"]
            heal()
            with contextlib.suppress(ConnectFailed):
                ask_sync(client, stream, after, **PATIENT)
            nothing_held_sync(client)

    if kind == "async":
        # asyncio's own loop for one way of asking, uvloop for the other; the portal has uvloop anyway.
        with asyncio.Runner(loop_factory=new_event_loop if stream else None) as runner:
            runner.run(asynchronous())
    else:
        synchronous()
    seen.next_text = after.text
    assert seen.seconds < DEADLINE + GRACE, "the call did not end inside its deadline"
    return seen


WHOLE = ""


def play(mode: str, sim: SimulatorThread, *once: Fault, always: Fault | None = None, **settings: Any) -> Outcome:
    """Play the faults at one call, and hold it against the rules that are the same for all."""
    whole = healthy(sim)
    sim.script(*once)
    if always is not None:
        sim.always(always)
    before = len(sim.requests)
    marks: list[int] = []

    def heal() -> None:
        marks.append(len(sim.requests))
        sim.clear()

    seen = go(mode, sim.url, heal, {**SETTINGS, **settings})
    seen.requests = sim.requests[before : marks[0]]
    assert seen.next_text == whole, "the next healthy call got another answer"
    if seen.error is None:
        assert seen.text == whole, "a truncated answer was presented as complete"
        assert seen.finish_reason == "length" or seen.finish_reason == "stop"
        assert seen.usage.reported
    else:
        assert whole.startswith(seen.text), "the pieces that came are not those of the answer"
        if seen.text != whole:
            assert seen.finish_reason is None, "an answer that is not whole has an end"
        if isinstance(seen.error, BackendError):
            assert seen.error.backend == "openai"
    return seen


def healthy(sim: SimulatorThread) -> str:
    """The answer when nothing goes wrong; it depends on the request alone."""
    global WHOLE
    if not WHOLE:
        with Client("openai", base_url=sim.url, api_key="sk-test") as client:
            WHOLE = client.chat("gpt-4o", "Hello").text
    return WHOLE


def rescued(seen: Outcome, requests: int) -> None:
    assert seen.error is None, seen.error
    assert len(seen.requests) == requests
    if seen.attempts:
        assert seen.attempts == requests


def failed(seen: Outcome, kind: type[AccelerateError], requests: int) -> AccelerateError:
    assert type(seen.error) is kind, repr(seen.error)
    assert len(seen.requests) == requests
    return seen.error


every_mode = pytest.mark.parametrize("mode", MODES)
