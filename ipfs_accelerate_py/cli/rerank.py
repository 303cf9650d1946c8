"""``ipfs-accelerate rerank``: documents by how well each answers a question."""

from __future__ import annotations

import sys
from typing import Any

import click

from ipfs_accelerate_py.cli.asking import ask, model_option, plain_usage, usage_option
from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.options import free_options, merged
from ipfs_accelerate_py.cli.selection import Connection, connection_options, utf8
from ipfs_accelerate_py.cli.terminal import Terminal
from ipfs_accelerate_py.cli.texts import INPUT_FORMATS, Text, open_input, read_texts

__all__ = ["command"]

EXAMPLES = (
    (
        'ipfs-accelerate rerank --base-url http://localhost:8000/v1 -m bge-reranker "red fruit" "an apple" "a stone"',
        "With a server of your own",
    ),
    (
        'ipfs-accelerate rerank -m hf_tei/bge-reranker "red fruit" --input notes.txt --top-n 3 | cut -f3',
        "The three lines of a file that fit best",
    ),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("query")
@click.argument("documents", nargs=-1, metavar="[DOCUMENT]...")
@model_option()
@option("--top-n", type=click.IntRange(min=1), metavar="N", section="Model", help="Only so many, the best ones.")
@free_options("Model")
@option("--input", "source", metavar="FILE", section="Input", help="Read the documents from here; - is stdin.")
@option(
    "--input-format",
    type=click.Choice(INPUT_FORMATS),
    section="Input",
    help='A document a line, or JSON lines: texts, or objects with a "text" and perhaps an "id".  '
    "[default: jsonl for .jsonl and .ndjson, else lines]",
)
@usage_option("Output")
@connection_options()
@common_options
@click.pass_obj
def command(
    terminal: Terminal,
    query: str,
    documents: tuple[str, ...],
    model: str | None,
    top_n: int | None,
    options: tuple[tuple[str, Any], ...],
    source: str | None,
    input_format: str | None,
    show_usage: bool,
    connection: Connection,
) -> None:
    """Order documents by how well each answers a question.

    QUERY is the question. Without DOCUMENT (or with - in its place) documents are read from --input or from stdin,
    one a line; empty lines are passed over.

    The best comes first: score, place in the input (from 0), and text.
    """
    if not utf8(query, "the query").strip():
        raise click.UsageError("the query is empty")
    texts = _documents(documents, source, input_format)
    call = merged(options, top_n=top_n, **connection.per_call())
    reply = ask(
        terminal,
        model,
        connection,
        lambda client, name: client.rerank(name, query, [text.text for text in texts], **call),
        show_usage=show_usage,
    )
    if terminal.json:
        results = [_record(each.index, each.score, texts[each.index]) for each in reply.ranking]
        terminal.data({"results": results, **plain_usage(reply)})
        return
    rows = [(f"{each.score:.4f}", str(each.index), texts[each.index].text) for each in reply.ranking]
    terminal.table(("score", "place", "document"), rows)


def _documents(given: tuple[str, ...], source: str | None, form: str | None) -> list[Text]:
    if given == ("-",) and source is None:
        given, source = (), "-"
    if given and source is not None:
        raise click.UsageError("documents are given as arguments and with --input: one of them")
    if given:
        return [Text(utf8(text, "a document")) for text in given]
    if source is None:
        if sys.stdin.isatty():
            raise click.UsageError("no documents: give them as arguments, with --input FILE, or on stdin")
        source = "-"
    with open_input(source) as file:
        texts = list(read_texts(file, "stdin" if source == "-" else source, form))
    if not texts:
        raise click.UsageError("no documents: nothing but empty lines was read")
    return texts


def _record(index: int, score: float, text: Text) -> dict[str, Any]:
    named = {} if text.id is None else {"id": text.id}
    return {"index": index, **named, "score": score, "document": text.text}
