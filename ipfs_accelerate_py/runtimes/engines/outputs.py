"""A Transformers model's output, flat: arrays by dotted names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["flatten"]


def flatten(outputs: Any) -> dict[str, Any]:
    """Arrays of all tensors in ``outputs``, floats as float32, by name; those in lists and mappings are dotted."""
    return dict(_leaves("", outputs))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    if hasattr(value, "detach"):
        tensor = value.detach()
        if tensor.is_floating_point():
            tensor = tensor.float()
        yield name or "output", tensor.cpu().numpy()
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaves(f"{name}.{key}" if name else str(key), each)
    elif isinstance(value, list | tuple):
        for at, each in enumerate(value):
            yield from _leaves(f"{name}.{at}" if name else str(at), each)
