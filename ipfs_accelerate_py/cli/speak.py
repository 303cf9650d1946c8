"""``ipfs-accelerate speak``: text into a recording."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from ipfs_accelerate_py.cli.asking import ask, model_option, one_text, plain_usage, usage_option
from ipfs_accelerate_py.cli.files import force_option, refuse_existing, write_file
from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.options import free_options, merged
from ipfs_accelerate_py.cli.selection import Connection, connection_options
from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["command"]

FORMATS = ("mp3", "wav", "opus", "aac", "flac", "pcm", "ogg")
EXAMPLES = (
    ('ipfs-accelerate speak -m openai/gpt-4o-mini-tts "Hello there." --output hello.mp3', "Into a file"),
    (
        "ipfs-accelerate speak -m openai/tts-1 --voice nova --format wav --output - < story.txt | aplay",
        "Read a file aloud",
    ),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("text", nargs=-1, metavar="[TEXT]...")
@model_option()
@option("--voice", metavar="NAME", default="alloy", section="Model", help="Whose voice; each service has its own.")
@option("--speed", type=float, metavar="X", section="Model", help="How fast; 1 is natural.")
@option("--instructions", metavar="TEXT", section="Model", help="How to say it, for models that take instructions.")
@free_options("Model")
@option("--output", metavar="FILE", section="Output", help="Where to write the recording; - is stdout.  [required]")
@option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    section="Output",
    help="[default: by the ending of --output, else the service's own]",
)
@force_option
@usage_option("Output")
@connection_options()
@common_options
@click.pass_obj
def command(
    terminal: Terminal,
    text: tuple[str, ...],
    model: str | None,
    voice: str,
    speed: float | None,
    instructions: str | None,
    options: tuple[tuple[str, Any], ...],
    output: str | None,
    form: str | None,
    force: bool,
    show_usage: bool,
    connection: Connection,
) -> None:
    """Speak a text aloud, into a file.

    The words of TEXT are what is said. Without TEXT (or with - in its place) it is read from stdin.
    """
    if output is None:
        raise click.UsageError("where to? Name a file with --output, or - for stdout")
    if output == "-" and (terminal.json or sys.stdout.isatty()):
        raise click.UsageError("a recording cannot be shown here: write it to a file or into a pipe")
    refuse_existing(output, force)
    said = one_text(text, "the text")
    call = merged(
        options,
        voice=voice,
        speed=speed,
        instructions=instructions,
        response_format=form or _by_ending(output),
        **connection.per_call(),
    )
    reply = ask(
        terminal, model, connection, lambda client, name: client.speak(name, said, **call), show_usage=show_usage
    )
    write_file(output, reply.body, force)
    if terminal.json:
        whole = {"file": output, "bytes": len(reply.body), "content_type": reply.content_type}
        terminal.data({**whole, **plain_usage(reply)})
    elif output != "-":
        terminal.note(f"{len(reply.body)} bytes of {reply.content_type} in {output}")


def _by_ending(output: str) -> str | None:
    ending = os.path.splitext(output)[1].lstrip(".").lower()
    return ending if ending in FORMATS else None
