"""``ipfs-accelerate moderate``: a verdict on texts."""

from __future__ import annotations

from typing import Any

import click

from ipfs_accelerate_py.cli.asking import ask, model_option, one_text, plain_usage, usage_option
from ipfs_accelerate_py.cli.helping import Command, common_options
from ipfs_accelerate_py.cli.options import free_options, merged
from ipfs_accelerate_py.cli.selection import Connection, connection_options, utf8
from ipfs_accelerate_py.cli.terminal import Terminal
from ipfs_accelerate_py.results import Moderation

__all__ = ["command"]

DEFAULT_MODEL = "openai/omni-moderation-latest"
EXAMPLES = (
    ('ipfs-accelerate moderate "a text" "another one"', "A line for each"),
    ("ipfs-accelerate moderate --json - < comment.txt | jq .flagged", "For a script"),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@model_option(DEFAULT_MODEL)
@free_options("Model")
@usage_option("Output")
@connection_options()
@common_options
@click.pass_obj
def command(
    terminal: Terminal,
    texts: tuple[str, ...],
    model: str | None,
    options: tuple[tuple[str, Any], ...],
    show_usage: bool,
    connection: Connection,
) -> None:
    """Have texts judged: whether each is flagged, and for what.

    Each TEXT is judged by itself. Without TEXT (or with - in its place) one text is read from stdin.

    A verdict is no error: the exit code tells whether there is one, and not what it says.
    """
    given = [one_text(texts, "the text")] if texts in ((), ("-",)) else [utf8(text, "a text") for text in texts]
    if any(not text.strip() for text in given):
        raise click.UsageError("a text is empty")
    call = merged(options, **connection.per_call())
    if model is None and connection.backend is None and connection.base_url is None:
        model = DEFAULT_MODEL
    reply = ask(
        terminal,
        model or DEFAULT_MODEL.partition("/")[2],
        connection,
        lambda client, name: client.moderate(name, given, **call),
        show_usage=show_usage,
    )
    if terminal.json:
        results = [_record(verdict) for verdict in reply.moderations]
        flagged = any(verdict.flagged for verdict in reply.moderations)
        terminal.data({"flagged": flagged, "results": results, **plain_usage(reply)})
        return
    rows = [
        ("flagged" if verdict.flagged else "ok", ", ".join(_named(verdict)), text)
        for verdict, text in zip(reply.moderations, given, strict=True)
    ]
    terminal.table(("verdict", "for", "text"), rows)


def _named(verdict: Moderation) -> list[str]:
    """The categories it is flagged for, the strongest first."""
    flagged = [name for name, value in verdict.categories.items() if value]
    return sorted(flagged, key=lambda name: -verdict.scores.get(name, 0.0))


def _record(verdict: Moderation) -> dict[str, Any]:
    return {"flagged": verdict.flagged, "categories": verdict.categories, "scores": verdict.scores}
