"""Positions of rows of different lengths, for decoders that count them from the cache and cannot be told.

BART and its kind look up learned or computed positions by the length of the cache, one for all rows. Here that module
is asked once for each length that there is, and every row gets its own. All else of the model stays as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

__all__ = ["Shift"]

_PAST = "past_key_values_length"


class Shift:
    """``found`` says whether the model has such modules. ``seen`` holds each row's length during a forward pass, None
    where all are the cache's."""

    def __init__(self, model: Any) -> None:
        self.seen: Sequence[int] | None = None
        self.found = False
        if "position_ids" in inspect.signature(model.forward).parameters:
            return  # it can be told
        for name, module in model.named_modules():
            last = name.rpartition(".")[2]
            parent = name.split(".")
            if last != "embed_positions" or "encoder" in parent:
                continue
            signature = inspect.signature(type(module).forward)
            if _PAST in signature.parameters:
                self.found = True
                module.forward = self._wrapped(type(module).forward.__get__(module), inspect.signature(module.forward))

    def _wrapped(self, forward: Any, signature: inspect.Signature) -> Any:
        torch = require("torch")

        def shifted(*args: Any, **kwargs: Any) -> Any:
            if self.seen is None:
                return forward(*args, **kwargs)
            given = signature.bind(*args, **kwargs).arguments
            rows = len(self.seen)
            made: list[Any] = [None] * rows
            for length in set(self.seen):
                at = [row for row, each in enumerate(self.seen) if each == length]
                mine = {name: self._part(name, value, at, rows, length) for name, value in given.items()}
                got = forward(**mine)
                # Some give (rows, new, size), some (1, new, size) or (new, size) for all rows.
                got = got if got.dim() == 3 else got[None]
                for place, row in enumerate(at):
                    made[row] = got[place if got.shape[0] == len(at) else 0]
            return torch.stack(made)

        return shifted

    @staticmethod
    def _part(name: str, value: Any, at: list[int], rows: int, length: int) -> Any:
        if name == _PAST:
            return length
        if name == "position_ids" and value is not None:
            return value - value.reshape(-1)[0] + length
        if isinstance(value, tuple):  # a shape (torch.Size is one)
            return type(value)((len(at), *value[1:]))
        if getattr(value, "ndim", 0) and value.shape[0] == rows:
            return value[at]
        return value
