"""Local embeddings beside sentence-transformers' default: the same model, the same process, measured in turns.

    python bench/local_embeddings.py [--quick] [--contestants torch,float32,careful] [--out FILE]

Contestants are ours on PyTorch (``torch``, in the number format that this processor multiplies), and on OpenVINO in
``float32``, with the 8-bit weights that keep every measured cosine above 0.999 (``careful``), with all weights in 8
bits (``int8-weights``; ``int8-wide`` has a scale for 128 activations, where it has one for 32), and with activations in
8 bits by calibration (``int8``). Each case runs A B A B ... (A ours, B theirs;
each of ours is beside one of theirs), so that what else the machine does falls on both; compare the ratios. The cosine
is that of each of our vectors with theirs, the least of them; theirs is float32.

    uniform      texts of nearly one length, one call
    mixed        texts of 3 to 256 tokens, one call
    calls        the same texts in calls of 32, one after the other: theirs is then one batch a call
    one          a single short text, one call
    concurrent   64 callers at once with one text each; theirs one after the other in a worker thread, as a server
                 around SentenceTransformer.encode does it
    busy         mixed, while a second process computes on one processor without a pause
    varied       prose and code of this repository, other languages, and odd texts: for the cosine above all

The CPU ratio compares processor time, which other processes disturb less than the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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

ODD = (
    "", ".", "a", "?! ... ---", "1234567890", "3.14159 2.71828", "\t\n", "😀 🔥 🚀", "A" * 40, "word " * 250,
    "a b c " * 60, "the the the the the the", "http://example.com/a/b?c=d#g", '{"a": [1, {"b": null}]}', "0x7ffee4b8",
    "ACGTACGTTAGCCGATCGATCG", "SELECT * FROM t WHERE x IN (1, 2) ORDER BY y", "E = mc^2; F = ma", "Buy now!!! 50% OFF",
    "Сегодня хорошая погода, и мы идём гулять в парк.", "東京は日本の首都であり、人口が最も多い都市です。",
    "今天天气很好，我们去公园散步吧。", "한국어 문장을 하나 넣어 봅니다.", "هذا نص باللغة العربية.",
    "यह हिंदी में एक वाक्य है।",
    "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.", "วันนี้อากาศดี", "Le chat regarde les oiseaux par la fenêtre.",
    "Der schnelle braune Fuchs springt über den faulen Hund.", "O gato dorme em cima da mesa.", "京都 " * 100,
)  # fmt: skip


def sentences(count: int, shortest: int, longest: int, seed: int) -> list[str]:
    """``count`` texts of so many words; lengths spread evenly on a logarithmic scale, as lengths of real texts do."""
    draw = random.Random(seed)
    words, ratio = VOCABULARY.split(), longest / shortest
    return [" ".join(draw.choices(words, k=round(shortest * ratio ** draw.random()))) for _ in range(count)]


def varied(count: int) -> list[str]:
    """Texts of many kinds, none of which had a part in choosing what is quantised."""
    root = Path(__file__).parent.parent
    found: list[str] = []
    for page in sorted(root.glob("docs/*.md")):
        found += [part for each in page.read_text(encoding="utf-8").split("\n\n") if (part := each.strip())]
    for code in sorted(root.glob("ipfs_accelerate_py/runtimes/**/*.py")):
        lines = code.read_text(encoding="utf-8").splitlines()
        found += ["\n".join(lines[:6]), "\n".join(lines[len(lines) // 2 :][:40])]
    random.Random(5).shuffle(found)
    return [*ODD, *found][:count]


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


Call = Callable[[], Any]


def compare(name: str, texts: list[str], ours: dict[str, Call], theirs: Call, pairs: int) -> list[dict[str, Any]]:
    """One case, all contestants: in each round every one of ours has one of theirs right before or after it."""
    theirs()
    for call in ours.values():
        call()  # Warm: buffers, threads, caches.
    rows: dict[str, list[dict[str, float]]] = {each: [] for each in ours}
    vectors: dict[str, Any] = {}
    for at in range(pairs):
        names = list(ours) if at % 2 == 0 else list(reversed(ours))
        for low in range(0, len(names), 2):
            taken = {names[low]: measure(ours[names[low]])}
            wall_b, cpu_b, vectors_b = measure(theirs)
            for other in names[low + 1 : low + 2]:
                taken[other] = measure(ours[other])
            for each, (wall_a, cpu_a, vectors[each]) in taken.items():
                rows[each].append({"ours_s": wall_a, "theirs_s": wall_b, "ours_cpu_s": cpu_a, "theirs_cpu_s": cpu_b})
    return [summary(name, each, len(texts), rows[each], vectors[each], vectors_b) for each in ours]


def summary(
    case: str, contestant: str, texts: int, rows: list[dict[str, float]], ours: Any, theirs: Any
) -> dict[str, Any]:
    import numpy as np

    a, b = np.asarray(ours, dtype="float64"), np.asarray(theirs, dtype="float64")
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    ratios = [row["theirs_s"] / row["ours_s"] for row in rows]
    return {
        "case": case,
        "contestant": contestant,
        "texts": texts,
        "ours_per_s": texts / statistics.median(row["ours_s"] for row in rows),
        "theirs_per_s": texts / statistics.median(row["theirs_s"] for row in rows),
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "cpu_ratio": statistics.median(row["theirs_cpu_s"] / max(row["ours_cpu_s"], 1e-9) for row in rows),
        "least_cosine": float(cosine.min()),
        "pairs": rows,
    }


CONTESTANTS: dict[str, dict[str, Any]] = {
    "torch": {"runtime": "torch", "precision": "auto"},
    "float32": {"runtime": "openvino", "precision": "float32"},
    "careful": {"runtime": "openvino", "precision": "int8-weights", "options": {"keep_cosine": 0.999, "group": 128}},
    "int8-weights": {"runtime": "openvino", "precision": "int8-weights"},
    "int8-wide": {"runtime": "openvino", "precision": "int8-weights", "options": {"group": 128}, "force": True},
    "int8": {"runtime": "openvino", "precision": "int8", "force": True},
}


@contextlib.contextmanager
def spinning() -> Iterator[None]:
    """A second process that computes on one processor."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def run(options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np
    import sentence_transformers
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer

    from ipfs_accelerate_py.runtimes import EmbeddingRuntime, find_model
    from ipfs_accelerate_py.runtimes.engines.base import LoadPlan

    path = find_model(options.model)
    theirs = SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": "float32"})
    print(f"sentence-transformers {sentence_transformers.__version__}, "
          f"torch {torch.__version__}, transformers {transformers.__version__}")  # fmt: skip
    print(f"{processor()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.2f} at the start")
    runtimes: dict[str, Any] = {}
    loads: dict[str, float] = {}
    for name in options.contestants.split(","):
        kind = CONTESTANTS[name]
        given = {"plan": LoadPlan(**kind)} if kind["runtime"] == "openvino" else {"dtype": kind["precision"]}
        loads[name], _, runtimes[name] = measure(partial(EmbeddingRuntime.load, path, **given))
        loss = getattr(runtimes[name], "loss", None)
        said = f"; cosine {loss.cosine:.5f}, worst {loss.least_cosine:.5f}" if loss else ""
        left = f"; in float: {loss.left}" if loss and loss.left else ""
        print(f"{name}: {runtimes[name]!r}, loaded in {loads[name]:.1f} s{said}{left}")

    uniform = sentences(options.texts, 28, 30, 1)
    mixed = sentences(options.texts, 2, 230, 2)
    short = sentences(1, 12, 12, 3)
    single = sentences(CALLERS, 4, 40, 4)
    many = varied(64 if options.quick else 320)
    worker = ThreadPoolExecutor(1)

    async def ours_at_once(runtime: Any) -> Any:
        answers = await asyncio.gather(*(runtime.embed([text]) for text in single))
        return np.concatenate([answer.vectors for answer in answers])

    async def theirs_at_once() -> Any:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(worker, theirs.encode, [text]) for text in single]
        return np.concatenate(await asyncio.gather(*calls))

    def vectors_of(runtime: Any, texts: list[str]) -> Any:
        return runtime.embed_sync(texts).vectors

    def run_at_once(runtime: Any) -> Any:
        return asyncio.run(ours_at_once(runtime))

    def in_one_call(texts: list[str]) -> dict[str, Call]:
        return {name: partial(vectors_of, runtime, texts) for name, runtime in runtimes.items()}

    parts = [mixed[at : at + 32] for at in range(0, len(mixed), 32)]

    def in_calls(encode: Callable[[list[str]], Any]) -> Call:
        return lambda: np.concatenate([encode(part) for part in parts])

    by_calls = {name: in_calls(partial(vectors_of, runtime)) for name, runtime in runtimes.items()}
    at_once: dict[str, Call] = {name: partial(run_at_once, runtime) for name, runtime in runtimes.items()}
    cases: list[tuple[str, list[str], dict[str, Call], Call]] = [
        ("uniform", uniform, in_one_call(uniform), lambda: theirs.encode(uniform)),
        ("mixed", mixed, in_one_call(mixed), lambda: theirs.encode(mixed)),
        ("calls", mixed, by_calls, in_calls(theirs.encode)),
        ("one", short, in_one_call(short), lambda: theirs.encode(short)),
        ("concurrent", single, at_once, lambda: asyncio.run(theirs_at_once())),
        ("busy", mixed, in_one_call(mixed), lambda: theirs.encode(mixed)),
        ("varied", many, in_one_call(many), lambda: theirs.encode(many)),
    ]
    print(
        f"{'case':12}{'contestant':14}{'texts':>6}{'ours/s':>10}{'theirs/s':>10}"
        f"{'ratio':>8}{'(range)':>16}{'CPU ratio':>11}{'cosine >=':>12}"
    )
    results = []
    for name, texts, ours, other in cases:
        with spinning() if name == "busy" else contextlib.nullcontext():
            found = compare(name, texts, ours, other, 1 if name == "varied" else options.pairs)
        results += found
        for result in found:
            span = f"{result['ratio_lowest']:.2f} to {result['ratio_highest']:.2f}"
            print(
                f"{name:12}{result['contestant']:14}{len(texts):6}{result['ours_per_s']:10.1f}"
                f"{result['theirs_per_s']:10.1f}{result['ratio']:8.2f}{span:>16}{result['cpu_ratio']:11.2f}"
                f"{result['least_cosine']:12.7f}",
                flush=True,
            )
    snapshots = {name: runtime.snapshot() for name, runtime in runtimes.items()}
    padding = ", ".join(f"{name} {snapshot['padding_ratio']:.1%}" for name, snapshot in snapshots.items())
    print(f"padding in our batches: {padding}; load {os.getloadavg()[0]:.2f} at the end")
    precisions = {name: runtime.dtype for name, runtime in runtimes.items()}
    for runtime in runtimes.values():
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
        "precisions": precisions,
        "load_s": loads,
        "load_average": os.getloadavg(),
        "snapshots": snapshots,
        "cases": results,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="name or folder (default: %(default)s)")
    parser.add_argument("--contestants", help=f"some of {','.join(CONTESTANTS)} (default: all; quick: the first three)")
    parser.add_argument("--texts", type=int, help="texts in uniform and mixed (default: 192; quick: 64)")
    parser.add_argument("--pairs", type=int, help="times each case runs on either side (default: 5; quick: 3)")
    parser.add_argument("--quick", action="store_true", help="fewer texts, pairs and contestants")
    parser.add_argument("--out", type=Path, help="file for the raw figures, as JSON")
    options = parser.parse_args()
    options.texts = options.texts or (64 if options.quick else 192)
    options.pairs = options.pairs or (3 if options.quick else 5)
    options.contestants = options.contestants or ",".join(list(CONTESTANTS)[: 3 if options.quick else None])
    if unknown := sorted(set(options.contestants.split(",")) - set(CONTESTANTS)):
        parser.error(f"no contestant {unknown[0]!r}: there are {', '.join(CONTESTANTS)}")
    result = run(options)
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
