"""What the calls of a step add up to: percentiles, throughput, goodput, errors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ipfs_accelerate_py.bench.arrivals import Open
from ipfs_accelerate_py.bench.figures import quantile
from ipfs_accelerate_py.bench.load.runner import Run
from ipfs_accelerate_py.bench.load.samples import NOT_STARTED, UNFINISHED
from ipfs_accelerate_py.bench.load.slo import Objective

__all__ = ["PERCENTILES", "Summary", "needed", "percentiles", "summarise"]

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


def needed(percent: float) -> int:
    """Samples without which a percentile is not given.

    As many as it takes that with 95 % certainty one of them lies beyond the percentile: with fewer, not even the
    slowest answer seen says where it is (S. S. Wilks, "Determination of Sample Sizes for Setting Tolerance Limits",
    1941; for independent samples, which calls of one load are not quite).
    """
    share = percent / 100
    return math.ceil(math.log(0.05) / math.log(share))


def percentiles(values: Sequence[float]) -> dict[float, float]:
    """Those of `PERCENTILES` that there are samples enough for."""
    return {percent: quantile(values, percent / 100) for percent in PERCENTILES if len(values) >= needed(percent)}


@dataclass(slots=True)
class Summary:
    """One step at one target. Durations in seconds; those of answers are of good ones, from when each was due.

    Attributes:
        level: calls a second that were to arrive, or callers.
        open: whether arrivals did not wait for answers.
        seconds: from the first arrival to the last answer.
        offered: arrivals a second.
        calls: that became due, whatever came of them; ``good`` those that were answered.
        errors: failed calls by class; ``Unfinished`` and ``NotStarted`` are those that the end of the run cut off.
        late: calls that had to wait for a place, because as many as allowed were under way.
        met: calls that kept to the objective; None where there is none.
        total, first, between, per_token: seconds of each good answer: whole, until the first content, between pieces,
            and for a token after the first.
        wait, lag: seconds from due to begun: of calls that had to wait for a place, and of the others, where it is the
            generator's own delay.
        most: calls under way at once, at most.
        cpu: share of one processor that the generator's process used.
        uncounted: good answers whose tokens the service did not count.
        retries: further attempts, of those made through the pipeline.
    """

    level: float
    open: bool
    seconds: float
    offered: float
    calls: int
    good: int
    errors: dict[str, int]
    late: int
    met: int | None
    input_tokens: int
    output_tokens: int
    uncounted: int
    retries: int
    most: int
    cpu: float
    stopped: bool
    total: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    per_token: list[float] = field(default_factory=list)
    wait: list[float] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)

    @property
    def share_met(self) -> float | None:
        """The share of all calls that kept to the objective."""
        return None if self.met is None or not self.calls else self.met / self.calls

    @property
    def goodput(self) -> float | None:
        """Calls a second that kept to it: of those that arrived in a second, where arrivals do not wait for answers."""
        if self.met is None:
            return None
        return self.offered * (self.share_met or 0.0) if self.open else self.met / self.seconds

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds

    @property
    def tokens_per_second(self) -> float:
        """Tokens written a second, of good answers."""
        return self.output_tokens / self.seconds

    @property
    def failed(self) -> int:
        return self.calls - self.good


def summarise(run: Run, objective: Objective | None = None) -> Summary:
    """The figures of a run; what was asked while the load still rose is left out.

    Of a run that was stopped, calls that were cut off are left out too: it says nothing of the service.
    """
    samples = [each for each in run.samples if not each.warm]
    if run.stopped:
        samples = [each for each in samples if each.error not in (UNFINISHED, NOT_STARTED)]
    good = [each for each in samples if each.ok]
    began = min((each.due for each in samples), default=run.began)
    ended = max((each.ended for each in samples), default=run.ended)
    seconds = max(1e-9, ended - began)
    due = max((each.due for each in samples), default=began)
    # n arrivals have n - 1 gaps between them; one alone has a rate only by what it took.
    offered = (len(samples) - 1) / (due - began) if due > began else len(samples) / seconds
    return Summary(
        level=run.load.level,
        open=isinstance(run.load, Open),
        seconds=seconds,
        offered=offered,
        calls=len(samples),
        good=len(good),
        errors=dict(Counter(each.error for each in samples if each.error).most_common()),
        late=sum(each.late for each in samples),
        met=None if objective is None else sum(objective.met(each) for each in samples),
        input_tokens=sum(each.input_tokens for each in good),
        output_tokens=sum(each.output_tokens for each in good),
        uncounted=sum(not each.counted for each in good),
        retries=sum(each.attempts - 1 for each in samples),
        most=run.most,
        cpu=run.cpu,
        stopped=run.stopped,
        total=[each.total for each in good],
        first=[each.first - each.due for each in good if each.first is not None],
        between=[gap for each in good for gap in each.gaps],
        per_token=[each.per_token for each in good if each.per_token is not None],
        wait=[each.begun - each.due for each in samples if each.late and each.error != NOT_STARTED],
        lag=[each.begun - each.due for each in samples if not each.late],
    )
