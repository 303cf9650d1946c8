"""A stream of chunks to the answer that it adds up to, one for each choice."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ipfs_accelerate_py.types import Chunk, ToolCall

from .jobs import Done

__all__ = ["gather_chunks"]


def gather_chunks(chunks: Iterable[Chunk]) -> Done:
    """Text, reasoning, calls and finish reason of every choice; the usage is the first one's."""
    found: dict[int, _Choice] = {}
    usage = None
    for chunk in chunks:
        found.setdefault(chunk.index, _Choice()).add(chunk)
        usage = chunk.usage or usage
    made = [found[index].chunk(index) for index in sorted(found)]
    if made:
        made[0].usage = usage
    return Done(
        chunks=made,
        input_tokens=[usage.input_tokens] if usage is not None else [],
        output_tokens=usage.output_tokens if usage is not None else 0,
    )


class _Choice:
    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, ToolCall] = {}
        self._arguments: dict[int, list[str]] = {}
        self._whole = Chunk()

    def add(self, chunk: Chunk) -> None:
        self._text.append(chunk.text)
        self._reasoning.append(chunk.reasoning)
        self._refusal.append(chunk.refusal)
        for piece in chunk.tool_calls:
            call = self._calls.setdefault(piece.index, ToolCall(index=piece.index))
            call.id = piece.id or call.id
            call.name = piece.name or call.name
            self._arguments.setdefault(piece.index, []).append(piece.arguments)
        self._whole.finish_reason = chunk.finish_reason or self._whole.finish_reason
        self._whole.model = chunk.model or self._whole.model

    def chunk(self, index: int) -> Chunk:
        for at, call in self._calls.items():
            call.arguments = "".join(self._arguments[at])
        return msgspec.structs.replace(
            self._whole,
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            refusal="".join(self._refusal),
            tool_calls=[self._calls[at] for at in sorted(self._calls)],
            index=index,
        )
