"""``ipfs-accelerate bench show``: figures that were kept."""

from __future__ import annotations

import click

from ipfs_accelerate_py.cli.bench import keep, show
from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate bench show figures.json", "As they were shown when they were measured"),
    ("ipfs-accelerate bench show figures.json --out again", "Make the page and the plots again"),
)


@click.command(cls=Command, name="show", examples=EXAMPLES)
@click.argument("file", type=click.Path())
@option("--out", metavar="PREFIX", section="Output", help="Write PREFIX.json and PREFIX.md, and plots and a page.")
@common_options
@click.pass_obj
def command(terminal: Terminal, file: str, out: str | None) -> None:
    """Show the figures in FILE, which bench wrote."""
    from ipfs_accelerate_py.bench.figures import Session

    session = Session.read(file)
    if out:
        keep(terminal, session, out)
    show(terminal, session)
