"""``ipfs-accelerate models``: what can be asked, wherever it runs."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import click

from ipfs_accelerate_py.cli.failures import describe, exit_code, summary
from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.selection import Connection, choose_backend, connection_options
from ipfs_accelerate_py.cli.terminal import Terminal
from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.types import ModelInfo

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate models", "Every model that can be used right now"),
    ("ipfs-accelerate models --local", "Models on this machine: type, tasks, size, place"),
    ("ipfs-accelerate models groq", "Those of one backend"),
    ("ipfs-accelerate models | grep llama | cut -f1", "In a pipe: name, backend, owner, separated by tabs"),
    ("ipfs-accelerate models --json | jq -r '.models[].name'", "As JSON"),
)

Answer = list[ModelInfo] | AccelerateError


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("name", required=False, metavar="[BACKEND]")
@option("--local", is_flag=True, section="What", show_default=False, help="Those on this machine, with their places.")
@connection_options(timeout=30, retries=1)
@common_options
@click.pass_obj
def command(terminal: Terminal, name: str | None, local: bool, connection: Connection) -> None:
    """List the models that can be used.

    Of one BACKEND where it is named (--backend does so too) or --base-url is given; else of every backend that is
    configured, and of this machine. A name listed here is what -m of the other commands takes. Where one backend of
    several fails, the others are listed all the same, and the exit code tells of the failure.
    """
    if local:
        if name is not None or connection.backend is not None or connection.base_url is not None:
            raise click.UsageError("--local is this machine, and no other backend")
        _show_local(terminal)
        return
    if name is not None:
        if connection.backend is not None:
            raise click.UsageError("the backend is named twice: as an argument and with --backend")
        connection = dataclasses.replace(connection, backend=name)
    from ipfs_accelerate_py.backends import configured
    from ipfs_accelerate_py.portal import portal

    if connection.backend is None and connection.base_url is None:
        names = [*(spec.name for spec in configured()), "local"]
    else:
        names = [choose_backend(connection)]
    answers = dict(zip(names, portal().call(_ask_all, names, connection), strict=True))
    failures = {name: answer for name, answer in answers.items() if isinstance(answer, AccelerateError)}
    if len(failures) == len(answers):
        raise next(iter(failures.values()))
    rows = [
        {"name": f"{backend}/{model.id}", "backend": backend, "id": model.id, "owner": model.owner}
        for backend, answer in answers.items()
        if not isinstance(answer, AccelerateError)
        for model in sorted(answer, key=lambda model: model.id.lower())
    ]
    if terminal.json:
        errors = [{"backend": name, **_plain(error)} for name, error in failures.items()]
        terminal.data({"models": rows, "errors": errors})
    else:
        terminal.table(("model", "backend", "owner"), [(row["name"], row["backend"], row["owner"]) for row in rows])
    for name, failure in failures.items():
        terminal.warn(f"{name}: {summary(failure)}")
    if failures:
        click.get_current_context().exit(exit_code(next(iter(failures.values()))))


def _show_local(terminal: Terminal) -> None:
    from ipfs_accelerate_py.runtimes.models import list_models

    found = list_models()
    if terminal.json:
        rows = [{**dataclasses.asdict(model), "path": str(model.path)} for model in found]
        terminal.data({"models": rows})
        return
    terminal.table(
        ("model", "type", "tasks", "MB", "place"),
        [
            (model.name, model.model_type, ", ".join(model.tasks), f"{model.size / 1e6:.1f}", str(model.path))
            for model in found
        ],
    )


async def _ask_all(names: list[str], connection: Connection) -> list[Answer]:
    return await asyncio.gather(*(_ask(name, connection) for name in names))


async def _ask(name: str, connection: Connection) -> Answer:
    from ipfs_accelerate_py.client import AsyncClient

    # What runs here has no connection to fail, and takes no address or key.
    arguments: dict[str, Any] = {} if name == "local" else connection.arguments()
    try:
        async with AsyncClient(name, **arguments) as client:
            return await client.models(**connection.per_call())
    except AccelerateError as error:
        return error


def _plain(error: AccelerateError) -> dict[str, Any]:
    said: dict[str, Any] = describe(error, exit_code(error))["error"]
    return said
