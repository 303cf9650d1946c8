"""Every type that writes: what it writes here, beside others, is what its own ``generate`` writes alone.

    python -m tests.runtimes.generation.sweep [--out FILE] [--types a,b] [--show] [--again] [--page FILE] KIND...

Kinds are ``causal``, ``seq2seq``, ``speech``, ``sight``, or ``all``.
A small random model of each type is made. Four prompts of different lengths (texts; inputs of an encoder; texts with
images, once more, each with an image) join and leave at random steps, and every token is compared. Rows are kept as
JSON lines in ``--out``, so that an interrupted sweep goes on where it was. ``--page`` writes what was found as a table.
"""

from __future__ import annotations

import random
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from ipfs_accelerate_py.runtimes.generation.batcher import Batcher
from tests.runtimes.sweeps import FAILED, OK, Row, Sweep, one_line

from . import models

__all__ = ["AUTO", "check", "main", "types_of"]

#: By kind of sweep, the Auto class whose types it is of.
AUTO = {
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "speech": "AutoModelForSpeechSeq2Seq",
    "sight": "AutoModelForImageTextToText",
}
_COUNTS = (6, 1, 9, 4)
_SHOW: list[bool] = []


def types_of(kind: str) -> list[str]:
    """Model types of that kind, in order."""
    from ipfs_accelerate_py.runtimes.families.catalog import auto_classes

    return sorted(auto_classes()[AUTO[kind]])


def check(model_type: str, kind: str) -> Row:
    """The row of one type and one kind (in the place of the runtime)."""
    row = Row(model_type, kind, auto=AUTO[kind])
    stage = "tiny"
    try:
        made = models.model(model_type, AUTO[kind])
        stage = "prompts"
        prompts = prompts_of(made, row)
        stage = "generate"
        wanted = [models.written_by(made, count, each) for each, count in zip(prompts, _COUNTS, strict=True)]
        stage = "write"
        steps = models.steps(model_type, AUTO[kind])
        row.checks["together"] = OK if steps.together else one_line(ValueError(steps.manner)).split(": ", 1)[1]
        got = write(Batcher(steps, start=False, piece=4), made, prompts)
        wrong = [(at, *pair) for at, pair in enumerate(zip(wanted, got, strict=True)) if pair[0] != pair[1]]
        row.outcome = FAILED if wrong else OK
        row.reason = f"write: answer {wrong[0][0]} is {wrong[0][2]}, generate's {wrong[0][1]}" if wrong else ""
        if not wrong and len({tuple(each[:1]) for each in wanted}) == 1:
            row.reason = "all prompts are answered alike"
    except Exception as exc:
        row.outcome, row.reason = FAILED, f"{stage}: {one_line(exc)}"
        if _SHOW:
            traceback.print_exc()
    return row


