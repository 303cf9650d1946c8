"""Budgets: reserved before, reconciled after, reset with the calendar, and held under any race."""

from __future__ import annotations

import asyncio
import contextlib
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.errors import BudgetExceeded, ServerError
from ipfs_accelerate_py.pipeline import budgets as budgets_module
from ipfs_accelerate_py.pipeline.windows import PERIODS, window
from ipfs_accelerate_py.types import Call, Chunk, Reply, Usage

from .budget_support import INPUT, NOW, Book, Front, call_of, used
from .support import Source, stream_reply, text_reply

# --- windows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period", "begins", "ends"),
    [
        ("minute", (2026, 3, 4, 5, 6), (2026, 3, 4, 5, 7)),
        ("hour", (2026, 3, 4, 5), (2026, 3, 4, 6)),
        ("day", (2026, 3, 4), (2026, 3, 5)),
        ("week", (2026, 3, 2), (2026, 3, 9)),
        ("month", (2026, 3, 1), (2026, 4, 1)),
    ],
)
def test_windows_are_the_calendars(period: str, begins: Any, ends: Any) -> None:
    def at(parts: tuple[int, ...]) -> float:
        year, month, day, hour, minute = (*parts, 0, 0)[:5]
        return datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()

    assert window(period, NOW) == (at(begins), at(ends))


@given(st.floats(0, 4e9), st.sampled_from(PERIODS))
def test_every_instant_is_in_its_window_and_windows_follow_each_other(now: float, period: str) -> None:
    begins, ends = window(period, now)
    assert begins <= now < ends
    if ends < math.inf:
        assert window(period, ends)[0] == ends
        assert window(period, begins) == (begins, ends)


def test_december_is_followed_by_january() -> None:
    december = datetime(2026, 12, 31, 23, 59, tzinfo=UTC).timestamp()
    assert window("month", december)[1] == datetime(2027, 1, 1, tzinfo=UTC).timestamp()


# --- reserve, reconcile ------------------------------------------------------------------------------------------


async def test_what_was_reserved_and_not_used_comes_back() -> None:
    front = Front(used(10), used(20), usd=500.0)
    await front.ask(300)
    await front.ask(300)
    assert (front.account["spent_usd"], front.account["reserved_usd"], front.account["spent_tokens"]) == (30, 0, 30)


async def test_a_call_that_might_not_fit_is_refused_with_the_time_of_the_reset() -> None:
    front = Front(used(400), usd=500.0, per="day", tenant="acme")
    await front.ask(300, tenant="acme")
    with pytest.raises(BudgetExceeded) as caught:
        await front.ask(100, tenant="acme")
    assert caught.value.retry_after == pytest.approx(window("day", NOW)[1] - NOW)
    assert (caught.value.http_status, caught.value.code) == (429, "budget_exceeded")
    assert all(word in str(caught.value) for word in ("acme", "$500.0000 a day", "$400.0000", "2026-03-05 00:00 UTC"))
    await front.ask(400, tenant="other")
    assert len(front.backend.calls) == 2


async def test_what_is_only_reserved_will_be_free_soon() -> None:
    gate = asyncio.Event()

    async def slow(call: Call) -> Reply:
        await gate.wait()
        return used(1)

    front = Front(slow, used(1), tokens=1000)
    running = asyncio.create_task(front.ask(800))
    await asyncio.sleep(0)
    with pytest.raises(BudgetExceeded) as caught:
        await front.ask(800)
    assert caught.value.retry_after == 1.0
    gate.set()
    await running
    await front.ask(800)


async def test_a_new_window_begins_with_nothing_spent() -> None:
    front = Front(used(90), used(90), tokens=300, per="minute")
    await front.ask(100)
    with pytest.raises(BudgetExceeded):
        await front.ask(200)
    front.clock.advance(60)
    await front.ask(200 - INPUT)
    assert front.account["spent_tokens"] == 90


async def test_a_call_belongs_to_the_window_in_which_it_began() -> None:
    front = Front(tokens=1000, per="minute")

    def late(call: Call) -> Reply:
        front.clock.advance(60)
        return used(500)

    front.backend.plays = [late, used(5)]
    await front.ask(600)
    await front.ask(600)
    assert front.account["spent_tokens"] == 5


async def test_a_total_is_never_whole_again() -> None:
    front = Front(used(100), tokens=300, per="total")
    await front.ask(100)
    front.clock.advance(1e8)
    with pytest.raises(BudgetExceeded) as caught:
        await front.ask(250)
    assert caught.value.retry_after is None


@pytest.mark.parametrize(
    ("play", "charged"),
    [
        (used(7), 7),
        (text_reply(usage=Usage()), 100 + INPUT),
        (ServerError("down", status=500), 0),
        (asyncio.CancelledError(), 0),
    ],
)
async def test_what_a_call_is_charged(play: Any, charged: int) -> None:
    front = Front(play, tokens=1000, usd=1000.0)
    with contextlib.suppress(ServerError, asyncio.CancelledError):
        await front.ask(100)
    assert (front.account["spent_tokens"], front.account["reserved_tokens"]) == (charged, 0)
    assert (front.account["spent_usd"], front.account["reserved_usd"]) == (charged, 0)


async def test_a_caller_who_leaves_while_the_answer_is_made_is_charged_what_was_reserved() -> None:
    def sent(call: Call) -> Reply:
        call.lease = object()
        raise asyncio.CancelledError

    front = Front(sent, tokens=1000)
    with pytest.raises(asyncio.CancelledError):
        await front.ask(100)
    assert front.account["spent_tokens"] == 100 + INPUT


