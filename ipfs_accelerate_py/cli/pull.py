"""``ipfs-accelerate pull``: have a server fetch a model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from ipfs_accelerate_py.cli.helping import Command, common_options
from ipfs_accelerate_py.cli.selection import Connection, connection_options, named_model, shown_address, split_model
from ipfs_accelerate_py.cli.terminal import Terminal, printable

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate pull llama3", "Have the Ollama server of this machine fetch a model"),
    ("ipfs-accelerate pull --base-url http://gpu-box:11434 qwen3:8b", "Or another one's"),
    ('ipfs-accelerate chat -m "$(ipfs-accelerate pull -q llama3)" "Hello"', "Its name, as -m takes it, is the result"),
)

#: The backends whose servers fetch models when they are asked to.
PULLING = ("ollama",)
#: The server is silent while it checks what it has fetched. In seconds.
_SILENCE = 600.0

Status = dict[str, Any]


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model")
@connection_options(timeout=24 * 3600)
@common_options
@click.pass_obj
def command(terminal: Terminal, model: str, connection: Connection) -> None:
    """Have an Ollama server fetch a model.

    The server is Ollama's: no other backend fetches models. A progress bar shows each of the model's layers; where
    stderr is no terminal, a line tells of each step. What was fetched before an error or Ctrl-C the server keeps, and
    goes on from there the next time.
    """
    backend, name = _target(model, connection)
    from ipfs_accelerate_py.settings import Timeouts
    from ipfs_accelerate_py.sync import Client

    with Client(backend, **connection.arguments()) as client:
        terminal.detail(f"asking {backend} at {shown_address(client.base_url)} to fetch {name}")
        limits = Timeouts(idle=_SILENCE)
        stream = client.stream_request("/pull", {"model": name}, timeouts=limits, **connection.per_call())
        with stream, _progress(terminal) as show:
            for chunk in stream:
                show(chunk.raw)
    if terminal.json:
        terminal.data({"name": f"{backend}/{name}", "backend": backend, "id": name, "status": "success"})
    else:
        terminal.write(f"{backend}/{name}\n")


def _target(model: str, connection: Connection) -> tuple[str, str]:
    from ipfs_accelerate_py.backends import find_backend

    if not (named_model(model) or "").strip():
        raise click.UsageError("the model's name is empty")
    backend, name = (None, model) if connection.backend is not None else split_model(model)
    chosen = find_backend(connection.backend or backend or PULLING[0]).name
    if chosen not in PULLING:
        raise click.UsageError(f"the backend {chosen} fetches no models; this is for: {', '.join(PULLING)}")
    return chosen, name


@contextlib.contextmanager
def _progress(terminal: Terminal) -> Iterator[Callable[[Status], None]]:
    """A bar for each layer on the terminal; else a line for each step."""
    if terminal.quiet or terminal.json or not terminal.colourful(sys.stderr):
        said: set[str] = set()

        def tell(status: Status) -> None:
            text = str(status.get("status") or "")
            if text and text not in said:
                said.add(text)
                terminal.note(text)

        yield tell
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    layers: dict[str, TaskID] = {}
    with Progress(*columns, console=terminal.console()) as bars:

        def draw(status: Status) -> None:
            text = printable(str(status.get("status") or ""))
            digest = str(status.get("digest") or "")
            if not digest:
                bars.console.print(text, markup=False)
                return
            if digest not in layers:
                layers[digest] = bars.add_task(text, total=status.get("total"))
            bars.update(layers[digest], completed=status.get("completed") or 0)

        yield draw
