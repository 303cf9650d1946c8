"""What an engine implements so that its model writes for many at once: rows that are opened, read in, stepped, let go.

A *row* is one sequence under way: what its engine keeps of it (a cache of keys and values, a recurrent state) and how
many positions it has. The batcher opens rows, has their prompts read in pieces, then gives every row one token a step
and gets the logits of what comes next. Rows join and leave between steps. Whoever asks calls `StepModel.open`, from
any thread; all else by the batcher's thread alone.

What a row gets must not depend on which other rows are there (to about 1e-4 in float32). An engine that cannot
promise this for a model says ``together = False``: it is then given one row at a time, turn by turn, which is slower
and right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .base import Prompt

__all__ = ["Row", "StepModel"]


class Row(Protocol):
    """One sequence under way. Engines make these; they keep on them what they need."""

    #: Positions that the model has seen of it: what is read of the prompt, and tokens given since.
    length: int


class StepModel(Protocol):
    """A model that is asked for one token at a time, for many sequences.

    One that can search with beams has ``search(prompt, sampling, limit) -> (ids, finish_reason)`` besides. One whose
    rows are as they were after a `step` has failed says ``steady = True``: the step is then tried row by row. Else rows
    are read once more, with what they have written, where their prompts are only texts.
    """

    #: Length of a row of logits; ids at or above it cannot be given.
    vocab_size: int
    #: Most positions of one row, prompt and answer together.
    max_positions: int
    #: Whether several rows may be given to one `step` (and one `prefill`). Else the batcher gives them one by one.
    together: bool
    #: How rows are computed and, where not together, why; a sentence for people.
    manner: str

    def open(self, prompt: Prompt) -> Row:
        """A row for that prompt, from any thread. Computes nothing. Raises `InvalidRequest` for what it cannot take."""
        ...

    def prefill(self, rows: Sequence[Row], most: int) -> list[NDArray[np.float32] | None]:
        """Read up to ``most`` further positions of the prompts of ``rows``, counted together.

        By row: the logits that follow its whole prompt, shape ``(vocab_size,)``, when this call has read its last
        position, and else None. At least one row gets on with each call; a model that cannot read in pieces reads one
        row whole. An exception leaves the rows good for nothing but `release`; the caller then tries others alone.
        """
        ...

    def step(self, rows: Sequence[Row], tokens: Sequence[int]) -> NDArray[np.float32]:
        """Give each of ``rows`` (read whole, each at most once) its next token: logits ``(len(rows), vocab_size)``.

        Rows that are not named stay as they are. The array may be overwritten by the next call, and the caller may
        write into it.
        """
        ...

    def release(self, row: Row) -> None:
        """Forget a row; what it held is free. Rows already released are let be."""
        ...

    def snapshot(self) -> dict[str, object]:
        """Rows, positions and bytes held, for people."""
        ...

    def close(self) -> None:
        """Forget all rows."""
        ...
