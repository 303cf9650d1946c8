"""Who is asked again, when, and what the caller hears in the end."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    CircuitOpen,
    InvalidRequest,
    ProtocolError,
    QueueFull,
    QueueTimeout,
    QuotaExhausted,
    RateLimited,
    ReadTimeout,
    ServerError,
    TransportError,
)
from ipfs_accelerate_py.pipeline.keys import KeysPolicy
from ipfs_accelerate_py.pipeline.retry import RetryPolicy, backoff
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, Reply

from .support import Backend, Clock, make_call, make_pool, text_reply

pytestmark = pytest.mark.virtual_time


class Retrying:
    """A retry policy whose sleeps are noted and take their time on a clock of their own."""

    def __init__(
        self,
        *plays: Any,
        draw: float = 1.0,
        can_rotate: Callable[[Call, BackendError], bool] | None = None,
        **settings: Any,
    ):
        self.clock = Clock()
        self.slept: list[float] = []
        self.settings = Settings()
        self.settings.update({"initial_retry_delay": 1.0, "max_retry_delay": 60.0, **settings})
        self.backend = Backend(*plays)
        self.policy = RetryPolicy(
            self.backend,
            self.settings,
            can_rotate or (lambda call, error: False),
            clock=self.clock,
            sleep=self._sleep,
            draw=lambda: draw,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)

    async def __call__(self, call: Call | None = None) -> Reply:
        return await self.policy(call or make_call())


def limited(**options: Any) -> RateLimited:
    return RateLimited("Rate limit", status=429, **options)


def down(**options: Any) -> ServerError:
    return ServerError("down", status=503, **options)


# --- delays ------------------------------------------------------------------------------------------------------


@given(
    st.floats(0, 1e6),
    st.floats(1, 1e6),
    st.floats(0, 1e6),
    st.integers(0, 2000),
    st.floats(0, 1, exclude_max=True),
)
def test_full_jitter_stays_in_its_bounds(first: float, factor: float, most: float, retry: int, draw: float) -> None:
    settings = Settings(initial_retry_delay=first, backoff_factor=factor, max_retry_delay=most)
    delay = backoff(settings, retry, lambda: draw)
    assert 0 <= delay <= most
    if retry == 0:
        assert delay <= first


def test_full_jitter_is_drawn_evenly_from_nothing_to_the_whole() -> None:
    settings = Settings(initial_retry_delay=1.0, backoff_factor=2.0, max_retry_delay=60.0)
    draw = random.Random(7).random
    for retry, bound in ((0, 1.0), (2, 4.0), (10, 60.0)):
        delays = [backoff(settings, retry, draw) for _ in range(2000)]
        assert min(delays) < 0.02 * bound
        assert 0.98 * bound < max(delays) <= bound
        assert sum(delays) / len(delays) == pytest.approx(bound / 2, rel=0.1)


async def test_delays_grow_and_are_bounded() -> None:
    retrying = Retrying(*[down() for _ in range(7)], max_retries=6, max_retry_delay=10.0)
    with pytest.raises(ServerError) as caught:
        await retrying()
    assert retrying.slept == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert caught.value.attempts == 7


async def test_limits_are_read_live() -> None:
    retrying = Retrying(*[down() for _ in range(10)], max_retries=5)

    async def lower(call: Call) -> Reply:
        retrying.settings.max_retries = 1
        raise down()

    retrying.backend.plays.insert(0, lower)
    with pytest.raises(ServerError):
        await retrying()
    assert len(retrying.backend.calls) == 2


# --- who is asked again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [down(), limited(), TransportError("reset"), ServerError("busy", status=500)])
async def test_what_may_pass_is_asked_again(error: BackendError) -> None:
    retrying = Retrying(error, text_reply("fine"))
    reply = await retrying()
    assert (reply.text, reply.attempts) == ("fine", 2)
    assert len(retrying.slept) == 1


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("wrong", status=400),
        AuthenticationError("Authentication error", status=401),
        QuotaExhausted("Quota", status=429),
        ProtocolError("odd"),
        ReadTimeout("silent"),
        QueueFull("full"),
        QueueTimeout("late"),
        CircuitOpen("open", retry_after=3.0),
        KeyError("ours"),
    ],
)
async def test_what_will_not_pass_is_not(error: Exception) -> None:
    retrying = Retrying(error)
    with pytest.raises(type(error)):
        await retrying()
    assert retrying.slept == []
    assert len(retrying.backend.calls) == 1


async def test_no_retries_means_none() -> None:
    retrying = Retrying(down(), max_retries=0)
    with pytest.raises(ServerError) as caught:
        await retrying()
    assert caught.value.attempts == 1
    assert retrying.slept == []


@pytest.mark.parametrize(("error", "asked"), [(down(retryable=False), 1), (InvalidRequest("x", retryable=True), 2)])
async def test_the_providers_verdict_overrides_ours_both_ways(error: BackendError, asked: int) -> None:
    retrying = Retrying(error, text_reply())
    if asked == 1:
        with pytest.raises(ServerError):
            await retrying()
    else:
        await retrying()
    assert len(retrying.backend.calls) == asked


async def test_the_original_error_and_not_the_open_circuit_is_heard() -> None:
    retrying = Retrying(down(), CircuitOpen("open", retry_after=30.0))
    with pytest.raises(ServerError) as caught:
        await retrying()
    assert caught.value.__cause__ is None
    assert caught.value.attempts == 1


@pytest.mark.parametrize("refusal", [QueueFull("full"), QueueTimeout("late")])
async def test_our_own_refusal_of_a_retry_does_not_hide_the_failure(refusal: Exception) -> None:
    """The first attempt was made and failed: that is what happened to the call, and a fallback reads its verdict."""
    retrying = Retrying(down(), refusal)
    with pytest.raises(ServerError):
        await retrying()


async def test_attempts_are_noted_on_the_call() -> None:
    call = make_call()
    await Retrying(down(), limited(), text_reply())(call)
    assert [(attempt.number, attempt.error, attempt.status) for attempt in call.attempts] == [
        (1, "ServerError", 503),
        (2, "RateLimited", 429),
    ]


# --- what the provider says of time ------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("wait", [0.01, 1.0, 2.0, 60.0])
async def test_never_earlier_than_told_and_not_much_later(draw: float, wait: float) -> None:
    retrying = Retrying(limited(retry_after=wait), text_reply(), draw=draw)
    await retrying()
    assert wait <= retrying.slept[0] <= 1.1 * wait


async def test_told_to_come_at_once() -> None:
    retrying = Retrying(down(retry_after=0.0), text_reply())
    await retrying()
    assert sum(retrying.slept) == 0


async def test_a_wait_longer_than_we_wait_is_not_shortened_but_given_up() -> None:
    retrying = Retrying(limited(retry_after=61.0), text_reply())
    with pytest.raises(RateLimited) as caught:
        await retrying()
    assert caught.value.retry_after == 61.0
    assert retrying.slept == []


@pytest.mark.parametrize("error", [limited(retry_after=10.0), down(retry_after=10.0), down()])
async def test_a_retry_that_would_come_after_the_deadline_is_not_waited_for(error: BackendError) -> None:
    retrying = Retrying(error, text_reply(), initial_retry_delay=10.0)
    with pytest.raises(type(error)):
        await retrying(make_call(deadline=retrying.clock.now + 9))
    assert retrying.slept == []
    retrying = Retrying(error, text_reply(), initial_retry_delay=10.0)
    await retrying(make_call(deadline=retrying.clock.now + 12))


# --- other keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [limited(retry_after=30.0), AuthenticationError("Authentication error"), QuotaExhausted("Quota")]
)
async def test_another_key_is_tried_at_once(error: BackendError) -> None:
    retrying = Retrying(error, text_reply(), can_rotate=lambda call, error: True)
    await retrying()
    assert retrying.slept == []


async def test_a_pinned_key_has_no_other() -> None:
    retrying = Retrying(AuthenticationError("Authentication error"), text_reply(), can_rotate=lambda call, error: True)
    with pytest.raises(AuthenticationError):
        await retrying(make_call(key="a"))


async def test_moving_from_key_to_key_is_bounded() -> None:
    retrying = Retrying(*[limited() for _ in range(100)], can_rotate=lambda call, error: True, max_retries=4)
    with pytest.raises(RateLimited):
        await retrying()
    assert len(retrying.backend.calls) == 5


class WithKeys:
    """Retry over a real key pool, on one clock."""

    def __init__(self, keys: str, answer: Callable[[Call], Any], **settings: Any) -> None:
        self.clock = Clock()
        self.settings = Settings()
        self.settings.update({"initial_retry_delay": 1.0, **settings})
        self.pool = make_pool(self.settings, self.clock, *keys)
        self.backend = Backend(*itertools.repeat(answer, 50))
        self.asked: list[tuple[str, float]] = []
        inner = KeysPolicy(self.backend, self.pool)

        async def admit(call: Call) -> Reply:
            while isinstance(lease := self.pool.acquire(call), float):
                self.clock.advance(lease)
            call.lease = lease
            self.asked.append((lease.key.name, self.clock.now))
            return await inner(call)

        async def sleep(seconds: float) -> None:
            self.clock.advance(seconds)

        self.policy = RetryPolicy(
            admit, self.settings, self.pool.can_rotate, clock=self.clock, sleep=sleep, draw=lambda: 1.0
        )


def raising(error: Callable[[Call], BackendError | None]) -> Callable[[Call], Any]:
    async def answer(call: Call) -> Reply:
        problem = error(call)
        if problem is not None:
            raise problem
        return text_reply()

    return answer


@pytest.mark.parametrize("kind", [AuthenticationError, QuotaExhausted])
async def test_a_lone_key_that_is_refused_is_not_tried_again(kind: type[BackendError]) -> None:
    """There is no other key to turn to: the same one, at once, can only be refused again."""
    retrying = WithKeys("a", raising(lambda call: kind("refused", status=401)))
    with pytest.raises(kind):
        await retrying.policy(make_call())
    assert len(retrying.asked) == 1


async def test_a_lone_key_that_is_limited_backs_off() -> None:
    """Fault 2: 429 for ever without Retry-After: few attempts, each later than the one before."""
    retrying = WithKeys("a", raising(lambda call: limited()), max_retries=4)
    with pytest.raises(RateLimited):
        await retrying.policy(make_call())
    times = [at for _, at in retrying.asked]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [1.0, 2.0, 4.0, 8.0]


async def test_a_limited_key_is_left_for_another_at_once() -> None:
    retrying = WithKeys("ab", raising(lambda call: limited(retry_after=20.0) if call.lease.key.name == "a" else None))
    start = retrying.clock.now
    await retrying.policy(make_call())
    assert retrying.asked == [("a", start), ("b", start)]


async def test_when_all_keys_are_limited_the_wait_is_the_shortest_that_was_told() -> None:
    told = {"a": 20.0, "b": 5.0}
    seen: set[str] = set()

    def error(call: Call) -> BackendError | None:
        name = call.lease.key.name
        if name in seen:
            return None
        seen.add(name)
        return limited(retry_after=told[name])

    retrying = WithKeys("ab", raising(error))
    start = retrying.clock.now
    await retrying.policy(make_call())
    assert [name for name, _ in retrying.asked] == ["a", "b", "b"]
    assert 5.0 <= retrying.asked[-1][1] - start <= 5.5


async def test_every_refused_key_is_tried_once() -> None:
    retrying = WithKeys("abc", raising(lambda call: AuthenticationError("Authentication error", status=401)))
    with pytest.raises(AuthenticationError):
        await retrying.policy(make_call())
    assert [name for name, _ in retrying.asked] == ["a", "b", "c"]


async def test_x_should_retry_false_holds_for_other_keys_too() -> None:
    retrying = WithKeys("ab", raising(lambda call: limited(retryable=False)))
    with pytest.raises(RateLimited):
        await retrying.policy(make_call())
    assert len(retrying.asked) == 1
