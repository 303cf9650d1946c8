"""Vectors by number, and which of a group are nearest to one: exact, in this process, made for a cache.

A look-up in a cache asks one thing: what is at least so similar? That can be answered for sure without looking at whole
vectors. They are kept turned (an orthogonal change of axes, which changes no product) so that the first axes hold most
of what tells them apart; of those 64 numbers and the length of the rest, the product of two vectors is known to within
bounds (Cauchy and Schwarz), and only the few whose upper bound reaches the threshold are looked at whole. The axes are
the principal ones of the first vectors that came. A poor choice costs time and never changes an answer.

Vectors lie in blocks of up to 4096, so growing copies next to nothing; one that leaves is overwritten by the last of
its group.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["VectorIndex"]

_BLOCK = 4096
_SMALLEST = 16
_HEAD = 64
#: Vectors from which the axes are chosen, and from which it is worth it.
_SAMPLE = 4096
#: Added to bounds: they are sums of rounded numbers.
_SLACK = 1e-5


class VectorIndex:
    """Unit vectors of one size, in groups that are searched apart.

    Raises `MissingExtra` where numpy is not installed.
    """

    def __init__(self) -> None:
        try:
            import numpy
        except ImportError:
            raise MissingExtra(
                "a semantic cache needs 'numpy', which is not installed: pip install \"ipfs-accelerate-py[semantic]\""
            ) from None
        self._np: Any = numpy
        self._groups: dict[Hashable, _Group] = {}
        self._places: dict[int, tuple[Hashable, int]] = {}
        self._axes: Any = None
        self.dimensions = 0

    def __len__(self) -> int:
        return len(self._places)

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks, room for growth among them."""
        return sum(group.nbytes for group in self._groups.values())

    def unit(self, vector: Any) -> NDArray[np.float32]:
        """A vector as float32 of length 1. Raises `ConfigurationError` for one of another size, or without length."""
        numpy = self._np
        made: NDArray[np.float32] = numpy.asarray(vector, dtype=numpy.float32)
        if made.ndim != 1 or not made.size or (self.dimensions and made.size != self.dimensions):
            wanted = f"{self.dimensions} numbers" if self.dimensions else "numbers"
            raise ConfigurationError(f"an embedding must be a list of {wanted}; one of shape {made.shape} came")
        length = float(numpy.sqrt(made @ made))
        if not 0 < length < float("inf"):
            raise ConfigurationError("an embedding must be of finite numbers that are not all zero")
        unit: NDArray[np.float32] = made / numpy.float32(length)
        return unit

    def add(self, group: Hashable, number: int, vector: Any) -> None:
        """Add a vector under a number of its own, or replace the one of that number."""
        unit = self.unit(vector)
        self.dimensions = unit.size
        self.remove(number)
        found = self._groups.get(group)
        if found is None:
            found = self._groups[group] = _Group(self._np, self.dimensions)
        self._places[number] = (group, found.append(number, unit if self._axes is None else self._axes @ unit))
        if self._axes is None and len(self._places) >= _SAMPLE and self.dimensions > 2 * _HEAD:
            self._turn()

    def remove(self, number: int) -> None:
        """Take a vector out; harmless where there is none."""
        place = self._places.pop(number, None)
        if place is None:
            return
        name, at = place
        group = self._groups[name]
        moved = group.remove(at)
        if moved is not None:
            self._places[moved] = (name, at)
        if not group.count:
            del self._groups[name]

    def search(self, group: Hashable, vector: Any, threshold: float, limit: int = 8) -> list[tuple[int, float]]:
        """Numbers and cosines of those in the group that are at least so similar, the most similar first."""
        found = self._groups.get(group)
        if found is None:
            return []
        unit = self.unit(vector)
        hits = found.search(unit if self._axes is None else self._axes @ unit, threshold, self._axes is not None)
        hits.sort(key=lambda hit: -hit[1])
        return hits[:limit]

    def clear(self) -> None:
        """Forget every vector."""
        self._groups.clear()
        self._places.clear()

    def _turn(self) -> None:
        """Choose axes, and turn what is here."""
        np = self._np
        sample = np.concatenate([group.sample(_SAMPLE) for group in self._groups.values()])[: 2 * _SAMPLE]
        _, axes = np.linalg.eigh((sample.T @ sample).astype(np.float64))
        self._axes = np.ascontiguousarray(axes[:, ::-1].T, dtype=np.float32)
        for group in self._groups.values():
            group.turn(self._axes)


