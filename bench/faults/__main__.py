"""Sixteen faults, played against our clients, our gateway, and others, in one run; prints a scorecard.

    python -m bench.faults [--only ours,gateway] [--faults 1,8,14] [--out bench/results/faults]

The others are LiteLLM's Router, LiteLLM's proxy and the ``openai`` client with its own retries; they are run where
``tools/peers.sh`` has put them (``.tools/peers``), else they are left out and the scorecard says so. Every contestant
has its own upstreams, a pair for each cell, and is given the same limits of time. See `cases` for the grades.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from bench.faults.cases import CASES, GRADES, Case, grade
from bench.faults.contestants import CONTESTANTS, Contestant, Run

SIGN = {"pass": "pass", "partial": "part", "safe": "safe", "fail": "FAIL", "": "-"}


async def play(contestant: Contestant, cases: list[Case], report: dict[str, Any]) -> None:
    """Every cell of one contestant, one after the other."""
    cells = await contestant.cells(cases)
    try:
        async with Run(contestant, cells) as run:
            for cell in cells:
                await run.play(cell)
                found, why = grade(cell)
                report.setdefault(contestant.name, {})[cell.name] = {
                    "grade": found,
                    "why": why,
                    "seconds": round(cell.last.seconds, 2),
                    "primary_asked": len(cell.asked),
                    "fallback_asked": len(cell.rescued),
                }
                print(f"  {contestant.name:16} {cell.name:20} {found:8} {why}", flush=True)
    finally:
        for cell in cells:
            await cell.primary.stop()
            await cell.backup.stop()


def worst(grades: list[str]) -> str:
    return max(grades, key=GRADES.index) if grades else ""


def scorecard(cases: list[Case], report: dict[str, Any]) -> str:
    """A row a fault, a column a contestant: the worst of its cells."""
    names = list(report)
    lines = [f"{'fault':38}" + "".join(f"{name:>17}" for name in names)]
    totals = {name: dict.fromkeys(GRADES, 0) for name in names}
    for case in cases:
        row = f"{case.number:2}. {case.title:34}"
        for name in names:
            found = worst([each["grade"] for cell, each in report[name].items() if cell.startswith(f"f{case.number}-")])
            row += f"{SIGN[found]:>17}"
            if found:
                totals[name][found] += 1
        lines.append(row)
    lines += [f"{each:38}" + "".join(f"{totals[name][each]:>17}" for name in names) for each in GRADES]
    return "\n".join(lines)


async def run(arguments: argparse.Namespace) -> int:
    wanted = set(arguments.only.split(",")) if arguments.only else set(CONTESTANTS)
    numbers = {int(each) for each in arguments.faults.split(",")} if arguments.faults else set(range(1, 17))
    cases = [case for case in CASES if case.number in numbers]
    report: dict[str, Any] = {}
    here = []
    for name, contestant in CONTESTANTS.items():
        if name not in wanted:
            continue
        why_not = contestant.missing()
        if why_not:
            print(f"{name}: left out: {why_not}")
        else:
            report[name] = {}
            here.append(contestant)
    began = time.monotonic()
    # One after the other: on two cores, contestants beside each other would be late for each other's limits.
    for contestant in here:
        await play(contestant, cases, report)
    text = scorecard(cases, report)
    print(f"\n{' '.join(sys.argv)}   ({time.monotonic() - began:.0f} s)\n\n{text}")
    if arguments.out:
        path = Path(arguments.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
    mine = [each["grade"] for name in ("ours", "ours sync", "gateway") for each in report.get(name, {}).values()]
    return 0 if all(each == "pass" for each in mine) else 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"contestants, from: {', '.join(CONTESTANTS)}")
    parser.add_argument("--faults", help="numbers of faults")
    parser.add_argument("--out", help="where the raw figures go, without an ending")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
