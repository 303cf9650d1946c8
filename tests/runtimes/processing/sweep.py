"""Every type of a task through the public way: a small checkpoint is written, opened, asked alone and three at a time.

    python -m tests.runtimes.processing.sweep [--out FILE] [--types a,b] [--show] [--page FILE] TASK...

Rows are kept as JSON lines in ``--out``, so that an interrupted sweep goes on where it was, and a row there is not made
again. ``--page`` writes the table of docs/task_types.md from all rows of the file.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ipfs_accelerate_py.results import Tensor
from tests.runtimes.sweeps import FAILED, OK, Row, Sweep, one_line

from .questions import question

__all__ = ["check", "main", "types_of"]

#: Largest difference between what an input gets alone and with others, relative to the size of the number, at least 1.
TOLERANCE = 2e-4
_KINDS = {"BOOL": "?", "FP32": "<f4", "INT64": "<i8"}
# A classifier's labels where a task needs certain ones.
_LABELS = {"zero-shot-classification": ("contradiction", "neutral", "entailment"), "text-ranking": ("score",)}


def types_of(task: str) -> list[str]:
    """Model types that the catalog says do the task."""
    from ipfs_accelerate_py.runtimes.families.catalog import family_of, known_types

    return [kind for kind in known_types() if task in family_of(kind).tasks]


def check(model_type: str, task: str) -> Row:
    """The row of one type and one task (in the place of the runtime)."""
    from ipfs_accelerate_py.runtimes.families.catalog import family_of
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    row = Row(model_type, task)
    stage = "tiny"
    try:
        row.auto = family_of(model_type).auto(task)
        with tempfile.TemporaryDirectory() as place:
            folder = write_tiny(model_type, place, auto=row.auto, labels=_LABELS.get(task, ()))
            stage = "ask"
            alone, together = ask(folder, task)
        stage = "same"
        row.figures["batched"] = gap = max(difference(*pair) for pair in zip(alone, together, strict=True))
        row.outcome = OK if gap <= TOLERANCE else FAILED
        row.reason = "" if row.outcome == OK else f"batched differs from single by {gap:.1e}"
        if row.outcome == OK and all(each == alone[0] for each in alone) and task not in _DULL:
            row.reason = "the same answer to every input"
    except Exception as exc:
        row.outcome, row.reason = FAILED, f"{stage}: {_PLACE.sub('checkpoint', one_line(exc))}"
        if _SHOW:
            traceback.print_exc()
    return row


# Tasks whose answers are few words or none: a random model's are often alike.
_DULL = ("object-detection", "zero-shot-object-detection", "automatic-speech-recognition", "question-answering")
_SHOW: list[bool] = []
# Names of the folders that checkpoints were written into.
_PLACE = re.compile(r"(?:/\w+)*/?\btmp[a-z0-9_]{8}\b")


def ask(folder: Path, task: str) -> tuple[list[Any], list[Any]]:
    """Answers to three inputs one by one, and to all at once."""
    from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
    from ipfs_accelerate_py.runtimes.serving.jobs import Job
    from ipfs_accelerate_py.runtimes.serving.servable import open_servable

    inputs, options = question(task, folder)
    servable = open_servable("small", folder, task=task, plan=LoadPlan(precision="float32", runtime="torch"))
    try:

        async def run() -> tuple[list[Any], list[Any]]:
            alone = [(await servable.run(Job(task=task, inputs=[each], options=options))).results[0] for each in inputs]
            return alone, list((await servable.run(Job(task=task, inputs=inputs, options=options))).results)

        return asyncio.run(run())
    finally:
        servable.close()


def difference(one: Any, other: Any) -> float:
    """The largest difference of two results' numbers, relative where they are large; infinity where anything else
    differs."""
    import numpy as np

    if isinstance(one, Tensor) and isinstance(other, Tensor):
        left, right = (np.frombuffer(each.data, _KINDS[each.datatype]).astype("f8") for each in (one, other))
        if one.shape != other.shape:
            return float("inf")
        if one.datatype == "BOOL":  # a mask's edge may fall on a pixel that is neither here nor there
            return 0.0 if (left != right).sum() <= 0.002 * left.size else 1.0
        gaps = np.abs(left - right) / np.maximum(1.0, np.abs(left))
        return float(gaps.max(initial=0.0)) if np.isfinite(left).all() else float("inf")
    if isinstance(one, msgspec.Struct) and type(one) is type(other):
        return max((difference(getattr(one, n), getattr(other, n)) for n in one.__struct_fields__), default=0.0)
    if isinstance(one, bool | str | bytes | None):
        return 0.0 if one == other else float("inf")
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) / max(1.0, abs(one))
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() == other.keys():
        return max((difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return max((difference(*pair) for pair in zip(one, other, strict=True)), default=0.0)
    return float("inf")


def page(rows: Iterable[Row]) -> str:
    """The table of types by task, in Markdown."""
    import transformers

    by_task: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_task[row.runtime].append(row)
    lines = [
        "# Types by task",
        "",
        f"Which model types of Transformers {transformers.__version__} were seen to do which [task](tasks.md). Made by",
        "",
        "```console",
        "$ python -m tests.runtimes.processing.sweep --out bench/results/task_types.jsonl \\",
        "    --page docs/task_types.md TASK...",
        "```",
        "",
        "which writes a small random checkpoint of each type, opens it as any model is, and asks it three things,",
        "one by one and all at once: *done* are those that answer, and each input alike both times. Such a checkpoint",
        "may be wrong in itself: a reason that begins with `tiny` or tells of sizes is of that, not of the type. Tasks",
        "that are not here were not swept. The rows are in `bench/results/task_types.jsonl`; those marked `the same",
        "answer to every input` there answered, but their random weights told nothing apart. Rows are of several runs",
        "while the code changed: those that were done were not all made again.",
        "",
        "| Task | types | done |",
        "| --- | --- | --- |",
    ]
    for task, found in by_task.items():
        lines.append(f"| [{task}](#{task}) | {len(found)} | {sum(each.outcome == OK for each in found)} |")
    for task, found in by_task.items():
        good = [each.type for each in found if each.outcome == OK]
        lines += ["", f"## {task}", "", ", ".join(f"`{each}`" for each in good) + "." if good else "None."]
        bad = [each for each in found if each.outcome != OK]
        if bad:
            lines += ["", "| not done | why |", "| --- | --- |"]
            lines += [f"| {each.type} | {_cell(each.reason)} |" for each in bad]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")


def main(argv: list[str] | None = None) -> int:
    """Run the sweep; 1 where a row is not ok."""
    import ipfs_accelerate_py.runtimes.serving.servable  # noqa: F401
    from ipfs_accelerate_py.runtimes.families.tasks import TASKS

    def ordered(rows: Iterable[Row]) -> str:
        return page(sorted(rows, key=lambda each: list(TASKS).index(each.runtime)))

    return Sweep(tuple(TASKS), types_of, check, ordered, lambda row: bool(row.reason), _warm).main(__doc__, argv, _SHOW)


def _warm() -> None:
    """Import what every child needs, once."""
    import warnings

    import torch
    import transformers

    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    for task, kind in (("fill-mask", "bert"), ("image-classification", "vit")):
        check(kind, task)


if __name__ == "__main__":
    sys.exit(main())
