"""Files that a command reads whole, and files that it makes: none is overwritten without being asked."""

from __future__ import annotations

import os
import sys

import click

from ipfs_accelerate_py.cli.helping import option

__all__ = ["force_option", "read_file", "refuse_existing", "write_file"]

force_option = option(
    "--force", is_flag=True, section="Output", show_default=False, help="Overwrite a file that is there already."
)


def read_file(path: str) -> bytes:
    """A whole file; ``-`` is stdin."""
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from None


def refuse_existing(path: str | None, force: bool) -> None:
    """Before anything is asked, and paid for: say that the file is there already, or that it can be no file."""
    if path is None or path == "-":
        return
    if os.path.isdir(path) or not os.path.isdir(os.path.dirname(path) or "."):
        raise click.UsageError(f"{path} cannot be written: it is no place for a file")
    if not force and os.path.lexists(path):
        raise click.UsageError(f"{path} is there already; --force overwrites it")


def write_file(path: str, data: bytes, force: bool) -> None:
    """Write a whole file; ``-`` is stdout. One that has come into being meanwhile is not overwritten either."""
    if path == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        with open(path, "wb" if force else "xb") as file:
            file.write(data)
    except FileExistsError:
        raise click.UsageError(f"{path} is there already; --force overwrites it") from None
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}") from None
