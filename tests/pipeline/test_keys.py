"""Which key a call uses, what a key may still do, and when it rests."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ConfigurationError,
    MissingCredential,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from ipfs_accelerate_py.pipeline.keys import KeyPool, KeysPolicy, Lease
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, Chunk, RateLimits, Usage

from .support import Backend, Clock, Source, make_call, make_pool, stream_reply, text_reply


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings() -> Settings:
    return Settings()


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


# --- choosing ----------------------------------------------------------------------------------------------------


def test_round_robin_takes_the_least_recently_used_even_in_the_same_instant(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a", "b", "c")
    assert names(pool, 7) == ["a", "b", "c", "a", "b", "c", "a"]
    clock.advance(1)
    assert names(pool, 3) == ["b", "c", "a"]


def test_a_new_key_is_used_next(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a", "b")
    names(pool, 3)
    pool.add("c", Secret("sk-c"))
    assert names(pool, 1) == ["c"]


def test_least_loaded_counts_calls_under_way(settings: Settings, clock: Clock) -> None:
    settings.key_selection_strategy = "least-loaded"
    pool = make_pool(settings, clock, "a", "b", "c")
    one, two, three = take(pool), take(pool), take(pool)
    assert sorted(lease.key.name for lease in (one, two, three)) == ["a", "b", "c"]
    pool.release(two, Usage(), None)
    assert take(pool).key is two.key
    pool.release(three, Usage(), None)
    assert take(pool).key is three.key
    assert one.key.active == 1


def test_the_strategy_is_read_live(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a", "b")
    busy = take(pool)
    pool.release(take(pool), Usage(), None)
    settings.key_selection_strategy = "least-loaded"
    assert take(pool).key is not busy.key


def test_a_pinned_key_is_that_key_and_no_other(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a", "b")
    assert [take(pool, make_call(key="b")).key.name for _ in range(3)] == ["b", "b", "b"]
    with pytest.raises(ConfigurationError, match=r"'c'.*a, b"):
        pool.acquire(make_call(key="c"))


def test_a_key_has_its_own_limit_of_concurrent_calls(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a", "b", a=1, b=2)
    leases = [take(pool) for _ in range(3)]
    assert sorted(lease.key.name for lease in leases) == ["a", "b", "b"]
    assert pool.acquire(make_call()) == math.inf
    pool.release(leases[0], Usage(), None)
    assert take(pool).key is leases[0].key


def test_without_a_key_the_error_says_what_to_set(settings: Settings, clock: Clock) -> None:
    with pytest.raises(MissingCredential, match="set OPENAI_API_KEY"):
        KeyPool(settings, missing="set OPENAI_API_KEY", clock=clock).acquire(make_call())
    assert take(KeyPool(settings, clock=clock)).key.secret is None


def test_adding_again_replaces_and_removing_forgets(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a", "b")
    under_way = take(pool, make_call(key="a"))
    pool.add("a", Secret("sk-new"))
    assert take(pool, make_call(key="a")).key is not under_way.key
    pool.remove("a")
    assert pool.names() == ["b"]
    pool.release(under_way, Usage(1, 1, reported=True), None)
    assert names(pool, 2) == ["b", "b"]
    with pytest.raises(ConfigurationError, match="'a'"):
        pool.remove("a")
    with pytest.raises(ConfigurationError):
        pool.add("", Secret("x"))


# --- resting -----------------------------------------------------------------------------------------------------


def refuse(pool: KeyPool, error: BackendError, call: Call | None = None) -> str:
    lease = take(pool, call)
    pool.release(lease, None, error)
    return lease.key.name


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (AuthenticationError("Authentication error", status=401), 300.0),
        (QuotaExhausted("Quota", status=429), 600.0),
        (QuotaExhausted("Quota", status=429, retry_after=40.0), 40.0),
    ],
)
def test_a_refused_key_rests_until_its_own_end(
    settings: Settings, clock: Clock, error: BackendError, seconds: float
) -> None:
    pool = make_pool(settings, clock, "a", "b")
    assert refuse(pool, error) == "a"
    assert names(pool, 3) == ["b", "b", "b"]
    assert pool.snapshot()["a"]["quarantined"] is True
    assert pool.snapshot()["a"]["quarantine_reason"] == error.code
    assert pool.snapshot()["a"]["available_in"] == pytest.approx(seconds)
    clock.advance(seconds - 1)
    assert names(pool, 2) == ["b", "b"]
    clock.advance(1)
    assert "a" in names(pool, 2)
    assert pool.snapshot()["a"]["quarantined"] is False
    assert pool.snapshot()["a"]["quarantine_reason"] is None


def test_each_quarantine_has_its_own_end(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a", "b", "c")
    refuse(pool, QuotaExhausted("Quota", status=429, retry_after=100.0), make_call(key="a"))
    clock.advance(10)
    refuse(pool, QuotaExhausted("Quota", status=429, retry_after=20.0), make_call(key="b"))
    clock.advance(20)
    assert set(names(pool, 4)) == {"b", "c"}
    clock.advance(70)
    assert set(names(pool, 6)) == {"a", "b", "c"}


def test_when_every_key_is_out_the_reason_of_the_first_to_come_back_is_told(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a", "b")
    refuse(pool, AuthenticationError("Authentication error: revoked", status=401, code="invalid_api_key"))
    refuse(pool, QuotaExhausted("Quota exhausted: pay", status=429, retry_after=60.0))
    with pytest.raises(QuotaExhausted, match=r"pay.*a, b.*60 s") as caught:
        pool.acquire(make_call())
    assert not caught.value.rotate
    assert not caught.value.retryable
    assert caught.value.retry_after == pytest.approx(60)
    with pytest.raises(AuthenticationError):
        pool.acquire(make_call(key="a"))
    clock.advance(60)
    assert names(pool, 1) == ["b"]


def test_a_lone_key_is_never_locked_away(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a")
    refuse(pool, AuthenticationError("Authentication error", status=401))
    assert names(pool, 1) == ["a"]
    assert pool.snapshot()["a"]["failures"] == 1


def test_retry_after_blocks_the_key_for_every_call(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a")
    refuse(pool, RateLimited("Rate limit", status=429, retry_after=2.0))
    assert pool.acquire(make_call()) == pytest.approx(2.0)
    clock.advance(1.5)
    assert pool.acquire(make_call()) == pytest.approx(0.5)
    clock.advance(0.5)
    assert names(pool, 1) == ["a"]


def test_a_later_and_shorter_retry_after_does_not_shorten_the_first(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a")
    one, two = take(pool), take(pool)
    pool.release(one, None, RateLimited("Rate limit", status=429, retry_after=5.0))
    pool.release(two, None, RateLimited("Rate limit", status=429, retry_after=1.0))
    assert pool.acquire(make_call()) == pytest.approx(5.0)


def test_a_limited_key_leaves_the_work_to_the_others(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a", "b")
    refuse(pool, RateLimited("Rate limit", status=429, retry_after=30.0))
    assert names(pool, 3) == ["b", "b", "b"]
    refuse(pool, RateLimited("Rate limit", status=429, retry_after=10.0))
    assert pool.acquire(make_call()) == pytest.approx(10.0)


def test_a_limited_key_without_retry_after_is_not_the_very_next_choice(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a", "b")
    refuse(pool, RateLimited("Rate limit", status=429))
    assert names(pool, 2) == ["b", "b"]
    clock.advance(settings.initial_retry_delay)
    assert "a" in names(pool, 2)


def test_an_outage_says_nothing_of_the_key(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a", "b")
    refuse(pool, ServerError("down", status=503, retry_after=30.0))
    assert set(names(pool, 2)) == {"a", "b"}


# --- deadlines ---------------------------------------------------------------------------------------------------


def test_a_call_whose_deadline_comes_before_any_key_is_told_at_once(settings: Settings, clock: Clock) -> None:
    pool = make_pool(settings, clock, "a")
    refuse(pool, RateLimited("Rate limit", status=429, retry_after=30.0))
    with pytest.raises(RateLimited, match="deadline") as caught:
        pool.acquire(make_call(deadline=clock.now + 10))
    assert caught.value.retry_after == pytest.approx(30)
    assert not caught.value.retryable
    assert pool.acquire(make_call(deadline=clock.now + 31)) == pytest.approx(30)


def test_a_key_that_is_only_busy_may_be_free_before_the_deadline(settings: Settings, clock: Clock) -> None:
    """The wait for the limited key is known and too long; the busy one comes back when its call ends."""
    pool = make_pool(settings, clock, "busy", "limited", busy=1)
    refuse(pool, RateLimited("Rate limit", status=429, retry_after=60.0), make_call(key="limited"))
    take(pool, make_call(key="busy"))
    assert waiting(pool, make_call(deadline=clock.now + 10)) > 0


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
