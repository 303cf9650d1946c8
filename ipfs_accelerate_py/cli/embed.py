"""``ipfs-accelerate embed``: texts into vectors, in batches."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

import click

from ipfs_accelerate_py.cli.fallbacks import Named, Targets, fallback_option, same_model
from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.ledgers import written_option
from ipfs_accelerate_py.cli.options import free_options, merged
from ipfs_accelerate_py.cli.selection import (
    Connection,
    choose_target,
    connection_options,
    named_model,
    split_model,
    utf8,
)
from ipfs_accelerate_py.cli.terminal import Terminal, counted
from ipfs_accelerate_py.cli.texts import INPUT_FORMATS, Text, count_lines, open_input, read_texts
from ipfs_accelerate_py.cli.vectors import FORMATS, open_output, vector_writer
from ipfs_accelerate_py.errors import RuntimeUnavailable

__all__ = ["command"]

DEFAULT_MODEL = "all-MiniLM-L6-v2"

EXAMPLES = (
    ('ipfs-accelerate embed "a text" "another one"', "With the small model on this machine"),
    (
        "ipfs-accelerate embed -m openai/text-embedding-3-small --input texts.txt --output vectors.jsonl",
        "A line of a file is a text; a progress bar shows how far it got",
    ),
    (
        "ipfs-accelerate embed -m openai/bge-m3 --fallback ollama/bge-m3 --input texts.txt --output vectors.jsonl",
        "The same model elsewhere, where the first place fails",
    ),
    (
        "cut -f2 table.tsv | ipfs-accelerate embed --format jsonl - | jq -c .embedding",
        "In a pipe",
    ),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@option(
    "-m",
    "--model",
    metavar="[BACKEND/]MODEL",
    section="Model",
    help=f"Model to use, with the backend before a slash; a model that is on this machine needs none.  "
    f"[default: local/{DEFAULT_MODEL}]",
)
@fallback_option("Ask this one when those before it fail: the same model at another backend.")
@option("--dimensions", type=click.IntRange(min=1), metavar="N", section="Model", help="Length of the vectors.")
@free_options("Model")
@option("--input", "source", metavar="FILE", section="Input and output", help="Read the texts from here; - is stdin.")
@option(
    "--input-format",
    type=click.Choice(INPUT_FORMATS),
    section="Input and output",
    help='A text a line, or JSON lines: texts, or objects with a "text" and perhaps an "id".  '
    "[default: jsonl for .jsonl and .ndjson, else lines]",
)
@option("--output", metavar="FILE", section="Input and output", help="Write here instead of to stdout.")
@option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    section="Input and output",
    help="text: a line a vector (shortened on a terminal). jsonl: an object a vector. json: one object.  "
    "[default: by the ending of --output, else text; json with --json]",
)
@option(
    "--show-usage", is_flag=True, section="Input and output", show_default=False, help="Tokens and time, on stderr."
)
@written_option("Input and output")
@option("--batch-size", type=click.IntRange(min=1), default=64, metavar="N", section="Speed", help="Texts in a call.")
@option("--parallel", type=click.IntRange(min=1), default=4, metavar="N", section="Speed", help="Calls at once.")
@connection_options()
@common_options
@click.pass_obj
def command(
    terminal: Terminal,
    texts: tuple[str, ...],
    model: str | None,
    fallbacks: list[Named],
    dimensions: int | None,
    options: tuple[tuple[str, Any], ...],
    source: str | None,
    input_format: str | None,
    output: str | None,
    form: str | None,
    show_usage: bool,
    ledger: str | None,
    batch_size: int,
    parallel: int,
    connection: Connection,
) -> None:
    """Turn texts into vectors.

    Each TEXT is embedded by itself. Without TEXT (or with - in its place) texts are read from --input or from stdin,
    one a line; empty lines are passed over.

    Vectors are written in the order of the texts, as they come. After an error or Ctrl-C those that came are kept:
    text ends before the first that is missing, and JSON has the "index" of each.
    """
    source = _source(texts, source)
    backend, name = _target(named_model(model), connection)
    _check_comparable(f"{backend}/{name}", name, fallbacks)
    targets = Targets(backend, name, connection, fallbacks)
    call = merged(options, dimensions=dimensions, **connection.per_call())
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        total, read = _open_texts(stack, texts, source, input_format)
        file = open_output(output, source)
        if file is not sys.stdout:
            stack.enter_context(file)
        writer = vector_writer(form, output, file, terminal)

        from ipfs_accelerate_py.cli.batches import Embedding

        client = targets.open(name, max_concurrent_requests=parallel)
        stack.enter_context(client)
        targets.tell(terminal, client, name)
        if ledger is not None:
            client.open_ledger(ledger)
        advance = stack.enter_context(_progress(terminal, total, file))
        work = Embedding(client, name, call, writer, batch_size=batch_size, parallel=parallel, progress=advance)
        try:
            work.run(read)
        except BaseException as error:
            if work.written and not isinstance(error, OSError):
                kept = f" and kept in {output}" if output not in (None, "-") else ""
                of = f"{work.written} of " if total is not None else ""
                count = counted(total if total is not None else work.written, "text", "texts")
                terminal.warn(f"embedded {of}{count}{kept}; then it stopped")
            raise
    if not work.written:
        raise click.UsageError("no texts: nothing but empty lines was read")
    if set(work.backends) != {backend}:
        shares = ", ".join(f"{count} by {each}" for each, count in work.backends.items())
        terminal.note(f"({counted(work.written, 'text', 'texts')} embedded: {shares})")
    answered_by = " and ".join(f"{each}/{work.answered_by}" for each in work.backends)
    _report(terminal, work, output, show_usage, time.monotonic() - began, answered_by)


def _check_comparable(first: str, name: str, fallbacks: list[Named]) -> None:
    """A fallback must be the same model: what two models make of a text has nothing to do with each other."""
    for backend, model in fallbacks:
        if not same_model(name, model):
            raise click.UsageError(
                f"--fallback {backend}/{model} is another model than {first}: vectors of two models cannot be "
                f"compared, and a search over both finds nonsense. Name the same model at another backend: "
                f"{backend}/{name}"
            )


def _source(texts: tuple[str, ...], source: str | None) -> str | None:
    """Where to read texts from; None where they are arguments."""
    if texts == ("-",) and source is None:
        return "-"
    if texts and source is not None:
        raise click.UsageError("texts are given as arguments and with --input: one of them")
    if texts or source is not None:
        return source
    if sys.stdin.isatty():
        raise click.UsageError("no texts: give them as arguments, with --input FILE, or on stdin")
    return "-"


def _target(model: str | None, connection: Connection) -> tuple[str, str]:
    if model is None:
        if connection.backend in (None, "local") and connection.base_url is None:
            return "local", DEFAULT_MODEL
        raise click.UsageError("no model: name one of that backend with -m MODEL")
    if connection.backend is None and connection.base_url is None and split_model(model)[0] is None and _is_here(model):
        return "local", model
    return choose_target(model, connection)


def _is_here(model: str) -> bool:
    from ipfs_accelerate_py.runtimes.models import find_model

    try:
        find_model(model)
    except RuntimeUnavailable:
        return False
    return True


def _open_texts(
    stack: contextlib.ExitStack, texts: tuple[str, ...], source: str | None, form: str | None
) -> tuple[int | None, Iterator[Text]]:
    """How many there are, where that is known, and the texts."""
    if source is None:
        for text in texts:
            if not utf8(text, "a text").strip():
                raise click.UsageError("a text is empty")
        return len(texts), map(Text, texts)
    file = stack.enter_context(open_input(source))
    return count_lines(file), read_texts(file, "stdin" if source == "-" else source, form)


@contextlib.contextmanager
def _progress(terminal: Terminal, total: int | None, output: IO[str]) -> Iterator[Callable[[int], None]]:
    """A progress bar on the terminal; where the vectors go there too, a sign of life until the first comes."""
    if terminal.quiet or not terminal.colourful(sys.stderr):
        yield lambda count: None
        return
    if output.isatty():
        with contextlib.ExitStack() as waiting:
            waiting.enter_context(terminal.console().status("embedding", spinner="dots"))
            yield lambda count: waiting.close()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal.console(), transient=True) as progress:
        task = progress.add_task("embedding", total=total)
        yield lambda count: progress.advance(task, count)


def _report(
    terminal: Terminal, work: Any, output: str | None, show_usage: bool, seconds: float, answered_by: str
) -> None:
    if output not in (None, "-"):
        terminal.note(f"{counted(work.written, 'vector', 'vectors')} of {work.width} numbers in {output}")
    if show_usage:
        tokens = f"{work.usage.input_tokens} tokens" if work.usage.reported else "no token counts reported"
        terminal.say(f"{tokens}, {seconds:.2f} s, {answered_by}")
