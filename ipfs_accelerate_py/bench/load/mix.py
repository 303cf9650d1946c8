"""What is asked: requests from a file, or made up with lengths drawn from a distribution."""

from __future__ import annotations

import json
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.types import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Operation,
    Request,
)

__all__ = ["OPERATIONS", "Dataset", "Length", "Mix", "Synthetic"]

OPERATIONS = {"chat": Operation.CHAT, "completion": Operation.COMPLETION, "embedding": Operation.EMBED}
#: Lines of a file that are read, and characters of one.
MOST_LINES, MOST_CHARACTERS = 100_000, 10_000_000

# Each is one token, with the space before it, in the tokenizers of GPT-2, GPT-4, Llama and Qwen.
_WORDS: Final = """
time year people way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work government number night point home water room mother area money
story fact month lot right study book eye job word business issue side kind head house service friend
""".split()  # noqa: SIM905  # a literal would be 57 lines


@dataclass(frozen=True, slots=True)
class Length:
    """A distribution of whole numbers: ``256``, ``128-512`` (any of them), ``256~64`` (normal: mean, deviation)."""

    low: float
    high: float
    normal: bool = False

    @classmethod
    def parse(cls, text: str) -> Length:
        """Raises `ConfigurationError` for what is no length."""
        matched = re.fullmatch(r"\s*(\d+)\s*(?:([-~])\s*(\d+)\s*)?", text)
        if matched is None or int(matched[1]) < 1:
            raise ConfigurationError(f"{text!r} is no length: 256, or 128-512, or 256~64 (mean and deviation)")
        first = int(matched[1])
        second = int(matched[3]) if matched[3] else first
        if matched[2] == "~":
            return cls(first, second, True)
        if second < first:
            raise ConfigurationError(f"the length {text!r} ends below where it begins")
        return cls(first, second)

    def draw(self, chance: random.Random) -> int:
        """At least 1; a normal one at most four deviations from its mean."""
        if not self.normal:
            return chance.randint(int(self.low), int(self.high))
        drawn = chance.gauss(self.low, self.high)
        return max(1, round(min(self.low + 4 * self.high, max(self.low - 4 * self.high, drawn))))

    def __str__(self) -> str:
        if self.normal:
            return f"{self.low:g}~{self.high:g}"
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g}-{self.high:g}"


class Mix(ABC):
    """Requests without end, by number: the same number is the same request, whoever is asked."""

    #: What the figures say of it.
    label = ""

    def __init__(self, kind: str, options: Mapping[str, Any]) -> None:
        if kind not in OPERATIONS:
            raise ConfigurationError(f"a load is of {', '.join(OPERATIONS)}, not {kind!r}")
        self.kind = kind
        self.operation = OPERATIONS[kind]
        self._options = dict(options)

    @abstractmethod
    def request(self, model: str, number: int) -> Request:
        """The request of this number, from 0."""

    def _made(self, model: str, content: Any, options: Mapping[str, Any]) -> Request:
        """``content`` is messages of a chat, a prompt, or texts to embed."""
        given = {**self._options, **options}
        if self.operation is Operation.CHAT:
            return ChatRequest(model, content, given)
        if self.operation is Operation.COMPLETION:
            return CompletionRequest(model, content, given)
        return EmbedRequest(model, content, given)


