"""The arithmetic of choosing, with chance and time passed in."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.router.measures import PeakEwma, RetryBudget
from ipfs_accelerate_py.router.sticky import Sessions, score
from ipfs_accelerate_py.router.strategies import (
    Cost,
    Headroom,
    LeastBusy,
    Order,
    PeakLatency,
    Smooth,
    Told,
    make_strategy,
)
from tests.pipeline.support import Clock

from .support import chat_call, make_routed

CALL = chat_call()


def names(ordered: Any) -> str:
    return " ".join(each.name for each in ordered)


async def test_order_is_as_listed() -> None:
    a, b = make_routed("a"), make_routed("b")
    assert names(Order().order([a, b], CALL)) == "a b"


async def test_weights_are_mixed_evenly() -> None:
    """The sequence of nginx's own example."""
    targets = [make_routed("a", weight=5), make_routed("b", weight=1), make_routed("c", weight=1)]
    smooth = Smooth()
    first = [smooth.order(targets, CALL)[0].name for _ in range(14)]
    assert "".join(first) == "aabacaa" * 2
    assert names(smooth.order(targets, CALL)) == "a b c"


async def test_a_target_of_weight_nought_is_only_a_spare() -> None:
    targets = [make_routed("a", weight=0), make_routed("b", weight=1), make_routed("c", weight=3)]
    smooth = Smooth()
    orders = [smooth.order(targets, CALL) for _ in range(40)]
    assert Counter(order[0].name for order in orders) == {"c": 30, "b": 10}
    assert all(order[-1].name == "a" for order in orders)
    assert names(Smooth().order(targets[:1], CALL)) == "a"


async def test_least_busy_looks_at_shares_of_slots() -> None:
    small, large = make_routed("small", slots=2), make_routed("large", slots=10)
    small.backend.pipeline.admission.active = 1
    large.backend.pipeline.admission.active = 4
    assert names(LeastBusy().order([small, large], CALL)) == "large small"
    large.backend.pipeline.admission.queued[1] = 3
    assert names(LeastBusy().order([small, large], CALL)) == "small large"


async def test_latency_is_of_two_by_chance_the_better() -> None:
    clock = Clock()
    targets = [make_routed(name, clock) for name in "abcd"]
    for each, seconds in zip(targets, (4.0, 1.0, 2.0, 3.0), strict=True):
        each.latency.add(seconds, clock())
    draws = iter([0.9, 0.5])  # of b c d a: the last, and the third of the others
    assert names(PeakLatency(lambda: next(draws)).order(targets, CALL)) == "c b d a"
    draws = iter([0.99, 0.99])
    assert names(PeakLatency(lambda: next(draws)).order(targets, CALL)) == "d b c a"
    counted: Counter[str] = Counter()
    import random

    strategy = PeakLatency(random.Random(7).random)
    for _ in range(2000):
        counted[strategy.order(targets, CALL)[0].name] += 1
    assert counted["a"] == 0, "of any two, the worst of all is never the better"
    assert counted["b"] > counted["c"] > counted["d"] > 0
    assert counted["b"] == pytest.approx(1000, rel=0.15)


async def test_latency_counts_what_is_under_way() -> None:
    clock = Clock()
    fast, slow = make_routed("fast", clock), make_routed("slow", clock)
    fast.latency.add(1.0, clock())
    slow.latency.add(2.5, clock())
    strategy = PeakLatency()
    assert names(strategy.order([slow, fast], CALL)) == "fast slow"
    fast.outstanding = 2
    assert names(strategy.order([fast, slow], CALL)) == "slow fast"
    assert names(strategy.order([fast], CALL)) == "fast"


def test_peak_ewma_follows_a_rise_at_once_and_forgets_slowly() -> None:
    mean = PeakEwma(decay=10)
    mean.add(1.0, 0.0)
    mean.add(8.0, 1.0)
    assert mean.value(1.0) == 8.0
    mean.add(1.0, 1.0)
    assert mean.value(1.0) == 8.0, "one good answer at the same instant forgets nothing"
    mean.add(1.0, 11.0)
    assert mean.value(11.0) == pytest.approx(8 / 2.718281828 + 1 - 1 / 2.718281828)
    assert mean.value(200.0) < 0.001, "a target left alone is tried again"


