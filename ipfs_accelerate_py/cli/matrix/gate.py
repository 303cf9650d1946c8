"""``ipfs-accelerate matrix gate``: no worse than before, or an exit code that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ipfs_accelerate_py.cli.failures import ExitCode
from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.matrix.diff import compared, explain, rows
from ipfs_accelerate_py.cli.matrix.options import RUN_HELP, bounds_options, store_option
from ipfs_accelerate_py.cli.terminal import Terminal, counted

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate matrix gate", "Is the newest run worse than the one before?"),
    ("ipfs-accelerate matrix gate --against nightly --allow 'slowed:*/openvino/*'", "Slower OpenVINO is let pass"),
    ("ipfs-accelerate matrix gate --against release --against-store release.sqlite", "Against a file that is kept"),
)


def _patterns(ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each for text in given for each in text.split(",") if each)


@click.command(cls=Command, name="gate", examples=EXAMPLES)
@store_option
@option("--run", "name", metavar="RUN", default="latest", section="Input", help=RUN_HELP)
@option("--against", metavar="RUN", default="latest~1", section="Input", help="The run that it must not be worse than.")
@option(
    "--against-store", type=click.Path(path_type=Path), metavar="FILE", section="Input", help="The file that has it."
)
@option(
    "--allow", multiple=True, callback=_patterns, metavar="PATTERN", section="What counts",
    help="Let pass: a type (bert, *_text), a cell (bert/openvino/int8/cpu), or either of one kind (slowed:bert).",
)  # fmt: skip
@option(
    "--count", "kinds", multiple=True, callback=_patterns, metavar="KINDS", section="What counts",
    help="Kinds of changes that count.  [default: broke, lost, fails anew, slowed, more memory, agrees less, untested]",
)  # fmt: skip
@bounds_options
@common_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    store: Path,
    name: str,
    against: str,
    against_store: Path | None,
    allow: tuple[str, ...],
    kinds: tuple[str, ...],
    **given: Any,
) -> None:
    """Exit with 1 where a run is worse than another, and list in what; for a continuous build.

    Types that were not measured before cannot be worse. Times of different machines are not compared: keep the run that
    you compare with from the same kind of machine.
    """
    from ipfs_accelerate_py.matrix.gate import COUNTED, regressions

    terminal = ctx.ensure_object(Terminal)
    found = compared(store, against, name, against_store, given)
    counting, allowed = regressions(found, allow=allow, kinds=kinds or COUNTED)
    if terminal.json:
        told = found.plain()
        chosen = {id(change) for change in counting}
        kept = [row for row, change in zip(told["changes"], found.changes, strict=True) if id(change) in chosen]
        terminal.data({**told, "regressions": kept, "allowed": len(allowed), "passed": not counting})
    else:
        terminal.table(("change", "type", "runtime", "precision", "device", "what"), rows(counting))
        explain(terminal, found)
        let = f", {len(allowed)} more are allowed" if allowed else ""
        terminal.note(f"{counted(len(counting), 'regression', 'regressions') if counting else 'no regression'}{let}")
    if counting:
        ctx.exit(ExitCode.UNEXPECTED)
