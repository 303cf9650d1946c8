"""Which key a call uses, what a key may still do, and when it rests."""

from __future__ import annotations

import math

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
from ipfs_accelerate_py.pipeline.keys import KeyPool
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, Usage

from .support import Clock, make_call, make_pool, names, take, waiting

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
