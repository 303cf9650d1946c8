"""Where output goes and how it looks: results on stdout, everything said about them on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Terminal", "counted", "printable"]

DEBUG_VARIABLE = "IPFS_ACCELERATE_DEBUG"

# What a model or a server writes must not drive the reader's terminal: no escape sequences, no carriage returns.
_CONTROLS: dict[int, str | None] = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}
_CONTROLS[ord("\r")] = None
# JSON escapes those below 0x20 by itself.
_JSON_CONTROLS = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}


def printable(text: str) -> str:
    """``text`` without control characters, which are shown as ``\\x1b`` and the like."""
    return text.translate(_CONTROLS)


class Terminal:
    """What the global options say about output, and the ways to make it.

    Attributes:
        verbosity: -1 for ``-q``, then 0, 1 for ``-v``, 2 for ``-vv``.
        json: results and errors are JSON.
        no_color: no colours, whatever the terminal can do.
    """

    def __init__(self) -> None:
        self.verbosity = 0
        self.json = False
        self.no_color = False

    @property
    def quiet(self) -> bool:
        return self.verbosity < 0

    @property
    def debug(self) -> bool:
        """Whether a traceback is wanted: ``-vv``, or IPFS_ACCELERATE_DEBUG is set to something."""
        return self.verbosity >= 2 or os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")

    # --- results -------------------------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Write a piece of a result to stdout, now; into a pipe or file as it is, to a terminal as it is safe."""
        sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()

    def data(self, value: Any) -> None:
        """Write a result as JSON: indented on a terminal, else on one line."""
        self.write(self.dumps(value, indent=2 if sys.stdout.isatty() else None) + "\n")

    def dumps(self, value: Any, *, indent: int | None = None) -> str:
        """``value`` as JSON that stdout's encoding can express, and that no terminal obeys."""
        unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        text = json.dumps(value, ensure_ascii=not unicode, indent=indent)
        return text if text.isascii() else text.translate(_JSON_CONTROLS)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table on a terminal; else one line a row, separated by tabs, without headings (as cut and awk want it)."""
        if not sys.stdout.isatty():
            for row in rows:
                self.write("\t".join(" ".join(cell.split()) for cell in row) + "\n")
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self.console(stderr=False).print(table)

    # --- about them ----------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Say something on stderr, unless ``-q``."""
        if self.verbosity >= 0:
            self.say(printable(text))

    def detail(self, text: str) -> None:
        """Say something on stderr with ``-v``."""
        if self.verbosity >= 1:
            self.say(self.styled(printable(text), "2"))

    def warn(self, text: str) -> None:
        """``warning: ...`` on stderr, unless ``-q``."""
        if self.verbosity >= 0:
            self.say(f"{self.styled('warning:', '33')} {printable(text)}")

    def error(self, text: str, hint: str | None) -> None:
        """``error: ...`` on stderr, and a hint unless ``-q``."""
        self.say(f"{self.styled('error:', '1;31')} {printable(text)}")
        if hint and not self.quiet:
            self.say(f"{self.styled('hint:', '36')} {printable(hint)}")

    def aside(self, text: str) -> None:
        """A piece of what was asked for beside the result, dimmed, on stderr."""
        sys.stderr.write(self.styled(printable(text) if sys.stderr.isatty() else text, "2"))
        sys.stderr.flush()

    def say(self, text: str) -> None:
        """A line on stderr, whatever the verbosity: the caller has made it safe to print."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    # --- looks ---------------------------------------------------------------------------------------------------

    def colourful(self, stream: IO[str]) -> bool:
        """Whether colours are wanted there: a terminal that has them, and no ``--no-color`` or NO_COLOR.

        NO_COLOR is as https://no-color.org describes it: any value but the empty one.
        """
        plain = self.no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return not plain and stream.isatty()

    def styled(self, text: str, codes: str) -> str:
        """``text`` in the colours of these SGR codes, where stderr shows colours."""
        return f"\x1b[{codes}m{text}\x1b[0m" if self.colourful(sys.stderr) else text

    def console(self, *, stderr: bool = True) -> Console:
        """A rich console, for tables and progress bars."""
        from rich.console import Console

        stream = sys.stderr if stderr else sys.stdout
        return Console(file=stream, no_color=not self.colourful(stream), highlight=False)


def counted(number: int, one: str, many: str) -> str:
    """``1 text``, ``2 texts``."""
    return f"{number} {one if number == 1 else many}"