@pytest.mark.parametrize("end", ["whole", "left", "broken"])
async def test_what_a_stream_is_charged(end: str) -> None:
    error = ServerError("cut") if end == "broken" else None
    source = Source([Chunk(text="a")], error=error, usage=Usage(3, 2, reported=True))
    front = Front(stream_reply(source, Chunk(text="x")), tokens=1000)
    reply = await front.policy(call_of(100, stream=True))
    assert front.account["reserved_tokens"] == 100 + INPUT
    assert reply.stream is not None
    if end == "left":
        reply.stream.abort()
    else:
        try:
            async for _ in reply.stream:
                pass
        except ServerError:
            pass
    assert front.account["spent_tokens"] == (5 if end == "whole" else 100 + INPUT)
    assert front.account["reserved_tokens"] == 0


async def test_all_budgets_of_a_call_hold_or_nothing_is_reserved() -> None:
    front = Front(used(10))
    front.put("everybody", tokens=10_000)
    front.put("each", tokens=300, tenant="*")
    await front.ask(100, tenant="a")
    with pytest.raises(BudgetExceeded, match="each"):
        await front.ask(400, tenant="b")
    assert sum(account["reserved_tokens"] for account in front.budgets.snapshot()) == 0


async def test_the_dearest_target_is_reserved() -> None:
    front = Front(used(1), usd=250.0)
    front.budgets.candidates = lambda call: [("cheap", "m"), ("dear", "m")]
    with pytest.raises(BudgetExceeded):
        await front.ask(200)
    front.budgets.candidates = lambda call: [("cheap", "m")]
    await front.ask(100)


async def test_a_model_without_a_price_is_refused_or_allowed_as_told() -> None:
    front = Front(used(5), usd=10.0)
    with pytest.raises(BudgetExceeded, match="no price") as caught:
        await front.ask(model="free-1")
    assert caught.value.code == "price_unknown"
    front.put(usd=10.0, unpriced="allow")
    await front.ask(model="free-1")
    assert (front.account["spent_usd"], front.account["spent_tokens"]) == (0, 5)
    front.put(tokens=1000)
    front.budgets.pricer = lambda: None
    await front.ask(model="free-1")


async def test_warnings_come_once_for_each_share_in_each_window() -> None:
    front = Front(*[used(100) for _ in range(12)], tokens=1000, per="hour", warn_at=(0.5, 0.8, 1.0), tenant="*")
    for _ in range(10):
        await front.ask(1000 - INPUT - front_spent(front), tenant="a")
    assert [(told.share, told.tenant) for told in front.told] == [(0.5, "a"), (0.8, "a"), (1.0, "a")]
    assert front.told[0].resets == window("hour", NOW)[1]
    front.clock.advance(3600)
    await front.ask(100, tenant="a")
    assert len(front.told) == 3


def front_spent(front: Front) -> int:
    return sum(account["spent_tokens"] for account in front.budgets.snapshot())


def test_a_changed_budget_keeps_what_was_spent() -> None:
    async def run() -> None:
        front = Front(used(200), used(200), tokens=300)
        await front.ask(200)
        with pytest.raises(BudgetExceeded):
            await front.ask(200)
        front.put(tokens=1000)
        await front.ask(200)
        assert front.account["spent_tokens"] == 400
        front.put(tokens=1000, per="day")
        assert front.budgets.snapshot() == []

    asyncio.run(run())


async def test_the_number_of_accounts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets_module, "MOST_ACCOUNTS", 20)
    front = Front(*[used(0) for _ in range(200)], tokens=1000, tenant="*")
    for number in range(200):
        await front.ask(tenant=f"t{number}")
    assert len(front.budgets.snapshot()) <= 21


# --- what was spent before ---------------------------------------------------------------------------------------


async def test_what_was_spent_before_counts() -> None:
    front = Front(used(1), tokens=1000, tenant="*", per="day")
    front.budgets.spending = book = Book(tokens=850)
    with pytest.raises(BudgetExceeded, match="850"):
        await front.ask(200, tenant="a")
    await front.ask(50, tenant="a")
    assert book.asked == [{"since": window("day", NOW)[0], "tenant": "a", "caller": None, "model": None}]
    assert front.told == [], "it was told of before"
    front.clock.advance(86400)
    await front.ask(900, tenant="a")
    assert len(book.asked) == 1


async def test_many_first_calls_ask_the_ledger_once() -> None:
    front = Front(*[used(1) for _ in range(9)], tokens=10_000)
    front.budgets.spending = book = Book(tokens=100)
    book.gate = asyncio.Event()
    tasks = [asyncio.create_task(front.ask(10)) for _ in range(10)]
    await asyncio.sleep(0)
    tasks[0].cancel()  # the one that asks
    await asyncio.sleep(0)
    book.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(book.asked) == 2
    assert front.account["spent_tokens"] == 109


async def test_a_ledger_that_cannot_be_read_lets_nobody_spend() -> None:
    front = Front(used(1), tokens=10_000)
    front.budgets.spending = book = Book(tokens=100)
    book.error = OSError("no such disk")
    with pytest.raises(OSError, match="disk"):
        await front.ask(10)
    book.error = None
    await front.ask(10)
    assert front.account["spent_tokens"] == 101