class _Group:
    """The vectors of one group: blocks of rows, the first axes apart from the others."""

    def __init__(self, np: Any, dimensions: int) -> None:
        self._np = np
        self._dimensions = dimensions
        self._head = min(_HEAD, dimensions)
        self._blocks: list[_Block] = []
        self._numbers: list[int] = []

    @property
    def count(self) -> int:
        return len(self._numbers)

    @property
    def nbytes(self) -> int:
        return sum(block.nbytes for block in self._blocks)

    def append(self, number: int, vector: Any) -> int:
        at = len(self._numbers)
        index, row = divmod(at, _BLOCK)
        if index == len(self._blocks):
            self._blocks.append(_Block(self._np, self._dimensions, self._head, _SMALLEST if index == 0 else _BLOCK))
        self._blocks[index].write(row, vector)
        self._numbers.append(number)
        return at

    def remove(self, at: int) -> int | None:
        """Take out what lies there; gives the number of what lies there now, if something was moved."""
        last = len(self._numbers) - 1
        number = self._numbers.pop()
        final = self._blocks.pop() if last and last % _BLOCK == 0 else self._blocks[last // _BLOCK]
        if at == last:
            return None
        self._blocks[at // _BLOCK].copy(at % _BLOCK, final, last % _BLOCK)
        self._numbers[at] = number
        return number

    def search(self, vector: Any, threshold: float, turned: bool) -> list[tuple[int, float]]:
        hits: list[tuple[int, float]] = []
        for index, block in enumerate(self._blocks):
            base = index * _BLOCK
            count = min(_BLOCK, len(self._numbers) - base)
            rows, products = block.search(vector, threshold, count, turned)
            hits += [(self._numbers[base + row], value) for row, value in zip(rows, products, strict=True)]
        return hits

    def sample(self, most: int) -> Any:
        blocks = self._blocks[: -(-most // _BLOCK)]
        return self._np.concatenate(
            [block.rows(min(_BLOCK, len(self._numbers) - index * _BLOCK)) for index, block in enumerate(blocks)]
        )

    def turn(self, axes: Any) -> None:
        for index, block in enumerate(self._blocks):
            block.turn(axes, min(_BLOCK, len(self._numbers) - index * _BLOCK))


class _Block:
    """Rows of vectors: their first numbers, the others, and the length of the others."""

    def __init__(self, np: Any, dimensions: int, head: int, rows: int) -> None:
        self._np = np
        self._cut = head
        self.head = np.zeros((rows, head), np.float32)
        self.tail = np.zeros((rows, dimensions - head), np.float32)
        self.rest = np.zeros(rows, np.float32)

    @property
    def nbytes(self) -> int:
        return int(self.head.nbytes + self.tail.nbytes + self.rest.nbytes)

    def write(self, row: int, vector: Any) -> None:
        np = self._np
        if row == len(self.rest):  # only a group's first block is ever smaller than it can be
            more = min(_BLOCK, 2 * row) - row
            self.head = np.concatenate([self.head, np.zeros((more, self.head.shape[1]), np.float32)])
            self.tail = np.concatenate([self.tail, np.zeros((more, self.tail.shape[1]), np.float32)])
            self.rest = np.concatenate([self.rest, np.zeros(more, np.float32)])
        self.head[row] = vector[: self._cut]
        self.tail[row] = vector[self._cut :]
        self.rest[row] = np.sqrt(self.tail[row] @ self.tail[row])

    def copy(self, row: int, other: _Block, source: int) -> None:
        self.head[row] = other.head[source]
        self.tail[row] = other.tail[source]
        self.rest[row] = other.rest[source]

    def rows(self, count: int) -> Any:
        return self._np.concatenate([self.head[:count], self.tail[:count]], axis=1)

    def turn(self, axes: Any, count: int) -> None:
        np = self._np
        turned = self.rows(count) @ axes.T
        self.head[:count] = turned[:, : self._cut]
        self.tail[:count] = turned[:, self._cut :]
        self.rest[:count] = np.sqrt(np.einsum("ij,ij->i", self.tail[:count], self.tail[:count]))

    def search(self, vector: Any, threshold: float, count: int, turned: bool) -> tuple[list[int], list[float]]:
        np = self._np
        first, others = vector[: self._cut], vector[self._cut :]
        products = self.head[:count] @ first
        if turned:
            length = np.sqrt(others @ others)
            rows = np.nonzero(products + self.rest[:count] * length >= threshold - _SLACK)[0]
            if not rows.size:
                return [], []
            if 4 * rows.size > count:
                exact = (products + self.tail[:count] @ others)[rows]
            else:
                exact = products[rows] + self.tail[rows] @ others
        else:
            exact = products + self.tail[:count] @ others
            rows = np.arange(count)
        near = exact >= threshold
        return rows[near].tolist(), exact[near].tolist()
