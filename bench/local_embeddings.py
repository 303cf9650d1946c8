"""Local embeddings beside sentence-transformers' default: the same model, the same process, measured in turns.

    python bench/local_embeddings.py [--pairs 5] [--out bench/results/local_embeddings.json]

Each case runs A B A B ... (A ours, B theirs), so that what else the machine does falls on both; compare the ratios.
The cosine is that of each of our vectors with theirs, the least of them; both sides run in float32 unless --dtype says
otherwise for ours.

    uniform      texts of nearly one length, one call
    mixed        texts of 3 to 256 tokens, one call
    one          a single short text, one call
    concurrent   64 callers at once with one text each; theirs one after the other in a worker thread, as a server
                 around SentenceTransformer.encode does it
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

VOCABULARY = (
    "time year people way day man thing woman life child world school state family student group country "
    "problem hand part place case week company system program question work government number night point "
    "home water room mother area money story fact month lot right study book eye job word business issue "
    "side kind head house service friend "
)

CALLERS = 64


def sentences(count: int, shortest: int, longest: int, seed: int) -> list[str]:
    """``count`` texts of so many words; lengths spread evenly on a logarithmic scale, as lengths of real texts do."""
    draw = random.Random(seed)
    words, ratio = VOCABULARY.split(), longest / shortest
    return [" ".join(draw.choices(words, k=round(shortest * ratio ** draw.random()))) for _ in range(count)]


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def measure(run: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds by the clock, seconds of processor time, and the result."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = run()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def compare(
    name: str, texts: list[str], ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int
) -> dict[str, Any]:
    import numpy as np

    ours(), theirs()  # Warm: buffers, threads, caches.
    rows: list[dict[str, float]] = []
    for _ in range(pairs):
        wall_a, cpu_a, vectors_a = measure(ours)
        wall_b, cpu_b, vectors_b = measure(theirs)
        rows.append({"ours_s": wall_a, "theirs_s": wall_b, "ours_cpu_s": cpu_a, "theirs_cpu_s": cpu_b})
    a, b = np.asarray(vectors_a, dtype="float64"), np.asarray(vectors_b, dtype="float64")
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)

    def median(key: str) -> float:
        return statistics.median(row[key] for row in rows)

    return {
        "case": name,
        "texts": len(texts),
        "ours_per_s": len(texts) / median("ours_s"),
        "theirs_per_s": len(texts) / median("theirs_s"),
        "ratio": statistics.median(row["theirs_s"] / row["ours_s"] for row in rows),
        "ratio_lowest": min(row["theirs_s"] / row["ours_s"] for row in rows),
        "ratio_highest": max(row["theirs_s"] / row["ours_s"] for row in rows),
        "cpu_ratio": statistics.median(row["theirs_cpu_s"] / row["ours_cpu_s"] for row in rows),
        "least_cosine": float(cosine.min()),
        "pairs": rows,
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np
    import sentence_transformers
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer

    from ipfs_accelerate_py.runtimes import EmbeddingRuntime, find_model

    path = find_model(options.model)
    wall, _, runtime = measure(
        lambda: EmbeddingRuntime.load(path, name=options.model, device=options.device, dtype=options.dtype)
    )
    theirs = SentenceTransformer(str(path), device=runtime.device, model_kwargs={"dtype": "float32"})
    print(f"{runtime!r}, loaded in {wall:.1f} s; sentence-transformers {sentence_transformers.__version__}, "
          f"torch {torch.__version__}, transformers {transformers.__version__}")  # fmt: skip
    print(f"{processor()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.2f} at the start")

    uniform = sentences(options.texts, 28, 30, 1)
    mixed = sentences(options.texts, 2, 230, 2)
    short = sentences(1, 12, 12, 3)
    single = sentences(CALLERS, 4, 40, 4)
    worker = ThreadPoolExecutor(1)

    async def ours_at_once() -> Any:
        answers = await asyncio.gather(*(runtime.embed([text]) for text in single))
        return np.concatenate([answer.vectors for answer in answers])

    async def theirs_at_once() -> Any:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(worker, theirs.encode, [text]) for text in single]
        return np.concatenate(await asyncio.gather(*calls))

    cases: list[tuple[str, list[str], Callable[[], Any], Callable[[], Any]]] = [
        ("uniform", uniform, lambda: runtime.embed_sync(uniform).vectors, lambda: theirs.encode(uniform)),
        ("mixed", mixed, lambda: runtime.embed_sync(mixed).vectors, lambda: theirs.encode(mixed)),
        ("one", short, lambda: runtime.embed_sync(short).vectors, lambda: theirs.encode(short)),
        ("concurrent", single, lambda: asyncio.run(ours_at_once()), lambda: asyncio.run(theirs_at_once())),
    ]
    print(
        f"{'case':12}{'texts':>6}{'ours/s':>10}{'theirs/s':>10}"
        f"{'ratio':>8}{'(range)':>16}{'CPU ratio':>11}{'cosine >=':>12}"
    )
    results = []
    for name, texts, ours, other in cases:
        result = compare(name, texts, ours, other, options.pairs)
        results.append(result)
        span = f"{result['ratio_lowest']:.2f} to {result['ratio_highest']:.2f}"
        print(
            f"{name:12}{len(texts):6}{result['ours_per_s']:10.1f}{result['theirs_per_s']:10.1f}{result['ratio']:8.2f}"
            f"{span:>16}{result['cpu_ratio']:11.2f}{result['least_cosine']:12.7f}",
            flush=True,
        )
    snapshot = runtime.snapshot()
    print(f"padding in our batches: {snapshot['padding_ratio']:.1%}; load {os.getloadavg()[0]:.2f} at the end")
    runtime.close()
    worker.shutdown()
    return {
        "command": "python " + " ".join(sys.argv),
        "processor": processor(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "sentence_transformers": sentence_transformers.__version__,
        "model": options.model,
        "device": runtime.device,
        "dtype": runtime.dtype,
        "load_s": wall,
        "load_average": os.getloadavg(),
        "snapshot": snapshot,
        "cases": results,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="name or folder (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto (default: %(default)s)")
    parser.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16, ours only (default: %(default)s)")
    parser.add_argument("--texts", type=int, default=512, help="texts in uniform and mixed (default: %(default)s)")
    parser.add_argument(
        "--pairs", type=int, default=5, help="times each case runs on either side (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="file for the raw figures, as JSON")
    options = parser.parse_args()
    result = run(options)
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
