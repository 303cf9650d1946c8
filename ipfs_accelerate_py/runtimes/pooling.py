"""Token vectors to one vector a text, as sentence-transformers defines each mode (its ``Pooling`` module)."""

from __future__ import annotations

from typing import Any

from .extras import require

__all__ = ["pool"]

# Annotations in this package cannot name torch's types: it is imported at first use only.
Tensor = Any


def pool(modes: tuple[str, ...], tokens: Tensor, attention: Tensor, included: Tensor) -> Tensor:
    """Vectors of shape ``(texts, len(modes) * size)``, float32.

    Args:
        modes: names as in :data:`~.folder.POOLING_MODES`; their results stand side by side in this order.
        tokens: float32 of shape ``(texts, positions, size)``.
        attention: bool of shape ``(texts, positions)``: real tokens, as opposed to padding.
        included: bool of the same shape: real tokens that count (without those of an excluded prompt).

    A text without a token that counts becomes the zero vector.
    """
    mask = included.unsqueeze(-1)
    # Filled, not multiplied: a row that is all padding may hold NaN, and NaN times zero is NaN.
    counted = tokens.masked_fill(~mask, 0.0)
    return require("torch").cat([_MODES[mode](counted, mask, attention) for mode in modes], dim=-1)


def _first(counted: Tensor, mask: Tensor, attention: Tensor) -> Tensor:
    return _at(counted, mask.squeeze(-1).int().argmax(dim=1))


def _last(counted: Tensor, mask: Tensor, attention: Tensor) -> Tensor:
    behind = mask.squeeze(-1).int().flip(1).argmax(dim=1)
    return _at(counted, counted.shape[1] - 1 - behind)


def _at(counted: Tensor, positions: Tensor) -> Tensor:
    index = positions.view(-1, 1, 1).expand(-1, 1, counted.shape[2])
    return counted.gather(1, index).squeeze(1)


def _max(counted: Tensor, mask: Tensor, attention: Tensor) -> Tensor:
    highest = counted.masked_fill(~mask, float("-inf")).amax(dim=1)
    return highest.masked_fill(~mask.any(dim=1), 0.0)


def _mean(counted: Tensor, mask: Tensor, attention: Tensor) -> Tensor:
    return counted.sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _mean_sqrt(counted: Tensor, mask: Tensor, attention: Tensor) -> Tensor:
    return counted.sum(dim=1) / mask.sum(dim=1).clamp(min=1).sqrt()


def _weighted_mean(counted: Tensor, mask: Tensor, attention: Tensor) -> Tensor:
    # Weights 1, 2, 3, ... from the first real token on; an excluded prompt keeps its numbers.
    weights = attention.cumsum(dim=1).unsqueeze(-1) * mask
    return (counted * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


_MODES = {
    "cls": _first,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}
