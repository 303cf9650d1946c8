"""``ipfs-accelerate hardware``: what this machine has to compute with."""

from __future__ import annotations

from typing import Any

import click

from ipfs_accelerate_py.cli.helping import Command, common_options
from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate hardware", "A line for each kind"),
    ("ipfs-accelerate hardware --json | jq .cuda", "As JSON"),
)


@click.command(cls=Command, examples=EXAMPLES)
@common_options
@click.pass_obj
def command(terminal: Terminal) -> None:
    """Show what this machine can compute with, and why not more."""
    from ipfs_accelerate_py.runtimes.hardware import find_hardware

    found = find_hardware()
    if terminal.json:
        terminal.data(found)
        return
    details = found["details"]
    rows = [(name, "yes" if found[name] else "no", _said(details[name])) for name in details]
    terminal.table(("hardware", "usable", "details"), rows)


def _said(detail: dict[str, Any]) -> str:
    if "reason" in detail:
        return str(detail["reason"])
    return ", ".join(f"{name}: {_shown(value)}" for name, value in detail.items())


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_shown(each) for each in value)
    if isinstance(value, dict):
        return " ".join(f"{each / 1e9:.1f} GB" if name == "memory" else str(each) for name, each in value.items())
    return str(value)
