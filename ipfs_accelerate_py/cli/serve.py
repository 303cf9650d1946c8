"""``ipfs-accelerate serve``: the gateway, until it is told to stop."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import click

from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.selection import key_options
from ipfs_accelerate_py.cli.terminal import Terminal

if TYPE_CHECKING:
    from ipfs_accelerate_py.gateway import GatewayConfig

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate serve", "Serve what has a key in the environment, and the models on this machine"),
    ("ipfs-accelerate serve --config gateway.yaml --port 8123", "Serve what a file lists, on another port"),
    (
        "GATEWAY_KEY=$(openssl rand -hex 24) ipfs-accelerate serve --host 0.0.0.0 --api-key-env GATEWAY_KEY",
        "Serve other machines, which must show the key that is in GATEWAY_KEY",
    ),
    (
        "ipfs-accelerate serve --no-environment --local-model all-MiniLM-L6-v2",
        "Serve models on this machine and nothing else, and load this one at the start",
    ),
)


@click.command(cls=Command, examples=EXAMPLES)
@option("--host", metavar="ADDRESS", section="Address", help="Where to listen.  [default: 127.0.0.1]")
@option(
    "--port", type=click.IntRange(0, 65535), metavar="N", section="Address", help="0 takes a free one.  [default: 8000]"
)
@option(
    "--config",
    "file",
    metavar="FILE",
    section="What is served",
    help="YAML with models, backends and settings; `ipfs-accelerate config template gateway` writes one to begin with.",
)
@option(
    "--local-model",
    "local_models",
    multiple=True,
    metavar="NAME",
    section="What is served",
    help="Load this model of this machine at the start; may be repeated. Others are loaded when they are first used.",
)
@option(
    "--local/--no-local",
    default=None,
    section="What is served",
    help="Serve the models on this machine.  [default: only where no FILE lists models]",
)
@option(
    "--environment/--no-environment",
    default=None,
    section="What is served",
    help="Serve every backend that has a key or address in the environment.  [default: as for --local]",
)
@key_options("Access", "the key that clients must show; without one, whoever reaches the address may use it")
@common_options
@click.pass_obj
def command(
    terminal: Terminal,
    host: str | None,
    port: int | None,
    file: str | None,
    local_models: tuple[str, ...],
    local: bool | None,
    environment: bool | None,
    api_key: dict[str, str] | None,
) -> None:
    """Serve an OpenAI-compatible gateway in front of every backend.

    Clients use http://ADDRESS:PORT/v1 as their base URL. What is served, and a curl line to try it with, is printed
    once requests are taken; with --json, an object with the "url".

    Options stand above variables IPFS_ACCELERATE_GATEWAY_<FIELD>, and these above FILE. Ctrl-C or SIGTERM stops it: no
    new requests are taken, and those under way get time to finish.
    """
    from ipfs_accelerate_py.gateway import load_config, serve
    from ipfs_accelerate_py.runtimes.models import find_model

    for name in local_models:
        find_model(name, allow_path=False)  # an error now is better than a warning later
    overrides: dict[str, Any] = {
        "host": host,
        "port": port,
        "preload": local_models or None,
        "local": True if local_models and local is None else local,
        "environment": environment,
    }
    config = load_config(file, overrides=overrides)
    if api_key is not None:
        config = _with_key(config, api_key)
    _log_to_stderr(terminal)
    serve(config, announce=_Announcement(terminal))


def _with_key(config: GatewayConfig, given: dict[str, str]) -> GatewayConfig:
    from ipfs_accelerate_py.credentials import Secret
    from ipfs_accelerate_py.gateway.config import GatewayKey

    return dataclasses.replace(config, api_keys=tuple(GatewayKey(name, Secret(key)) for name, key in given.items()))


class _Announcement:
    """Passes on what the gateway says of itself, a line at a time; as JSON, only the address."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._begun = False

    def __call__(self, line: str) -> None:
        first, self._begun = not self._begun, True
        if not self._terminal.json:
            self._terminal.write(line + "\n")
        elif first:
            self._terminal.write(self._terminal.dumps({"url": line.rpartition(" ")[2]}) + "\n")


def _log_to_stderr(terminal: Terminal) -> None:
    levels = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
    logging.basicConfig(
        level=levels.get(terminal.verbosity, logging.DEBUG),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
