"""From logits to tokens, for all rows of a step at once.

What each option means: temperature, ``top_p`` (Holtzman et al. 2020, nucleus sampling), ``top_k`` (Fan et al. 2018),
``min_p`` (Nguyen et al. 2024), ``repetition_penalty`` (Keskar et al. 2019, CTRL: of prompt and answer), presence and
frequency penalties and ``logit_bias`` as in OpenAI's reference (of the answer alone).
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ipfs_accelerate_py.errors import InvalidRequest

from .base import Sampling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Chooser", "Chosen", "Mask", "check_sampling", "choose"]

#: The log probability that a token has where it cannot be: OpenAI's own figure.
_NEVER = -9999.0


class Mask(Protocol):
    """What allows only some tokens (a grammar)."""

    def allow(self, logits: NDArray[np.float32]) -> None:
        """Set to minus infinity what may not come next. ``logits``: one row."""
        ...

    def accept(self, token: int) -> None: ...


class Chooser:
    """One row's choosing: its options, its random numbers, and what it has written so far.

    The random numbers are the row's own, one a step, so that a seed gives the same answer in any company.
    """

    __slots__ = ("_counts", "_random", "_seen", "ids", "mask", "options", "plain", "stop_ids", "written")

    def __init__(
        self, options: Sampling, prompt: Sequence[int], vocab_size: int, stop_ids: frozenset[int], mask: Mask | None
    ) -> None:
        import numpy as np

        self.options, self.mask = options, mask
        # A configuration may name some that the model does not have.
        self.stop_ids = frozenset(each for each in stop_ids if 0 <= each < vocab_size)
        self.written = 0
        #: What has been written, where a task's rules want to know.
        self.ids: list[int] = []
        self._random = np.random.Generator(np.random.Philox(options.seed)) if options.temperature > 0 else None
        self._counts: NDArray[np.float32] | None = None
        self._seen: NDArray[np.bool_] | None = None
        if options.presence_penalty or options.frequency_penalty:
            self._counts = np.zeros(vocab_size, np.float32)
        if options.repetition_penalty != 1.0:
            self._seen = np.zeros(vocab_size, np.bool_)
            self._seen[[each for each in prompt if each < vocab_size]] = True
        changed = self._counts is not None or self._seen is not None or options.logit_bias or mask is not None
        #: Whether the likeliest of the model's own logits is what it takes.
        changed = changed or options.steer is not None or options.min_tokens > 0
        self.plain = options.temperature == 0 and not changed

    def adjust(self, logits: NDArray[np.float32]) -> None:
        """Penalties, biases and what is not allowed: on one row, in place."""
        import numpy as np

        options = self.options
        if options.steer is not None:
            options.steer(self.ids, logits)
        if self._seen is not None:
            seen = logits[self._seen]
            penalty = options.repetition_penalty
            logits[self._seen] = np.where(seen > 0, seen / penalty, seen * penalty)
        if self._counts is not None:
            logits -= options.frequency_penalty * self._counts
            logits -= options.presence_penalty * (self._counts > 0)
        for token, bias in options.logit_bias.items():
            logits[token] += bias
        if self.written < options.min_tokens:
            before = logits[list(self.stop_ids)]
            logits[list(self.stop_ids)] = -np.inf
            if self.mask is not None:
                self.mask.allow(logits)
                if not np.isfinite(logits).any():  # a grammar that is at its end goes before a least length
                    logits[list(self.stop_ids)] = before
                    self.mask.allow(logits)
        elif self.mask is not None:
            self.mask.allow(logits)

    def draw(self) -> float:
        assert self._random is not None
        return float(self._random.random())

    def take(self, token: int) -> None:
        """The token that was chosen is part of the answer."""
        self.written += 1
        if self.options.steer is not None:
            self.ids.append(token)
        if self._counts is not None:
            self._counts[token] += 1
        if self._seen is not None:
            self._seen[token] = True
        if self.mask is not None:
            self.mask.accept(token)


class Chosen:
    """One row's token, and log probabilities where they were asked for: its own first, then the likeliest."""

    __slots__ = ("logprobs", "token")

    def __init__(self, token: int, logprobs: list[tuple[int, float]] | None = None) -> None:
        self.token, self.logprobs = token, logprobs


def choose(logits: NDArray[np.float32], choosers: Sequence[Chooser]) -> list[Chosen | Exception]:
    """A token for every row. ``logits`` ``(rows, vocabulary)`` is written over.

    A row that cannot be chosen for (its constraint allows nothing) gets the reason instead; others get their token.
    """
    import numpy as np

    found: list[Chosen | Exception | None] = [None] * len(choosers)
    plain = [at for at, each in enumerate(choosers) if each.plain and each.options.logprobs is None]
    if len(plain) == len(choosers):
        return [Chosen(int(token)) for token in logits.argmax(axis=1)]
    if plain:
        for at, token in zip(plain, logits[plain].argmax(axis=1), strict=True):
            found[at] = Chosen(int(token))
    greedy: list[int] = []
    drawn: list[int] = []
    for at, each in enumerate(choosers):
        if found[at] is not None:
            continue
        try:
            if not each.plain:
                each.adjust(logits[at])
            if not np.isfinite(logits[at].max()):
                raise ValueError("no token is left to choose from: the model's logits or the constraint allow none")
        except Exception as exc:
            found[at] = exc
            continue
        (drawn if each.options.temperature > 0 else greedy).append(at)
    # OpenAI's log probabilities are of the distribution that the token is drawn from before it is cut.
    for at in greedy:
        row = logits[at]
        token = int(row.argmax())
        found[at] = Chosen(token, _logprobs(row, token, choosers[at].options.logprobs))
    if drawn:
        rows = logits[drawn]
        rows /= np.array([choosers[at].options.temperature for at in drawn], np.float32)[:, None]
        tokens = _sample(rows, [choosers[at] for at in drawn])
        for at, row, token in zip(drawn, rows, tokens, strict=True):
            found[at] = Chosen(token, _logprobs(row, token, choosers[at].options.logprobs))
    return [each for each in found if each is not None]


