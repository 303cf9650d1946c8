"""Whether a new answer begins with what was delivered of the one that broke off.

Answers are compared as sequences of pieces: reasoning, text, refusal, and each tool call's name and arguments, as long
as they follow each other, for each choice by itself. How they were cut into chunks does not matter. What cannot be
compared (signed reasoning, images, signatures) cannot be aligned.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from ipfs_accelerate_py.types import Chunk, ToolCall

__all__ = ["Alignment", "Delivered"]

#: What a piece belongs to: "text", "reasoning", "refusal", or a tool call ("name" or "arguments", with its index).
Channel: TypeAlias = str | tuple[str, int]


class _Choice:
    """What was delivered of one choice: pieces of text by channel, one after the other."""

    __slots__ = ("channels", "finished", "parts")

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self.parts: list[list[str]] = []
        self.finished = False

    def add(self, channel: Channel, text: str) -> None:
        if self.channels and self.channels[-1] == channel:
            self.parts[-1].append(text)
        else:
            self.channels.append(channel)
            self.parts.append([text])


class Delivered:
    """What the caller has of an answer so far."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        #: Something was delivered that another answer cannot be compared with.
        self.opaque = False
        #: Chunks with text: about as many tokens.
        self.pieces = 0

    def add(self, chunk: Chunk) -> None:
        """Note a chunk that is handed to the caller."""
        choice = self._choices.get(chunk.index)
        if choice is None:
            choice = self._choices[chunk.index] = _Choice()
        if chunk.text and not (chunk.reasoning or chunk.refusal or chunk.tool_calls):
            self.pieces += 1
            choice.add("text", chunk.text)
        else:
            for channel, text in _pieces(chunk):
                self.pieces += 1
                choice.add(channel, text)
        if chunk.finish_reason:
            choice.finished = True
        if chunk.thinking_blocks or chunk.images or any(call.signature for call in chunk.tool_calls):
            self.opaque = True

    def clear(self) -> None:
        """The caller was told to throw it all away."""
        self._choices.clear()
        self.opaque = False
        self.pieces = 0

    @property
    def choices(self) -> dict[int, _Choice]:
        return self._choices

    @property
    def complete(self) -> bool:
        """Whether every choice that was begun has its end."""
        return bool(self._choices) and all(choice.finished for choice in self._choices.values())

    def only_text(self) -> str | None:
        """The text, where that is all there is, of one choice that has not ended; else None."""
        if self.opaque or len(self._choices) != 1 or 0 not in self._choices:
            return None
        choice = self._choices[0]
        if choice.finished or choice.channels != ["text"]:
            return None
        return "".join(choice.parts[0])


class _Cursor:
    """How far a new answer has repeated one choice."""

    __slots__ = ("finished", "pieces", "position", "segment")

    def __init__(self, choice: _Choice) -> None:
        self.pieces = [(channel, "".join(parts)) for channel, parts in zip(choice.channels, choice.parts, strict=True)]
        self.finished = choice.finished
        self.segment = 0
        self.position = 0

    @property
    def done(self) -> bool:
        last = len(self.pieces) - 1
        return self.segment > last or (self.segment == last and self.position == len(self.pieces[last][1]))

    def take(self, channel: Channel, text: str) -> str | None:
        """What of ``text`` is new: "" while all of it was delivered already; None where it is something else."""
        while text and self.segment < len(self.pieces):
            expected, whole = self.pieces[self.segment]
            left = len(whole) - self.position
            if not left:
                if self.segment == len(self.pieces) - 1:
                    break  # all of it was repeated
                if channel == expected:
                    return None  # it goes on where the other one had turned to something else
                self.segment += 1
                self.position = 0
                continue
            if channel != expected:
                return None
            part = text[:left]
            if not whole.startswith(part, self.position):
                return None
            self.position += len(part)
            text = text[len(part) :]
        return text


