"""Token buckets: refill, reserve and reconcile, and what the provider's headers say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.estimates import estimate_tokens
from ipfs_accelerate_py.pipeline.ratelimit import Bucket, Rates, learn
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import (
    Call,
    CompletionRequest,
    EmbedRequest,
    ModelsRequest,
    Operation,
    Passthrough,
    RateLimits,
)

from .support import make_call


def test_it_refills_continuously_and_not_beyond_its_capacity() -> None:
    bucket = Bucket.per_minute(60, now=0)
    for _ in range(60):
        assert bucket.wait(1, 0) == 0
        bucket.take(1, 0)
    assert bucket.wait(1, 0) == pytest.approx(1.0)
    assert bucket.wait(5, 0) == pytest.approx(5.0)
    assert bucket.wait(1, 0.5) == pytest.approx(0.5)
    assert bucket.wait(1, 1.0) == 0
    assert bucket.level(1000) == 60


def test_an_amount_over_the_capacity_waits_for_a_full_bucket_and_not_for_ever() -> None:
    bucket = Bucket(100, 10, now=0)
    assert bucket.wait(500, 0) == 0
    bucket.take(500, 0)
    assert bucket.level(0) == -400
    assert bucket.wait(1, 0) == pytest.approx(40.1)
    assert bucket.wait(500, 0) == pytest.approx(50)


def test_what_was_not_used_comes_back_and_what_was_used_beyond_is_taken() -> None:
    bucket = Bucket(100, 0, now=0)
    bucket.reserve(80, 0)
    assert bucket.level(0) == 20
    bucket.settle(80, 30, 0)
    assert bucket.level(0) == 70
    bucket.reserve(10, 0)
    bucket.settle(10, 100, 0)
    assert bucket.level(0) == -30
    bucket.reserve(1000, 0)
    bucket.settle(1000, -200, 0)
    assert bucket.level(0) == 100, "never above its capacity"
    assert bucket.reserved == 0


def test_a_bucket_that_never_refills_says_so() -> None:
    bucket = Bucket(1, 0, now=0)
    bucket.take(1, 0)
    assert bucket.wait(1, 5) == math.inf


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    bucket = Bucket(10, 1, now=100)
    bucket.take(5, 100)
    assert bucket.level(50) == 5
    assert bucket.level(102) == 7


def test_headers_correct_the_level_downwards_only() -> None:
    bucket = Bucket.per_minute(100, now=0)
    bucket.follow(100, 30, 42.0, 0)
    assert bucket.level(0) == 30
    bucket.follow(100, 90, 6.0, 0)
    assert bucket.level(0) == 30


def test_headers_teach_the_rate() -> None:
    """``reset`` is the time until the limit is whole again."""
    bucket = Bucket.per_minute(6000, now=0)
    bucket.follow(1000, 400, 60.0, 0)
    assert bucket.capacity == 1000
    assert bucket.wait(500, 0) == pytest.approx(10.0)
    assert bucket.level(60) == pytest.approx(1000)


@pytest.mark.parametrize("reset", [None, 0.0])
def test_nothing_left_and_no_reset_still_ends(reset: float | None) -> None:
    bucket = learn(60, 0, reset, 0)
    assert bucket is not None
    assert 0 < bucket.wait(1, 0) <= 1.0


@pytest.mark.parametrize("limits", [(None, 5, 1.0), (0, 0, 1.0), (10, None, 1.0), (None, None, None)])
def test_headers_that_say_too_little_teach_nothing(limits: tuple[float | None, float | None, float | None]) -> None:
    assert learn(*limits, 0) is None


@given(
    st.floats(1, 1e6),
    st.floats(0.01, 1e4),
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 2e6)), max_size=30),
)
def test_waiting_as_long_as_told_is_enough(capacity: float, rate: float, steps: list[tuple[float, float]]) -> None:
    bucket = Bucket(capacity, rate, 0)
    now = 0.0
    for pause, amount in steps:
        now += pause
        now += bucket.wait(amount, now)
        assert bucket.wait(amount, now) <= 1e-6 * max(1.0, now)
        bucket.take(amount, now)
        assert bucket.level(now) <= capacity


@given(st.lists(st.floats(0, 50), min_size=1, max_size=200))
def test_over_any_stretch_no_more_than_the_capacity_and_the_refill_is_let_out(pauses: list[float]) -> None:
    bucket = Bucket(10, 2, 0)
    now, taken = 0.0, 0
    for pause in pauses:
        now += pause
        if bucket.wait(1, now) == 0:
            bucket.take(1, now)
            taken += 1
    assert taken <= 10 + 2 * now + 1e-6


# --- estimates ---------------------------------------------------------------------------------------------------


def test_an_estimate_is_a_quarter_of_the_characters_and_the_most_the_answer_may_have() -> None:
    assert estimate_tokens(make_call()) in range(2, 5)
    assert estimate_tokens(make_call(options={"max_tokens": 100})) in range(102, 105)
    assert estimate_tokens(make_call(options={"max_completion_tokens": 50, "max_tokens": 100})) in range(52, 55)


def test_images_are_not_counted_by_their_characters() -> None:
    call = make_call()
    call.request.messages[0]["content"] = [  # type: ignore[union-attr]
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}},
    ]
    assert estimate_tokens(call) < 100


def test_token_ids_count_one_each_and_other_calls_cost_little() -> None:
    embed = Call(operation=Operation.EMBED, request=EmbedRequest("m", [[1, 2, 3, 4]]), request_id="r")
    assert estimate_tokens(embed) == 5
    complete = Call(operation=Operation.COMPLETION, request=CompletionRequest("m", "x" * 40), request_id="r")
    assert estimate_tokens(complete) == 11
    models = Call(operation=Operation.MODELS, request=ModelsRequest(), request_id="r")
    assert estimate_tokens(models) == 1
    forwarded = make_call()
    forwarded.passthrough = Passthrough("openai", b"x" * 400)
    assert estimate_tokens(forwarded) == 101


@pytest.mark.parametrize("value", ["100", 12.5, True, -7, None, {"a": 1}])
def test_an_odd_limit_is_no_reason_to_fail(value: object) -> None:
    """Wrong values are for the provider to refuse; a reservation is never negative."""
    assert estimate_tokens(make_call(options={"max_tokens": value})) >= 1


def test_what_comes_back_never_lifts_the_level_above_the_providers_count() -> None:
    bucket = Bucket(1000, 0, now=0)
    bucket.reserve(100, 0)
    bucket.reserve(200, 0)
    bucket.settle(100, 10, 0, seen=(400, 0))
    assert bucket.level(0) == 200, "400 are left, of which the other call has reserved 200"


def chat(model: str) -> Call:
    call = make_call()
    call.request.model = model
    return call


def test_learnt_limits_are_those_of_one_model() -> None:
    settings, rates = Settings(), Rates()
    big, small = chat("big"), chat("small")
    rates.observe(rates.reserve(big, 0), RateLimits(tokens_limit=100, tokens_remaining=0, tokens_reset=60), 0)
    assert rates.wait(big, settings, 0) > 0
    assert rates.wait(small, settings, 0) == 0


def test_a_limit_that_was_raised_is_learnt() -> None:
    settings, rates = Settings(), Rates()
    call = chat("m")
    rates.observe(rates.reserve(call, 0), RateLimits(requests_limit=1, requests_remaining=0, requests_reset=60), 0)
    assert rates.wait(call, settings, 0) == pytest.approx(60)
    rates.observe(
        rates.reserve(call, 60), RateLimits(requests_limit=600, requests_remaining=599, requests_reset=0.1), 60
    )
    assert rates.wait(call, settings, 61) == 0


def test_of_many_models_the_latest_are_remembered() -> None:
    settings, rates = Settings(), Rates()
    for number in range(200):
        limits = RateLimits(requests_limit=1, requests_remaining=0, requests_reset=60)
        rates.observe(rates.reserve(chat(f"m{number}"), 0), limits, 0)
    assert rates.wait(chat("m199"), settings, 0) > 0
    assert rates.wait(chat("m0"), settings, 0) == 0
