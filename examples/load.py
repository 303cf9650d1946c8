"""A server under load from Python: the highest rate at which its answers still come in time.

python examples/load.py                                     # a simulated server: 20 ms until the first token
python examples/load.py http://127.0.0.1:8000/v1 my-model   # one of your own
"""

from __future__ import annotations

import asyncio
import sys

from ipfs_accelerate_py import AsyncClient
from ipfs_accelerate_py.bench.arrivals import Open
from ipfs_accelerate_py.bench.figures import Session
from ipfs_accelerate_py.bench.load.book import METHOD, write_down
from ipfs_accelerate_py.bench.load.calling import Calls
from ipfs_accelerate_py.bench.load.mix import Length, Synthetic
from ipfs_accelerate_py.bench.load.runner import Bounds
from ipfs_accelerate_py.bench.load.session import LoadTest, Plan
from ipfs_accelerate_py.bench.load.slo import Objective
from ipfs_accelerate_py.bench.load.tables import limits, markdown
from ipfs_accelerate_py.bench.load.targets import LoadTarget
from ipfs_accelerate_py.simulator import SimulatorThread


async def measure(url: str, model: str, rates: tuple[float, ...], seconds: float) -> Session:
    async with AsyncClient("llvm", base_url=url) as client:
        asked = Synthetic("chat", tokens=Length.parse("64-128"), output=Length.parse("16"))
        plan = Plan(
            Open(rates[0]),  # Poisson arrivals
            levels=rates,
            bounds=Bounds(duration=seconds, in_flight=64),
            objective=Objective.parse("ttft=200ms,total=2s"),
            goodput=0.95,
            settle=0.2,
        )
        test = LoadTest([Calls(LoadTarget(client, model), asked)], plan)
        session = Session.begin("examples/load.py", method=METHOD)
        write_down(test, await test.run(), session)
        session.end()
    return session


def main(url: str = "", model: str = "m", *, seconds: float = 10.0) -> None:
    if url:
        session = asyncio.run(measure(url, model, (1, 2, 4, 8), seconds))
    else:
        with SimulatorThread("openai", latency=0.02, tokens=16, chunk_interval=0.002) as simulator:
            session = asyncio.run(measure(simulator.url, model, (5, 10), seconds))
    print(markdown(session))
    print("in short:", *limits(session))


if __name__ == "__main__":
    main(*sys.argv[1:3])
