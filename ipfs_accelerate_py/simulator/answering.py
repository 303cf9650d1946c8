"""What the simulated model says to a request, in no particular wire format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from .schema import example
from .text import generate
from .wire import Settings

__all__ = ["Said", "Tool", "ToolCall", "pieces", "say"]

_WORD = re.compile(r"\s*\S+|\s+$")


class Tool(NamedTuple):
    """A function the model may call; ``parameters`` is its JSON schema."""

    name: str
    parameters: Any


class ToolCall(NamedTuple):
    """A call made; ``arguments`` are JSON text, as the pieces it is streamed in."""

    name: str
    arguments: tuple[str, ...]


@dataclass(slots=True)
class Said:
    """One answer of the model, in tokens. ``cut`` tells that it was ended by the token limit."""

    tokens: Sequence[str] = ()
    reasoning: Sequence[str] = ()
    calls: list[ToolCall] = field(default_factory=list)
    cut: bool = False

    @property
    def count(self) -> int:
        """Tokens of all of it; a tool's name counts as one."""
        calls = sum(1 + len(call.arguments) for call in self.calls) if self.calls else 0
        return len(self.tokens) + len(self.reasoning) + calls


def pieces(text: str, size: int = 6) -> tuple[str, ...]:
    """A text in pieces of so many characters."""
    return tuple(text[at : at + size] for at in range(0, len(text), size))


def say(
    source: bytes,
    settings: Settings,
    body: Any,
    *,
    limit: int | None = None,
    stop: Sequence[str] = (),
    tools: Sequence[Tool] = (),
    schema: Any = None,
    reasoning: bool = False,
) -> Said:
    """Make up an answer.

    Args:
        source: what the answer is derived from; equal sources give equal answers.
        limit: most tokens of reasoning and answer together.
        stop: texts before which the answer ends.
        tools: call these, all of them, instead of answering with text.
        schema: answer with JSON that satisfies this schema.
        reasoning: think first, for half as many tokens as an answer has.
    """
    seed = settings.seed
    said = Said()
    if reasoning:
        said.reasoning = generate(b"reasoning" + source, max(1, settings.tokens // 2), seed)
    if tools:
        for index, tool in enumerate(tools):
            value = example(tool.parameters, b"%b#%d" % (source, index), seed)
            said.calls.append(ToolCall(tool.name, pieces(msgspec.json.encode(value).decode())))
    elif schema is not None:
        said.tokens = pieces(msgspec.json.encode(example(schema, source, seed)).decode())
    elif settings.reply is not None:
        text = settings.reply(body) if callable(settings.reply) else settings.reply
        said.tokens = tuple(_WORD.findall(text))
    else:
        said.tokens = generate(source, settings.tokens, seed)
    if stop:
        said.tokens = _stopped(said.tokens, stop)
    if limit is not None and len(said.reasoning) + len(said.tokens) > limit:
        said.cut = True
        said.reasoning = said.reasoning[:limit]
        said.tokens = said.tokens[: limit - len(said.reasoning)]
    return said


def _stopped(tokens: Sequence[str], stop: Sequence[str]) -> Sequence[str]:
    text = "".join(tokens)
    ends = [at for word in stop if word and (at := text.find(word)) >= 0]
    if not ends:
        return tokens
    left = min(ends)
    kept: list[str] = []
    for token in tokens:
        if left <= 0:
            break
        kept.append(token[:left])
        left -= len(token)
    return kept
