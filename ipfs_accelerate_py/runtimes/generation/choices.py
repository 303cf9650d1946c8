"""The choices of one request: each is an answer of the generator's, told as chunks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec

from ipfs_accelerate_py.types import Chunk, ToolCall, Usage

from .base import Generator, Prompt, Ticket, Written
from .options import Asked
from .reading import Piece, Reader

__all__ = ["Choices", "Telling"]


class Telling:
    """How answers are told: to whom, and in which of OpenAI's two shapes log probabilities are."""

    def __init__(
        self, told: Callable[[Chunk | Exception], None], model: str, tokenizer: Any, *, chat: bool, before: str = ""
    ) -> None:
        self.told, self.model, self.tokenizer, self.chat, self.before = told, model, tokenizer, chat, before

    def logprobs(self, index: int, written: Written) -> bytes:
        """Log probabilities as the JSON of a streamed chunk has them."""
        rows = written.logprobs
        if not rows:
            return b""
        if self.chat:
            content = [
                {**self._token(*row[0]), "top_logprobs": [self._token(*each) for each in row[1:]]} for row in rows
            ]
            found: dict[str, Any] = {"content": content, "refusal": None}
        else:
            found = {
                "tokens": [self._text(row[0][0]) for row in rows],
                "token_logprobs": [row[0][1] for row in rows],
                "top_logprobs": [{self._text(token): value for token, value in row[1:]} for row in rows],
            }
        return msgspec.json.encode({"choices": [{"index": index, "logprobs": found}]})

    def _text(self, token: int) -> str:
        text: str = self.tokenizer.decode([token])
        return text

    def _token(self, token: int, value: float) -> dict[str, Any]:
        text = self._text(token)
        return {"token": text, "logprob": value, "bytes": list(text.encode())}


class Choices:
    """See `Ticket`: cancels all of them."""

    def __init__(self, telling: Telling, input_tokens: int, count: int) -> None:
        self._telling = telling
        self._usage = Usage(input_tokens=input_tokens, reported=True)
        self._left = count
        self._tickets: list[Ticket] = []
        self._ended = False
        # Answers of several are told from the generator's thread, one may be refused on the caller's.
        self._lock = threading.Lock()

    @classmethod
    def begin(
        cls,
        generator: Generator,
        prompt: Prompt,
        asked: Asked,
        telling: Telling,
        reader: Callable[[], Reader],
        priority: int,
    ) -> Choices:
        """Ask for all choices. One that is refused takes the others back."""
        length = len(prompt.ids) or max((len(each) for each in prompt.features.values()), default=0)
        made = cls(telling, length, asked.n)
        try:
            for index in range(asked.n):
                sampling = msgspec.structs.replace(asked.sampling)
                if sampling.seed is not None:
                    # Choices of one seed differ, and are the same ones each time.
                    sampling.seed = (sampling.seed + index) % (1 << 64)
                one = _One(made, index, reader())
                made._tickets.append(generator.submit(prompt, sampling, one.hear, priority=priority))
        except BaseException:
            made.cancel()
            raise
        return made

    def cancel(self) -> None:
        with self._lock:
            self._ended = True
        for ticket in self._tickets:
            ticket.cancel()

    def tell(self, chunk: Chunk) -> None:
        if not self._ended:
            chunk.model = self._telling.model
            self._telling.told(chunk)

    def fail(self, error: Exception) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        for ticket in self._tickets:
            ticket.cancel()
        self._telling.told(error)

    def count(self, tokens: int, reasoning: int) -> None:
        self._usage.output_tokens += tokens
        self._usage.reasoning_tokens += reasoning

    def end(self, index: int, reason: str) -> None:
        """One choice is over; the last one to end brings the usage."""
        self._left -= 1
        self.tell(Chunk(index=index, finish_reason=reason, usage=None if self._left else self._usage))

    def logprobs(self, index: int, written: Written) -> bytes:
        return self._telling.logprobs(index, written)

    @property
    def before(self) -> str:
        return self._telling.before


class _One:
    """One choice."""

    def __init__(self, choices: Choices, index: int, reader: Reader) -> None:
        self._choices, self._index, self._reader = choices, index, reader
        self._begun = False

    def hear(self, written: Written) -> None:
        choices, reader = self._choices, self._reader
        if written.error is not None:
            choices.fail(written.error)
            return
        if not self._begun:
            self._begun = True
            if choices.before:
                choices.tell(Chunk(text=choices.before, index=self._index))
        thought = reader.reasoning
        pieces = reader.feed(written.text)
        choices.count(len(written.ids), len(written.ids) if thought or reader.reasoning else 0)
        if written.finish_reason is not None:
            pieces += reader.flush(cut=written.finish_reason == "length")
        data = choices.logprobs(self._index, written)
        for chunk in self._chunks(pieces):
            chunk.data, data = data, b""
            choices.tell(chunk)
        if data:
            choices.tell(Chunk(index=self._index, data=data))
        if written.finish_reason is not None:
            reason = written.finish_reason
            choices.end(self._index, "tool_calls" if reader.called and reason == "stop" else reason)

    def _chunks(self, pieces: list[Piece]) -> list[Chunk]:
        """Pieces of one kind that follow each other are one chunk."""
        made: list[Chunk] = []
        kinds: list[str] = []
        for kind, piece in pieces:
            if isinstance(piece, ToolCall):
                made.append(Chunk(index=self._index, tool_calls=[piece]))
            elif kinds and kinds[-1] == kind:
                setattr(made[-1], kind, getattr(made[-1], kind) + piece)
            else:
                made.append(Chunk(index=self._index, **{kind: piece}))  # type: ignore[arg-type]
            kinds.append(kind)
        return made
