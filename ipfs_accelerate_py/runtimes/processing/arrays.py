"""Small computations on arrays that several tasks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.results import Label, Tensor
from ipfs_accelerate_py.runtimes.extras import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["best_labels", "label_names", "only", "sigmoid", "softmax", "stack", "tensor"]


def softmax(values: Any, axis: int = -1) -> NDArray[np.float64]:
    """Probabilities of logits along ``axis``, in double precision."""
    np = require("numpy")
    values = np.asarray(values, dtype=np.float64)
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)  # type: ignore[no-any-return]


def sigmoid(values: Any) -> NDArray[np.float64]:
    """The logistic function of each value, without overflow."""
    np = require("numpy")
    values = np.asarray(values, dtype=np.float64)
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small))  # type: ignore[no-any-return]


def tensor(name: str, array: Any) -> Tensor:
    """``array`` as FP32 bytes with its shape."""
    np = require("numpy")
    array = np.asarray(array)
    return Tensor(name, list(array.shape), "FP32", array.astype("<f4").tobytes())


def label_names(config: Any, count: int) -> list[str]:
    """Names of a model's classes, by number; those that the config does not name are ``LABEL_<n>``."""
    names = {int(number): str(name) for number, name in (getattr(config, "id2label", None) or {}).items()}
    return [names.get(number, f"LABEL_{number}") for number in range(count)]


def best_labels(names: Sequence[str], scores: Any, top_k: int | None = None) -> list[Label]:
    """Labels by score, the highest first; equal ones in the order of ``names``."""
    order = sorted(range(len(names)), key=lambda at: -float(scores[at]))
    return [Label(names[at], float(scores[at])) for at in order[:top_k]]


def stack(
    rows: Sequence[Any], *, fill: float = 0, width: int | None = None, left: bool = False, axis: int = 0
) -> NDArray[Any]:
    """Arrays of one batch in one, those shorter along ``axis`` filled up at their end, or at their beginning."""
    np = require("numpy")
    arrays = [np.asarray(row) for row in rows]
    first = arrays[0]
    if not first.ndim:
        return np.stack(arrays)  # type: ignore[no-any-return]
    width = width or max(array.shape[axis] for array in arrays)
    shape = list(first.shape)
    shape[axis] = width
    out = np.full((len(arrays), *shape), fill, dtype=first.dtype)
    for at, array in enumerate(arrays):
        length = array.shape[axis]
        place = [slice(None)] * first.ndim
        place[axis] = slice(width - length, width) if left else slice(0, length)
        out[(at, *place)] = array
    return out  # type: ignore[no-any-return]


def only(features: Mapping[str, Any], names: frozenset[str] | None) -> dict[str, Any]:
    """Those features that a model takes."""
    return {name: value for name, value in features.items() if names is None or name in names}
