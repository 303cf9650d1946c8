"""What ``import ipfs_accelerate_py`` costs over a bare interpreter: time, and resident memory.

    python -m bench.import_cost [--rounds 21] [--out bench/results/import_cost]

Paired: in each round every contestant runs once, in turn, each in a fresh interpreter. Time is from the start of the
process to its end, as its caller sees it; memory is what the process holds at its end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from bench.harness import Report, on_core

BARE = "bare interpreter"
CONTESTANTS = {
    BARE: "",
    "import ipfs_accelerate_py": "import ipfs_accelerate_py",
    "from it import Client": "from ipfs_accelerate_py import Client",
    "from it import AsyncClient": "from ipfs_accelerate_py import AsyncClient",
    "an AsyncClient, made": "from ipfs_accelerate_py import AsyncClient; AsyncClient('openai', api_key='k')",
    "import asyncio": "import asyncio",
    "import aiohttp": "import aiohttp",
    "import openai": "import openai",
}
_RSS = "\nfor line in open('/proc/self/status'):\n    if line.startswith('VmRSS'): print(line.split()[1])"


def measure(code: str) -> dict[str, float]:
    """Milliseconds and megabytes of a fresh interpreter that runs ``code``."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code + _RSS], env=environment, capture_output=True, text=True, check=True
    )
    return {"ms": (time.perf_counter() - began) * 1e3, "rss_mb": int(done.stdout) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--out", default=None, help="write OUT.json and OUT.txt")
    arguments = parser.parse_args()
    on_core(0)
    for code in CONTESTANTS.values():  # once beforehand: byte code is written, files are in the page cache
        measure(code)
    report = Report("python -m bench.import_cost", baseline=BARE)
    for number in range(arguments.rounds):
        for name, code in CONTESTANTS.items():
            report.add("import", name, measure(code), number)
    report.finish(arguments.out)


if __name__ == "__main__":
    main()
