"""The gateway beside a plain ASGI and aiohttp proxy, each alone on core 0, load and upstream on core 1.

    python -m bench.gateway [--rounds 5] [--out bench/results/gateway]

The gateway runs with a key to check, queue, breaker, usage and metrics on. Paired: in each round both run every case in
turn. CPU is the server process's own, by the operating system's count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench.harness import Report, cpu_seconds, on_core, process, rss_megabytes, server
from bench.load import Answers, call_many, hold_streams, request

CHUNKS = 102
KEY = "sk-bench-gateway"
CONFIG = """
model_list:
  - model_name: bench
    litellm_params:
      model: openai/bench
      api_base: {url}/v1
      api_key: sk-upstream
  - model_name: paced
    litellm_params:
      model: openai/paced
      api_base: {paced}/v1
      api_key: sk-upstream
general_settings:
  master_key: {key}
"""


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def check(answers: Answers) -> None:
    if answers.failed:
        raise SystemExit(f"{answers.failed} calls failed: the figures would mean nothing")


def run_round(number: int, ports: dict[str, tuple[int, int]], direct: int, report: Report) -> None:
    unary = json.dumps({"model": "bench", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    burst = json.dumps(
        {
            "model": "bench",
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    alone, _ = uvloop.run(call_many(direct, request("bench", "/v1/chat/completions", unary, KEY), 300, 1))
    for name, (port, pid) in ports.items():
        wire = request("bench", "/v1/chat/completions", unary, KEY)
        for concurrency, total in ((1, 600), (64, 6000)):
            cpu = cpu_seconds(pid)
            answers, seconds = uvloop.run(call_many(port, wire, total, concurrency))
            check(answers)
            figures = {
                "cpu_us": (cpu_seconds(pid) - cpu) / total * 1e6,
                "rps": total / seconds,
                "p50_ms": quantile(answers.seconds, 0.5) * 1e3,
                "p99_ms": quantile(answers.seconds, 0.99) * 1e3,
            }
            if concurrency == 1:
                added = statistics.median(answers.seconds) - statistics.median(alone.seconds)
                figures["added_p50_ms"] = max(1e-6, added * 1e3)
            report.add(f"unary c={concurrency}", name, figures, number)
        wire = request("bench", "/v1/chat/completions", burst, KEY)
        cpu = cpu_seconds(pid)
        answers, seconds = uvloop.run(call_many(port, wire, 600, 8))
        check(answers)
        figures = {
            "cpu_us_per_chunk": (cpu_seconds(pid) - cpu) / 600 / CHUNKS * 1e6,
            "chunks_per_second": 600 * CHUNKS / seconds,
        }
        report.add("streams in a burst, c=8", name, figures, number)


def run_streams(ports: dict[str, tuple[int, int]], streams: int, report: Report, number: int) -> None:
    body = json.dumps(
        {
            "model": "paced",
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    for name, (port, pid) in ports.items():
        cpu, boot = cpu_seconds(pid), rss_megabytes(pid)
        wire = request("bench", "/v1/chat/completions", body, KEY)
        answers, seconds = uvloop.run(hold_streams(port, wire, streams, ramp=5.0))
        check(answers)
        figures = {
            "cpu_us_per_chunk": (cpu_seconds(pid) - cpu) / streams / CHUNKS * 1e6,
            "ttft_p50_ms": quantile(answers.first, 0.5) * 1e3,
            "ttft_p99_ms": quantile(answers.first, 0.99) * 1e3,
            "stream_seconds_p50": quantile(answers.seconds, 0.5),
            "rss_mb_before": boot,
            "rss_mb_after": rss_megabytes(pid),
            "seconds": seconds,
        }
        report.add(f"{streams} streams of 20 chunks a second", name, figures, number)


def ready_seconds(command: list[str]) -> float:
    began = time.perf_counter()
    with process(command, core=0) as (url, _):
        import http.client

        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        while True:
            try:
                connection.request("GET", "/health")
                connection.getresponse().read()
                return time.perf_counter() - began
            except OSError:
                connection.close()
                time.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=800)
    parser.add_argument("--out", default=None, help="write OUT.json and OUT.txt")
    arguments = parser.parse_args()
    report = Report("python -m bench.gateway", baseline="plain ASGI + aiohttp")
    on_core(1)
    with (
        tempfile.TemporaryDirectory() as folder,
        server("bench.upstream", core=1) as url,
        server("bench.upstream", "--rate", "20", core=1) as paced,
    ):
        config = Path(folder) / "gateway.yaml"
        config.write_text(CONFIG.format(url=url, paced=paced, key=KEY))
        ours = [
            sys.executable,
            "-m",
            "ipfs_accelerate_py",
            "serve",
            "--port",
            "0",
            "--config",
            str(config),
            "--no-local",
        ]
        for number in range(3):
            report.add("ready after start", "ours", {"seconds": ready_seconds(ours)}, number)
        os.environ["UPSTREAM"] = url
        plain = [sys.executable, "-m", "bench.plain_proxy", "--port", "0"]
        with process(plain, core=0) as (plain_url, plain_pid), process(ours, core=0) as (our_url, our_pid):
            report.add("memory after start", "ours", {"rss_mb": rss_megabytes(our_pid)}, 0)
            ports = {
                "plain ASGI + aiohttp": (int(plain_url.rsplit(":", 1)[1]), plain_pid),
                "ours": (int(our_url.rsplit(":", 1)[1]), our_pid),
            }
            for number in range(arguments.rounds):
                run_round(number, ports, int(url.rsplit(":", 1)[1]), report)
        os.environ["UPSTREAM"] = paced
        with process(plain, core=0) as (plain_url, plain_pid), process(ours, core=0) as (our_url, our_pid):
            ports = {
                "plain ASGI + aiohttp": (int(plain_url.rsplit(":", 1)[1]), plain_pid),
                "ours": (int(our_url.rsplit(":", 1)[1]), our_pid),
            }
            for number in range(min(2, arguments.rounds)):
                run_streams(ports, arguments.streams, report, number)
    report.finish(arguments.out)


if __name__ == "__main__":
    main()
