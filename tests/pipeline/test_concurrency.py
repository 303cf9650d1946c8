"""How many calls at once a key takes: the arithmetic, by a clock that moves when it is told to."""

from __future__ import annotations

import heapq
import itertools
import random

import pytest

from ipfs_accelerate_py.pipeline.concurrency import HOLD, INITIAL, LONGEST_HOLD, Concurrency, Refusal

from .support import Clock


class Upstream:
    """Takes ``limit`` calls at once and ``rate`` in all, answers after ``latency`` seconds, refuses after ``refusal``.

    Calls are asked for as fast as the ceiling allows, ``calls`` of them; the refused ones come back after a second.
    """

    def __init__(
        self,
        limit: int = 10**6,
        *,
        rate: int = 10**6,
        latency: float = 0.2,
        refusal: float = 0.002,
        chance: float = 0.0,
        demand: int = 50,
    ) -> None:
        self.demand, self._chance, self._random = demand, chance, random.Random(5)
        self.limit, self.rate, self.latency, self.refusal = limit, rate, latency, refusal
        self.crowd = Concurrency()
        self.now = 100.0
        self.active = self.inside = self.done = 0
        self.refusals: list[tuple[float, Refusal]] = []
        self.peak = 0
        self._events: list[tuple[float, int, object, float, bool]] = []
        self._number = itertools.count()
        self._rested = 0.0

    def send(self) -> None:
        lease = object()
        self.active += 1
        self.peak = max(self.peak, self.active)
        if self.active >= self.crowd.limit:
            self.crowd.take(lease, self.active, self.now)
        good = self.inside < self.limit and self.rate > 0 and self._random.random() >= self._chance
        if good:
            self.inside += 1
            self.rate -= 1
        at = self.now + (self.latency if good else self.refusal) * random.Random(self.active).uniform(1.0, 1.05)
        heapq.heappush(self._events, (at, next(self._number), lease, self.now, good))

    def run(self, calls: int, seconds: float = 1e9) -> None:
        """Until that many have been answered, or the time is over."""
        self.done = 0
        until = self.now + seconds
        while self.done < calls and self.now < until:
            waiting = min(calls - self.done, self.demand) - self.active
            while waiting > 0 and self.now >= self._rested:
                free = self.active < self.crowd.limit
                wait = 0.0 if free else self.crowd.wait(self.active, self.now)
                if wait > 0:
                    break
                self.send()
                waiting -= 1
            steps = [self._events[0][0]] if self._events else []
            if waiting > 0:
                steps.append(self._rested if self.now < self._rested else self.now + wait + 0.001)
            self.now = max(self.now, min(steps))
            while self._events and self._events[0][0] <= self.now:
                _, _, lease, began, good = heapq.heappop(self._events)
                self.active -= 1
                if good:
                    self.inside -= 1
                    self.done += 1
                    self.crowd.answered(lease, began, self.now)
                    self.crowd.ended(lease)
                else:
                    found = self.crowd.refused(lease, began, self.active, 1.0, self.now, told=True)
                    self.refusals.append((self.now, found))
                    self._rested = max(self._rested, found.until)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 20, 45])
@pytest.mark.parametrize("latency", [0.02, 0.2, 30.0])
def test_the_limit_is_found_with_few_refusals_and_kept(limit: int, latency: float) -> None:
    upstream = Upstream(limit, latency=latency)
    upstream.run(10 * limit + 20)
    wasted = len(upstream.refusals)
    assert upstream.crowd.ceiling == limit
    assert sum(at < 101.0 for at, _ in upstream.refusals) <= max(1, INITIAL - limit) + 2
    tried = 12 + (upstream.now - 100) / LONGEST_HOLD  # one more, now and then
    assert wasted <= max(1, INITIAL - limit) + tried
    before = upstream.now
    upstream.run(50 * limit, 5 * HOLD)
    if latency < 1 and limit > 1:
        assert all(refusal.crowded for _, refusal in upstream.refusals)
        assert len(upstream.refusals) <= wasted + 4
        busy = upstream.done * latency / limit
        assert busy >= 0.85 * min(upstream.now - before, 50 * latency), "slots stood empty"


