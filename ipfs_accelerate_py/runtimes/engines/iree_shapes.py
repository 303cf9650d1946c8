"""Machine code has fixed shapes: which ones are compiled, and how a batch is fitted into one and its answer cut out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.runtimes.extras import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LENGTHS", "ROWS", "Axes", "cut", "fit", "length_of", "round_up"]

#: Lengths of texts and numbers of rows that modules are compiled for; the next above is taken.
LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
ROWS = (1, 8)


@dataclass(frozen=True, slots=True)
class Axes:
    """Of each output, which axes grow with the rows of a batch and which with the length of its texts."""

    rows: Mapping[str, tuple[int, ...]]
    lengths: Mapping[str, tuple[int, ...]]


def length_of(batch: Mapping[str, NDArray[Any]]) -> int | None:
    """The length of the batch's texts, which its attention mask has; None where there is no mask."""
    mask = batch.get("attention_mask")
    return int(mask.shape[1]) if mask is not None and mask.ndim == 2 else None


def round_up(value: int, among: tuple[int, ...], most: int | None = None) -> int:
    """The next of ``among``, but never over ``most``; ``value`` itself where it is over all."""
    found = next((each for each in among if each >= value), value)
    return found if most is None or found <= most else max(value, most)


def fit(
    batch: Mapping[str, NDArray[Any]], rows: int, length: int | None, fill: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    """The batch with so many rows (the first one repeated) and texts of that length (filled up at their end: the mask
    by zeros, others by ``fill``)."""
    np = require("numpy")
    had = length_of(batch)
    made: dict[str, NDArray[Any]] = {}
    for name, array in batch.items():
        if length is not None and had is not None and array.ndim >= 2 and array.shape[1] == had < length:
            wide = [(0, 0)] * array.ndim
            wide[1] = (0, length - had)
            array = np.pad(array, wide, constant_values=fill.get(name, 0))
        if array.shape[0] < rows:
            array = np.concatenate([array, np.repeat(array[:1], rows - array.shape[0], axis=0)])
        made[name] = np.ascontiguousarray(array)
    return made


def cut(outputs: Mapping[str, NDArray[Any]], axes: Axes, rows: int, length: int | None) -> dict[str, NDArray[Any]]:
    """Outputs without what `fit` has put in."""
    made: dict[str, NDArray[Any]] = {}
    for name, array in outputs.items():
        place: list[Any] = [slice(None)] * array.ndim
        for axis in axes.rows.get(name, ()):
            place[axis] = slice(0, rows)
        for axis in axes.lengths.get(name, ()):
            place[axis] = slice(0, length)
        made[name] = array[tuple(place)]
    return made
