"""Every fault an upstream can show, through each client, streaming and not.

Whatever the fault: the call ends inside its deadline, a truncated answer is never presented as complete, the next
healthy call through the same client succeeds, and everything held is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, Client, Usage
from ipfs_accelerate_py.errors import (
    AccelerateError,
    AuthenticationError,
    BackendError,
    ConnectFailed,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    ReadTimeout,
    ServerError,
    StreamCut,
    TransportError,
)
from ipfs_accelerate_py.portal import new_event_loop
from ipfs_accelerate_py.simulator import Fault, Simulator, SimulatorThread
from ipfs_accelerate_py.simulator.wire import Request
from tests.upstreams import QUICK, client_of, eventually, held, nothing_held, nothing_held_sync

#: Seconds a call may take, and some grace for a busy machine.
DEADLINE = 3.0
GRACE = 1.5
TOKENS = 20
SETTINGS: dict[str, Any] = {
    **QUICK,
    "max_retries": 3,
    "initial_retry_delay": 0.01,
    "idle_timeout": 0.2,
    "first_byte_timeout": 0.2,
    "connect_timeout": 0.2,
    "max_body_bytes": 1 << 20,
}
MODES = ["async unary", "async stream", "sync unary", "sync stream"]


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai", tokens=TOKENS) as sim:
        yield sim


@pytest.fixture
def sim(simulator: SimulatorThread) -> Iterator[SimulatorThread]:
    yield simulator
    simulator.clear()


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


async def ask(client: AsyncClient, stream: bool, seen: Outcome) -> None:
    if not stream:
        reply = await client.chat("gpt-4o", "Hello", timeout=DEADLINE)
        seen.text, seen.finish_reason, seen.usage, seen.attempts = (
            reply.text,
            reply.finish_reason,
            reply.usage,
            reply.attempts,
        )
        return
    running = client.stream("gpt-4o", "Hello", timeout=DEADLINE)
    try:
        async for chunk in running:
            seen.text += chunk.text
    finally:
        seen.finish_reason, seen.usage = running.finish_reason, running.usage
        seen.attempts = running.reply.attempts if running.reply else 0


def ask_sync(client: Client, stream: bool, seen: Outcome) -> None:
    if not stream:
        reply = client.chat("gpt-4o", "Hello", timeout=DEADLINE)
        seen.text, seen.finish_reason, seen.usage, seen.attempts = (
            reply.text,
            reply.finish_reason,
            reply.usage,
            reply.attempts,
        )
        return
    running = client.stream("gpt-4o", "Hello", timeout=DEADLINE)
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
                await ask(client, stream, after)
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
                ask_sync(client, stream, after)
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


# --- the numbered faults -----------------------------------------------------------------------------------------


@every_mode
@pytest.mark.parametrize(
    "told", [{"retry_after": 0.06}, {"retry_after_ms": 60}, {"retry_after_ms": 60, "retry_after": 9}]
)
def test_1_limited_once_with_retry_after(mode: str, sim: SimulatorThread, told: dict[str, Any]) -> None:
    seen = play(mode, sim, Fault.status(429, **told))
    rescued(seen, 2)
    assert 0.06 <= seen.gaps[0] < 0.5


@every_mode
def test_1_limited_once_and_another_key_at_hand(mode: str, sim: SimulatorThread) -> None:
    seen = play(mode, sim, Fault.status(429, retry_after=2), api_key={"a": "sk-a", "b": "sk-b"})
    rescued(seen, 2)
    assert seen.gaps[0] < 0.5
    assert seen.requests[0].key != seen.requests[1].key


@every_mode
def test_2_limited_for_ever_without_retry_after(mode: str, sim: SimulatorThread) -> None:
    seen = play(mode, sim, always=Fault.status(429), max_retries=4, initial_retry_delay=0.04, max_retry_delay=0.1)
    error = failed(seen, RateLimited, 5)
    assert str(error).startswith("Rate limit")
    assert error.status == 429  # type: ignore[attr-defined]
    assert sum(seen.gaps) > 0.01, "no pause at all between the attempts"


@pytest.mark.parametrize("stream", [False, True])
def test_2_limited_for_longer_than_we_wait(sim: SimulatorThread, stream: bool) -> None:
    """Told to come back in ten minutes: the caller hears it at once, and nobody asks again before."""
    sim.always(Fault.status(429, retry_after=600))
    before = len(sim.requests)
    with Client("openai", base_url=sim.url, api_key="sk-test", **SETTINGS) as client:
        for _ in range(3):
            with pytest.raises(RateLimited) as caught:
                ask_sync(client, stream, Outcome())
            assert 590 < (caught.value.retry_after or 0) <= 600
        nothing_held_sync(client)
    assert len(sim.requests) == before + 1


@every_mode
def test_3_failed_once(mode: str, sim: SimulatorThread) -> None:
    rescued(play(mode, sim, Fault.status(500)), 2)


@every_mode
@pytest.mark.parametrize("code", [500, 502, 503, 529])
def test_4_failing_for_ever(mode: str, sim: SimulatorThread, code: int) -> None:
    seen = play(mode, sim, always=Fault.status(code))
    error = failed(seen, ServerError, 4)
    assert isinstance(error, BackendError)
    assert (error.status, error.attempts) == (code, 4)


@every_mode
@pytest.mark.parametrize("fault", [Fault.reset(), Fault.close()])
def test_5_closed_before_any_byte(mode: str, sim: SimulatorThread, fault: Fault) -> None:
    rescued(play(mode, sim, fault), 2)


@every_mode
def test_5_closed_before_any_byte_for_ever(mode: str, sim: SimulatorThread) -> None:
    failed(play(mode, sim, always=Fault.reset()), TransportError, 4)


@every_mode
def test_6_never_answers_and_is_not_asked_twice(mode: str, sim: SimulatorThread) -> None:
    failed(play(mode, sim, always=Fault.hang()), ReadTimeout, 1)


@every_mode
def test_7_headers_at_once_and_the_first_token_later(mode: str, sim: SimulatorThread) -> None:
    """Without a first-content limit the deadline is the only one for a stream; a unary body falls silent."""
    seen = play(mode, sim, always=Fault.stall(seconds=0.4))
    if "stream" in mode:
        rescued(seen, 1)
    else:
        failed(seen, ReadTimeout, 1)


@pytest.mark.parametrize("mode", ["async stream", "sync stream"])
def test_7_the_first_content_limit(mode: str, sim: SimulatorThread) -> None:
    seen = play(mode, sim, always=Fault.stall(), first_content_timeout=0.05)
    failed(seen, ReadTimeout, 1)
    assert seen.seconds < 1


@every_mode
@pytest.mark.parametrize("rst", [False, True])
def test_8_dies_in_the_middle(mode: str, sim: SimulatorThread, rst: bool) -> None:
    seen = play(mode, sim, Fault.cut(after=8, rst=rst))
    if "stream" in mode:
        failed(seen, StreamCut, 1)
        if not rst:  # with RST the kernel may drop what was not read yet
            assert seen.text, "the pieces before the cut were not delivered"
    else:
        rescued(seen, 2)


@every_mode
def test_8_dies_before_the_first_token(mode: str, sim: SimulatorThread) -> None:
    rescued(play(mode, sim, Fault.cut(after=0)), 2)


@every_mode
def test_8_dies_in_the_middle_every_time(mode: str, sim: SimulatorThread) -> None:
    seen = play(mode, sim, always=Fault.cut(after=8))
    failed(seen, StreamCut, 1 if "stream" in mode else 4)


@every_mode
def test_9_falls_silent_in_the_middle(mode: str, sim: SimulatorThread) -> None:
    seen = play(mode, sim, always=Fault.silence(after=8))
    error = failed(seen, ReadTimeout, 1)
    assert "idle_timeout" in str(error)
    assert seen.seconds < 1
    if "stream" in mode:
        assert seen.text


@pytest.mark.parametrize("mode", ["async stream", "sync stream"])
@pytest.mark.parametrize("data", ["{not json", '{"oops":', "\x00\x01", "undefined", '{"a": NaN}'])
def test_10_one_event_that_is_not_json(mode: str, sim: SimulatorThread, data: str) -> None:
    for at in (0, 6):
        seen = play(mode, sim, Fault.bad_json(at=at, data=data))
        rescued(seen, 1)
        assert seen.skipped == 1


@pytest.mark.parametrize("mode", ["async stream", "sync stream"])
def test_10_a_missing_piece_of_content_is_an_error_and_not_a_gap(mode: str, sim: SimulatorThread) -> None:
    seen = play(mode, sim, always=Fault.bad_json(at=6, replace=True))
    failed(seen, ProtocolError, 1)


@pytest.mark.parametrize("mode", ["async unary", "sync unary"])
def test_10_a_body_that_is_not_json(mode: str, sim: SimulatorThread) -> None:
    failed(play(mode, sim, always=Fault.bad_json()), ProtocolError, 1)


@every_mode
@pytest.mark.parametrize("hold", [False, True])
def test_11_complete_without_its_terminator(mode: str, sim: SimulatorThread, hold: bool) -> None:
    seen = play(mode, sim, always=Fault.no_done(hold=hold))
    rescued(seen, 1)
    assert seen.usage.output_tokens == TOKENS
    assert seen.seconds < 2


@every_mode
def test_12_context_length_exceeded(mode: str, sim: SimulatorThread) -> None:
    seen = play(mode, sim, always=Fault.context_length_exceeded())
    error = failed(seen, ContextLengthExceeded, 1)
    assert error.code == "context_length_exceeded"


@every_mode
def test_13_content_policy_violation(mode: str, sim: SimulatorThread) -> None:
    seen = play(mode, sim, always=Fault.content_policy_violation())
    error = failed(seen, ContentFiltered, 1)
    assert "safety system" in str(error)
    assert error.code == "content_policy_violation"


# --- other refusals ----------------------------------------------------------------------------------------------


@every_mode
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.status(400, param="n", message="n is wrong"), InvalidRequest),
        (Fault.status(401), AuthenticationError),
        (Fault.status(403), AuthenticationError),
        (Fault.status(402), QuotaExhausted),
        (Fault.status(422, body='{"detail": "Unexpected fields"}', content_type="application/json"), InvalidRequest),
        (Fault.insufficient_quota(), QuotaExhausted),
        (Fault.model_not_found(), ModelNotFound),
        (Fault.status(500, should_retry=False), ServerError),
        (Fault.html(), ProtocolError),
        (Fault.html(code=404), InvalidRequest),
        (Fault.not_object(), ProtocolError),
        (Fault.not_object(body='"text"'), ProtocolError),
        (Fault.not_object(body="null"), ProtocolError),
        (Fault.not_object(body="{}"), ProtocolError),
        (Fault.redirect(), ProtocolError),
        (Fault.big_headers(size=64 * 1024), ProtocolError),
        (Fault.gzip_bomb(size=1 << 28), ProtocolError),
        (Fault.oversized(size=1 << 24), ProtocolError),
        (Fault.oversized(size=1 << 24, chunked=True), ProtocolError),
        (Fault.utf8_cut(after=6, complete=True), (ProtocolError, StreamCut)),
        (Fault.endless_line(after=0), ProtocolError),
        (Fault.malformed("garbage"), ProtocolError),
        (Fault.malformed("status_line"), ProtocolError),
        (Fault.malformed("header"), ProtocolError),
        (Fault.malformed("lengths"), ProtocolError),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, Fault) else "",
)
def test_refused_or_unreadable_and_not_asked_again(mode: str, sim: SimulatorThread, fault: Fault, kind: Any) -> None:
    seen = play(mode, sim, always=fault)
    assert isinstance(seen.error, kind), repr(seen.error)
    assert len(seen.requests) <= 4 if isinstance(seen.error, StreamCut) else len(seen.requests) == 1


@every_mode
def test_x_should_retry_asks_again_for_what_we_would_not(mode: str, sim: SimulatorThread) -> None:
    rescued(play(mode, sim, Fault.status(400, should_retry=True)), 2)


@every_mode
@pytest.mark.parametrize(
    "fault",
    [
        Fault.utf8_cut(after=6),
        Fault.endless_chunk(),
        Fault.malformed("chunk"),
        Fault.error_200(),
        Fault.error_event(at=0),
        Fault.error_event(at=6),
    ],
    ids=str,
)
def test_broken_for_ever(mode: str, sim: SimulatorThread, fault: Fault) -> None:
    seen = play(mode, sim, always=fault)
    if "unary" in mode and "error_event" in str(fault):
        rescued(seen, 1)
        return
    assert isinstance(seen.error, BackendError), repr(seen.error)
    assert 1 <= len(seen.requests) <= 4


@every_mode
@pytest.mark.parametrize(
    "fault",
    [
        Fault.unknown_fields(),
        Fault.gzip(),
        Fault.gzip() + Fault.split(size=3),
        Fault.messy(newline="lf"),
        Fault.messy(newline="cr"),
        Fault.messy(newline="crlf"),
        Fault.messy(newline="mixed", seed=1),
        Fault.messy(newline="mixed", seed=2) + Fault.split(size=1),
        Fault.messy(newline="mixed", seed=3) + Fault.split(size=0, seed=3),
        Fault.split(size=1),
        Fault.split(size=0, seed=5),
        Fault.drip(size=512, interval=0.001),
        Fault.latency(0.03),
    ],
    ids=str,
)
def test_odd_and_whole(mode: str, sim: SimulatorThread, fault: Fault) -> None:
    rescued(play(mode, sim, always=fault), 1)


@every_mode
def test_a_storm_of_faults_is_weathered_in_order(mode: str, sim: SimulatorThread) -> None:
    seen = play(
        mode,
        sim,
        Fault.status(503),
        Fault.reset(),
        Fault.status(429, retry_after=0.03),
        Fault.status(500),
        max_retries=5,
        circuit_failure_threshold=10,
    )
    assert seen.error is None
    assert len(seen.requests) == 5
    # A kept connection that is reset unanswered was an old one for all we know, and asking again costs no attempt.
    assert seen.attempts in (0, 4, 5)
    assert seen.gaps[2] >= 0.03


# --- no connection -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def blackhole() -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}/v1"


@contextlib.contextmanager
def no_name() -> Iterator[str]:
    yield "http://no-such-host.invalid/v1"


@contextlib.contextmanager
def no_tls() -> Iterator[str]:
    with SimulatorThread("openai") as sim:
        yield sim.url.replace("http:", "https:")


@every_mode
@pytest.mark.parametrize("place", [blackhole, nobody, no_name, no_tls])
def test_no_connection(mode: str, place: Callable[[], Any]) -> None:
    with place() as url:
        # The blackhole's connect limit must come before the first byte's.
        settings = {**SETTINGS, "max_retries": 1, "connect_timeout": 0.1, "first_byte_timeout": 1.0}
        seen = go(mode, url, lambda: None, settings)
    assert isinstance(seen.error, ConnectFailed), repr(seen.error)
    assert seen.error.attempts == 2


@every_mode
def test_down_for_a_while_and_back(mode: str, sim: SimulatorThread) -> None:
    whole = healthy(sim)
    sim.down(0.06)
    seen = go(mode, sim.url, lambda: time.sleep(0.1), {**SETTINGS, "max_retries": 30, "max_retry_delay": 0.02})
    assert seen.error is None
    assert seen.text == whole


# --- the breaker -------------------------------------------------------------------------------------------------


async def test_a_dead_upstream_is_left_alone_and_found_again() -> None:
    settings = {**SETTINGS, "circuit_failure_threshold": 3, "circuit_reset_timeout": 0.05, "max_retries": 0}
    async with Simulator() as sim, client_of(sim.url, **settings) as client:
        sim.always(Fault.status(503))
        kinds = []
        for _ in range(10):
            with pytest.raises(AccelerateError) as caught:
                await client.chat("m", "x")
            kinds.append(type(caught.value).__name__)
        assert kinds == ["ServerError"] * 3 + ["CircuitOpen"] * 7
        assert len(sim.requests) == 3
        assert client.circuit_state == "OPEN"
        await asyncio.sleep(0.06)
        with pytest.raises(ServerError):
            await client.chat("m", "x")
        assert len(sim.requests) == 4
        sim.clear()
        await asyncio.sleep(0.06)
        assert client.circuit_state == "HALF_OPEN"
        assert (await client.chat("m", "x")).text
        assert client.circuit_state == "CLOSED"
        await nothing_held(client)


# --- callers who go away -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "after"),
    [(None, 0.0), (Fault.hang(), 0.01), (Fault.stall(), 0.02), (Fault.silence(after=3), 0.02)],
    ids=["before", "while none has come", "after the headers", "after the first"],
)
async def test_a_caller_who_leaves(stream: bool, fault: Fault | None, after: float) -> None:
    settings = {**SETTINGS, "idle_timeout": None, "first_byte_timeout": None}
    async with Simulator(tokens=TOKENS) as sim, client_of(sim.url, **settings) as client:
        if fault is not None:
            sim.always(fault)
        task = asyncio.create_task(ask(client, stream, Outcome()))
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_held(client)
        await eventually(lambda: sim.in_flight == 0)
        assert client.snapshot()["usage"]["cancelled_requests"] <= 1
        assert client.circuit_state == "CLOSED"
        sim.clear()
        after_all = Outcome()
        await ask(client, stream, after_all)
        assert after_all.text
        await nothing_held(client)


@pytest.mark.parametrize("way", ["close", "with", "drop", "break"])
@pytest.mark.parametrize("fault", [None, Fault.hang(), Fault.stall(), Fault.silence(after=3)], ids=str)
def test_a_sync_caller_who_leaves_a_stream(sim: SimulatorThread, way: str, fault: Fault | None) -> None:
    settings = {**SETTINGS, "idle_timeout": None, "first_byte_timeout": None}
    if fault is not None:
        sim.always(fault)
    with Client("openai", base_url=sim.url, api_key="sk-test", **settings) as client:
        stream = client.stream("gpt-4o", "Hello")
        time.sleep(0.01)
        if fault is None or "silence" in str(fault):
            next(stream)
        if way == "close":
            stream.close()
        elif way == "with":
            with stream:
                pass
        elif way == "break":
            if fault is None:
                for _ in stream:
                    break
            stream = None  # type: ignore[assignment]
        del stream
        nothing_held_sync(client)
        until = time.monotonic() + 1
        while sim.in_flight and time.monotonic() < until:
            time.sleep(0.002)
        assert sim.in_flight == 0
        sim.clear()
        assert client.chat("gpt-4o", "Hello").text
        assert held(client) == {}
