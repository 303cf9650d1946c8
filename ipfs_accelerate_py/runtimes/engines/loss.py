"""How much a quantised model's answers differ from those it had. Arrays in, figures out; for any engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.runtimes.extras import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LEAST_COSINE", "MOST_PERPLEXITY", "Loss", "main_output", "measure"]

#: A quantised model whose answers point elsewhere by more than this is refused unless forced.
LEAST_COSINE = 0.975
#: The same of a model that writes: by how much it is more surprised, as a factor, by what the unquantised one expects.
MOST_PERPLEXITY = 1.10

# The output that a model is for, where it has several.
_MAIN = (
    "logits",
    "image_embeds",
    "text_embeds",
    "last_hidden_state",
    "pooler_output",
    "predicted_depth",
    "reconstruction",
)


@dataclass(frozen=True, slots=True)
class Loss:
    """Figures of one comparison, over all rows of all inputs.

    Attributes:
        output: which of the outputs was compared.
        rows: how many rows were compared; a row is one input's part of it.
        cosine: mean cosine between a row before and after.
        least_cosine: the worst row's.
        difference: largest absolute difference of two entries.
        perplexity: for models that write: the exponential of the mean Kullback-Leibler divergence of the next token's
            distribution, so by what factor perplexity grows on text that the unquantised model would write itself.
            None for others.
        left: what was left in float so that the loss is no larger, in words; empty where nothing was.
    """

    output: str
    rows: int
    cosine: float
    least_cosine: float
    difference: float
    perplexity: float | None = None
    left: str = ""

    @property
    def worst(self) -> float:
        """The loss in one number, 0 for none: 1 less the worst cosine; of a model that writes, the share by which
        perplexity grows."""
        return 1.0 - self.least_cosine if self.perplexity is None else self.perplexity - 1.0

    def too_much(self, least_cosine: float = LEAST_COSINE, most_perplexity: float = MOST_PERPLEXITY) -> str | None:
        """Why the model should not be used, in words with the figure; None where it may be."""
        if self.cosine != self.cosine:  # not a number
            return "its answers are not finite numbers"
        if self.perplexity is not None:
            if self.perplexity > most_perplexity or self.perplexity != self.perplexity:
                return f"its perplexity is {self.perplexity:.3f} times what it was, and {most_perplexity} is allowed"
            return None
        if self.cosine < least_cosine:
            return (
                f"the cosine between its answers and those it had is {self.cosine:.4f} (worst {self.least_cosine:.4f}),"
                f" and {least_cosine} is asked for"
            )
        return None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def main_output(names: Sequence[str]) -> str:
    """Which of these outputs a model is judged by."""
    return next((each for each in _MAIN if each in names), next(iter(names)))


def measure(
    reference: Sequence[Mapping[str, NDArray[Any]]],
    candidate: Sequence[Mapping[str, NDArray[Any]]],
    *,
    masks: Sequence[NDArray[Any] | None] | None = None,
    writes: bool = False,
) -> Loss:
    """Compare the outputs of two models for the same inputs: one mapping by name for each batch.

    ``masks`` (batch, positions) leave out what is padding; with ``writes`` the main output is logits of next tokens,
    shape (batch, positions, vocabulary).
    """
    np = require("numpy")
    name = main_output(list(reference[0]))
    cosines: list[float] = []
    divergences: list[float] = []
    difference = 0.0
    for at, (before, after) in enumerate(zip(reference, candidate, strict=True)):
        mask = masks[at] if masks is not None else None
        for row, (old, new) in enumerate(zip(before[name], after[name], strict=True)):
            old, new = old.astype(np.float64), new.astype(np.float64)
            if mask is not None and old.ndim >= 2 and mask.shape[1:] == old.shape[:1]:
                keep = mask[row].astype(bool)
                old, new = old[keep], new[keep]
            difference = max(difference, float(np.abs(old - new).max(initial=0.0)))
            cosines.append(_cosine(old.reshape(-1), new.reshape(-1)))
            if writes and old.ndim == 2:
                divergences.extend(_divergence(old, new))
    perplexity = float(np.exp(np.mean(divergences))) if divergences else None
    return Loss(name, len(cosines), float(np.mean(cosines)), float(np.min(cosines)), difference, perplexity)


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    np = require("numpy")
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else float(not (one.any() or other.any()))


def _divergence(old: NDArray[np.float64], new: NDArray[np.float64]) -> list[float]:
    np = require("numpy")
    expected, got = _log_softmax(old), _log_softmax(new)
    return [float(each) for each in (np.exp(expected) * (expected - got)).sum(axis=-1)]


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    np = require("numpy")
    shifted = logits - logits.max(axis=-1, keepdims=True)
    made: NDArray[Any] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return made