def prompts_of(made: Any, row: Row) -> list[Any]:
    """Four prompts for a model, by what it takes; of texts alone where no other input could be made for it."""
    import numpy as np

    from ipfs_accelerate_py.runtimes.families.samples import fit_sampler
    from ipfs_accelerate_py.runtimes.generation.base import Prompt
    from ipfs_accelerate_py.runtimes.generation.own_steps import vocabulary

    kind = row.runtime
    size = vocabulary(made)
    rng = random.Random(4)
    first = min(100, size // 2)

    def ids(length: int) -> list[int]:
        return [rng.randrange(first, min(400, size)) for _ in range(length)]

    if made.main_input_name == "input_ids" and not _encodes(made):
        texts = [Prompt(ids=ids(each)) for each in (3, 1, 9, 6)]
        if kind == "causal":
            return texts
    elif kind == "seq2seq" and made.main_input_name == "input_ids":
        return [Prompt(features={"input_ids": np.array(ids(each))}) for each in (3, 2, 9, 6)]
    else:
        texts = []
    try:
        sampler = fit_sampler(made)
    except Exception as exc:
        if not texts:
            raise
        row.checks["features"] = one_line(exc)
        return texts
    row.checks["features"] = OK
    seen = []
    for seed in range(2 if texts else 4):
        batch = sampler.batch(seed)
        flat = [name for name in batch if name != "input_ids" and sampler.form.flat(name)]
        given: list[int] = []
        if not _encodes(made) and "input_ids" in batch:
            given = [int(each) for each in batch.pop("input_ids")[0]]
        for name in ("decoder_input_ids", "decoder_attention_mask", "attention_mask", "labels", "use_cache"):
            if name != "attention_mask" or not _encodes(made):
                batch.pop(name, None)
        features = {
            name: value if name in flat or not hasattr(value, "dtype") else value[0] for name, value in batch.items()
        }
        seen.append(Prompt(ids=given, features=features, flat=flat))
    return [*texts[:2], *seen] if texts else seen


def _encodes(made: Any) -> bool:
    return bool(made.config.is_encoder_decoder)


def write(writer: Any, made: Any, prompts: list[Any]) -> list[list[int]]:
    """What the prompts are answered with when they come and go at any step."""
    rng = random.Random(1)
    heard: list[models.Heard] = []
    for _ in range(500):
        if len(heard) < len(prompts) and rng.random() < 0.5:
            at = len(heard)
            heard.append(models.Heard())
            writer.submit(prompts[at], models.greedy_of(made, _COUNTS[at]), heard[at])
        if not writer.turn() and len(heard) == len(prompts):
            break
    for each in heard:
        if each.pieces and each.pieces[-1].error is not None:
            raise each.pieces[-1].error
    return [each.ids for each in heard]


def page(rows: Iterable[Row]) -> str:
    """What was found, in Markdown."""
    import transformers

    found = list(rows)
    lines = [
        "# Types that write",
        "",
        f"Model types of Transformers {transformers.__version__} that write, on torch. Made by",
        "",
        "```console",
        "$ python -m tests.runtimes.generation.sweep --out rows.jsonl --page docs/generating_types.md all",
        "```",
        "",
        "which has a small random model of each type answer four prompts that join and leave at any step, the",
        "likeliest token each time, and compares every token with `model.generate` alone. *Same* are those where",
        "all are equal.",
        "",
        "| Class | types | same | of these, rows step together |",
        "| --- | --- | --- | --- |",
    ]
    for kind, auto in AUTO.items():
        mine = [each for each in found if each.runtime == kind]
        if mine:
            same = [each for each in mine if each.outcome == OK]
            joined = sum(each.checks.get("together") == OK for each in same)
            lines.append(f"| `{auto}` | {len(mine)} | {len(same)} | {joined} |")
    for kind, auto in AUTO.items():
        mine = [each for each in found if each.runtime == kind]
        if not mine:
            continue
        same = [each for each in mine if each.outcome == OK]
        names = [f"`{each.type}`" for each in same if each.checks.get("together") == OK]
        lines += ["", f"## {auto}", "", f"Together: {', '.join(names) or 'none'}.", ""]
        texts = [f"`{each.type}`" for each in same if each.checks.get("features", OK) != OK]
        if texts:
            lines += [f"With texts alone, as no images or recordings could be made for them: {', '.join(texts)}.", ""]
        lines += ["| in turns, or not done | why |", "| --- | --- |"]
        for each in mine:
            if each.outcome != OK:
                lines.append(f"| {each.type} (not done) | {_cell(each.reason)} |")
            elif each.checks.get("together") != OK:
                lines.append(f"| {each.type} | {_cell(each.checks.get('together', ''))} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<").removeprefix("rows take turns: ")


def main(argv: list[str] | None = None) -> int:
    """Run the sweep; 1 where a row is not ok."""

    def ordered(rows: Iterable[Row]) -> str:
        return page(sorted(rows, key=lambda each: (each.runtime, each.type)))

    def notable(row: Row) -> bool:
        return bool(row.reason) or row.checks.get("together") != OK

    return Sweep(tuple(AUTO), types_of, check, ordered, notable, _warm).main(__doc__, argv, _SHOW)


def _warm() -> None:
    """Import what every process needs, once."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    check("gpt2", "causal")


if __name__ == "__main__":
    sys.exit(main())
