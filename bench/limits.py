"""Limits known or learnt: fifty calls at once, and an upstream that takes five at a time of each key.

    python -m bench.limits [--rounds 3] [--calls 50] [--limit 5] [--out bench/results/limits]

The upstream (our simulator) answers after 200 ms; more than ``--limit`` at once of one key it refuses at once with 429
and ``Retry-After: 1``. Counted are the seconds of all calls (a failed one's too: a mean counts only beside "0 failed"),
the calls that failed, and the 429s, as the upstream counted them. The ideal is what somebody reaches who always has
exactly ``--limit`` of each key under way.

Paired: in each round every contestant runs once, in turn, in a process of its own, with one call to warm up. The peers
are in a virtual environment of their own (tools/peers.sh); without it they are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bench.harness import process
from bench.limits_driver import CONTESTANTS, MODEL
from ipfs_accelerate_py.simulator import SimulatorThread

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".tools" / "peers" / "bin" / "python"
LATENCY = 0.2


def ideal(calls: int, at_once: int) -> float:
    """The mean of the seconds, where always as many are under way as may be."""
    return statistics.mean(LATENCY * (number // at_once + 1) for number in range(calls))


@contextlib.contextmanager
def served(name: str, url: str, keys: list[str], limit: int) -> Iterator[str]:
    """The address to ask: the upstream's own, or that of our gateway in front of it."""
    if "gateway" not in name:
        yield url
        return
    most = limit * len(keys) if "configured" in name else 50
    backend = {"base_url": url, "api_keys": keys, "settings": {"max_concurrent_requests": most}}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "gateway.yaml"
        config.write_text(yaml.safe_dump({"backends": {"openai": backend}}))
        command = [sys.executable, "-m", "ipfs_accelerate_py", "serve", "--port", "0", "--config", str(config)]
        with process(command, core=0) as (address, _):
            yield f"{address}/v1"


def once(name: str, keys: list[str], limit: int, calls: int) -> dict[str, Any]:
    """One contestant, with an upstream of its own."""
    peer = name.startswith(("openai", "litellm"))
    python = PEERS if peer else Path(sys.executable)
    with (
        SimulatorThread(latency=LATENCY, concurrency_per_key=limit, concurrency_retry_after=1.0) as upstream,
        served(name, upstream.url, keys, limit) as url,
        subprocess.Popen(
            [str(python), str(ROOT / "bench" / "limits_driver.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as driver,
    ):
        assert driver.stdin is not None
        assert driver.stdout is not None
        assert driver.stderr is not None
        about = {"name": name, "url": url, "keys": keys, "limit": limit, "calls": calls}
        print(json.dumps(about), file=driver.stdin, flush=True)
        driver.stdout.readline()
        while sum(upstream.counts.values()) < 1 and driver.poll() is None:
            time.sleep(0.01)
        time.sleep(0.3)
        before = upstream.counts["429"]
        print("go", file=driver.stdin, flush=True)
        line = driver.stdout.readline()
        if not line:
            raise RuntimeError(f"{name}: {driver.stderr.read()[-2000:]}")
        seen: dict[str, Any] = json.loads(line)
        driver.wait(30)
        return {
            "mean": statistics.mean(seen["seconds"]),
            "last": max(seen["seconds"]),
            "failed": sum(seen["errors"].values()),
            "errors": seen["errors"],
            "wasted": upstream.counts["429"] - before,
        }


def table(rows: dict[str, dict[str, list[dict[str, Any]]]], best: dict[str, float]) -> str:
    """Medians over the rounds, with the least and the greatest of the ratios."""
    lines = []
    for case, contestants in rows.items():
        lines.append(f"{case} (ideal mean {best[case]:.2f} s)")
        lines.append(f"  {'':<42} {'mean s':>7} {'x ideal':>8} {'(min to max)':>16} {'failed':>7} {'429s':>6}")
        for name, runs in contestants.items():
            ratios = [run["mean"] / best[case] for run in runs]
            spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
            mean, failed, wasted = (
                statistics.median(run[each] for run in runs) for each in ("mean", "failed", "wasted")
            )
            ratio = statistics.median(ratios)
            lines.append(f"  {name:<42} {mean:>7.2f} {ratio:>8.2f} {spread:>16} {failed:>7.0f} {wasted:>6.0f}")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--limit", type=int, default=5)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    names = list(CONTESTANTS)
    if not PEERS.exists():
        print("the peers are left out: run tools/peers.sh first")
        names = [name for name in names if not name.startswith(("openai", "litellm"))]
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    best: dict[str, float] = {}
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    for _ in range(arguments.rounds):
        for count in (1, 3):
            case = f"{count} key{'s' * (count > 1)}, {arguments.limit} at a time each, {arguments.calls} calls at once"
            best[case] = ideal(arguments.calls, arguments.limit * count)
            for name in names:
                keys = [f"sk-bench-{number}" for number in range(count)]
                run = once(name, keys, arguments.limit, arguments.calls)
                rows.setdefault(case, {}).setdefault(name, []).append(run)
                print(f"{case}: {name}: {run}", file=sys.stderr, flush=True)
    command = f"python -m bench.limits --rounds {arguments.rounds} --calls {arguments.calls} --limit {arguments.limit}"
    text = f"command: {command}\nbegun: {began} UTC; model {MODEL}; medians over the rounds\n\n" + table(rows, best)
    print(text)
    if arguments.out:
        Path(arguments.out).parent.mkdir(parents=True, exist_ok=True)
        Path(arguments.out + ".txt").write_text(text)
        Path(arguments.out + ".json").write_text(
            json.dumps({"command": command, "ideal": best, "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
