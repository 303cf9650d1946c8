"""The shape of a task's own work.

One input is *split* into one or more pieces (windows of a long recording, a query with each of its documents, one
hypothesis for each label); pieces of any number of inputs are *collated* into batches and run; each gets its *rows* of
the outputs back; and the rows of all pieces of one input are *joined* into its result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipfs_accelerate_py.results import TaskResult

__all__ = ["Context", "Piece", "Processing"]


@dataclass(slots=True)
class Piece:
    """A part of one input, ready to run.

    Attributes:
        features: arrays by the model's names, without the batch's axis.
        length: what it costs, in positions (tokens, frames, patches); at least 1.
        group: only pieces of equal group may run together.
        note: what `join` needs (offsets of tokens, size of the image).
    """

    features: dict[str, Any]
    length: int = 1
    group: Hashable = None
    note: Any = None


@dataclass(slots=True)
class Context:
    """What a task's work is made with.

    Attributes:
        path: the checkpoint's folder.
        config: Transformers' configuration object.
        inputs: names that the model's forward pass takes; None for any.
        auto: name of the Auto class that made the model.
        trust_remote_code: as the caller said.
    """

    path: Path
    config: Any
    inputs: frozenset[str] | None = None
    auto: str = ""
    trust_remote_code: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


class Processing(ABC):
    """One task's work for one model. Used by several threads: keeps no state that a call changes.

    Bad input raises `InvalidRequest` that names it (``param="input"``) and says what to give instead.
    """

    #: Whether a batch takes more than one forward pass (a text-to-speech model's decoder and vocoder). `run` then does
    #: all of it, with the network's own model, and who schedules calls it in place of collate, launch, collect, rows.
    runs: bool = False

    def run(self, network: Any, pieces: Sequence[Piece]) -> list[dict[str, Any]]:
        """Rows of one batch, computed by ``network``."""
        return self.rows(network.collect(network.launch(self.collate(pieces))), pieces)

    @abstractmethod
    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        """The pieces of one input, at least one."""

    @abstractmethod
    def collate(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """One batch: arrays by the model's names, batch first, padded where pieces differ in length."""

    def rows(self, outputs: Mapping[str, Any], pieces: Sequence[Piece]) -> list[dict[str, Any]]:
        """Each piece's own part of the outputs; those whose first axis is not the batch's are shared."""
        count = len(pieces)
        return [
            {
                name: array[at] if getattr(array, "shape", ()) and array.shape[0] == count else array
                for name, array in outputs.items()
            }
            for at in range(count)
        ]

    @abstractmethod
    def join(
        self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]
    ) -> TaskResult:
        """The result of one input, from the rows of its pieces, in their order."""