class Synthetic(Mix):
    """Made-up texts of about so many tokens.

    Words that are one token each in the usual tokenizers, in an order that no two requests share from the first word
    on, so that no cache of prompts has an answer; what the service counts is in the figures.

    Args:
        tokens: of each text.
        output: tokens of an answer, as ``max_tokens``; None leaves that to the service.
        batch: texts in one call, for embeddings.
        shared: tokens that every prompt begins with, where it is a cache of prompts that is to be measured.
    """

    def __init__(
        self,
        kind: str = "chat",
        *,
        tokens: Length = Length(128, 128),
        output: Length | None = None,
        batch: int = 1,
        shared: int = 0,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(kind, options or {})
        if batch < 1 or shared < 0 or (batch > 1 and kind != "embedding"):
            raise ConfigurationError("several texts in a call are for embeddings alone, and at least 1")
        self._tokens = tokens
        self._output = None if kind == "embedding" else output
        self._batch = batch
        self._seed = seed
        self._shared = " ".join(random.Random(f"{seed}/shared").choices(_WORDS, k=shared))
        self.label = f"{tokens} in"
        if self._output is not None:
            self.label += f", {self._output} out"
        if batch > 1:
            self.label = f"{batch} x {self.label}"
        if shared:
            self.label += f", {shared} shared"

    def request(self, model: str, number: int) -> Request:
        chance = random.Random(f"{self._seed}/{number}")
        options = {} if self._output is None else {"max_tokens": self._output.draw(chance)}
        texts = [self._text(chance) for _ in range(self._batch)]
        if self.operation is Operation.CHAT:
            return self._made(model, [{"role": "user", "content": texts[0]}], options)
        return self._made(model, texts if self.operation is Operation.EMBED else texts[0], options)

    def _text(self, chance: random.Random) -> str:
        words = " ".join(chance.choices(_WORDS, k=self._tokens.draw(chance)))
        return f"{self._shared} {words}" if self._shared else words


@dataclass(slots=True)
class _Row:
    content: Any
    options: dict[str, Any] = field(default_factory=dict)


class Dataset(Mix):
    """Requests of a file, one after another and again from the beginning.

    A line is a JSON object with ``messages`` (chat), ``prompt`` (chat, completion) or ``input`` (embedding: a text or
    several), or a text by itself. Whatever else an object has goes along as options of that request, but for ``model``
    and ``stream``, which the load decides.

    Raises `ConfigurationError` for a file that cannot be read, or a line that is no such request.
    """

    def __init__(self, path: str | Path, kind: str = "chat", options: Mapping[str, Any] | None = None) -> None:
        super().__init__(kind, options or {})
        try:
            with open(path, encoding="utf-8-sig") as file:
                self._rows = list(self._read(file, Path(path).name))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from None
        if not self._rows:
            raise ConfigurationError(f"{path} has no requests: nothing but empty lines")
        self.label = f"{len(self._rows)} requests of {Path(path).name}"

    def request(self, model: str, number: int) -> Request:
        row = self._rows[number % len(self._rows)]
        return self._made(model, row.content, row.options)

    def _read(self, file: Iterator[str], name: str) -> Iterator[_Row]:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if number > MOST_LINES or len(line) > MOST_CHARACTERS:
                raise ConfigurationError(f"{name} line {number}: more, or longer, than a load needs")
            try:
                yield self._row(json.loads(line))
            except ValueError as error:  # also ConfigurationError
                raise ConfigurationError(f"{name} line {number} is no request: {error}") from None

    def _row(self, value: Any) -> _Row:
        given = dict(value) if isinstance(value, dict) else {"prompt": value, "input": value}
        found = {key: given.pop(key, None) for key in ("messages", "prompt", "input")}
        for key in ("model", "stream", "stream_options"):
            given.pop(key, None)
        options = given if isinstance(value, dict) else {}
        if self.operation is Operation.EMBED:
            texts = found["input"] if found["input"] is not None else found["prompt"]
            listed = [texts] if isinstance(texts, str) else texts
            if not _texts(listed):
                raise ConfigurationError('an embedding has an "input": a text, or a list of texts')
            return _Row(listed, options)
        if self.operation is Operation.CHAT and isinstance(found["messages"], list) and found["messages"]:
            if not all(isinstance(each, dict) and "role" in each for each in found["messages"]):
                raise ConfigurationError('"messages" is a list of {"role": ..., "content": ...}')
            return _Row(found["messages"], options)
        if not isinstance(found["prompt"], str) or not found["prompt"]:
            raise ConfigurationError('it has no "messages" and no "prompt"')
        if self.operation is Operation.CHAT:
            return _Row([{"role": "user", "content": found["prompt"]}], options)
        return _Row(found["prompt"], options)


def _texts(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) > 0 and all(isinstance(each, str) and each for each in value)
