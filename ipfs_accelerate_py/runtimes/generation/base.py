"""The seam of generation: what is asked of a generator, and what it tells while it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from ipfs_accelerate_py.results import TaskResult
from ipfs_accelerate_py.types import Chunk

__all__ = [
    "BY_TOKEN",
    "Answer",
    "Conversation",
    "Following",
    "Generator",
    "Prompt",
    "Sampling",
    "Ticket",
    "Writing",
    "Written",
]


#: What chooses token by token, which a search with beams does not: by name of `Sampling`'s field, the value without it.
BY_TOKEN: Mapping[str, Any] = {
    **dict.fromkeys(("constraint", "logprobs", "steer")),
    **dict.fromkeys(("temperature", "presence_penalty", "frequency_penalty"), 0.0),
    "logit_bias": {},
}


class Sampling(msgspec.Struct, kw_only=True):
    """How tokens are chosen. Temperature 0 takes the likeliest. Names are OpenAI's where it has one.

    ``constraint`` is ``{"json_schema": {...}}``, ``{"regex": "..."}``, ``{"grammar": "..."}`` (Lark, as llguidance
    reads it) or ``{"json_object": true}``: tokens that would break it are never chosen.
    """

    max_tokens: int | None = None
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    stop: list[str] = []
    stop_ids: list[int] = []
    ignore_eos: bool = False
    logprobs: int | None = None
    constraint: dict[str, Any] | None = None
    #: Beams of an encoder-decoder's search; 1 samples.
    beams: int = 1
    #: Rules of a task's own about what may come next (Whisper's times): called before every choice with the ids written
    #: so far and the step's logits (float32, one per token of the vocabulary), which it changes in place.
    steer: Callable[[Sequence[int], Any], None] | None = None


class Prompt(msgspec.Struct, kw_only=True):
    """What is continued: token ids of the decoder, and what else the model is given.

    ``features`` are arrays without the batch's axis: an encoder's ``input_ids``, ``input_features`` of a recording,
    ``pixel_values`` of an image. Those named in ``flat`` have an axis of their own where others get the batch's
    (images, or patches of images, of which a prompt has any number): a batch concatenates them instead of stacking.
    """

    ids: list[int] = []
    features: dict[str, Any] = {}
    flat: list[str] = []


class Written(msgspec.Struct):
    """Some more of one answer. ``finish_reason`` is ``stop``, ``length`` or ``error`` on the last one, and else None.

    ``logprobs`` is, by token, the log probability of the token and of the likeliest others: ``(id, logprob)``.
    """

    ids: list[int] = []
    text: str = ""
    finish_reason: str | None = None
    logprobs: list[list[tuple[int, float]]] = []
    error: Exception | None = None


class Ticket(Protocol):
    """A request under way."""

    def cancel(self) -> None:
        """Write no more; what it holds is free after the running step."""
        ...


class Generator(Protocol):
    """Writes for many at once. Thread-safe."""

    #: Most positions of prompt and answer together.
    max_positions: int

    def submit(
        self, prompt: Prompt, sampling: Sampling, told: Callable[[Written], None], *, priority: int = 1
    ) -> Ticket:
        """Begin; ``told`` hears every piece, from a thread of the generator's, until one has a ``finish_reason``.

        Raises `ContextLengthExceeded` where the prompt leaves no room, `InvalidRequest` for what it cannot do.
        """
        ...

    def snapshot(self) -> Mapping[str, Any]:
        """Running, waiting, tokens so far, share of steps that were batched."""
        ...

    def close(self) -> None:
        """Fail what runs, end the threads."""
        ...


class Answer(msgspec.Struct):
    """One prompt's whole answer."""

    ids: list[int]
    text: str
    finish_reason: str


class Writing(Protocol):
    """A generating task's own work, as `processing.Processing` is that of the others: one input to prompts (windows of
    a long recording make several), and their answers to its result. Keeps no state that a call changes."""

    def prompts(self, given: Any, options: Mapping[str, Any]) -> list[tuple[Prompt, Sampling]]:
        """What is to be continued for one input. Raises `InvalidRequest` with what to give instead."""
        ...

    def join(
        self, answers: Sequence[Answer], prompts: Sequence[tuple[Prompt, Sampling]], options: Mapping[str, Any]
    ) -> TaskResult:
        """The result of one input."""
        ...


class Following(Writing, Protocol):
    """A `Writing` whose answers can make further prompts needed: a recording's language, heard before it is written
    down; the next window of a long one, which begins where the last answer ended."""

    def follow(
        self, answers: Sequence[Answer], prompts: Sequence[tuple[Prompt, Sampling]], options: Mapping[str, Any]
    ) -> list[tuple[Prompt, Sampling]]:
        """What else is to be continued, given all answers so far; asked until nothing is. `join` gets them all."""
        ...


class Conversation(Protocol):
    """Chat and completion of one model, in OpenAI's words; by a generator and a template, or by an engine that has
    both (llama.cpp). Thread-safe."""

    def chat(
        self,
        messages: list[dict[str, Any]],
        options: Mapping[str, Any],
        told: Callable[[Chunk | Exception], None],
        *,
        priority: int = 1,
    ) -> Ticket:
        """Begin an answer; ``told`` hears chunks from another thread. The last chunk has ``finish_reason`` and
        ``usage``; an error ends it as well. ``n`` above 1 tells several by `Chunk.index`."""
        ...

    def complete(
        self,
        prompt: str | list[int],
        options: Mapping[str, Any],
        told: Callable[[Chunk | Exception], None],
        *,
        priority: int = 1,
    ) -> Ticket:
        """The same for a plain prompt: a text or token ids."""
        ...

    def count(self, messages: list[dict[str, Any]], options: Mapping[str, Any]) -> int:
        """Tokens of the prompt that these messages (and ``tools``) make."""
        ...

    def snapshot(self) -> Mapping[str, Any]: ...

    def close(self) -> None: ...
