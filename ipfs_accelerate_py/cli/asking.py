"""What the commands for one call have in common: the model, the call, a sign of life, what it came to."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ipfs_accelerate_py.cli.helping import option
from ipfs_accelerate_py.cli.selection import Connection, choose_target, named_model, shown_address, utf8
from ipfs_accelerate_py.cli.terminal import Terminal

if TYPE_CHECKING:
    from ipfs_accelerate_py.sync import Client
    from ipfs_accelerate_py.types import Reply

__all__ = ["ask", "model_option", "one_text", "plain_usage", "read_stdin", "usage_option"]

F = TypeVar("F", bound=Callable[..., Any])


def model_option(default: str | None = None) -> Callable[[F], F]:
    """Add ``-m``; which model suits the command is nothing that a default for chats could know."""
    shown = f"  [default: {default}]" if default else "  [required]"
    return option(
        "-m",
        "--model",
        metavar="[BACKEND/]MODEL",
        section="Model",
        help=f"Model to ask, with the backend before a slash.{shown}",
    )


def usage_option(section: str) -> Callable[[F], F]:
    """Add ``--show-usage``."""
    return option("--show-usage", is_flag=True, section=section, show_default=False, help="Tokens and time, on stderr.")


def ask(
    terminal: Terminal,
    model: str | None,
    connection: Connection,
    call: Callable[[Client, str], Reply],
    *,
    show_usage: bool,
) -> Reply:
    """Make one call, and say on stderr what it took."""
    wanted = named_model(model)
    if wanted is None:
        raise click.UsageError("no model: name one with -m BACKEND/MODEL")
    backend, name = choose_target(wanted, connection)

    from ipfs_accelerate_py.sync import Client

    began = time.monotonic()
    with Client(backend, **connection.arguments()) as client:
        terminal.detail(f"asking {name} of {backend} at {shown_address(client.base_url)}")
        with _waiting(terminal):
            reply = call(client, name)
    if reply.ignored:
        terminal.detail(
            f"the service has no {', '.join(reply.ignored)}: left out, for the answer does not depend on it"
        )
    if show_usage:
        usage = reply.usage
        tokens = f"{usage.input_tokens} tokens in, {usage.output_tokens} out" if usage.reported else "no token counts"
        terminal.say(f"{tokens}, {time.monotonic() - began:.2f} s, {backend}/{reply.model or name}")
    return reply


@contextlib.contextmanager
def _waiting(terminal: Terminal) -> Iterator[None]:
    if terminal.quiet or not terminal.colourful(sys.stderr):
        yield
        return
    with terminal.console().status("waiting", spinner="dots"):
        yield


def one_text(words: tuple[str, ...], what: str) -> str:
    """The words as one text; stdin where there are none, or a - alone."""
    if words and words != ("-",):
        text = utf8(" ".join(words), what)
    elif not words and sys.stdin.isatty():
        raise click.UsageError(f"{what} is missing: give it as an argument or on stdin")
    else:
        text = read_stdin()
    if not text.strip():
        raise click.UsageError(f"{what} is empty")
    return text


def read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").rstrip("\n")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"stdin is not valid UTF-8 (byte {error.start})") from None


def plain_usage(reply: Reply) -> dict[str, Any]:
    """What every ``--json`` says of a call beside its result."""
    usage = reply.usage
    counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    return {
        "model": reply.model,
        "backend": reply.backend,
        "request_id": reply.request_id,
        "attempts": reply.attempts,
        "usage": {**counts, "total_tokens": usage.total_tokens} if usage.reported else None,
    }
