"""How many calls a key may have under way at once, learnt from the upstream's answers. Plain class, instants passed in.

**Growth.** A key begins with `INITIAL` calls. While more want to go, one more is let in each time that the ones under
way have gone unrefused for a while; the whiles get shorter, so the number grows like e to the power of t / `INTERVAL`
(an upstream without limits has 50 under way after a third of a second, once). A refusal comes sooner than an answer, so
time without one is evidence enough, and calls of a minute are not waited for. (TCP's slow start, paced.) How soon a
refusal comes is known from the first one on, and no while is shorter than a few times that: an upstream far away would
be asked by many more before it is heard that there was one too many.

**A refusal (429)** has two meanings, and `Retry-After` the wrong advice for one of them:

* nothing else was under way with this key: there were too many requests *a minute*. The key rests as it was told.
* others were under way: there may be too many *at once*. What was in flight less those refused becomes the ceiling,
  nobody goes until one of them has ended, and then one call goes by itself, as a test. Is it refused too, it was the
  rate: the ceiling is what it was before, and the key rests. Is it not (it is answered, or not refused within three
  times the time that refusals take), it was the number at once: the others go on, as many as the ceiling allows, and
  `Retry-After` holds for the refused call alone.

After that the ceiling stands for `HOLD` seconds before one more is tried, for twice as long each time that it is found
in the same place, and then grows as in the beginning. Only where as many had been under way before and were not
refused, one more is tried at once, and again: some upstreams refuse by chance, and that must not add up.

(AIMD; but the decrease is exact instead of a half, for a limit of calls at once says where it is. D. Chiu and R. Jain,
"Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks", 1989.)
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Concurrency", "Refusal"]

#: Calls that may go at once with a key of which nothing is known: as many as ``max_concurrent_requests`` is by
#: default, so that a client left as it is never meets any of this.
INITIAL = 5
#: Seconds without a refusal after which one more call may go; less where good answers come faster than that.
INTERVAL = 0.05
#: The same, in times of what refusals are known to take. (Four: the whiles get shorter, and also the next ones must not
#: be over before a refusal can have come.)
REFUSALS = 4
#: Seconds that a ceiling stands before one more is tried, and the most that they are doubled to.
HOLD = 2.0
LONGEST_HOLD = 60.0
#: Seconds for which a test is watched, at least and at most.
SHORTEST_TEST = 0.02
LONGEST_TEST = 1.0


class Refusal(msgspec.Struct):
    """One 429. ``crowded``: too many calls were under way at once; False: too many a minute; None: not known (yet)."""

    crowded: bool | None = None
    #: An instant before which the key is not to be used, where ``crowded`` is False and anybody has said so.
    until: float = 0.0


class _Doubt:
    """What is going on between a refusal and its meaning."""

    __slots__ = ("armed", "before", "ends", "refusals", "slowest", "test", "test_ends", "told", "unheard_of")

    def __init__(self, before: int, unheard_of: bool) -> None:
        self.before = before  # the ceiling until now
        self.unheard_of = unheard_of  # so many had never been under way before
        self.ends = 0.0  # then the refused calls may go again anyway
        self.told = 0.0  # the same, where the upstream has said it
        self.refusals: list[Refusal] = []
        self.slowest = 0.0  # seconds that a refusal took
        self.armed = False  # a test may go
        self.test: Any = None
        self.test_ends = 0.0


class Concurrency:
    """The ceiling of one key. ``lease`` is whatever stands for one call; it is compared by identity."""

    __slots__ = (
        "_answered_at",
        "_doubt",
        "_found",
        "_good",
        "_grow_at",
        "_held",
        "_hold",
        "_hold_until",
        "_interval",
        "_refusal",
        "_settled_at",
        "_streak",
        "_struck",
        "_unclear",
        "ceiling",
        "limit",
    )

    def __init__(self, known: int | None = None) -> None:
        """``known`` is how many may go at once, where the caller has been told."""
        self.ceiling = max(INITIAL, known or 0)
        #: With fewer calls under way than this nobody needs to ask `wait`: the ceiling, or 0 in doubt.
        self.limit = self.ceiling
        self._interval = INTERVAL
        self._answered_at = 0.0  # the last good answer
        self._refusal = 0.0  # seconds that refusals take
        self._streak = 0  # how often it has grown in a row
        self._grow_at = 0.0
        self._hold = HOLD
        self._hold_until = 0.0
        self._held = 0  # the ceiling that is held; from below it may grow
        self._found: int | None = None  # the ceiling that a refusal has shown
        self._struck = 0  # how often one more than that was refused
        self._good = 0  # the most that were under way for a while without one
        self._unclear = 0  # the ceiling at a refusal whose meaning was never found
        self._doubt: _Doubt | None = None
        self._settled_at = (0.0, False)  # when the last doubt ended, and how

    # --- before an attempt ---------------------------------------------------------------------------------------

    def wait(self, active: int, now: float) -> float:
        """Seconds until one more call may go beside ``active`` others; it may be sooner, when one of them ends."""
        doubt = self._doubt
        if doubt is not None:
            if doubt.test is not None and now >= doubt.test_ends:
                self._settle(True, now)
            elif now >= doubt.ends:
                self._settle(None, now)
            elif doubt.test is not None:
                return min(doubt.test_ends, doubt.ends) - now
            else:
                return 0.0 if doubt.armed and active < self.ceiling else doubt.ends - now
        if active < self.ceiling:
            return 0.0
        held = self._hold_until if self.ceiling >= self._held else 0.0
        return max(self._grow_at, held, now) - now

    def take(self, lease: Any, active: int, now: float) -> None:
        """A call goes, as the last of ``active``. Need not be told of while that is less than `limit`."""
        doubt = self._doubt
        if doubt is not None:
            if doubt.armed and doubt.test is None:
                doubt.test = lease
                doubt.test_ends = now + min(max(SHORTEST_TEST, 3 * doubt.slowest), LONGEST_TEST)
            return
        if active > self.ceiling:
            self._good = max(self._good, self.ceiling)
            self.ceiling = self.limit = active
            self._streak += 1
        elif active < self.ceiling or self._grow_at >= now - self._while():
            return  # not all of them are under way; or they were not long ago, and the while is running
        self._grow_at = now + self._while() / (self._streak + 1)

    # --- after it ------------------------------------------------------------------------------------------------

    def answered(self, lease: Any, began: float, now: float) -> bool:
        """A good answer has begun or is complete. True where those who wait should ask again."""
        self._interval = min(INTERVAL, now - began)
        self._answered_at = now
        if now >= self._grow_at > 0.0 and self.ceiling > self._good:
            self._good = self.ceiling
            if self._found is not None and self._found < self.ceiling:
                self._found = None
        if self._doubt is not None and self._doubt.test is lease:
            self._settle(True, now)
            return True
        return False

    def ended(self, lease: Any) -> None:
        """A call is over, and was not refused."""
        doubt = self._doubt
        if doubt is not None:
            if doubt.test is lease:
                doubt.test = None  # it failed in another way, or its caller has left: another call may be the test
            doubt.armed = True

    def refused(
        self, lease: Any, began: float, others: int, rest: float, now: float, *, told: bool, rate: bool = False
    ) -> Refusal:
        """A call was answered 429 while ``others`` were under way.

        ``rest`` is when it may go again, in seconds; ``told`` says that the upstream has named it. ``rate`` says that
        the answer itself tells of a rate (nothing remains in this minute).
        """
        doubt = self._doubt
        until = now + rest
        self._refusal = max(min(now - began, LONGEST_TEST), self._refusal / 2)
        if doubt is not None and doubt.test is not lease and now >= doubt.ends:
            self._settle(None, now)
            doubt = None
        # Where refusals take as long as answers, those that were under way with it may have been answered meanwhile.
        alone = others == 0 and began >= self._answered_at
        if rate or alone or (doubt is not None and doubt.test is lease):
            if doubt is not None:
                until = max(until, doubt.told) if told else doubt.told
                self._settle(False, now)
            self._settled_at = (now, False)
            return Refusal(False, until if told or doubt is not None else 0.0)
        settled_at, crowded = self._settled_at
        if doubt is None and began <= settled_at:  # one of those that were sent before it was known
            if crowded:
                self._found = self._held = self._good = self.ceiling = self.limit = max(1, self.ceiling - 1)
            return Refusal(crowded, until if told and not crowded else 0.0)
        if doubt is None and self._found is not None and others >= self._found:
            self._struck += 1
            if self._struck >= 2:
                self._hold_on(others, now)
            else:
                self._try_again(others, now)
            return Refusal(True)
        if doubt is None:
            doubt = self._doubt = _Doubt(self.ceiling, others >= self._good)
            self.ceiling = max(1, min(self.ceiling, others))
            self._grow_at = 0.0
            doubt.armed = others == 0
        else:
            self.ceiling = max(1, self.ceiling - 1)  # one of those under way that were not to be
        doubt.ends = max(doubt.ends, until)
        doubt.slowest = max(doubt.slowest, now - began)
        if told:
            doubt.told = max(doubt.told, until)
        self.limit = 0
        refusal = Refusal()
        doubt.refusals.append(refusal)
        return refusal

    def _while(self) -> float:
        """Seconds without a refusal after which one more may go, where the ones before it had time to be refused."""
        return max(self._interval, REFUSALS * self._refusal)

    # --- verdicts ------------------------------------------------------------------------------------------------

    def _settle(self, crowded: bool | None, now: float) -> None:
        doubt = self._doubt
        assert doubt is not None
        self._doubt = None
        for refusal in doubt.refusals:
            refusal.crowded = crowded
        if crowded is False:
            self._settled_at = (now, False)
        if (crowded and doubt.unheard_of) or (crowded is None and self._unclear == self.ceiling):
            # One more than ever before; or refused twice in the same place, a Retry-After apart.
            self._hold_on(self.ceiling, now)
        elif crowded:
            # As many were well before, so it may have been chance. The next ones decide: see `_found` above.
            self._struck = 0
            self._try_again(self.ceiling, now)
        elif crowded is None:
            self._unclear = self.ceiling
            self._streak = 0
            self._grow_at = now
        else:
            self.ceiling = max(doubt.before, self.ceiling)
        self.limit = self.ceiling

    def _try_again(self, ceiling: int, now: float) -> None:
        self._found = self._good = self.ceiling = self.limit = ceiling
        self._streak = 0
        self._grow_at = now + self._while()
        self._settled_at = (now, True)

    def _hold_on(self, ceiling: int, now: float) -> None:
        self._hold = min(2 * self._hold, LONGEST_HOLD) if ceiling == self._found else HOLD
        self._found = self._held = self._good = self.ceiling = self.limit = max(1, ceiling)
        self._hold_until = now + self._hold
        self._streak = 0
        self._grow_at = 0.0
        self._unclear = 0
        self._struck = 1
        self._settled_at = (now, True)
