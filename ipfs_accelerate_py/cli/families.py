"""``ipfs-accelerate families``: which model types run here, found by running one of each."""

from __future__ import annotations

from pathlib import Path

import click

from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate families --list", "Every model type, and what it can do"),
    ("ipfs-accelerate families --type bert --type whisper", "Try these two"),
    ("ipfs-accelerate families --runtime torch,openvino --out families.jsonl --page families.md", "The whole table"),
)


@click.command(cls=Command, examples=EXAMPLES)
@option("-t", "--type", "types", metavar="TYPE", multiple=True, section="What", help="A model type; all without.")
@option("--runtime", metavar="NAMES", default="torch", section="What", help="torch, openvino, or both with a comma.")
@option("--list", "listing", is_flag=True, section="What", help="Run nothing: print types and their tasks.")
@option("-j", "--jobs", type=click.IntRange(1), default=1, section="How", help="How many at a time.")
@option("--timeout", type=click.FloatRange(1), default=120.0, metavar="SECONDS", section="How", help="For one type.")
@option("--out", type=click.Path(path_type=Path), section="Output", help="Rows as JSON lines; goes on where it was.")
@option("--page", type=click.Path(path_type=Path), section="Output", help="Write the table as Markdown.")
@common_options
@click.pass_obj
def command(
    terminal: Terminal,
    types: tuple[str, ...],
    runtime: str,
    listing: bool,
    jobs: int,
    timeout: float,
    out: Path | None,
    page: Path | None,
) -> None:
    """Show which model types run here, by trying one of each.

    Nothing is downloaded: models are random, made from Transformers' own configuration classes. Each is built in a
    process of its own; what fails is a row with the reason.
    """
    from ipfs_accelerate_py.runtimes.families.catalog import family_of, known_types
    from ipfs_accelerate_py.runtimes.families.reporting import Survey

    runtimes = tuple(each.strip() for each in runtime.split(",") if each.strip())
    if unknown := set(runtimes) - {"torch", "openvino"}:
        raise click.UsageError(f"--runtime: no runtime {sorted(unknown)[0]!r}; torch and openvino are surveyed")
    if listing:
        for name in types or known_types():
            click.echo(f"{name}\t{', '.join(family_of(name).tasks)}")
        return
    survey = Survey(types or known_types(), runtimes, jobs=jobs, timeout=timeout, out=out)
    for row in survey.rows():
        click.echo(f"{row.type}\t{row.runtime}\t{row.outcome}\t{row.reason}")
    if page is not None:
        page.write_text(survey.page(), encoding="utf-8")
    for name, count in survey.summary().items():
        click.echo(f"{name}: {', '.join(f'{number} {what}' for what, number in sorted(count.items()))}", err=True)
