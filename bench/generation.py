"""Generation by every runtime beside its peers: a GPT-2 of 124 million random weights, made here, measured in turns.

    python bench/generation.py [--rounds 3] [--quick] [--only torch,llvm] [--out bench/results/local_generation]

Every contestant writes ``--tokens`` tokens greedily, never stopping, after prompts of 32, for batch 1 and 8; ours
through the public way (`open_servable`, `Servable.stream`), peers in loops of their own, each with the same weights in
the same precision as the one of ours that it runs beside:

    torch       ours and Transformers' ``generate``, float32
    openvino    ours and a loop over a stateful graph converted by hand: float32, and weights in 8 bits
    llvm        ours and llama.cpp's server called directly: float16, 8 bits (Q8_0) and 4 (Q4_0)

All have the same threads. Rounds go A B, B A, ..., so that what else the machine does falls on both; compare ratios.
A run counts reading the prompts too. ``bound`` is the share of what the memory would allow: weights are read once for
each step, so it is bytes of weights x steps/s over the bandwidth that reading a GB with all threads has in the same
round (its best of five). Of batch 8 a step writes eight tokens. ``cpu`` is processor time for a step, in milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.generation_contestants import PEERS, Contestant, make_model, ours
from bench.harness import Report

#: Runtime, precision, and the class that it is compared in.
CASES = (
    ("torch", "float32", "float32"),
    ("openvino", "float32", "float32"),
    ("openvino", "int8-weights", "8 bits"),
    ("llvm", "float16", "float16"),
    ("llvm", "int8", "8 bits"),
    ("llvm", "int4", "4 bits"),
)
BATCHES = (1, 8)


class Bandwidth:
    """Bytes per second that all threads together read from memory: a sum over much more than caches hold."""

    def __init__(self, threads: int, size: int = 1 << 30) -> None:
        import torch

        self._torch, self._threads = torch, threads
        self._much = torch.ones(size // 4, dtype=torch.float32)

    def __call__(self) -> float:
        self._torch.set_num_threads(self._threads)
        took = []
        for _ in range(5):
            begun = time.perf_counter()
            self._much.sum()
            took.append(time.perf_counter() - begun)
        return self._much.numel() * 4 / min(took)


@contextlib.contextmanager
def contestants(folder: Path, runtime: str, precision: str, threads: int) -> Iterator[list[Contestant]]:
    made: list[Contestant] = []
    try:
        for number, make in enumerate((None, PEERS[runtime])):
            begun = time.perf_counter()
            made.append(ours(folder, runtime, precision, threads) if make is None else make(folder, precision, threads))
            print(
                f"{runtime} {precision}: {made[number].name} loaded in {time.perf_counter() - begun:.1f} s", flush=True
            )
        yield made
    finally:
        for each in made:
            each.close()


def measure(each: Contestant, batch: int, tokens: int, bandwidth: float) -> dict[str, float]:
    cpu, start = time.process_time(), time.perf_counter()
    written = each.write(batch, tokens)
    seconds, worked = time.perf_counter() - start, time.process_time() - cpu
    if written != batch * tokens:
        raise RuntimeError(f"{each.name} wrote {written} of {batch * tokens} tokens")
    return {
        "tokens/s": written / seconds,
        "bound": each.bytes * tokens / seconds / bandwidth,
        "cpu": 1000 * worked / tokens,
    }


def verdicts(report: Report, kinds: dict[str, str]) -> list[str]:
    """The best of ours beside the best peer, of each class of precision and of all; medians of tokens/s."""
    speeds: dict[tuple[int, str, bool], dict[str, float]] = {}
    for batch in BATCHES:
        for case, kind in kinds.items():
            for name, rounds in report.rows[f"batch {batch}, {case}"].items():
                median = statistics.median(run["tokens/s"] for run in rounds)
                for group in (kind, "any precision"):
                    called = f"{name} on {case}" if name == "ours" else f"{name}, {case.partition(' ')[2]}"
                    speeds.setdefault((batch, group, name == "ours"), {})[called] = median
    found = ["the best of ours beside the best peer (medians of tokens/s)"]
    for (batch, group, own), mine in speeds.items():
        others = speeds.get((batch, group, False), {})
        if own and others:
            best, rival = max(mine, key=mine.__getitem__), max(others, key=others.__getitem__)
            found.append(
                f"  batch {batch}, {group:<13} {mine[best]:8.1f} ({best}) beside {others[rival]:8.1f} ({rival}): "
                f"{mine[best] / others[rival]:.2f} x"
            )
    return found


def run(options: argparse.Namespace) -> None:
    report = Report("python " + " ".join(sys.argv), "")
    threads = options.threads or len(os.sched_getaffinity(0))
    bandwidth = Bandwidth(threads)
    kinds: dict[str, str] = {}
    reads: list[float] = []
    with tempfile.TemporaryDirectory(prefix="generation-") as place:
        os.environ["IPFS_ACCELERATE_CACHE"] = str(Path(place) / "cache")
        folder = make_model(Path(place) / "gpt2", options.layers)
        for runtime, precision, kind in CASES:
            if options.only and runtime not in options.only.split(","):
                continue
            case = f"{runtime} {precision}"
            kinds[case] = kind
            with contestants(folder, runtime, precision, threads) as running:
                for batch in BATCHES:
                    for each in running:
                        each.write(batch, 4)  # warm
                    for number in range(options.rounds):
                        reads.append(bandwidth())
                        found: dict[str, Any] = {}
                        for each in running if number % 2 == 0 else running[::-1]:
                            found[each.name] = measure(each, batch, options.tokens, reads[-1])
                        for each in running:  # ours first: ratios are to it
                            report.add(f"batch {batch}, {case}", each.name, found[each.name], number)
    lines = verdicts(report, kinds)
    lines.append(
        f"memory: {statistics.median(reads) / 1e9:.1f} GB/s read by {threads} threads, {min(reads) / 1e9:.1f} to"
    )
    lines[-1] += f" {max(reads) / 1e9:.1f}"
    report.finish(options.out)
    print("\n".join(lines))
    if options.out:
        with Path(options.out + ".txt").open("a") as file:
            file.write("\n".join(["", *lines, ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="times each contestant runs (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=48, help="tokens of each answer (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=12, help="of the model; 12 make 124M (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="of each contestant (default: the processors there are)")
    parser.add_argument("--only", default="", help="runtimes, with commas between (default: all)")
    parser.add_argument("--quick", action="store_true", help="one round, 16 tokens, 2 layers: whether it works")
    parser.add_argument("--out", help="files for the figures, without .txt and .json")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.tokens, options.layers = 1, 16, 2
    run(options)


if __name__ == "__main__":
    main()