def _sample(rows: NDArray[np.float32], choosers: Sequence[Chooser]) -> list[int]:
    """One token a row, by its cut distribution. Rows are logits over temperature; they are left as they are."""
    import numpy as np

    options = [each.options for each in choosers]
    probabilities = np.exp((rows - rows.max(axis=1, keepdims=True)).astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    tokens = []
    for row, each, chooser in zip(probabilities, options, choosers, strict=True):
        kept = _kept(row, each)
        if kept is None:
            running = np.cumsum(row)
            at = int(np.searchsorted(running, chooser.draw() * running[-1], side="right"))
            tokens.append(_possible(row, min(at, len(row) - 1)))
        else:
            running = np.cumsum(row[kept])
            at = int(np.searchsorted(running, chooser.draw() * running[-1], side="right"))
            tokens.append(int(kept[min(at, len(kept) - 1)]))
    return tokens


def _possible(row: NDArray[np.float64], at: int) -> int:
    # Rounding may end on a token of no probability beside the one that was meant.
    while row[at] == 0 and at > 0:
        at -= 1
    return at if row[at] else int(row.argmax())


def _kept(row: NDArray[np.float64], options: Sampling) -> NDArray[np.int64] | None:
    """Tokens that may be drawn, the likeliest first; None for all. The likeliest always may."""
    import numpy as np

    if options.top_k <= 0 and options.top_p >= 1.0 and options.min_p <= 0.0:
        return None
    size = len(row)
    if 0 < options.top_k < size:
        some = np.argpartition(row, size - options.top_k)[size - options.top_k :]
    elif options.min_p > 0.0:
        some = np.flatnonzero(row >= options.min_p * row.max())
    else:
        some = _likeliest(row, options.top_p)
    # By probability, and by id among equals, so that the order never depends on how they were found.
    some = some[np.lexsort((some, -row[some]))]
    if options.min_p > 0.0:
        some = some[: max(1, int((row[some] >= options.min_p * row[some[0]]).sum()))]
    if options.top_p < 1.0:
        share = row[some] / row[some].sum() if options.top_k > 0 or options.min_p > 0.0 else row[some]
        some = some[: max(1, int(np.searchsorted(np.cumsum(share), options.top_p, side="left")) + 1)]
    return some[row[some] > 0.0]


def _likeliest(row: NDArray[np.float64], top_p: float) -> Any:
    """Tokens that are sure to hold ``top_p`` of all: sorting a whole vocabulary is slow, and rarely needed."""
    import numpy as np

    few = 256
    while few < len(row):
        some = np.argpartition(row, len(row) - few)[len(row) - few :]
        if row[some].sum() >= top_p:
            return some
        few *= 8
    return np.arange(len(row))


def _logprobs(row: NDArray[np.float32], token: int, count: int | None) -> list[tuple[int, float]] | None:
    """The token's own log probability, then those of the ``count`` likeliest."""
    import numpy as np

    if count is None:
        return None
    most = row.max()
    total = float(most) + float(np.log(np.exp((row - most).astype(np.float64)).sum()))
    best: list[int] = []
    if count:
        best = np.argpartition(row, len(row) - count)[len(row) - count :].tolist()
        best.sort(key=lambda each: (-row[each], each))
    return [(each, max(_NEVER, float(row[each]) - total)) for each in (token, *best)]


_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (1e-3, 1e3),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}


def check_sampling(options: Sampling, vocab_size: int) -> None:
    """Raises `InvalidRequest` that names the option which is out of its range."""
    for name, (least, most) in _RANGES.items():
        value = getattr(options, name)
        if not least <= value <= most or (name == "top_p" and value == 0.0):
            _refuse(name, f"{name} must be from {least:g} to {most:g}, not {value!r}")
    if options.max_tokens is not None and options.max_tokens < 1:
        _refuse("max_tokens", f"max_tokens must be at least 1, not {options.max_tokens}")
    if options.min_tokens < 0 or options.top_k < 0:
        _refuse("top_k" if options.top_k < 0 else "min_tokens", "top_k and min_tokens must not be negative")
    if options.logprobs is not None and not 0 <= options.logprobs <= min(vocab_size, 1000):
        _refuse("logprobs", f"logprobs must be from 0 to {min(vocab_size, 1000)}, not {options.logprobs}")
    if options.seed is not None and not 0 <= options.seed < 1 << 64:
        _refuse("seed", "seed must be from 0 to 2**64 - 1")
    for token in options.logit_bias:
        if not 0 <= token < vocab_size:
            _refuse("logit_bias", f"logit_bias names token {token}; the model has {vocab_size}")


def _refuse(name: str, message: str) -> None:
    raise InvalidRequest(message, status=400, param=name)
