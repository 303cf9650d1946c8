"""What every kind of measurement is: questions, and how a loaded model is asked them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

from ipfs_accelerate_py.bench.measurement import HIGHER, LOWER

__all__ = ["MEMORY", "Figure", "Kind", "Sizes", "Taken", "Trial"]


class Figure(NamedTuple):
    unit: str
    better: str


#: What is known of every model's process; see `worker`.
MEMORY: Mapping[str, Figure] = {
    "model memory": Figure("bytes", LOWER),
    "process memory": Figure("bytes", LOWER),
    "weights": Figure("bytes", LOWER),
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One question, the same for every contestant.

    Attributes:
        batch: inputs at once.
        size: of one input, in the kind's own unit.
        length: the same for people.
        parameters: what else was chosen.
    """

    batch: int
    size: float
    length: str
    parameters: Mapping[str, str | float] = field(default_factory=dict)


class Taken(NamedTuple):
    """The value of one figure in one turn, and the numbers that it was calculated from, where there are several."""

    value: float
    raw: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is asked.

    Attributes:
        batches: inputs at once.
        tokens: that an answer has.
        prompt: tokens of a prompt.
        lengths: tokens of a text to embed.
        seconds: of a recording.
        side: of a picture, in pixels.
    """

    batches: tuple[int, ...] = (1, 8)
    tokens: int = 64
    prompt: int = 32
    lengths: tuple[int, ...] = (16, 128)
    seconds: float = 30.0
    side: int = 224


class Kind(Protocol):
    """How a loaded model is asked, in its own process. Made of a `Servable`, its task and the event loop."""

    #: As in `Case.kind`.
    name: ClassVar[str]
    #: Of Hugging Face's names, those that it asks for.
    tasks: ClassVar[tuple[str, ...]]
    figures: ClassVar[Mapping[str, Figure]]

    def __init__(
        self, servable: Any, task: str, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]
    ) -> None: ...

    @staticmethod
    def trials(sizes: Sizes, task: str) -> list[Trial]:
        """The questions."""
        ...

    def ask(self, trial: Trial, number: int) -> dict[str, Taken]:
        """One turn. ``number`` is another for every call, for inputs that are not those of the turn before."""
        ...


SPEED = Figure("tokens/s", HIGHER)
