"""``ipfs-accelerate matrix diff``: what changed between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.matrix.options import bounds_of, bounds_options, open_store, store_option
from ipfs_accelerate_py.cli.terminal import Terminal, counted

if TYPE_CHECKING:
    from ipfs_accelerate_py.matrix.diff import Diff

__all__ = ["command", "compared", "explain", "rows"]

EXAMPLES = (
    ("ipfs-accelerate matrix diff", "The newest run and the one before"),
    ("ipfs-accelerate matrix diff nightly latest --slower 1.3", "Two runs by name, with a closer look at times"),
    ("ipfs-accelerate matrix diff release latest --before-store release.sqlite", "With a run of another file"),
)


@click.command(cls=Command, name="diff", examples=EXAMPLES)
@click.argument("before", default="latest~1")
@click.argument("after", default="latest")
@store_option
@option(
    "--before-store", type=click.Path(path_type=Path), metavar="FILE", section="Input", help="The file that has BEFORE."
)
@bounds_options
@common_options
@click.pass_obj
def command(
    terminal: Terminal, /, before: str, after: str, store: Path, before_store: Path | None, **given: Any
) -> None:
    """Show what is different in the run AFTER: what broke, healed, slowed, takes more memory, agrees less.

    Times on a processor are processor time, held against a fixed piece of arithmetic that was timed in turns with them:
    what else the machine did cancels. Times of different machines are not compared, and the output says so.
    """
    found = compared(store, before, after, before_store, given)
    if terminal.json:
        terminal.data(found.plain())
        return
    terminal.table(("change", "type", "runtime", "precision", "device", "what"), rows(found.changes))
    explain(terminal, found)


def compared(store: Path, before: str, after: str, before_store: Path | None, given: dict[str, Any]) -> Diff:
    """Both runs, held against one another."""
    from ipfs_accelerate_py.matrix.diff import diff

    with open_store(store) as here, open_store(before_store or store) as there:
        return diff(here, there.run(before), here.run(after), bounds_of(given), other=there)


def rows(changes: Any) -> list[list[str]]:
    """Changes as lines of a table."""
    return [[change.kind, *change.cell, change.what] for change in changes]


def explain(terminal: Terminal, found: Diff) -> None:
    """What was compared, what was not and why, and which versions changed."""
    counts = ", ".join(f"{number} {kind}" for kind, number in found.counts.items()) or "nothing is different"
    before, after = (run.label or run.id for run in (found.before, found.after))
    terminal.note(f"{before} and {after}, {counted(found.compared, 'cell', 'cells')} in both: {counts}")
    for name, (old, new) in found.versions.items():
        terminal.note(f"{name}: {old or 'none'} before, {new or 'none'} after")
    if found.untimed:
        terminal.warn(f"times and memory are not compared: {found.untimed}; --other-machine compares them all the same")
