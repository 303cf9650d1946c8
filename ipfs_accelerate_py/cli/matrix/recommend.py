"""``ipfs-accelerate matrix recommend``: what to run a model on, by what was measured here."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.matrix.options import open_store, store_option
from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate matrix recommend bert", "The fastest that agrees with PyTorch in float32"),
    ("ipfs-accelerate matrix recommend ./my-checkpoint --by memory", "For a checkpoint, or else for its type"),
    ("ipfs-accelerate matrix recommend whisper --cosine 0.999 --all", "Stricter; and every cell, with why not"),
)


@click.command(cls=Command, name="recommend", examples=EXAMPLES)
@click.argument("subject", metavar="TYPE|CHECKPOINT")
@store_option
@option(
    "--by", "criterion", type=click.Choice(["speed", "memory", "throughput"]), default="speed", section="Choice",
    help="What is best: the least latency, the least memory, or the most inputs a second.",
)  # fmt: skip
@option(
    "--cosine", type=click.FloatRange(-1, 1), default=0.99, section="Choice",
    help="The least agreement with PyTorch in float32.",
)  # fmt: skip
@option("--device", default="", metavar="NAME", section="Choice", help="Only this device, as cpu or cuda.")
@option("--all", "everything", is_flag=True, section="Output", help="Every cell, and of those left out the reason.")
@common_options
@click.pass_obj
def command(
    terminal: Terminal, /, subject: str, store: Path, criterion: str, cosine: float, device: str, everything: bool
) -> None:
    """Say how a model is best run on this machine, from the newest run that measured it here.

    Only cells of one run are compared. Where a checkpoint itself was not measured, its type is taken, and the output
    says so.
    """
    from ipfs_accelerate_py.matrix.recommend import recommend
    from ipfs_accelerate_py.matrix.running import describe
    from ipfs_accelerate_py.matrix.summaries import Column

    machine, _ = describe()
    with open_store(store) as found:
        said = recommend(
            found,
            subject,
            machine,
            model_type=_type_of(Path(subject)),
            criterion=criterion,
            cosine=cosine,
            device=device,
        )
    if terminal.json:
        terminal.data(
            {
                "subject": said.subject,
                "asked": said.asked,
                "run": said.run.id,
                "tiny": said.tiny,
                "sentence": said.sentence,
                "caution": said.caution,
                "candidates": [
                    {**each.result.cell._asdict(), "faster": each.faster, "figures": each.result.figures}
                    for each in said.candidates
                ],
                "tied": [each.result.cell._asdict() for each in said.tied],
                "left_out": [{**result.cell._asdict(), "reason": why} for result, why in said.left_out],
            }
        )
        return
    terminal.write(said.sentence + "\n")
    if said.tied:
        names = ", ".join(Column(*each.result.cell[1:]).title for each in said.tied)
        terminal.note(f"no faster than {names}, as far as the spread of the passes tells")
    if said.caution:
        terminal.note(said.caution)
    if everything:
        rows = [(str(place), each.words) for place, each in enumerate(said.candidates, 1)]
        rows += [("-", f"{Column(*result.cell[1:]).title}: {why}") for result, why in said.left_out]
        terminal.table(("", "cell"), rows)


def _type_of(folder: Path) -> str:
    """The model type of a checkpoint on this machine; empty where it is none."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(found.get("model_type", "")) if isinstance(found, dict) else ""
