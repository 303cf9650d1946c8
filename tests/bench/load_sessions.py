"""Sessions of load tests, with numbers that nobody had to wait for."""

from __future__ import annotations

import random

from ipfs_accelerate_py.bench.arrivals import Open
from ipfs_accelerate_py.bench.figures import Session
from ipfs_accelerate_py.bench.load.book import METHOD, write_down
from ipfs_accelerate_py.bench.load.calling import Calls
from ipfs_accelerate_py.bench.load.mix import Synthetic
from ipfs_accelerate_py.bench.load.runner import Bounds, Run
from ipfs_accelerate_py.bench.load.samples import Sample
from ipfs_accelerate_py.bench.load.search import highest
from ipfs_accelerate_py.bench.load.session import LoadTest, Outcome, Plan, Step
from ipfs_accelerate_py.bench.load.slo import Objective
from ipfs_accelerate_py.bench.load.summary import summarise
from ipfs_accelerate_py.bench.load.targets import LoadTarget
from ipfs_accelerate_py.client import AsyncClient

__all__ = ["load_session"]


def load_session(
    rates: tuple[float, ...] = (2, 4, 8), rounds: int = 2, *, targets: int = 2, calls: int = 400
) -> Session:
    """A sweep in which the second target takes twice as long as the first, and both more with the rate."""
    objective = Objective.parse("ttft=250ms")
    made = [
        Calls(LoadTarget(AsyncClient("llvm", base_url=f"http://127.0.0.1:{n + 1}/v1"), "a<b>&$x$"), Synthetic())
        for n in range(targets)
    ]
    plan = Plan(Open(1), rates, Bounds(requests=calls), rounds=rounds, objective=objective)
    test = LoadTest(made, plan)
    outcome = Outcome()
    for level in rates:
        for number in range(1, rounds + 1):
            for target in range(targets):
                run = _run(level, number, target, calls)
                outcome.steps.append(Step(target, number, run, summarise(run, objective)))
    outcome.found = [
        highest((each.level, (each.summary.share_met or 0) >= 0.99) for each in outcome.steps if each.target == target)
        for target in range(targets)
    ]
    session = Session("ipfs-accelerate bench load --rate 2,4,8", machine={"processor": "a processor", "processors": 2})
    session.method = METHOD
    write_down(test, outcome, session)
    return session


def _run(level: float, number: int, target: int, calls: int) -> Run:
    chance = random.Random(f"{level}/{number}/{target}")
    run = Run(Open(level), 0.0, calls / level, cpu=0.1, most=3)
    for each in range(calls):
        due = each / level
        first = due + (target + 1) * 0.03 * level * chance.uniform(0.9, 1.1)
        sample = Sample(each, due, due, first, first + 0.4, [0.02] * 20, 100, 21)
        if each % 100 == 99:
            sample = Sample(each, due, due, None, due + 0.01, error="ServerError 500")
        run.samples.append(sample)
    return run
