"""What a scheduler runs, and one caller's request while it is being worked off."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from ipfs_accelerate_py.errors import AccelerateError, InvalidRequest, MemoryExhausted, RuntimeUnavailable

from .batching import Flow, Item
from .extras import lacks
from .serving.memory import near_limit

__all__ = ["Part", "Request", "Steps", "Whole", "blame", "failure", "is_out_of_memory", "owner", "unusable"]


class Part(Protocol):
    """What runs in a batch: `processing.Piece`, or a text's tokens. ``length`` is its cost, ``group`` whom it fits."""

    @property
    def length(self) -> int: ...
    @property
    def group(self) -> Hashable: ...


def unusable(index: int, cause: BaseException) -> AccelerateError:
    """For an input that could not be prepared, for a reason that nobody foresaw."""
    return InvalidRequest(f"input {index} cannot be used: {cause}", status=400, param="input")


@dataclass(frozen=True, slots=True)
class Steps:
    """What the threads run.

    Attributes:
        prepare: inputs, the number of the first of them in its request, and the request's options, to the parts of
            each; called with at most ``slice`` inputs.
        forward: a batch of parts to outputs; may return before a device has finished them.
        collect: waits for the device; the row of each part of that batch.
        join: rows and parts of one input, and the options, to its outcome.
        start: called once in every forward thread before anything else.
        slice: inputs prepared in one go. A longer request takes turns with others, and its first batch starts before
            its last input is prepared.
        preparers, finishers: how many threads prepare, and collect and join.
        most_waiting: tokens of one priority that may wait for the model before no more of them are prepared.
        unusable: the error for an input that `prepare` fails on with something that is no `AccelerateError`.
    """

    prepare: Callable[[Sequence[Any], int, Mapping[str, Any]], Sequence[Sequence[Any]]]
    forward: Callable[[Sequence[Any]], Any]
    collect: Callable[[Any, Sequence[Any]], Sequence[Any]]
    join: Callable[[Sequence[Any], Sequence[Any], Mapping[str, Any]], Any]
    start: Callable[[], None] = lambda: None
    slice: int = 256
    preparers: int = 1
    finishers: int = 1
    most_waiting: int | None = None
    unusable: Callable[[int, BaseException], AccelerateError] = unusable


class Whole:
    """One input's parts, and the rows that have come back for them."""

    __slots__ = ("left", "parts", "rows")

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = parts
        self.rows: list[Any] = [None] * len(parts)
        self.left = len(parts)


class Request(Flow):
    """One caller's inputs. All but ``prepared`` changes under the scheduler's lock only."""

    __slots__ = (
        "__weakref__", "arrived", "finish", "future", "inputs", "left", "options", "outcomes", "prepared", "tokens",
        "wholes",
    )  # fmt: skip

    def __init__(
        self,
        inputs: Sequence[Any],
        options: Mapping[str, Any],
        finish: Callable[[list[Any]], Any],
        priority: int,
        arrived: float,
    ) -> None:
        super().__init__(priority)
        self.inputs = inputs
        self.options = options
        self.finish = finish
        self.arrived = arrived
        self.future: Future[tuple[Any, list[int]]] = Future()
        self.prepared = 0
        self.left = len(inputs)
        self.outcomes: list[Any] = [None] * len(inputs)
        self.tokens = [0] * len(inputs)
        self.wholes: dict[int, Whole] = {}

    def expect(self, start: int, prepared: Sequence[Sequence[Part]]) -> list[Item]:
        """Items for the parts of the inputs from number ``start`` on."""
        items = []
        for index, parts in enumerate(prepared, start):
            if not parts:
                raise RuntimeUnavailable(f"nothing was made of input {index}")
            self.tokens[index] = sum(part.length for part in parts)
            self.wholes[index] = Whole(parts)
            items += [Item(self, index, part.length, part, part.group, at) for at, part in enumerate(parts)]
        return items

    def take(self, item: Item, row: Any) -> Whole | None:
        """Keep a part's row; the input's parts and rows where it was the last of them."""
        whole = self.wholes[item.index]
        whole.rows[item.part] = row
        whole.left -= 1
        return self.wholes.pop(item.index) if not whole.left else None

    def settle(self, index: int, outcome: Any) -> bool:
        """Keep an input's outcome; whether it was the last."""
        self.outcomes[index] = outcome
        self.left -= 1
        return not self.left

    def drop(self) -> None:
        """Let go of what has been made so far: nobody gets it."""
        self.outcomes.clear()
        self.wholes.clear()


def owner(item: Item) -> Request:
    """The request that an item belongs to."""
    assert isinstance(item.flow, Request)
    return item.flow


def blame(
    steps: Steps, inputs: Sequence[Any], start: int, options: Mapping[str, Any], cause: BaseException
) -> AccelerateError:
    """The error for a slice of inputs that could not be prepared: which of them it was."""
    for index, given in enumerate(inputs, start):
        try:
            steps.prepare([given], index, options)
        except AccelerateError as exc:
            return exc
        except BaseException as exc:
            if is_out_of_memory(exc):
                return MemoryExhausted(f"there is not enough memory to prepare input {index}: {exc}")
            return steps.unusable(index, exc)
    return RuntimeUnavailable(f"the inputs could not be prepared: {cause}")


def failure(index: int, cause: BaseException) -> AccelerateError:
    """The error for an input that the model failed on when it ran alone."""
    if isinstance(cause, AccelerateError):
        return cause
    if is_out_of_memory(cause):
        return MemoryExhausted(f"there is not enough memory for input {index} alone: {cause}")
    if isinstance(cause, ImportError):
        return lacks("the model", cause)
    return RuntimeUnavailable(f"the model failed on input {index}: {cause}")


_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the host or a device.

    By type where there is one (``MemoryError``, ``torch.OutOfMemoryError``); PyTorch's allocator for processors and
    OpenVINO raise a plain ``RuntimeError`` that only says so, and libraries in Rust (tokenizers) panic where Python has
    no object for them.
    """
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "MemoryExhausted"):
        return True
    said = str(error).lower()
    if type(error).__name__ == "PanicException":
        return "pyobject pointer is null" in said or "memory" in said or near_limit()
    if not isinstance(error, RuntimeError | SystemError):
        return False
    # Native code that is refused memory says what it pleases: oneDNN "could not create a primitive".
    return any(words in said for words in _NO_MEMORY) or near_limit()
