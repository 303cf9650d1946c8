"""What a key may still do: its buckets, and how the policy settles what was taken."""

from __future__ import annotations

from typing import Any

import pytest

from ipfs_accelerate_py.errors import (
    RateLimited,
    ServerError,
)
from ipfs_accelerate_py.pipeline.keys import KeyPool, KeysPolicy
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, Chunk, RateLimits, Usage

from .support import Backend, Clock, Source, make_call, make_pool, names, stream_reply, take, text_reply, waiting

# --- buckets -----------------------------------------------------------------------------------------------------


def test_configured_limits_make_calls_wait(settings: Settings, clock: Clock) -> None:
    settings.requests_per_minute = 2
    pool = make_pool(settings, clock, "a", "b")
    assert sorted(names(pool, 4)) == ["a", "a", "b", "b"]
    assert pool.acquire(make_call()) == pytest.approx(30.0)
    clock.advance(30)
    names(pool, 2)


def test_tokens_are_reserved_before_and_reconciled_after(settings: Settings, clock: Clock) -> None:
    settings.tokens_per_minute = 1000
    pool = make_pool(settings, clock, "a")
    lease = take(pool, make_call(cost=600))
    assert pool.acquire(make_call(cost=600)) == pytest.approx(12.0)
    pool.release(lease, Usage(100, 100, reported=True), None)
    lease = take(pool, make_call(cost=600))
    pool.release(lease, Usage(500, 500, reported=True), None)
    assert waiting(pool, make_call(cost=100)) > 0
    assert pool.snapshot()["a"]["tokens"] == 1200


def test_a_failed_attempt_gives_its_tokens_back(settings: Settings, clock: Clock) -> None:
    settings.tokens_per_minute = 1000
    pool = make_pool(settings, clock, "a")
    pool.release(take(pool, make_call(cost=900)), None, ServerError("down", status=500))
    take(pool, make_call(cost=900))


def test_what_was_never_sent_is_undone_whole(settings: Settings, clock: Clock) -> None:
    settings.update({"requests_per_minute": 1, "tokens_per_minute": 100})
    pool = make_pool(settings, clock, "a", a=1)
    lease = take(pool, make_call(cost=100))
    pool.cancel(lease)
    pool.cancel(lease)
    pool.release(lease, None, ServerError("late", status=500))
    assert pool.snapshot()["a"] == {
        "requests": 0,
        "failures": 0,
        "tokens": 0,
        "active": 0,
        "quarantined": False,
        "quarantine_reason": None,
        "available_in": 0.0,
        "concurrency_limit": 5,
    }
    take(pool, make_call(cost=100))


def test_a_call_over_the_whole_minutes_tokens_goes_when_the_bucket_is_full(settings: Settings, clock: Clock) -> None:
    settings.tokens_per_minute = 100
    pool = make_pool(settings, clock, "a")
    lease = take(pool, make_call(cost=5000))
    assert waiting(pool, make_call(cost=5000)) > 0
    pool.release(lease, Usage(50, 10, reported=True), None)
    take(pool, make_call(cost=1))


