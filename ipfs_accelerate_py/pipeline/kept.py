"""What has come of a stream that several read: kept for who joins late, and for who reads slowly."""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.types import Chunk

__all__ = ["Kept"]

#: A chunk costs memory (bytes) beside what it says.
_OVERHEAD = 200


class Kept:
    """Items from number ``first`` on, and about how many bytes they are (``size``)."""

    __slots__ = ("_items", "_sizes", "first", "size")

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._sizes: list[int] = []
        self.first = 0
        self.size = 0

    @property
    def end(self) -> int:
        """The number that the next item will have."""
        return self.first + len(self._items)

    def add(self, items: list[Any]) -> None:
        sizes = [_size(item) for item in items]
        self._items.extend(items)
        self._sizes.extend(sizes)
        self.size += sum(sizes)

    def since(self, position: int) -> list[Any]:
        """The items from this number on; they must be there still."""
        return self._items[position - self.first :]

    def drop_before(self, position: int) -> None:
        """Forget what came before this number."""
        count = position - self.first
        self.size -= sum(self._sizes[:count])
        del self._items[:count], self._sizes[:count]
        self.first = position


def _size(item: Any) -> int:
    if not isinstance(item, Chunk):
        return len(item) + 33
    size = _OVERHEAD + len(item.text) + len(item.reasoning) + len(item.refusal) + len(item.data)
    for piece in item.tool_calls:
        size += _OVERHEAD + len(piece.arguments)
    for image in item.images:
        size += len(image.data) + len(image.url)
    return size
