"""``ipfs-accelerate matrix export``: results for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.matrix.options import RUN_HELP, open_store, store_option
from ipfs_accelerate_py.cli.terminal import Terminal, counted

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate matrix export results.parquet", "All runs; needs the extra duckdb"),
    ("ipfs-accelerate matrix export matrix.duckdb", "The same as a database with the tables results and runs"),
    ("ipfs-accelerate matrix export --run latest results.jsonl", "One run, a line a cell"),
    ("ipfs-accelerate matrix export --format csv - | head", "To stdout"),
)


@click.command(cls=Command, name="export", examples=EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@store_option
@option("--run", "names", metavar="RUN", multiple=True, section="Input", help=f"{RUN_HELP}  [default: all]")
@option(
    "--format", "form", type=click.Choice(["csv", "jsonl", "duckdb", "parquet"]), section="Output",
    help="What to write.  [default: by the file's ending]",
)  # fmt: skip
@common_options
@click.pass_obj
def command(terminal: Terminal, /, file: Path, store: Path, names: tuple[str, ...], form: str | None) -> None:
    """Write runs to FILE: a row a cell, with a column for each check and figure, and the run that it is of.

    Cells that were planned and not tried are rows too, and untested.
    """
    import io

    from ipfs_accelerate_py.matrix import export

    with open_store(store) as found:
        runs = [found.run(name) for name in names] or found.runs()
        if str(file) == "-":
            if form not in ("csv", "jsonl"):
                raise click.UsageError("to stdout goes --format csv or --format jsonl")
            text = io.StringIO()
            (export.write_csv if form == "csv" else export.write_json_lines)(found, runs, text)
            terminal.write(text.getvalue())
            return
        rows = export.export(found, runs, file, form or "")
    if terminal.json:
        terminal.data({"file": str(file), "runs": [run.id for run in runs], "rows": rows})
    else:
        terminal.write(f"{file}\n")
        terminal.note(f"{counted(rows, 'row', 'rows')} of {counted(len(runs), 'run', 'runs')}")
