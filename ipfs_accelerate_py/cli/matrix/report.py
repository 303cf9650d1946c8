"""``ipfs-accelerate matrix report``: a run as pages to read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.matrix.options import open_store, run_option, store_option
from ipfs_accelerate_py.cli.terminal import Terminal

if TYPE_CHECKING:
    from ipfs_accelerate_py.matrix.store import Run, Store

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate matrix report", "The newest run, as matrix.html"),
    ("ipfs-accelerate matrix report --run nightly --out matrix.html --out results.md", "A run by its label, twice"),
    ("ipfs-accelerate matrix report --out matrix.csv", "For a spreadsheet: a line a cell"),
)
_ENDINGS = (".html", ".htm", ".md", ".csv")


@click.command(cls=Command, name="report", examples=EXAMPLES)
@store_option
@run_option
@option(
    "-o", "--out", "outs", type=click.Path(path_type=Path, dir_okay=False), multiple=True, default=("matrix.html",),
    metavar="FILE", section="Output", help="What to write, by its ending: .html, .md or .csv; may be repeated.",
)  # fmt: skip
@common_options
@click.pass_obj
def command(terminal: Terminal, /, store: Path, name: str, outs: tuple[Path, ...]) -> None:
    """Write a run as a page.

    The HTML is one file that needs no network: search, filter, sort, and open a type for all that was found of it, with
    how it changed over the runs of the file. Markdown is for documentation, CSV for a spreadsheet.
    """
    for out in outs:
        if out.suffix.lower() not in _ENDINGS:
            raise click.UsageError(f"--out {out}: a page ends on one of {', '.join(_ENDINGS)}")
    with open_store(store) as found:
        run = found.run(name)
        for out in outs:
            if out.suffix.lower() == ".csv":
                from ipfs_accelerate_py.matrix.export import export

                export(found, [run], out)
                continue
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(_page(found, run, out.suffix.lower()), encoding="utf-8")
    if terminal.json:
        terminal.data({"run": run.id, "files": [str(out) for out in outs]})
    else:
        terminal.write("".join(f"{out}\n" for out in outs))


def _page(store: Store, run: Run, ending: str) -> str:
    if ending == ".md":
        from ipfs_accelerate_py.matrix.tables import markdown

        return markdown(store, run)
    from ipfs_accelerate_py.matrix.page import page

    return page(store, run)
