"""A soak: many calls with faults, cancellations and streams, everything switched on; then the books are compared.

    python -m bench.soak [--calls 200000] [--out bench/results/soak]

Two simulated providers in processes of their own fail at random (three calls in a hundred) and write down each answer
that they have given to its end. The caller is an `AsyncRouter` over both with ledger, prices, limits, budget, exact
cache and single flight on. It prints the memory's slope over the last three quarters, and whether the counters are
exact, nothing is held, and the ledger says the same as the providers' own logs. Ends with 1 where something does not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import gc
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.harness import process, rss_megabytes
from ipfs_accelerate_py import AsyncRouter, Target
from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.portal import new_event_loop

CONCURRENCY = 64
MODELS = ("gpt-4o", "gpt-4o-mini")


class Soak:
    """The calls, and what became of them as their callers saw it."""

    def __init__(self, router: AsyncRouter, calls: int, seed: int) -> None:
        self._router = router
        self._left = calls
        self._calls = calls
        self._random = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.memory: list[tuple[int, float]] = []

    async def run(self) -> None:
        await asyncio.gather(*(self._worker() for _ in range(CONCURRENCY)))

    async def _worker(self) -> None:
        while self._left:
            self._left -= 1
            number = self._calls - self._left
            if number % max(1, self._calls // 200) == 0:
                self.memory.append((number, rss_megabytes(os.getpid())))
            try:
                await self._one(number)
            except AccelerateError as error:
                self.outcomes["failure"] += 1
                self.errors[type(error).__name__] += 1

    async def _one(self, number: int) -> None:
        draw = self._random.random()
        # One in ten asks what another has asked before, and may be answered from the cache, or with a call in flight.
        name = f"soak-{number}" if draw >= 0.1 else f"again-{number}"
        options: dict[str, Any] = {
            "request_id": name,
            "headers": {"x-soak-id": name},
            "tenant": f"tenant-{number % 7}",
            "max_tokens": 20,
        }
        prompt = f"Question {number % 50}" if draw < 0.1 else f"Question number {number}"
        if draw < 0.1:
            options |= {"cache": "on", "temperature": 0, "headers": None}
        elif draw < 0.4:
            await self._streamed(prompt, options, leave=draw < 0.13)
            return
        elif draw < 0.43:
            await self._cancelled(prompt, options)
            return
        await self._router.chat("smart", prompt, **options)
        self.outcomes["success"] += 1

    async def _streamed(self, prompt: str, options: dict[str, Any], *, leave: bool) -> None:
        async with self._router.stream("smart", prompt, **options) as stream:
            count = 0
            async for _ in stream:
                count += 1
                if leave and count == 5:
                    self.outcomes["cancelled"] += 1
                    return
        self.outcomes["success"] += 1

    async def _cancelled(self, prompt: str, options: dict[str, Any]) -> None:
        task = asyncio.ensure_future(self._router.chat("smart", prompt, **options))
        for _ in range(self._random.randrange(1, 5)):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            self.outcomes["cancelled"] += 1
        else:
            self.outcomes["success"] += 1


def slope(points: list[tuple[int, float]]) -> float:
    """Kilobytes of memory for each thousand calls, over the last three quarters."""
    late = points[len(points) // 4 :]
    if len(late) < 3:
        return 0.0
    fit = statistics.linear_regression([calls / 1000 for calls, _ in late], [memory * 1024 for _, memory in late])
    return fit.slope


def compare(ledger: Path, logs: list[Path]) -> dict[str, Any]:
    """The ledger's rows beside the providers' lines, by the caller's id."""
    served: dict[str, list[tuple[int, int]]] = {}
    for path in logs:
        with path.open(newline="", encoding="utf-8") as file:
            for name, whole, _, given, made in csv.reader(file):
                if name and whole == "1":
                    served.setdefault(name, []).append((int(given), int(made)))
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        rows = database.execute(
            "SELECT request_id, outcome, cache, input_tokens, output_tokens FROM ledger_calls"
        ).fetchall()
    wrong = []
    seen = Counter(row[0] for row in rows)
    mine = others = 0
    for name, outcome, cache, given, made in rows:
        if outcome != "success" or cache or name not in served:
            continue
        mine += given + made
        # A broken stream may have been rescued after an answer that was whole in the provider's eyes: the last counts.
        others += sum(served[name][-1])
        if served[name][-1] != (given, made):
            wrong.append((name, served[name], (given, made)))
    uncached = {row[0] for row in rows if row[1] == "success" and not row[2] and row[0].startswith("soak-")}
    return {
        "rows": len(rows),
        "doubled": sum(count - 1 for count in seen.values()),
        "outcomes": dict(Counter(row[1] for row in rows)),
        "from cache or shared": sum(bool(row[2]) for row in rows),
        "tokens in the ledger": mine,
        "tokens in the providers' logs": others,
        "different": wrong[:5],
    } | {"successes that no provider has logged": len({name for name in uncached if name not in served})}