def test_the_providers_headers_hold_the_next_call_back(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a")
    lease = take(pool)
    lease.observe(RateLimits(requests_limit=60, requests_remaining=0, requests_reset=60.0))
    pool.release(lease, Usage(1, 1, reported=True), None)
    assert pool.acquire(make_call()) == pytest.approx(1.0)


def test_reconciling_does_not_lift_the_level_above_what_the_provider_counted(settings: Settings, clock: Clock) -> None:
    """The provider's remainder already knows this call: its unused reservation must not be added on top."""
    settings.tokens_per_minute = 1000
    pool = make_pool(settings, clock, "a")
    lease = take(pool, make_call(cost=800))
    lease.observe(RateLimits(tokens_limit=1000, tokens_remaining=100, tokens_reset=54.0))
    pool.release(lease, Usage(40, 10, reported=True), None)
    assert waiting(pool, make_call(cost=500)) == pytest.approx(24.0, rel=0.1)


def test_a_reservation_that_the_provider_did_not_charge_comes_back(settings: Settings, clock: Clock) -> None:
    """4000 were reserved for ``max_tokens``, and the provider has charged 100: the next call need not wait."""
    pool = make_pool(settings, clock, "a")
    teaching = take(pool)
    teaching.observe(RateLimits(tokens_limit=6000, tokens_remaining=6000, tokens_reset=0.0))
    pool.release(teaching, Usage(1, 1, reported=True), None)
    for number in range(1, 6):
        lease = take(pool, make_call(cost=4000))
        lease.observe(RateLimits(tokens_limit=6000, tokens_remaining=6000 - 100 * number, tokens_reset=float(number)))
        pool.release(lease, Usage(50, 50, reported=True), None)


def test_what_comes_back_leaves_room_for_the_calls_under_way(settings: Settings, clock: Clock) -> None:
    """The provider's remainder does not know of a call that it has not seen yet; our reservation for it stands."""
    settings.tokens_per_minute = 1000
    pool = make_pool(settings, clock, "a")
    under_way = take(pool, make_call(cost=400))
    lease = take(pool, make_call(cost=500))
    lease.observe(RateLimits(tokens_limit=1000, tokens_remaining=900, tokens_reset=6.0))
    pool.release(lease, Usage(50, 50, reported=True), None)
    assert waiting(pool, make_call(cost=600)) > 0
    pool.release(under_way, Usage(100, 100, reported=True), None)


def test_a_changed_setting_changes_the_limit(settings: Settings, clock: Clock) -> None:
    """Settings are live: a limit raised, or lifted, counts from the next call."""
    settings.requests_per_minute = 1
    pool = make_pool(settings, clock, "a")
    names(pool, 1)
    assert waiting(pool) > 0
    settings.requests_per_minute = 600
    clock.advance(0.2)
    assert names(pool, 1) == ["a"]
    settings.requests_per_minute = None
    assert len(names(pool, 50)) == 50


# --- the policy --------------------------------------------------------------------------------------------------


async def call_through(pool: KeyPool, backend: Backend, call: Call) -> Any:
    call.lease = pool.acquire(call)
    return await KeysPolicy(backend, pool)(call)


async def test_a_reply_names_its_key_and_gives_it_back(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a")
    reply = await call_through(pool, Backend(text_reply(usage=Usage(5, 6, reported=True))), make_call())
    assert reply.key_name == "a"
    assert pool.snapshot()["a"]["active"] == 0
    assert pool.snapshot()["a"]["tokens"] == 11


async def test_a_stream_holds_its_key_until_it_is_done(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a")
    source = Source([Chunk(text="a")], usage=Usage(5, 6, reported=True))
    reply = await call_through(pool, Backend(stream_reply(source)), make_call(stream=True))
    assert pool.snapshot()["a"]["active"] == 1
    assert [chunk.text async for chunk in reply.stream] == ["a"]
    assert pool.snapshot()["a"]["active"] == 0
    assert pool.snapshot()["a"]["tokens"] == 11


async def test_an_error_in_band_is_held_against_the_key_although_usage_was_counted(
    settings: Settings, clock: Clock
) -> None:
    """Some servers send running counts with each chunk."""
    pool = make_pool(settings, clock, "a", "b")
    error = RateLimited("Rate limit: too many tokens", status=429, retry_after=30.0)
    source = Source([Chunk(text="a")], error=error, usage=Usage(5, 1, reported=True))
    reply = await call_through(pool, Backend(stream_reply(source)), make_call(stream=True))
    with pytest.raises(RateLimited):
        [chunk async for chunk in reply.stream]
    assert pool.snapshot()["a"]["failures"] == 1
    assert pool.snapshot()["a"]["tokens"] == 6
    assert names(pool, 2) == ["b", "b"]


async def test_a_caller_who_leaves_is_no_failure_of_the_key(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a")
    source = Source([Chunk(text="a")], usage=Usage())
    reply = await call_through(pool, Backend(stream_reply(source, Chunk(text="first"))), make_call(stream=True))
    await anext(reply.stream)
    reply.stream.abort()
    assert pool.snapshot()["a"]["active"] == 0
    assert pool.snapshot()["a"]["failures"] == 0


def test_no_value_is_shown(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a", "b")
    lease = take(pool)
    shown = repr([pool, pool.snapshot(), lease, lease.key, lease.key.secret, pool.names()])
    assert "sk-value" not in shown
