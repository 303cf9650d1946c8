"""A load test's outcome as a `Session`: every figure by target, level and round."""

from __future__ import annotations

from collections.abc import Sequence

from ipfs_accelerate_py.bench.arrivals import Closed, Open
from ipfs_accelerate_py.bench.figures import Session
from ipfs_accelerate_py.bench.load.calling import Calls
from ipfs_accelerate_py.bench.load.search import Found
from ipfs_accelerate_py.bench.load.session import LoadTest, Outcome, Step
from ipfs_accelerate_py.bench.load.summary import needed, percentiles
from ipfs_accelerate_py.bench.measurement import HIGHER, LOWER, Case, quantile

__all__ = ["LATENCIES", "METHOD", "MOST_SAMPLES", "case_of", "write_down"]

METHOD = (
    "Latencies are of good answers and from when each call was due, so a wait for a place is part of them; a "
    "percentile is given only where there are samples enough to know it (Wilks, 95 %)."
)
#: Samples kept of one figure in one round; of more, so many quantiles of even distance.
MOST_SAMPLES = 1000
#: Figures of one answer: the name, and the attribute of `Summary`.
LATENCIES = {"latency": "total", "first token": "first", "between tokens": "between", "per token": "per_token"}


def case_of(test: LoadTest, target: int, level: float | None = None) -> Case:
    """What a target was asked at a level (without one: the test as a whole)."""
    calls = test.calls[target]
    plan = test.plan
    parameters: dict[str, str | float] = {"calls": calls.mix.kind, **plan.load.plain()}
    if calls.stream:
        parameters["streamed"] = 1
    if plan.objective is not None:
        parameters["objective"] = str(plan.objective)
    is_open = isinstance(plan.load, Open)
    if level is not None and is_open:
        parameters["rate"] = level
    batch = int(level) if level is not None and not is_open else 0
    pipeline = "with pipeline" if calls.target.through else ""
    url = calls.target.url or "this process"
    return Case(
        "load", test.calls[0].target.model, test.names[target], pipeline, url, batch, calls.mix.label, parameters
    )


def write_down(test: LoadTest, outcome: Outcome, session: Session) -> None:
    """Put every figure of ``outcome`` into ``session``, and what is to be said of them into its notes."""
    paired = "load, in turns" if len(test.calls) > 1 else ""
    searching = test.plan.find is not None
    rounds: dict[tuple[int, float], int] = {}
    for step in outcome.steps:
        if not step.summary.calls:
            continue
        key = (step.target, step.level)
        number = rounds[key] = rounds.get(key, 0) + 1 if searching else step.round
        _step(session, case_of(test, step.target, step.level), step, number, paired)
    for target, found in enumerate(outcome.found):
        _found(
            session,
            case_of(test, target),
            found,
            test.plan.goodput,
            paired,
            of_callers=isinstance(test.plan.load, Closed),
        )
    session.notes += _notes(test, outcome)


def _step(session: Session, case: Case, step: Step, number: int, paired: str) -> None:
    summary = step.summary

    def add(figure: str, unit: str, value: float | None, better: str = "", raw: Sequence[float] = ()) -> None:
        if value is not None:
            session.measurement(case, figure, unit, better, paired).add(number, round(value, 9), raw)

    if summary.open:
        add("offered", "requests/s", summary.offered)
    add("answered", "requests/s", summary.rate, HIGHER)
    if summary.output_tokens:
        add("output", "tokens/s", summary.tokens_per_second, HIGHER)
    elif summary.input_tokens:
        add("read", "tokens/s", summary.input_tokens / summary.seconds, HIGHER)
    add("goodput", "requests/s", summary.goodput, HIGHER)
    add("goodput share", "share", summary.share_met, HIGHER)
    add("calls", "calls", summary.calls)
    add("failed", "calls", summary.failed, LOWER)
    for kind, count in summary.errors.items():
        add(f"failed: {kind}", "calls", count, LOWER)
    if summary.open:
        add("late", "calls", summary.late, LOWER)
    for name, attribute in LATENCIES.items():
        values: list[float] = getattr(summary, attribute)
        if not values:
            continue
        add(name, "s", quantile(values, 0.5), LOWER, thinned(values))
        for percent, value in percentiles(values).items():
            if percent != 50:
                add(f"{name} p{percent:g}", "s", value, LOWER)
    if summary.good:
        add("input", "tokens/call", summary.input_tokens / summary.good)
        add("output length", "tokens/call", summary.output_tokens / summary.good)
    add("at once, most", "calls", summary.most)
    add("retries", "calls", summary.retries or None)
    add("wait for a place, most", "s", max(summary.wait, default=None))
    if summary.lag:
        add("generator's delay p95", "s", max(0.0, quantile(summary.lag, 0.95)))
    add("generator's time", "processors", summary.cpu)


def _found(session: Session, case: Case, found: Found, goodput: float, paired: str, *, of_callers: bool) -> None:
    unit = "callers" if of_callers else "requests/s"
    for figure, value in (("highest in time", found.met), ("lowest not in time", found.missed)):
        if value is not None:
            session.measurement(case, f"{figure} ({goodput:.4g} of calls)", unit, HIGHER, paired).add(1, value)


def thinned(values: Sequence[float], most: int = MOST_SAMPLES) -> list[float]:
    """All of them where they are few; else ``most`` of them, evenly from the least to the greatest."""
    if len(values) <= most:
        return [round(each, 7) for each in values]
    ordered = sorted(values)
    return [round(ordered[round(place * (len(ordered) - 1) / (most - 1))], 7) for place in range(most)]


def _notes(test: LoadTest, outcome: Outcome) -> list[str]:
    said: list[str] = []
    if outcome.stopped:
        said.append("Stopped before its end: these are the steps until then, the last of them cut short.")
    for number, calls in enumerate(test.calls):
        said += _of_target(test.names[number], calls, [step for step in outcome.steps if step.target == number])
    return said


def _of_target(name: str, calls: Calls, steps: Sequence[Step]) -> list[str]:
    said = [f"{name}: {kind}, as in: {message}" for kind, message in calls.said.items()]
    few = min((step.summary.good for step in steps), default=0)
    if few and few < needed(99):
        said.append(f"{name}: too few answers for p99 in some step ({few} of the {needed(99)} that it takes).")
    if any(step.summary.uncounted for step in steps) and calls.mix.kind != "embedding":
        said.append(
            f"{name}: the service counts no tokens; pieces of streams stand for them, and nothing for the rest."
        )
    cut = sum(step.summary.errors.get("Unfinished", 0) + step.summary.errors.get("NotStarted", 0) for step in steps)
    if cut:
        said.append(
            f"{name}: {cut} calls had not ended when their step had; the true percentiles are above those given."
        )
    late = sum(step.summary.late for step in steps)
    if late:
        said.append(
            f"{name}: {late} calls waited for a place, as many as allowed being under way; the wait is counted."
        )
    lag = max((quantile(step.summary.lag, 0.95) for step in steps if step.summary.lag), default=0.0)
    least = min((quantile(step.summary.total, 0.5) for step in steps if step.summary.total), default=0.0)
    if least and lag > 0.1 * least:
        said.append(
            f"{name}: the load generator made calls up to {lag * 1e3:.3g} ms (p95) after they were due; that is part "
            "of their latency."
        )
    busy = max((step.summary.cpu for step in steps), default=0.0)
    if busy > 0.8 and not calls.target.here:
        said.append(
            f"{name}: this process used up to {busy:.2f} of a processor; where that is near 1, it is the load "
            "generator that was measured."
        )
    return said