@pytest.mark.parametrize("limit", [2, 5, 20])
@pytest.mark.parametrize("refusal", [0.03, 0.1, 0.3])
@pytest.mark.parametrize("latency", [0.3, 2.0])
def test_refusals_that_take_their_time_are_waited_for(limit: int, latency: float, refusal: float) -> None:
    """Far away, a refusal takes longer than the whiles after which one more goes where nothing is known.

    All fifty may be under way before the first is heard, once. After that it is known how long they take.
    """
    upstream = Upstream(limit, latency=latency, refusal=refusal)
    upstream.run(50)
    assert len(upstream.refusals) <= 50 - limit + 8
    before = len(upstream.refusals)
    upstream.run(100)
    assert len(upstream.refusals) <= before + 6
    assert 0.75 * limit <= upstream.crowd.ceiling <= limit + 1


def test_one_that_is_refused_after_the_others_were_answered_was_not_alone(clock: Clock) -> None:
    crowd = Concurrency()
    leases = burst(crowd, clock, 5)
    began = clock.now
    clock.advance(0.3)
    crowd.answered(leases[0], began, clock.now)
    crowd.ended(leases[0])
    found = crowd.refused(leases[4], began, 0, 2.0, clock.now, told=True)
    assert found.crowded is None
    assert crowd.wait(0, clock.now) == 0, "nobody is under way, so the test need not wait for anybody's end"
    test = object()
    crowd.take(test, 1, clock.now)
    assert crowd.refused(test, clock.now, 0, 2.0, clock.now + 0.3, told=True).crowded is False
    assert found.crowded is False


def test_an_upstream_without_limits_is_not_held_back_for_long() -> None:
    """Also where an answer takes a minute: nobody waits for answers."""
    upstream = Upstream(latency=60.0)
    upstream.run(50, 0.35)
    assert upstream.peak == 50
    quick = Upstream(latency=0.002, demand=500)
    quick.run(500, 0.2)
    assert quick.done == 500


def test_what_was_found_good_is_not_asked_again() -> None:
    upstream = Upstream()
    upstream.run(100)
    assert upstream.crowd.ceiling >= 50
    upstream.now += 3600
    began = upstream.now
    upstream.run(50)
    assert upstream.now - began < upstream.latency * 1.1


def test_a_rate_costs_one_test_and_leaves_the_ceiling() -> None:
    """40 are taken, then none for a while: those under way say nothing, the one that goes next does."""
    upstream = Upstream(rate=60)
    upstream.run(50)
    ceiling = upstream.crowd.ceiling
    before = len(upstream.refusals)
    assert before == 0
    upstream.run(30, 0.9)
    assert {refusal.crowded for _, refusal in upstream.refusals} == {False}
    assert upstream.crowd.ceiling == ceiling
    assert upstream.done == 10
    later = [at for at, _ in upstream.refusals]
    upstream.rate = 1000
    upstream.run(20)
    assert len(upstream.refusals) == len(later), "asked while the key was resting"


def test_a_lone_call_that_is_refused_means_the_rate() -> None:
    crowd = Concurrency()
    found = crowd.refused(object(), 0.0, 0, 2.0, 10.0, told=True)
    assert (found.crowded, found.until) == (False, 12.0)
    assert crowd.ceiling == INITIAL
    found = crowd.refused(object(), 0.0, 0, 2.0, 10.0, told=False)
    assert (found.crowded, found.until) == (False, 0.0)


def test_headers_that_tell_of_a_rate_leave_no_doubt() -> None:
    found = Concurrency().refused(object(), 0.0, 4, 2.0, 10.0, told=True, rate=True)
    assert (found.crowded, found.until) == (False, 12.0)


def burst(crowd: Concurrency, clock: Clock, count: int) -> list[object]:
    leases = [object() for _ in range(count)]
    for number, lease in enumerate(leases, 1):
        if number >= crowd.limit:
            crowd.take(lease, number, clock.now)
    return leases


