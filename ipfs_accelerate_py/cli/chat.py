"""``ipfs-accelerate chat``: one answer, streamed as it is written, or a conversation."""

from __future__ import annotations

import sys
from typing import Any

import click

from ipfs_accelerate_py.cli.answers import Answer, print_answer, print_usage, unary_answer
from ipfs_accelerate_py.cli.fallbacks import Named, Targets, fallback_option
from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.ledgers import written_option
from ipfs_accelerate_py.cli.options import free_options, merged
from ipfs_accelerate_py.cli.selection import (
    MODEL_VARIABLE,
    Connection,
    choose_target,
    connection_options,
    default_setting,
    named_model,
    utf8,
)
from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["command"]

EXAMPLES = (
    ('ipfs-accelerate chat -m openai/gpt-4o "Why is the sky blue?"', "Ask once; the answer appears as it is written"),
    ("ipfs-accelerate chat -m groq/llama-3.3-70b-versatile", "Talk, with /help for what can be done"),
    (
        'ipfs-accelerate chat -m openai/gpt-4o --fallback claude/claude-sonnet-4-5 --fallback ollama/llama3.2 "Hello"',
        "Where the first fails, the next one answers",
    ),
    ('git diff | ipfs-accelerate chat -m openai/gpt-4o "Review this change:" -', "Put stdin where the - stands"),
    (
        'ipfs-accelerate chat --base-url http://localhost:8000/v1 -m my-model "Hello"',
        "Ask a server of your own that speaks OpenAI's format",
    ),
    (
        'ipfs-accelerate chat -m openai/gpt-4o --option response_format=\'{"type": "json_object"}\' \\\n'
        '      --json "Three colours, as JSON" | jq -r .text',
        "Pass an option of the service, and read the answer from a script",
    ),
    (
        'ipfs-accelerate chat -m openai/gpt-4o --api-key-file <(pass show openai) "Hello"',
        "Take the key from a password store, so that it is nowhere to be seen",
    ),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("prompt", nargs=-1, metavar="[PROMPT]...")
@option(
    "-m",
    "--model",
    metavar="[BACKEND/]MODEL",
    section="Model",
    help=f"Model to ask, with the backend before a slash.  [default: {MODEL_VARIABLE}]",
)
@fallback_option("Ask this one when those before it fail.")
@option("-s", "--system", metavar="TEXT", section="Model", help="Instruction that stands before the conversation.")
@option("-t", "--temperature", type=float, section="Model", help="Randomness; the service has its own default.")
@option("--max-tokens", type=click.IntRange(min=1), metavar="N", section="Model", help="Limit for the answer's length.")
@free_options("Model")
@option("--no-stream", is_flag=True, section="Output", show_default=False, help="Print the answer when it is complete.")
@option("--show-usage", is_flag=True, section="Output", show_default=False, help="Tokens and time, on stderr.")
@option(
    "--show-reasoning", is_flag=True, section="Output", show_default=False, help="The model's reasoning, on stderr."
)
@written_option("Output")
@connection_options()
@option(
    "--priority",
    type=click.Choice(["HIGH", "NORMAL", "LOW"], case_sensitive=False),
    metavar="[HIGH|NORMAL|LOW]",
    default="NORMAL",
    section="Backend",
    help="Place in the queue.",
)
@option(
    "--no-history",
    is_flag=True,
    section="Output",
    show_default=False,
    help="In a conversation: neither read nor write the file of earlier input lines.",
)
@common_options
@click.pass_obj
def command(
    terminal: Terminal,
    prompt: tuple[str, ...],
    model: str | None,
    fallbacks: list[Named],
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    options: tuple[tuple[str, Any], ...],
    no_stream: bool,
    show_usage: bool,
    show_reasoning: bool,
    ledger: str | None,
    connection: Connection,
    priority: str,
    no_history: bool,
) -> None:
    """Ask a model, once or in a conversation.

    The words of PROMPT are the question; a - among them stands for stdin. Without PROMPT the question comes from stdin
    where that is a pipe or a file, and on a terminal a conversation begins.

    The answer streams to stdout as it is written. One that broke off ends in an error and an exit code, never as if it
    were complete. With --fallback another model goes on where that can be done unseen; on a terminal, else, it may
    begin the answer anew, and says so.
    """
    asked = _prompt(prompt)
    if asked is None and terminal.json:
        raise click.UsageError("--json needs a prompt: as an argument, or on stdin")
    wanted = named_model(model) or default_setting(MODEL_VARIABLE)
    if not wanted:
        raise click.UsageError(f"no model: name one with -m BACKEND/MODEL, or set {MODEL_VARIABLE}")
    backend, name = choose_target(wanted, connection)
    call = merged(
        options,
        system=None if system is None else utf8(system, "--system"),
        temperature=temperature,
        max_tokens=max_tokens,
        priority=priority,
        **connection.per_call(),
    )
    targets = Targets(backend, name, connection, fallbacks)
    with targets.open(name) as client:
        targets.tell(terminal, client, name)
        if ledger is not None:
            client.open_ledger(ledger)
        answer = Answer(client, targets, name, call, streaming=not no_stream, reasoning=show_reasoning)
        if asked is None:
            from ipfs_accelerate_py.cli.conversation import converse

            converse(terminal, answer, keep_history=not no_history, show_usage=show_usage)
        elif terminal.json:
            reply = unary_answer(answer, asked)
            terminal.data(reply)
            if show_usage:
                print_usage(terminal, answer)
        else:
            print_answer(terminal, answer, asked)
            if show_usage:
                print_usage(terminal, answer)


def _prompt(words: tuple[str, ...]) -> str | None:
    """The question; None for a conversation. Words are joined by spaces, and stdin is a paragraph of its own."""
    if not words:
        return None if sys.stdin.isatty() else _stdin()
    if words.count("-") > 1:
        raise click.UsageError("- (stdin) can stand in the prompt only once")
    paragraphs = [""]
    for word in words:
        if word == "-":
            paragraphs += [_stdin(), ""]
        else:
            paragraphs[-1] = f"{paragraphs[-1]} {utf8(word, 'the prompt')}".lstrip(" ")
    text = "\n\n".join(filter(None, paragraphs))
    if not text.strip():
        raise click.UsageError("the prompt is empty")
    return text


def _stdin() -> str:
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig").rstrip("\n")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"stdin is not valid UTF-8 (byte {error.start})") from None
    if not text.strip():
        raise click.UsageError("stdin is empty: there is nothing to ask")
    return text
