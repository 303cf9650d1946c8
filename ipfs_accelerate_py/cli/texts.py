"""Texts to embed: from arguments, a file or stdin; as lines, or as JSON lines."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import click

from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["INPUT_FORMATS", "Text", "count_lines", "open_input", "read_texts"]

INPUT_FORMATS = ("lines", "jsonl")
_JSON_SUFFIXES = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Text:
    """One text, with the ``id`` of the JSON object it came in, if it had one."""

    text: str
    id: Any = None


@contextlib.contextmanager
def open_input(path: str) -> Iterator[IO[bytes]]:
    """The file to read texts from; ``-`` is stdin."""
    if path == "-":
        yield sys.stdin.buffer
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "rb"))
        except OSError as error:
            raise click.UsageError(f"{path} cannot be read: {error.strerror}") from None
        yield file


def count_lines(file: IO[bytes]) -> int | None:
    """How many lines a regular file has, to show progress by; None where that cannot be known beforehand."""
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
    except OSError:
        return None
    found, last = 0, b"\n"
    while block := file.read(1 << 20):
        found += block.count(b"\n")
        last = block[-1:]
    file.seek(0)
    return found + (last != b"\n")


def read_texts(lines: Iterable[bytes], name: str, form: str | None) -> Iterator[Text]:
    """The texts in ``lines``, of which empty ones are passed over.

    Args:
        name: what to call the input in messages; its ending tells the form where that is None.
        form: ``lines`` (one text a line) or ``jsonl`` (a line is a JSON string, or an object
            with ``text`` or ``input``).

    Raises:
        ConfigurationError: a line cannot be read; the message names it by its number.
    """
    as_json = form == "jsonl" or (form is None and name.endswith(_JSON_SUFFIXES))
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
        except UnicodeDecodeError:
            raise ConfigurationError(f"{name}, line {number}: not valid UTF-8") from None
        if line.strip():
            yield _from_json(line, f"{name}, line {number}") if as_json else Text(line)


def _from_json(line: str, where: str) -> Text:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ConfigurationError(f"{where}: not JSON: {error}") from None
    identity = None
    if isinstance(value, dict):
        identity = value.get("id")
        value = value.get("text", value.get("input"))
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f'{where}: neither a text nor an object with a "text"')
    return Text(value, identity)
