"""``ipfs-accelerate monitoring``: the dashboard and the rules that the package ships."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from ipfs_accelerate_py.cli.helping import Command, Group, common_options, option
from ipfs_accelerate_py.cli.terminal import Terminal
from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["ASSETS", "command"]

#: The files, and what each is for.
ASSETS = {
    "grafana.json": "a Grafana dashboard: import it, or put it where Grafana's provisioning looks",
    "recording.yml": "recording rules for Prometheus (rule_files)",
    "alerts.yml": "alerts for Prometheus, which need the recording rules",
}
EXAMPLES = (
    ("ipfs-accelerate monitoring export monitoring/", "Write the files into a folder"),
    ("ipfs-accelerate monitoring export /etc/prometheus/ipfs --force", "Bring them up to date"),
)


@click.group(cls=Group, name="monitoring", examples=EXAMPLES)
@common_options
def command() -> None:
    """Write a Grafana dashboard and Prometheus rules for a gateway."""


@command.command(cls=Command)
@click.argument("folder", metavar="DIR")
@option("--force", is_flag=True, section="Output", help="Replace files that are there.")
@common_options
@click.pass_obj
def export(terminal: Terminal, folder: str, force: bool) -> None:
    """Write the files into DIR, which is made where it is not there.

    Files that exist are left as they are unless --force is given.
    """
    place = Path(folder)
    assets = files("ipfs_accelerate_py.telemetry") / "assets"
    there = [name for name in ASSETS if (place / name).exists()]
    if there and not force:
        raise ConfigurationError(f"{place / there[0]} is there already; --force replaces it")
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name in ASSETS:
            (place / name).write_bytes((assets / name).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{place}: {error.strerror}") from error
    if terminal.json:
        terminal.data({name: str(place / name) for name in ASSETS})
        return
    terminal.table((), [(str(place / name), text) for name, text in ASSETS.items()])
