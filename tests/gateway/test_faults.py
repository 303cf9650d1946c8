"""The faults of an upstream, through the gateway: what its client is told, unary and streaming."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ipfs_accelerate_py.simulator import Fault

from .support import CHAT, STREAM, Got, Setup, error_of, nothing_held, running

pytestmark = pytest.mark.virtual_time

BOTH = pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])


async def healthy_again(setup: Setup) -> None:
    """The next call succeeds, and nothing is held."""
    setup.sim.clear()
    assert (await setup.ask()).status == 200
    await nothing_held(setup)


def whole(got: Got) -> str:
    """The text of a complete answer."""
    assert got.status == 200
    if got.headers["content-type"].startswith("text/event-stream"):
        assert got.events[-1] == "[DONE]"
        assert got.end == "whole"
        return "".join(got.tokens)
    text: str = got.json["choices"][0]["message"]["content"]
    return text


def broken(got: Got) -> dict[str, Any]:
    """The error in band of a stream that must not look complete."""
    assert got.status == 200
    assert "[DONE]" not in got.events
    assert got.end == "whole"  # as HTTP goes; what it says is that the answer is not
    error: dict[str, Any] = got.events[-1]["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert not any(event.get("choices", [{}])[0].get("finish_reason") for event in got.events if event.get("choices"))
    return error


@BOTH
async def test_1_a_limit_that_says_when_to_come_back_is_waited_for(body: dict[str, Any]) -> None:
    async with running(settings={"max_retries": 3}) as setup:
        text = whole(await setup.ask(body))
        setup.sim.script(Fault.status(429, retry_after=0.3))
        began = time.monotonic()
        assert whole(await setup.ask(body)) == text
        assert time.monotonic() - began >= 0.3
        assert [each.status for each in setup.sim.requests] == [200, 429, 200]
        assert setup.sim.requests[2].t_start - setup.sim.requests[1].t_start >= 0.3
        await healthy_again(setup)


@BOTH
async def test_2_a_limit_without_end(body: dict[str, Any]) -> None:
    async with running(settings={"max_retries": 3, "initial_retry_delay": 0.01}) as setup:
        setup.sim.always(Fault.status(429))
        got = await setup.ask(body)
        assert got.status == 429
        assert error_of(got)["type"]
        assert int(got.headers["retry-after"]) >= 1
        assert len(setup.sim.requests) == 4
        await healthy_again(setup)


@BOTH
async def test_3_one_failure_is_repaired(body: dict[str, Any]) -> None:
    async with running(settings={"max_retries": 2}) as setup:
        setup.sim.script(Fault.status(500))
        whole(await setup.ask(body))
        assert [each.status for each in setup.sim.requests] == [500, 200]
        await healthy_again(setup)


@BOTH
async def test_4_a_failure_without_end_is_told_as_it_was(body: dict[str, Any]) -> None:
    async with running(settings={"max_retries": 2, "circuit_failure_threshold": 50}) as setup:
        setup.sim.always(Fault.status(503, message="Out of order until Monday."))
        got = await setup.ask(body)
        assert got.status == 502
        assert "Out of order until Monday." in error_of(got)["message"]
        assert len(setup.sim.requests) == 3
        await healthy_again(setup)


@BOTH
async def test_5_a_reset_before_any_byte_is_repeated(body: dict[str, Any]) -> None:
    async with running(settings={"max_retries": 2}) as setup:
        setup.sim.script(Fault.reset(), Fault.close())
        whole(await setup.ask(body))
        assert len(setup.sim.requests) == 3
        await healthy_again(setup)


@BOTH
async def test_6_silence_is_not_multiplied(body: dict[str, Any]) -> None:
    async with running(settings={"max_retries": 5, "first_byte_timeout": 0.05}) as setup:
        setup.sim.always(Fault.hang())
        got = await setup.ask(body)
        assert got.status == 504
        assert error_of(got)["code"] == "read_timeout"
        assert len(setup.sim.requests) == 1
        await healthy_again(setup)


async def test_7_a_late_first_token_is_waited_for() -> None:
    async with running(settings={"first_byte_timeout": 0.05, "idle_timeout": 0.05}) as setup:
        setup.sim.script(Fault.stall(seconds=0.15))
        whole(await setup.ask(STREAM))
        await healthy_again(setup)


@pytest.mark.parametrize("fault", [Fault.cut(after=6), Fault.cut(after=6, rst=True), Fault.utf8_cut(after=3)], ids=str)
async def test_8_a_stream_that_breaks_off_ends_in_an_error(setup: Setup, fault: Fault) -> None:
    setup.sim.script(fault)
    got = await setup.ask(STREAM)
    assert broken(got)["code"] in ("stream_cut", "transport_error", "protocol_error")
    assert len(got.tokens) < 20
    assert setup.gateway.app.metrics.stream_errors == 1
    await healthy_again(setup)


async def test_8_a_unary_answer_that_breaks_off_is_asked_for_again() -> None:
    async with running(settings={"max_retries": 1}) as setup:
        setup.sim.script(Fault.cut())
        whole(await setup.ask())
        await healthy_again(setup)


async def test_8_a_stream_that_breaks_off_before_its_content_is_asked_for_again() -> None:
    async with running(settings={"max_retries": 1}) as setup:
        setup.sim.script(Fault.cut(after=0))
        whole(await setup.ask(STREAM))
        assert len(setup.sim.requests) == 2
        await healthy_again(setup)


async def test_9_silence_in_mid_stream(setup: Setup) -> None:
    setup.backend.settings.idle_timeout = 0.05
    setup.sim.script(Fault.silence(after=4))
    got = await setup.ask(STREAM)
    assert broken(got)["code"] == "read_timeout"
    assert len(got.tokens) == 4
    await healthy_again(setup)


async def test_9_a_unary_answer_that_falls_silent(setup: Setup) -> None:
    setup.backend.settings.idle_timeout = 0.05
    setup.sim.script(Fault.silence())
    got = await setup.ask()
    assert got.status == 504
    await healthy_again(setup)


async def test_10_an_unreadable_event_is_skipped_and_counted(setup: Setup) -> None:
    text = whole(await setup.ask(STREAM))
    setup.sim.script(Fault.bad_json(at=3, data="{oops"))
    got = await setup.ask(STREAM)
    assert whole(got) == text
    assert b"oops" not in got.body
    page = setup.gateway.app._page.text().decode()
    assert 'ipfs_accelerate_backend_skipped_events_total{backend="openai"} 1.0' in page
    await healthy_again(setup)


async def test_10_a_piece_of_content_that_is_missing_is_an_error(setup: Setup) -> None:
    setup.sim.script(Fault.bad_json(at=3, replace=True))
    assert broken(await setup.ask(STREAM))["code"] == "protocol_error"
    await healthy_again(setup)


@pytest.mark.parametrize("hold", [False, True])
async def test_11_a_stream_without_its_terminator_is_given_one(setup: Setup, hold: bool) -> None:
    setup.sim.script(Fault.no_done(hold=hold))
    began = time.monotonic()
    got = await setup.ask({**STREAM, "stream_options": {"include_usage": True}})
    whole(got)
    assert time.monotonic() - began < 2
    assert [event["usage"]["total_tokens"] > 0 for event in got.events[:-1] if event.get("usage")] == [True]
    await healthy_again(setup)


@BOTH
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.context_length_exceeded(), "context_length_exceeded"),
        (Fault.content_policy_violation(), "content_policy_violation"),
    ],
    ids=["12", "13"],
)
async def test_12_13_a_wrong_request_is_not_repeated(body: dict[str, Any], fault: Fault, code: str) -> None:
    async with running(settings={"max_retries": 5}) as setup:
        setup.sim.always(fault)
        got = await setup.ask(body)
        assert got.status == 400
        error = error_of(got)
        assert error["code"] == code
        assert len(error["message"]) > 20
        assert len(setup.sim.requests) == 1
        await healthy_again(setup)


@BOTH
@pytest.mark.parametrize(
    "fault",
    [
        Fault.gzip_bomb(),
        Fault.endless_chunk(),
        Fault.endless_line(),
        Fault.oversized(size=3_000_000, chunked=True),
        Fault.big_headers(),
        Fault.html(),
        Fault.redirect(),
        Fault.not_object(),
    ],
    ids=str,
)
async def test_other_nonsense_is_an_error_and_nothing_grows(body: dict[str, Any], fault: Fault) -> None:
    async with running(settings={"max_body_bytes": 2_000_000, "total_timeout": 5.0}) as setup:
        setup.sim.script(fault)
        got = await setup.ask(body)
        assert got.status == 502 if "[DONE]" not in got.events else got.status == 200
        await healthy_again(setup)


@pytest.mark.parametrize("newline", ["lf", "cr", "crlf", "mixed"])
async def test_unusual_framing_comes_through(setup: Setup, newline: str) -> None:
    """Line ends, comments, a BOM and data over several lines; whatever it is, the official parser reads it."""
    text = whole(await setup.ask(STREAM))
    setup.sim.script(Fault.messy(newline=newline) + Fault.split(size=0))
    got = await setup.ask(STREAM)
    assert got.status == 200
    decoded = _standard_events(got.body)
    assert decoded[-1] == "[DONE]"
    assert text == "".join(_contents(decoded))


def _standard_events(body: bytes) -> list[str]:
    from openai._streaming import SSEDecoder

    return [event.data for event in SSEDecoder().iter_bytes(iter([body])) if event.data]


def _contents(events: list[str]) -> list[str]:
    import json

    chunks = [json.loads(event) for event in events[:-1]]
    return [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]]


async def test_a_burst_is_passed_on_with_as_few_writes_as_it_came_in() -> None:
    async with running(sim={"tokens": 2000}) as setup:
        from .support import connect, request

        async with connect(setup.gateway) as client:
            await client.send(request(STREAM, content_type="application/json"))
            got = await client.receive()
        chunks = got.raw.count(b"\r\ndata: ") + got.raw.count(b"\ndata: ")
        frames = sum(1 for line in got.raw.split(b"\r\n") if line and all(c in b"0123456789abcdef" for c in line))
        assert len(got.events) > 2000
        assert chunks
        assert frames < 400


async def test_a_slow_upstream_is_not_held_up_by_another(setup: Setup) -> None:
    setup.sim.script(Fault.latency(seconds=0.2))
    slow = asyncio.create_task(setup.ask())
    await asyncio.sleep(0.02)
    began = time.monotonic()
    await setup.ask()
    assert time.monotonic() - began < 0.15
    assert (await slow).status == 200
