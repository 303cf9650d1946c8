"""How often the semantic cache answers what was not asked, and how often it helps, with and without its guard.

    python -m bench.semantic_cache [--out bench/results/semantic_cache] [--show]

The questions are pairs in tests/data/semantic_pairs.json: some that differ by one word and must not hit, some that ask
the same in other words and may. Vectors are those of the real all-MiniLM-L6-v2.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.pipeline.cache.wording import same_question

PAIRS = Path(__file__).resolve().parent.parent / "tests" / "data" / "semantic_pairs.json"
THRESHOLDS = (0.70, 0.75, 0.80, 0.85, 0.90, 0.92, 0.95, 0.97, 0.99)


def cosines(pairs: list[dict[str, str]]) -> list[float]:
    """The cosine of each pair."""
    from ipfs_accelerate_py.runtimes import EmbeddingRuntime, find_model

    runtime = EmbeddingRuntime.load(find_model("all-MiniLM-L6-v2"))
    try:
        one = runtime.embed_sync([pair["a"] for pair in pairs]).vectors
        other = runtime.embed_sync([pair["b"] for pair in pairs]).vectors
    finally:
        runtime.close()
    return [float(value) for value in (one * other).sum(axis=1)]


def measure() -> dict[str, Any]:
    """Hits by threshold, and each pair with what became of it."""
    given = json.loads(PAIRS.read_text(encoding="utf-8"))
    every = [(pair, kind) for kind in ("different", "same") for pair in given[kind]]
    similarities = cosines([pair for pair, _ in every])
    rows = [
        {**pair, "group": kind, "cosine": cosine, "guard": same_question(pair["a"], pair["b"])}
        for (pair, kind), cosine in zip(every, similarities, strict=True)
    ]
    table = []
    for threshold in THRESHOLDS:
        line: dict[str, Any] = {"threshold": threshold}
        for group in ("different", "same"):
            near = [row for row in rows if row["group"] == group and row["cosine"] >= threshold]
            line[group] = {"near": len(near), "hits": sum(row["guard"] for row in near)}
        table.append(line)
    return {
        "command": "python -m bench.semantic_cache",
        "python": platform.python_version(),
        "different": len(given["different"]),
        "same": len(given["same"]),
        "thresholds": table,
        "pairs": rows,
    }


def text(found: dict[str, Any], show: bool) -> str:
    """The figures as a table; with ``show``, the pairs that the guard decided against the label."""
    different, same = found["different"], found["same"]
    lines = [
        f"command: {found['command']}",
        f"{different} pairs that differ by one word (must not hit), {same} that ask the same (may hit); "
        "all-MiniLM-L6-v2, float32",
        "",
        f"{'':11}{'cosine alone':^32}{'with the guard':^32}",
        f"{'threshold':<11}{'false hits':>16}{'hits':>16}{'false hits':>16}{'hits':>16}",
    ]
    for line in found["thresholds"]:
        cells = [
            f"{line[group][key]} ({line[group][key] / whole:.1%})"
            for key in ("near", "hits")
            for group, whole in (("different", different), ("same", same))
        ]
        lines.append(f"{line['threshold']:<11.2f}" + "".join(f"{cell:>16}" for cell in cells))
    nearest = sorted(row["cosine"] for row in found["pairs"] if row["group"] == "different")
    lines += [
        "",
        f"cosine of pairs that differ by one word: median {nearest[len(nearest) // 2]:.3f}, highest {nearest[-1]:.3f}",
    ]
    for kind in dict.fromkeys(row["kind"] for row in found["pairs"] if row["group"] == "same"):
        mine = [row for row in found["pairs"] if row["group"] == "same" and row["kind"] == kind]
        passed = sum(row["guard"] for row in mine)
        lines.append(f"guard lets pass, {kind}: {passed} of {len(mine)}")
    if show:
        lines += ["", "what the guard turned away though it asks the same, and what it let pass though it does not:"]
        lines += [
            f"  {row['cosine']:.3f}  {row['a']}  |  {row['b']}"
            for row in found["pairs"]
            if row["guard"] != (row["group"] == "same")
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="write PATH.txt and PATH.json")
    parser.add_argument("--show", action="store_true", help="show the pairs that the guard decided against the label")
    options = parser.parse_args()
    found = measure()
    said = text(found, options.show)
    sys.stdout.write(said)
    if options.out:
        Path(options.out + ".txt").write_text(said)
        Path(options.out + ".json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