async def soak(arguments: argparse.Namespace, urls: list[str], ledger: Path) -> dict[str, Any]:
    targets = [
        Target("openai", model, base_url=url, api_key="sk-soak") for model, url in zip(MODELS, urls, strict=True)
    ]
    router = AsyncRouter(
        {"smart": targets},
        initial_retry_delay=0.005,
        max_retry_delay=0.1,
        circuit_reset_timeout=0.2,
        max_concurrent_requests=CONCURRENCY,
        total_timeout=30.0,
    )
    async with router:
        await router.open_ledger(str(ledger))
        await router.enable_cache(opt_in=True, max_bytes=8 << 20)
        router.enable_single_flight()
        router.set_budget(usd=1e6, per="day")
        router.set_limits(tenant="*", requests_per_minute=1e9)
        run = Soak(router, arguments.calls, arguments.seed)
        began = time.monotonic()
        await run.run()
        seconds = time.monotonic() - began
        await asyncio.sleep(0.5)
        gc.collect()
        state = router.snapshot()
        await router.close_ledger()
    return {
        "calls": arguments.calls,
        "seconds": round(seconds, 1),
        "outcomes": dict(run.outcomes),
        "errors": dict(run.errors),
        "memory slope, KB a thousand calls": round(slope(run.memory), 2),
        "memory MB": [round(run.memory[0][1], 1), round(run.memory[-1][1], 1)],
        "usage": state["usage"],
        "state": state,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        logs = [Path(folder) / f"served-{number}.csv" for number in range(2)]
        urls = []
        for number, log in enumerate(logs):
            command = [sys.executable, "-m", "bench.soak_upstream", "--log", str(log), "--seed", str(number)]
            url, _ = stack.enter_context(process(command, core=1))
            urls.append(url + "/v1")
        ledger = Path(folder) / "usage.sqlite3"
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            found = runner.run(soak(arguments, urls, ledger))
        stack.close()
        found["books"] = compare(ledger, logs)
    state = found.pop("state")
    text = json.dumps(found, indent=1, default=str)
    print(text)
    counted = {name: found["usage"][f"{name}_requests"] for name in ("successful", "failed", "cancelled")}
    outcomes = found["outcomes"]
    checks = {
        "every call ended": sum(outcomes.values()) == arguments.calls,
        "counters are exact": list(counted.values())
        == [outcomes.get("success", 0), outcomes.get("failure", 0), outcomes.get("cancelled", 0)],
        "a row in the ledger for every call": found["books"]["rows"] == arguments.calls
        and not found["books"]["doubled"],
        "the ledger says what the providers say": not found["books"]["different"]
        and not found["books"]["successes that no provider has logged"],
        "nothing is held": not held(state),
    }
    for name, good in checks.items():
        print(f"{'yes' if good else 'NO ':4}{name}")
    if arguments.out:
        Path(arguments.out).with_suffix(".json").write_text(text + "\n", encoding="utf-8")
        lines = [f"{'yes' if good else 'NO ':4}{name}" for name, good in checks.items()]
        Path(arguments.out).with_suffix(".txt").write_text(text + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(0 if all(checks.values()) else 1)


def held(state: Any) -> list[str]:
    """Whatever a snapshot counts as under way."""
    found = []
    if isinstance(state, dict):
        for name, value in state.items():
            if name in ("active", "in_flight", "queued") and value:
                found.append(f"{name}={value}")
            found += held(value)
    elif isinstance(state, list):
        for value in state:
            found += held(value)
    return found


if __name__ == "__main__":
    main()
