"""A simulated provider that fails at random and writes down, line by line, every answer that it has given to its end.

    python -m bench.soak_upstream --port 0 --log FILE [--faults 0.03]

The log is what a ledger is held against: its lines are ``caller's id, complete, model, input tokens, output tokens``.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import IO

from ipfs_accelerate_py.portal import new_event_loop
from ipfs_accelerate_py.simulator import Fault, Request, Simulator

FAULTS = (
    Fault.status(500),
    Fault.status(503),
    Fault.status(429, retry_after_ms=20),
    Fault.reset(),
    Fault.close(),
    Fault.cut(after=8),
    Fault.bad_json(at=5),
    Fault.no_done(),
    Fault.split(),
    Fault.status(400),
)


async def serve(arguments: argparse.Namespace, log: IO[str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    simulator = Simulator("openai", port=arguments.port, keep=100, tokens=20)
    add = simulator.books.add

    def enter(request: Request) -> None:
        add(request)
        used = request.usage
        if used is not None and 200 <= request.status < 300:
            whole = int(request.complete)
            made = used.get("completion_tokens", 0)
            log.write(
                f"{request.headers.get('x-soak-id', '')},{whole},{request.model},{used['prompt_tokens']},{made}\n"
            )

    simulator.books.add = enter  # type: ignore[method-assign]
    async with simulator:
        simulator.random(arguments.faults, FAULTS, seed=arguments.seed)
        print(f"listening on {simulator.url}", flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--faults", type=float, default=0.03)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with arguments.log.open("w", encoding="utf-8") as log, asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(arguments, log))
    sys.exit(0)


if __name__ == "__main__":
    main()
