"""How much may go together: by what the services take at once, and by what the caller wants."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.types import Operation

__all__ = ["BatchStrategy", "Bounds", "Strategies"]

#: Merged where nothing is known of the service, and nothing was asked for.
USUAL_ITEMS = 64
#: The longest wait for company, in seconds, unless told otherwise.
USUAL_WAIT = 0.01
#: A limit that a service was seen to have is believed for so long (seconds).
BELIEVED = 600.0
_MOST_MODELS = 512


class BatchStrategy(msgspec.Struct, frozen=True):
    """What is merged for some models; None leaves it to what is known of the service.

    Attributes:
        max_items: most inputs (texts, documents) in one upstream call. A caller's own call that has more is cut into
            several, and its answer put together again.
        max_tokens: the same for estimated tokens.
        max_wait: seconds that a call waits for company at most; 0 merges only what arrives together.
    """

    max_items: int | None = None
    max_tokens: int | None = None
    max_wait: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_items", "max_tokens"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigurationError(f"{name} must be a whole number of at least 1 or None, not {value!r}")
        wait = self.max_wait
        if wait is not None and (isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait <= 60):
            raise ConfigurationError(f"max_wait must be 0 to 60 seconds or None, not {wait!r}")


class Bounds(NamedTuple):
    """What holds for one model: merged up to ``items`` and ``tokens``, cut above ``most_items`` and ``most_tokens``."""

    items: int
    tokens: float
    wait: float
    most_items: float
    most_tokens: float


#: What services take in one call. OpenAI: API reference, "Create embeddings" (2,048 inputs, 300,000 tokens). Gemini:
#: ``batchEmbedContents`` (100). Text Embeddings Inference: ``--max-client-batch-size``, 32 unless its owner raised it.
_SERVICES: Mapping[str, BatchStrategy] = {
    "openai": BatchStrategy(2048, 300_000),
    "gemini": BatchStrategy(100),
    "hf_tei": BatchStrategy(32),
}
#: The same by the model's name, for a front that does not know yet who will be asked.
_MODELS: tuple[tuple[str, BatchStrategy], ...] = (
    ("text-embedding-004", _SERVICES["gemini"]),
    ("text-embedding-*", _SERVICES["openai"]),
    ("gemini-embedding-*", _SERVICES["gemini"]),
    ("embedding-001", _SERVICES["gemini"]),
)
#: OpenAI names no limit for texts to be judged; this many at once are taken.
_JUDGED = 32


class Strategies:
    """Bounds by model: of the caller's own strategies the first whose pattern fits, else what is known.

    Args:
        max_items, max_tokens, max_wait: what is merged where no strategy of the caller's fits.
        given: by pattern of the model's name (``text-embedding-*``; `fnmatch`).
        service: the backend's name, where there is one only.
    """

    def __init__(
        self,
        *,
        max_items: int | None = None,
        max_tokens: int | None = None,
        max_wait: float | None = None,
        given: Mapping[str, BatchStrategy] | None = None,
        service: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._usual = BatchStrategy(max_items, max_tokens, max_wait)
        self._given = dict(given or {})
        for pattern, strategy in self._given.items():
            if not isinstance(strategy, BatchStrategy):
                raise ConfigurationError(f"the strategy for {pattern!r} must be a BatchStrategy(max_items=, ...)")
        self._service = _SERVICES.get(service)
        #: Text Embeddings Inference has one limit for all that it does.
        self._whole = service == "hf_tei"
        self._clock = clock
        self._made: dict[tuple[Operation, str], Bounds] = {}
        self._seen: dict[tuple[Operation, str], tuple[int, float]] = {}

    def service_takes(self, max_items: int) -> None:
        """The service has said how many inputs it takes in one call."""
        self._service = BatchStrategy(max_items, self._service.max_tokens if self._service is not None else None)
        self._made.clear()

    def refused(self, operation: Operation, model: str, items: int) -> None:
        """So many inputs were refused, and half of them at a time were not: ask for fewer, for a while."""
        if len(self._seen) >= _MOST_MODELS:
            self._seen.clear()
        self._seen[operation, model] = (max(1, items // 2), self._clock() + BELIEVED)

    def bounds(self, operation: Operation, model: str) -> Bounds:
        """What holds for this model now."""
        key = (operation, model)
        found = self._made.get(key)
        if found is None:
            if len(self._made) >= _MOST_MODELS:
                self._made.clear()
            found = self._made[key] = self._bounds(operation, model)
        if self._seen and (seen := self._seen.get(key)) is not None:
            if self._clock() >= seen[1]:
                del self._seen[key]
            else:
                found = found._replace(items=min(found.items, seen[0]))
        return found

    def _bounds(self, operation: Operation, model: str) -> Bounds:
        own = next((each for pattern, each in self._given.items() if fnmatchcase(model, pattern)), BatchStrategy())
        known = self._known(operation, model)
        most_items = own.max_items or known.max_items or math.inf
        most_tokens = own.max_tokens or known.max_tokens or math.inf
        merged = own.max_items or self._usual.max_items or (_JUDGED if operation is Operation.MODERATE else USUAL_ITEMS)
        wait = own.max_wait if own.max_wait is not None else self._usual.max_wait
        return Bounds(
            int(min(merged, most_items)),
            min(own.max_tokens or self._usual.max_tokens or math.inf, most_tokens),
            USUAL_WAIT if wait is None else wait,
            most_items,
            most_tokens,
        )

    def _known(self, operation: Operation, model: str) -> BatchStrategy:
        if operation is not Operation.EMBED and not self._whole:
            return BatchStrategy()  # what is known is of embeddings
        if self._service is not None:
            return self._service
        return next((each for pattern, each in _MODELS if fnmatchcase(model, pattern)), BatchStrategy())
