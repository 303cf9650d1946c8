"""``ipfs-accelerate matrix merge``: runs of several files in one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.matrix.options import open_store
from ipfs_accelerate_py.cli.terminal import Terminal, counted

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate matrix merge matrix.sqlite shard-1.sqlite shard-2.sqlite", "Two machines' halves, as one run"),
    ("ipfs-accelerate matrix merge all.sqlite monday.sqlite tuesday.sqlite", "Runs of several files, side by side"),
)


@click.command(cls=Command, name="merge", examples=EXAMPLES)
@click.argument("into", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("others", metavar="FROM...", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@option("--force", is_flag=True, section="How", help="Join shards of different machines or versions too.")
@common_options
@click.pass_obj
def command(terminal: Terminal, /, into: Path, others: tuple[Path, ...], force: bool) -> None:
    """Take all runs of the files FROM over into the file INTO, which is made if it is not there.

    Runs made with --shard, with the same label and otherwise the same options, become one run. Merging again changes
    nothing, or brings what was measured since.
    """
    from ipfs_accelerate_py.matrix.merging import merge
    from ipfs_accelerate_py.matrix.store import Store

    with ExitStack() as opened:
        sources = [opened.enter_context(open_store(path)) for path in others]
        done = merge(opened.enter_context(Store(into)), sources, force=force)
    if terminal.json:
        terminal.data(
            {
                "changed": list(done.changed),
                "shards": {name: dict(shards) for name, shards in done.shards.items()},
                "missing": {name: list(shards) for name, shards in done.missing.items()},
            }
        )
        return
    terminal.write("".join(f"{name}\n" for name in done.changed))
    for name, shards in done.shards.items():
        terminal.note(f"{name} is made of {counted(len(shards), 'shard', 'shards')}")
    for name, absent in done.missing.items():
        terminal.warn(f"{name} still lacks {', '.join(absent)}")
    if not done.changed:
        terminal.note("nothing is new")