def test_the_retry_budget() -> None:
    budget = RetryBudget(share=0.25, reserve=2, per_second=0.5)
    assert [budget.retry(0.0) for _ in range(3)] == [True, True, False]
    for _ in range(8):
        budget.call()
    assert [budget.retry(0.0) for _ in range(3)] == [True, True, False]
    assert budget.refused == 2
    assert budget.retry(2.0)
    assert not budget.retry(2.0)
    assert budget.retry(600.0)
    assert budget.level == pytest.approx(1.0), "the reserve comes back, and no more"
    for _ in range(10_000):
        budget.call()
    assert budget.level == RetryBudget.MOST


async def test_cost_knows_prices_by_model_and_puts_the_unknown_last() -> None:
    prices = {"dear": 3.0, "cheap": 0.5}
    targets = [make_routed(name, model=name) for name in ("unknown", "dear", "cheap")]
    asked: list[tuple[str, str]] = []

    def estimate(call: Any, backend: str, model: str) -> float | None:
        asked.append((backend, model))
        return prices.get(model)

    assert names(Cost(estimate).order(targets, CALL)) == "cheap dear unknown"
    assert asked[0] == ("unknown", "unknown")


async def test_headroom_looks_at_what_is_left_of_the_rates() -> None:
    free, limited, unknown = make_routed("free"), make_routed("limited"), make_routed("unknown")
    for each in (free, limited):
        each.backend.settings.requests_per_minute = 100
    for target_, used in ((free, 10), (limited, 60)):
        for _ in range(used):
            lease = target_.backend.pipeline.keys.acquire(chat_call("m"))
            assert not isinstance(lease, float)
            target_.backend.pipeline.keys.release(lease, None, None)
    assert names(Headroom().order([limited, free, unknown], CALL)) == "unknown free limited"
    assert 0.39 < limited.headroom(CALL) < 0.42


async def test_a_strategy_of_ones_own() -> None:
    a, b, c = make_routed("a"), make_routed("b"), make_routed("c")
    assert names(Told(lambda targets, call: [targets[2]]).order([a, b, c], CALL)) == "c a b"
    with pytest.raises(ConfigurationError, match="not one of those"):
        Told(lambda targets, call: [b]).order([a], CALL)
    with pytest.raises(ConfigurationError, match="least-busy"):
        make_strategy("fastest", lambda *_: None)
    for name in ("order", "weighted", "least-busy", "latency", "cost", "headroom"):
        assert make_strategy(name, lambda *_: None).order([a, b], CALL)


# --- sessions ----------------------------------------------------------------------------------------------------


async def test_a_session_stays_and_a_lost_target_takes_only_its_own() -> None:
    targets = [make_routed(name) for name in "abcd"]
    sessions = Sessions()
    homes = {f"s{n}": sessions.order(f"s{n}", targets)[0].name for n in range(400)}
    assert homes == {session: Sessions().home(session, targets).name for session in homes}
    assert all(60 < count < 140 for count in Counter(homes.values()).values())
    without = {session: sessions.order(session, targets[1:])[0].name for session in homes}
    assert all(without[session] == home for session, home in homes.items() if home != "a")
    assert len(sessions) == 0, "nothing is remembered of sessions that are at home"


async def test_weights_draw_sessions() -> None:
    targets = [make_routed("a", weight=3), make_routed("b", weight=1), make_routed("c", weight=0)]
    counted = Counter(Sessions().order(f"s{n}", targets)[0].name for n in range(2000))
    assert counted["a"] == pytest.approx(1500, rel=0.1)
    assert counted["c"] == 0
    assert score("s", "a", 0.0) == 0.0


async def test_a_session_that_had_to_move_stays_where_it_went_within_bounds() -> None:
    targets = [make_routed("a"), make_routed("b")]
    sessions = Sessions(most=3)
    home = sessions.home("s", targets)
    other = next(each for each in targets if each is not home)
    sessions.answered("s", other, home)
    assert sessions.order("s", targets)[0] is other
    assert sessions.order("s", [home])[0] is home, "the other one is unwell now"
    sessions.answered("s", home, home)
    assert len(sessions) == 0
    for n in range(10):
        sessions.answered(f"t{n}", targets[0], targets[1])
    assert len(sessions) == 3
