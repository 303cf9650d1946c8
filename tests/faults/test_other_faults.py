"""Refusals, oddities and broken connections beside the numbered faults."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ConnectFailed,
    InvalidRequest,
    ModelNotFound,
    ProtocolError,
    QuotaExhausted,
    ServerError,
    StreamCut,
)
from ipfs_accelerate_py.simulator import Fault, SimulatorThread

from .playing import (
    SETTINGS,
    every_mode,
    go,
    healthy,
    play,
    rescued,
)

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
        settings = {**SETTINGS, "max_retries": 1, "connect_timeout": 0.1}
        seen = go(mode, url, lambda: None, settings)
    assert isinstance(seen.error, ConnectFailed), repr(seen.error)
    assert seen.error.attempts == 2


@every_mode
def test_down_for_a_while_and_back(mode: str, sim: SimulatorThread) -> None:
    whole = healthy(sim)
    sim.down(0.06)
    seen = go(mode, sim.url, lambda: time.sleep(0.1), {**SETTINGS, "max_retries": 500, "max_retry_delay": 0.02})
    assert seen.error is None
    assert seen.text == whole
