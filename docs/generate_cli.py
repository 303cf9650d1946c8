"""Writes the reference part of ``docs/cli.md`` from the commands' own help: ``python docs/generate_cli.py``.

With ``--check`` nothing is written, and the exit code is 1 where the page is not current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ipfs_accelerate_py.cli.app import app
from ipfs_accelerate_py.cli.failures import EXIT_CODES

PAGE = Path(__file__).with_name("cli.md")
MARKER = "<!-- Below this line the page is written by docs/generate_cli.py. -->\n"
#: Columns of the help, whatever terminal this runs in.
WIDTH = 96


def commands(command: click.Command, ctx: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """A command and all below it, each with its context."""
    yield command, ctx
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            child = command.get_command(ctx, name)
            assert child is not None
            yield from commands(child, _context(child, name, ctx))


def reference() -> str:
    """The reference: exit codes, then each command's help."""
    rows = "".join(f"| {int(code)} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    parts = [f"## Exit codes\n\n| code | meaning |\n|---|---|\n{rows}"]
    for command, ctx in commands(app, _context(app, "ipfs-accelerate", None)):
        shown = command.get_help(ctx).rstrip()
        parts.append(f"## {ctx.command_path}\n\n```text\n{shown}\n```\n")
    return "\n".join(parts)


def current(page: str) -> str:
    """The page as it should be: what people wrote, and the reference."""
    written, marker, _ = page.partition(MARKER)
    if not marker:
        raise SystemExit(f"{PAGE.name} has lost its marker: {MARKER.strip()}")
    return f"{written}{MARKER}\n{reference()}"


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, color=False)


def main() -> int:
    """Write the page, or check it."""
    page = PAGE.read_text(encoding="utf-8")
    wanted = current(page)
    if "--check" in sys.argv[1:]:
        return int(page != wanted)
    if page != wanted:
        PAGE.write_text(wanted, encoding="utf-8")
        print(f"{PAGE.name} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
