"""The faults of the list, by their numbers: 1 to 5 and 8 to 13, and what of 6 and 7 concerns one target."""

from __future__ import annotations

from typing import Any

import pytest

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.errors import (
    BackendError,
    ContentFiltered,
    ContextLengthExceeded,
    ProtocolError,
    RateLimited,
    ReadTimeout,
    ServerError,
    StreamCut,
    TransportError,
)
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.upstreams import nothing_held_sync

from .playing import (
    SETTINGS,
    TOKENS,
    Outcome,
    ask_sync,
    every_mode,
    failed,
    play,
    rescued,
)

# --- the numbered faults -----------------------------------------------------------------------------------------


@every_mode
@pytest.mark.parametrize(
    "told", [{"retry_after": 0.06}, {"retry_after_ms": 60}, {"retry_after_ms": 60, "retry_after": 9}]
)
def test_1_limited_once_with_retry_after(mode: str, sim: SimulatorThread, told: dict[str, Any]) -> None:
    seen = play(mode, sim, Fault.status(429, **told))
    rescued(seen, 2)
    assert 0.06 <= seen.gaps[0] < 5


@every_mode
def test_1_limited_once_and_another_key_at_hand(mode: str, sim: SimulatorThread) -> None:
    seen = play(mode, sim, Fault.status(429, retry_after=20), api_key={"a": "sk-a", "b": "sk-b"})
    rescued(seen, 2)
    assert seen.gaps[0] < 10
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
    failed(play(mode, sim, always=Fault.hang(), first_byte_timeout=0.2), ReadTimeout, 1)


@every_mode
def test_7_headers_at_once_and_the_first_token_later(mode: str, sim: SimulatorThread) -> None:
    """Without a first-content limit the deadline is the only one, for it may be thinking."""
    rescued(play(mode, sim, always=Fault.stall(seconds=1.5), first_byte_timeout=1.2, idle_timeout=1.2), 1)


@every_mode
def test_7_the_first_content_limit(mode: str, sim: SimulatorThread) -> None:
    seen = play(mode, sim, always=Fault.stall(), first_content_timeout=0.05)
    failed(seen, ReadTimeout, 1)
    assert seen.seconds < 5


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
    seen = play(mode, sim, always=Fault.silence(after=8), idle_timeout=1.0)
    error = failed(seen, ReadTimeout, 1)
    assert "idle_timeout" in str(error)
    assert seen.seconds < 10
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
    assert seen.seconds < 5


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