class Alignment:
    """Holds a new answer back while it repeats what was delivered.

    `feed` gives what is new, and that is nothing until every choice has caught up. ``diverged`` is True from the moment
    on at which the answer is another one; ``held`` is all of it so far, for who wants to begin anew with it.
    """

    def __init__(self, delivered: Delivered) -> None:
        self._cursors = {index: _Cursor(choice) for index, choice in delivered.choices.items()}
        self._new: list[Chunk] = []
        self.held: list[Chunk] = []
        self.diverged = delivered.opaque
        self.caught_up = False

    def feed(self, chunks: list[Chunk]) -> list[Chunk]:
        """What the caller does not have yet of the answer."""
        self.held.extend(chunks)
        if self.diverged:
            return []
        for chunk in chunks:
            rest = self._rest(chunk)
            if self.diverged:
                return []
            if rest is not None:
                self._new.append(rest)
        if not self.caught_up:
            self.caught_up = all(cursor.done for cursor in self._cursors.values())
            if not self.caught_up:
                return []
        self.held.clear()
        new, self._new = self._new, []
        return new

    def end(self) -> None:
        """The answer is complete: it has diverged where it is shorter than what was delivered."""
        if not self.caught_up:
            self.diverged = True

    def _rest(self, chunk: Chunk) -> Chunk | None:
        """The part of a chunk that is new; None where there is none."""
        cursor = self._cursors.get(chunk.index)
        if cursor is None:
            return chunk
        was_done = cursor.done
        new: list[tuple[Channel, str]] = []
        for channel, text in _pieces(chunk):
            rest = cursor.take(channel, text)
            if rest is None or (rest and cursor.finished):
                self.diverged = True
                return None
            if rest:
                new.append((channel, rest))
        if not cursor.done and (chunk.finish_reason or chunk.thinking_blocks or chunk.images):
            self.diverged = True
            return None
        if cursor.finished:
            # Its end was delivered too; the counts may be those of the whole answer.
            return Chunk(usage=chunk.usage, model=chunk.model) if chunk.usage is not None else None
        if was_done:
            return _renamed(chunk, cursor)
        opaque = chunk.thinking_blocks or chunk.images
        if not (new or chunk.finish_reason or chunk.usage is not None or opaque):
            return None
        return _renamed(_with(chunk, new), cursor)


def _renamed(chunk: Chunk, cursor: _Cursor) -> Chunk:
    """A chunk without the ids of tool calls whose beginning was delivered: under the ids that they have there."""
    if not chunk.tool_calls:
        return chunk
    known = {channel[1] for channel, _ in cursor.pieces if not isinstance(channel, str)}
    if all(not call.id or call.index not in known for call in chunk.tool_calls):
        return chunk
    calls = [
        msgspec.structs.replace(call, id="", name="") if call.index in known else call for call in chunk.tool_calls
    ]
    return msgspec.structs.replace(chunk, tool_calls=calls)


def _pieces(chunk: Chunk) -> list[tuple[Channel, str]]:
    found: list[tuple[Channel, str]] = []
    if chunk.reasoning:
        found.append(("reasoning", chunk.reasoning))
    if chunk.text:
        found.append(("text", chunk.text))
    if chunk.refusal:
        found.append(("refusal", chunk.refusal))
    for call in chunk.tool_calls:
        if call.name:
            found.append((("name", call.index), call.name))
        if call.arguments:
            found.append((("arguments", call.index), call.arguments))
    return found


def _with(chunk: Chunk, pieces: list[tuple[Channel, str]]) -> Chunk:
    """The chunk with these pieces and no others."""
    given = dict(pieces)
    calls: list[ToolCall] = []
    for call in chunk.tool_calls:
        name, arguments = given.get(("name", call.index), ""), given.get(("arguments", call.index), "")
        if name or arguments:
            calls.append(msgspec.structs.replace(call, name=name, arguments=arguments))
    return msgspec.structs.replace(
        chunk,
        text=given.get("text", ""),
        reasoning=given.get("reasoning", ""),
        refusal=given.get("refusal", ""),
        tool_calls=calls,
        data=b"",  # the provider's own record of the chunk is not of this part of it
    )
