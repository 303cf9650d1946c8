"""`bench load` on our gateway: before a simulated provider, beside that provider without it, in turns.

    python -m bench.load_gateway [--rates 5,10,20,40] [--duration 10] [--rounds 4] [--out bench/results/load_gateway]

Provider and gateway run on core 0, the load comes from core 1. An answer begins after 100 ms and is 32 tokens of 10 ms.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.harness import on_core, process

KEY = "sk-bench-gateway"
CONFIG = """
model_list:
  - model_name: bench
    litellm_params:
      model: openai/bench
      api_base: {url}/v1
      api_key: sk-upstream
      max_parallel_requests: 1000
general_settings:
  master_key: {key}
"""
PROGRAM = [sys.executable, "-m", "ipfs_accelerate_py"]
PROVIDER = ["simulate", "openai", "--port", "0", "--latency", "0.1", "--tokens", "32", "--chunk-interval", "0.01"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", default="5,10,20,40")
    parser.add_argument("--duration", default="10")
    parser.add_argument("--rounds", default="4")
    parser.add_argument("--out", default=None, help="write OUT.json, .md, .png, .svg and .html")
    arguments = parser.parse_args()
    on_core(1)
    with tempfile.TemporaryDirectory() as folder, process([*PROGRAM, *PROVIDER], core=0) as (provider, _):
        config = Path(folder) / "gateway.yaml"
        config.write_text(CONFIG.format(url=provider, key=KEY))
        serve = [*PROGRAM, "serve", "--port", "0", "--config", str(config), "--no-local"]
        with process(serve, core=0) as (gateway, _):
            words = (
                f"--url {gateway} --name gateway --api-key-env BENCH_KEY --beside {provider} --beside-name provider "
                f"-m bench --output-tokens 32 --rate {arguments.rates} --duration {arguments.duration} --rounds "
                f"{arguments.rounds} --slo ttft=150ms,total=600ms --goodput 0.95"
            ).split()
            words += ["--out", arguments.out] if arguments.out else []
            subprocess.run([*PROGRAM, "bench", "load", *words], check=True, env={**os.environ, "BENCH_KEY": KEY})


if __name__ == "__main__":
    main()
