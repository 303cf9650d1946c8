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
    return require("torch").cat([_MODES[mode](tokens, included, attention) for mode in modes], dim=-1)


# Tokens are many, so nothing here copies them, but for "max": copies and their fresh memory take more than the sums
# themselves. A row that is all padding may hold NaN; what it comes to is replaced at the end.


def _first(tokens: Tensor, included: Tensor, attention: Tensor) -> Tensor:
    return _at(tokens, included.int().argmax(dim=1), included)


def _last(tokens: Tensor, included: Tensor, attention: Tensor) -> Tensor:
    behind = included.int().flip(1).argmax(dim=1)
    return _at(tokens, tokens.shape[1] - 1 - behind, included)


def _at(tokens: Tensor, positions: Tensor, included: Tensor) -> Tensor:
    index = positions.view(-1, 1, 1).expand(-1, 1, tokens.shape[2])
    return _or_zero(tokens.gather(1, index).squeeze(1), included)


def _max(tokens: Tensor, included: Tensor, attention: Tensor) -> Tensor:
    highest = tokens.masked_fill(~included.unsqueeze(-1), float("-inf")).amax(dim=1)
    return _or_zero(highest, included)


def _mean(tokens: Tensor, included: Tensor, attention: Tensor) -> Tensor:
    return _weighted(tokens, included.float(), included)


def _mean_sqrt(tokens: Tensor, included: Tensor, attention: Tensor) -> Tensor:
    return _mean(tokens, included, attention) * included.sum(dim=1, keepdim=True).sqrt()


def _weighted_mean(tokens: Tensor, included: Tensor, attention: Tensor) -> Tensor:
    # Weights 1, 2, 3, ... from the first real token on; an excluded prompt keeps its numbers.
    return _weighted(tokens, (attention.cumsum(dim=1) * included).float(), included)


def _weighted(tokens: Tensor, weights: Tensor, included: Tensor) -> Tensor:
    shares = (weights / weights.sum(dim=1, keepdim=True).clamp(min=1)).unsqueeze(1)
    if tokens.is_cpu:
        # PyTorch wakes all its threads for this, and they spin: many times the work itself.
        summed = require("torch").from_numpy(require("numpy").matmul(shares.numpy(), tokens.numpy()))
    else:
        summed = shares @ tokens
    return _or_zero(summed.squeeze(1), included)


def _or_zero(vectors: Tensor, included: Tensor) -> Tensor:
    return vectors.masked_fill(~included.any(dim=1, keepdim=True), 0.0)


_MODES = {
    "cls": _first,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}
