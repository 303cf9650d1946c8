"""A survey with its file and its page: what the command runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .catalog import known_types, listed_types, why_unknown
from .rows import Row, read_rows, write_row
from .survey import survey
from .table import summary, write_table

__all__ = ["Survey"]


class Survey:
    """Types, runtimes, and what was found of them so far.

    Args:
        types: which.
        runtimes: on which.
        jobs: how many at a time.
        timeout: seconds for one.
        out: file of JSON lines to which rows are added; those that it has are not made again.

    Raises:
        RuntimeUnavailable: there is no such type; with what became of it, where it is gone.
    """

    def __init__(
        self,
        types: Sequence[str],
        runtimes: Sequence[str],
        *,
        jobs: int = 1,
        timeout: float = 120.0,
        out: Path | None = None,
    ) -> None:
        known = set(known_types())
        for name in types:
            if name not in known:
                raise RuntimeUnavailable(why_unknown(name))
        self._types, self._runtimes = tuple(types), tuple(runtimes)
        self._jobs, self._timeout, self._out = jobs, timeout, out
        self._found = read_rows(out) if out is not None else {}

    def rows(self) -> Iterator[Row]:
        """Make the rows that are not there yet, each as it comes."""
        for row in survey(
            self._types, runtimes=self._runtimes, jobs=self._jobs, timeout=self._timeout, done=self._found
        ):
            self._found[row.key] = row
            if self._out is not None:
                write_row(self._out, row)
            yield row

    def page(self) -> str:
        """The table, in Markdown."""
        version = require("transformers").__version__
        return write_table(list(self._found.values()), known_types(), listed=listed_types(), version=version)

    def summary(self) -> dict[str, Counter[str]]:
        """By runtime, how many of the types have which outcome."""
        counts = summary(self._found.values(), set(self._types))
        return {runtime: +count for runtime, count in counts.items() if runtime in self._runtimes}
