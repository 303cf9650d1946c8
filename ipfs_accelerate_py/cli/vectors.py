"""Vectors written as they come, so that what was paid for is kept whatever happens next."""

from __future__ import annotations

import os
import sys
from typing import IO, Any, Protocol

import click

from ipfs_accelerate_py.cli.terminal import Terminal
from ipfs_accelerate_py.cli.texts import Text
from ipfs_accelerate_py.types import Usage

__all__ = ["FORMATS", "VectorWriter", "open_output", "vector_writer"]

FORMATS = ("text", "jsonl", "json")
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}
#: Numbers of a vector that a person is shown.
_SHOWN = 4


class VectorWriter(Protocol):
    """Writes one vector a text. Where one is missing, ``ordered`` formats end, and the others leave it out."""

    ordered: bool

    def add(self, index: int, text: Text, vector: list[float]) -> None:
        """Write the vector of the text that was the ``index``-th to be read, from 0."""
        ...

    def flush(self) -> None:
        """Let nothing wait in memory."""
        ...

    def finish(self, model: str, usage: Usage, complete: bool) -> None:
        """Write what stands behind the last vector."""
        ...


def open_output(path: str | None, source: str | None) -> IO[str]:
    """The file to write to, stdout for None. The file that texts are read from is refused: it would be emptied."""
    if path is None or path == "-":
        return sys.stdout
    try:
        if source is not None and source != "-" and os.path.exists(path) and os.path.samefile(path, source):
            raise click.UsageError(f"{path} is the input")
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}") from None


def vector_writer(form: str | None, path: str | None, file: IO[str], terminal: Terminal) -> VectorWriter:
    """The writer for this format; where none is named the file's ending tells it, and else it is ``text``."""
    if form is None:
        form = "json" if terminal.json else _SUFFIXES.get(os.path.splitext(path or "")[1], "text")
    if form == "json":
        return _Json(file, terminal)
    if form == "jsonl":
        return _JsonLines(file, terminal)
    return _Preview(terminal) if file is sys.stdout and sys.stdout.isatty() else _Plain(file)


class _Plain:
    """A line a vector, numbers separated by spaces."""

    ordered = True

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def add(self, index: int, text: Text, vector: list[float]) -> None:
        self._file.write(" ".join(map(repr, vector)) + "\n")

    def flush(self) -> None:
        self._file.flush()

    def finish(self, model: str, usage: Usage, complete: bool) -> None:
        self.flush()


class _Preview:
    """For a person: the first numbers, how many there are, and the text."""

    ordered = True

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def add(self, index: int, text: Text, vector: list[float]) -> None:
        first = ", ".join(f"{number:+.4f}" for number in vector[:_SHOWN])
        more = ", …" if len(vector) > _SHOWN else ""
        short = " ".join(text.text.split())
        short = short if len(short) <= 40 else short[:39] + "…"
        self._terminal.write(f"[{first}{more}] ({len(vector)} numbers)  {short}\n")

    def flush(self) -> None:
        pass  # each line went to the terminal at once

    def finish(self, model: str, usage: Usage, complete: bool) -> None:
        pass


class _JsonLines:
    """An object a vector: ``index``, ``id`` where the text had one, ``text``, ``embedding``."""

    ordered = False

    def __init__(self, file: IO[str], terminal: Terminal) -> None:
        self._file = file
        self._terminal = terminal

    def add(self, index: int, text: Text, vector: list[float]) -> None:
        self._file.write(self._terminal.dumps(_record(index, text, vector)) + "\n")

    def flush(self) -> None:
        self._file.flush()

    def finish(self, model: str, usage: Usage, complete: bool) -> None:
        self.flush()


class _Json:
    """One object: ``data`` with an object a vector, then ``model``, ``usage``, and whether it is ``complete``.

    Written piece by piece, so memory does not grow with the input.
    """

    ordered = False

    def __init__(self, file: IO[str], terminal: Terminal) -> None:
        self._file = file
        self._terminal = terminal
        self._before = '{"data": [\n'

    def add(self, index: int, text: Text, vector: list[float]) -> None:
        self._file.write(self._before + self._terminal.dumps(_record(index, text, vector)))
        self._before = ",\n"

    def flush(self) -> None:
        self._file.flush()

    def finish(self, model: str, usage: Usage, complete: bool) -> None:
        begun = self._before if self._before != ",\n" else "\n"
        end = {
            "model": model,
            "usage": {"input_tokens": usage.input_tokens, "reported": usage.reported},
            "complete": complete,
        }
        self._file.write(f"{begun}], {self._terminal.dumps(end)[1:]}\n")
        self._file.flush()


def _record(index: int, text: Text, vector: list[float]) -> dict[str, Any]:
    record: dict[str, Any] = {"index": index, "text": text.text, "embedding": vector}
    if text.id is not None:
        record["id"] = text.id
    return record
