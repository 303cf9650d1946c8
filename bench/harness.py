"""What the benchmarks share: a server on its own core, paired rounds, and a report with medians and ratios."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Report", "cpu_seconds", "on_core", "rss_megabytes", "server"]

TICK = os.sysconf("SC_CLK_TCK")


def on_core(number: int, pid: int = 0) -> None:
    """Keep a process on one core, where the machine has that many."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > number:
        os.sched_setaffinity(pid, {number})


@contextlib.contextmanager
def server(module: str, *arguments: str, core: int) -> Iterator[str]:
    """Run ``python -m module --port 0 ...``; gives ``http://127.0.0.1:PORT`` from the line in which it names it."""
    with process([sys.executable, "-m", module, "--port", "0", *arguments], core=core) as (url, _):
        yield url


@contextlib.contextmanager
def process(command: list[str], *, core: int) -> Iterator[tuple[str, int]]:
    """Run a server that prints the address it listens on; gives its URL and process id, and stops it after use."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        on_core(core, running.pid)
        assert running.stdout is not None
        said = []
        for line in running.stdout:
            said.append(line)
            if "127.0.0.1:" in line:
                port = "".join(c for c in line.split("127.0.0.1:", 1)[1][:5] if c.isdigit())
                break
        else:
            raise RuntimeError(f"{' '.join(command)} said no address:\n{''.join(said)}")
        os.set_blocking(running.stdout.fileno(), False)
        yield f"http://127.0.0.1:{port}", running.pid
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_megabytes(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Report:
    """Figures by case and contestant, one a round."""

    def __init__(self, command: str, baseline: str) -> None:
        self.command = command
        self.baseline = baseline
        self.rows: dict[str, dict[str, list[dict[str, float]]]] = {}
        self.began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())

    def add(self, case: str, contestant: str, figures: dict[str, float], number: int) -> None:
        rounds = self.rows.setdefault(case, {}).setdefault(contestant, [])
        rounds.append({"round": float(number), **figures})

    def text(self) -> str:
        lines = [
            f"command: {self.command}",
            f"begun: {self.began} UTC; Python {platform.python_version()}; {os.cpu_count()} cores, {_processor()}",
            "medians over the rounds, with (minimum to maximum); ratios are medians of the ratios within a round",
            "",
        ]
        for case, contestants in self.rows.items():
            lines.append(case)
            baseline = self.baseline if self.baseline in contestants else next(iter(contestants))
            for name, rounds in contestants.items():
                cells = []
                for figure in rounds[0]:
                    if figure == "round":
                        continue
                    values = [run[figure] for run in rounds]
                    cell = f"{figure} {statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"
                    if name != baseline and all(run.get(figure) for run in contestants[baseline]):
                        ratios = [a[figure] / b[figure] for a, b in zip(rounds, contestants[baseline], strict=False)]
                        pairs = zip(rounds, contestants[baseline], strict=False)
                        difference = [a[figure] - b[figure] for a, b in pairs]
                        cell += f" = {statistics.median(ratios):.3g} x, {statistics.median(difference):+.4g}"
                    cells.append(cell)
                lines.append(f"  {name:<28} " + "; ".join(cells))
            lines.append(f"  (ratios and differences: to {baseline})")
            lines.append("")
        return "\n".join(lines)

    def finish(self, out: str | None) -> None:
        text = self.text()
        print(text)
        if out:
            Path(out).parent.mkdir(parents=True, exist_ok=True)
            Path(out + ".txt").write_text(text)
            Path(out + ".json").write_text(json.dumps({"command": self.command, "rows": self.rows}, indent=1) + "\n")


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()
