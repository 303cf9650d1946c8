"""``ipfs-accelerate count``: how many tokens a prompt is."""

from __future__ import annotations

import json
from typing import Any

import click

from ipfs_accelerate_py.cli.asking import ask, model_option, one_text, plain_usage
from ipfs_accelerate_py.cli.files import read_file
from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.options import free_options, merged
from ipfs_accelerate_py.cli.selection import Connection, connection_options, utf8
from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["command"]

EXAMPLES = (
    ('ipfs-accelerate count -m openai/gpt-4o "Why is the sky blue?"', "A number"),
    ("ipfs-accelerate count -m claude/claude-sonnet-4-5 - < book.txt", "Does it fit?"),
    ("ipfs-accelerate count --base-url http://localhost:8000/v1 -m my-model --messages talk.json", "A whole talk"),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("prompt", nargs=-1, metavar="[PROMPT]...")
@model_option()
@option("-s", "--system", metavar="TEXT", section="Model", help="Instruction that stands before the conversation.")
@free_options("Model")
@option(
    "--messages", metavar="FILE", section="Input", help="A list of messages as JSON, in OpenAI's shape; - is stdin."
)
@connection_options()
@common_options
@click.pass_obj
def command(
    terminal: Terminal,
    prompt: tuple[str, ...],
    model: str | None,
    system: str | None,
    options: tuple[tuple[str, Any], ...],
    messages: str | None,
    connection: Connection,
) -> None:
    """Count the tokens that a prompt is for a model.

    The service counts, and its number is the result.

    The words of PROMPT are the question. Without PROMPT (or with - in its place) it is read from stdin. What the
    service adds to a message (its role, and what separates it from the next) is counted too. Nothing is generated.

    A service that does not count is an error: there is no guessing here.
    """
    if messages is not None and prompt:
        raise click.UsageError("the prompt is given as arguments and with --messages: one of them")
    asked = one_text(prompt, "the prompt") if messages is None else _messages(messages)
    told = None if system is None else utf8(system, "--system")
    call = merged(options, system=told, **connection.per_call())
    reply = ask(
        terminal, model, connection, lambda client, name: client.count_tokens(name, asked, **call), show_usage=False
    )
    if terminal.json:
        terminal.data({"tokens": reply.usage.input_tokens, **plain_usage(reply)})
    else:
        terminal.write(f"{reply.usage.input_tokens}\n")


def _messages(path: str) -> list[dict[str, Any]]:
    name = "stdin" if path == "-" else path
    try:
        found = json.loads(read_file(path))
    except ValueError as error:
        raise click.UsageError(f"{name} is not JSON: {error}") from None
    if isinstance(found, dict):
        found = found.get("messages")
    if not isinstance(found, list) or not all(isinstance(message, dict) for message in found):
        raise click.UsageError(f"{name} holds no list of messages")
    return found
