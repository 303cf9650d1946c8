"""Which target is asked first, and in which order the others. Plain classes; chance and prices are passed in.

A strategy is given the targets that can be asked now, at least one, and gives them in the order in which they shall be.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.router.routed import Routed
from ipfs_accelerate_py.router.targets import STRATEGIES
from ipfs_accelerate_py.types import Call

__all__ = ["Cost", "Headroom", "LeastBusy", "Order", "PeakLatency", "Smooth", "Strategy", "Told", "make_strategy"]

#: US dollars that a call costs at most at a backend and model, or None where no price is known.
Estimate = Callable[[Call, str, str], float | None]


class Strategy(Protocol):
    """Orders targets for a call; it must not wait."""

    def order(self, targets: Sequence[Routed], call: Call) -> list[Routed]: ...


class Order:
    """As they are listed."""

    def order(self, targets: Sequence[Routed], call: Call) -> list[Routed]:
        return list(targets)


class Smooth:
    """By weight, evenly mixed: of weights 5, 1, 1 the calls go to a a b a c a a (nginx's "smooth weighted" way).

    Each call adds its weight to every target, the one with most is taken, and pays the sum of all. The others follow by
    weight; a target of weight 0 is asked only when the others have failed.
    """

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def order(self, targets: Sequence[Routed], call: Call) -> list[Routed]:
        credit = self._credit
        best, most, total = targets[0], float("-inf"), 0.0
        for each in targets:
            weight = each.target.weight
            if weight <= 0:
                continue
            total += weight
            now = credit[each.name] = credit.get(each.name, 0.0) + weight
            if now > most:
                best, most = each, now
        if total:
            credit[best.name] -= total
        others = [each for each in targets if each is not best]
        others.sort(key=lambda each: -each.target.weight)
        return [best, *others]


class LeastBusy:
    """By calls under way and waiting, in shares of each one's slots; of equals the first listed."""

    def order(self, targets: Sequence[Routed], call: Call) -> list[Routed]:
        return sorted(targets, key=Routed.load)


class PeakLatency:
    """By what a call would wait: the better of two drawn by chance goes first, and the rest follow in order.

    The best of all would draw every caller at once, and what they know of it is old by then; of two by chance the
    better one is nearly as good and spreads the calls (Mitzenmacher, "The Power of Two Choices", 2001).
    """

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        """``draw`` gives a number in [0, 1)."""
        self._draw = draw

    def order(self, targets: Sequence[Routed], call: Call) -> list[Routed]:
        count = len(targets)
        if count == 1:
            return list(targets)
        ordered = sorted(targets, key=Routed.cost_of_waiting)
        if count == 2:
            return ordered
        # Two different places among the ordered ones: the lower is the better.
        one = int(self._draw() * count)
        other = int(self._draw() * (count - 1))
        place = min(one, other + (other >= one))
        ordered.insert(0, ordered.pop(place))
        return ordered


class Cost:
    """By what the call may cost at most; those whose price nobody knows come last."""

    def __init__(self, estimate: Estimate) -> None:
        self._estimate = estimate

    def order(self, targets: Sequence[Routed], call: Call) -> list[Routed]:
        def price(each: Routed) -> float:
            found = self._estimate(call, each.backend.spec.name, each.model)
            return float("inf") if found is None else found

        return sorted(targets, key=price)


class Headroom:
    """By how much of their rates is left, the emptiest last; of equals the one with fewer calls under way first."""

    def order(self, targets: Sequence[Routed], call: Call) -> list[Routed]:
        # In steps of a hundredth: a bucket that is full but for this call's own drop is as good as a full one.
        return sorted(targets, key=lambda each: (-round(each.headroom(call), 2), each.outstanding))


class Told:
    """By a function of the caller's: ``order(targets, call)`` gives targets, of which the rest follow as listed."""

    def __init__(self, function: Callable[[Sequence[Routed], Call], Iterable[Routed]]) -> None:
        self._function = function

    def order(self, targets: Sequence[Routed], call: Call) -> list[Routed]:
        ordered = list(dict.fromkeys(self._function(targets, call)))
        known = [each for each in ordered if each in targets]
        if len(known) != len(ordered):
            raise ConfigurationError("the strategy gave a target that is not one of those it was asked about")
        return known + [each for each in targets if each not in known]


def make_strategy(
    told: str | Callable[..., Any], estimate: Estimate, draw: Callable[[], float] = random.random
) -> Strategy:
    """The strategy of a name, or by a function. Raises `ConfigurationError` for a name that is none."""
    if callable(told):
        return Told(told)
    makers: dict[str, Callable[[], Strategy]] = {
        "order": Order,
        "weighted": Smooth,
        "least-busy": LeastBusy,
        "latency": lambda: PeakLatency(draw),
        "cost": lambda: Cost(estimate),
        "headroom": Headroom,
    }
    if told not in makers:
        raise ConfigurationError(f"strategy must be one of {', '.join(STRATEGIES)}, not {told!r}")
    return makers[told]()
