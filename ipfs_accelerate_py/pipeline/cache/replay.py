"""A kept answer as a stream again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from ipfs_accelerate_py.types import Chunk, Image, ToolCall, Usage

__all__ = ["Replay", "chunks_of"]

#: Characters of a chunk at least, where a text is given in pieces; they end before a space.
_PIECE = 48
#: Chunks given at once; between two such batches others get their turn.
_BATCH = 32


class Replay:
    """Where a replayed stream's items come from: they are all here."""

    def __init__(self, items: Sequence[Any], model: str, usage: Usage, finish_reason: str | None) -> None:
        self._items = items
        self._at = 0
        self.model = model
        self.usage = usage
        self.finish_reason = finish_reason

    def begin(self) -> list[Any]:
        """The first items, which a stream has when it is given to its reader."""
        self._at = 1
        return list(self._items[:1])

    async def read(self) -> list[Any]:
        batch = list(self._items[self._at : self._at + _BATCH])
        self._at += len(batch)
        await asyncio.sleep(0)
        return batch

    def abort(self) -> None:
        """Nothing is held."""


def chunks_of(
    text: str,
    reasoning: str,
    refusal: str,
    thinking_blocks: Sequence[dict[str, Any]],
    images: Sequence[Image],
    tool_calls: Sequence[ToolCall],
    finish_reason: str | None,
    usage: Usage,
    model: str,
) -> list[Chunk]:
    """A whole answer in pieces: what was thought, what was said, what was called, how it ended, what it came to."""
    chunks = [Chunk(reasoning=piece, model=model) for piece in _pieces(reasoning)]
    if thinking_blocks:
        chunks.append(Chunk(thinking_blocks=thinking_blocks, model=model))
    chunks += [Chunk(text=piece, model=model) for piece in _pieces(text)]
    if refusal:
        chunks.append(Chunk(refusal=refusal, model=model))
    if images:
        chunks.append(Chunk(images=images, model=model))
    for index, call in enumerate(tool_calls):
        whole = ToolCall(call.id, call.name, call.arguments, index, call.type, call.signature)
        chunks.append(Chunk(tool_calls=[whole], model=model))
    chunks.append(Chunk(finish_reason=finish_reason, usage=usage, model=model))
    return chunks


def _pieces(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        end = text.find(" ", at + _PIECE, at + 2 * _PIECE)
        if end < 0:
            end = at + _PIECE  # where words are not told apart by spaces
        yield text[at:end]
        at = end