def test_when_all_of_a_burst_are_refused_it_is_the_rate(clock: Clock) -> None:
    crowd = Concurrency()
    leases = burst(crowd, clock, 5)
    found = [crowd.refused(lease, clock.now, 4 - n, 2.0, clock.now + 0.01, told=True) for n, lease in enumerate(leases)]
    assert [refusal.crowded for refusal in found] == [False] * 5
    assert found[-1].until == pytest.approx(clock.now + 2.01)
    assert crowd.limit == INITIAL


def test_nobody_goes_in_doubt_but_one_test(clock: Clock) -> None:
    crowd = Concurrency()
    leases = burst(crowd, clock, 5)
    clock.advance(0.01)
    refusal = crowd.refused(leases[4], clock.now - 0.01, 4, 2.0, clock.now, told=True)
    assert crowd.wait(4, clock.now) == pytest.approx(2.0)
    crowd.answered(leases[0], 0.0, clock.now)
    crowd.ended(leases[0])
    assert crowd.wait(3, clock.now) == 0
    test = object()
    crowd.take(test, 4, clock.now)
    assert 0 < crowd.wait(4, clock.now) <= 0.04
    assert refusal.crowded is None
    assert crowd.answered(test, clock.now, clock.now + 0.02)
    assert refusal.crowded is True
    assert crowd.limit == 4


def test_a_test_that_is_not_refused_in_time_has_passed(clock: Clock) -> None:
    crowd = Concurrency()
    leases = burst(crowd, clock, 5)
    refusal = crowd.refused(leases[4], clock.now - 0.01, 4, 2.0, clock.now, told=True)
    crowd.ended(leases[0])
    crowd.take(object(), 4, clock.now)
    clock.advance(0.05)
    crowd.wait(4, clock.now)
    assert refusal.crowded is True


def test_a_test_whose_caller_has_left_is_followed_by_another(clock: Clock) -> None:
    crowd = Concurrency()
    leases = burst(crowd, clock, 5)
    refusal = crowd.refused(leases[4], clock.now, 4, 2.0, clock.now, told=True)
    crowd.ended(leases[0])
    test = object()
    crowd.take(test, 4, clock.now)
    crowd.ended(test)
    assert refusal.crowded is None
    assert crowd.wait(3, clock.now) == 0


def test_a_doubt_ends_when_the_refused_call_may_go_again(clock: Clock) -> None:
    """Calls of a minute: nobody has ended, so the one that was refused is the test; twice in one place is an answer."""
    crowd = Concurrency()
    leases = burst(crowd, clock, 5)
    first = crowd.refused(leases[4], clock.now, 4, 2.0, clock.now, told=True)
    clock.advance(2.0)
    assert crowd.wait(4, clock.now) == 0
    again = object()
    crowd.take(again, 5, clock.now)
    crowd.refused(again, clock.now, 4, 2.0, clock.now, told=True)
    clock.advance(2.0)
    assert crowd.wait(4, clock.now) == pytest.approx(HOLD)
    assert first.crowded is None


def test_a_key_whose_limit_is_told_begins_there() -> None:
    crowd = Concurrency(40)
    assert crowd.limit == 40


def test_a_raised_limit_is_found() -> None:
    upstream = Upstream(5)
    upstream.run(60)
    upstream.limit = 30
    upstream.now += HOLD
    upstream.run(400)
    assert upstream.crowd.ceiling == 30


def test_a_lowered_limit_is_found() -> None:
    upstream = Upstream(30)
    upstream.run(300)
    upstream.limit = 6
    upstream.run(600)
    assert upstream.crowd.ceiling == 6
    assert len(upstream.refusals) < 80


def test_refusals_by_chance_do_not_add_up() -> None:
    """An upstream that refuses one call in twenty, whatever is under way, is still asked by many at once."""
    upstream = Upstream(latency=1.0, chance=0.05)
    upstream.run(10**9, 60.0)
    before, upstream.done = upstream.done, 0
    assert before > 60 * 15
    assert upstream.crowd.ceiling > 15


def test_one_more_is_tried_ever_more_rarely() -> None:
    upstream = Upstream(5)
    upstream.run(10**9, 400.0)
    times = [at for at, _ in upstream.refusals]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(times) <= 12
    assert all(later > 0.9 * earlier for earlier, later in itertools.pairwise(gaps))
    assert gaps[0] > HOLD
