"""One sequence a request, each with a state of its own: for decoders whose attention OpenVINO does not page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.generation.base import Prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["StatefulRow", "StatefulSteps"]


class StatefulRow:
    """See `Row`. ``request`` holds its keys and values, or whatever else its model keeps."""

    __slots__ = ("ids", "length", "released", "request")

    def __init__(self, ids: list[int], request: Any) -> None:
        self.ids = ids
        self.length = 0
        self.request = request
        self.released = False


class StatefulSteps:
    """See `StepModel`. ``compiled`` is a stateful graph. A prompt is read whole, or, by a graph of one token, token by
    token."""

    together = False

    def __init__(self, compiled: Any, *, vocab_size: int, max_positions: int, reason: str = "") -> None:
        self.vocab_size = vocab_size
        self.max_positions = max_positions
        self.manner = "each row by itself, with its state in OpenVINO" + (f": {reason}" if reason else "")
        self._compiled = compiled
        self._names = frozenset(name for port in compiled.inputs for name in port.get_names())
        shape = compiled.outputs[0].get_partial_shape()
        #: Whether it takes one token at a time, of a prompt too: the recurrent ones do.
        self._single = len(shape) == 3 and shape[1].is_static and shape[1].get_length() == 1
        self._free: list[Any] = []
        self._rows: set[StatefulRow] = set()
        self._passes = 0

    def open(self, prompt: Prompt) -> StatefulRow:
        if prompt.features:
            raise InvalidRequest(
                f"this model takes text alone, not {', '.join(prompt.features)}", status=400, param="input"
            )
        if not prompt.ids or any(not 0 <= each < self.vocab_size for each in prompt.ids):
            raise InvalidRequest(f"the prompt is token ids below {self.vocab_size}", status=400, param="input")
        request = self._free.pop() if self._free else self._compiled.create_infer_request()
        request.reset_state()
        row = StatefulRow(list(prompt.ids), request)
        self._rows.add(row)
        return row

    def prefill(self, rows: Sequence[Any], most: int) -> list[NDArray[np.float32] | None]:
        first = rows[0]
        parts = [[each] for each in first.ids] if self._single else [first.ids]
        for part in parts:
            logits = self._pass(first, part)
        return [logits if row is first else None for row in rows]

    def step(self, rows: Sequence[Any], tokens: Sequence[int]) -> NDArray[np.float32]:
        np = require("numpy")
        found: NDArray[Any] = np.stack([self._pass(row, [token]) for row, token in zip(rows, tokens, strict=True)])
        return found

    def release(self, row: Any) -> None:
        if not row.released:
            row.released = True
            self._free.append(row.request)
            row.request = None
            self._rows.discard(row)

    def close(self) -> None:
        for row in list(self._rows):
            self.release(row)
        self._free.clear()

    def snapshot(self) -> dict[str, object]:
        return {
            "manner": self.manner,
            "rows": len(self._rows),
            "positions": sum(row.length for row in self._rows),
            "forward_passes": self._passes,
        }

    def _pass(self, row: StatefulRow, ids: Sequence[int]) -> NDArray[np.float32]:
        """The logits after the last of ``ids``."""
        np = require("numpy")
        end = row.length + len(ids)
        given = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, end), np.int64),
            "position_ids": np.arange(row.length, end)[None],
            "cache_position": np.arange(row.length, end),
            "beam_idx": np.zeros(1, np.int32),
        }
        row.request.infer({name: value for name, value in given.items() if name in self._names}, share_inputs=True)
        row.length = end
        self._passes += 1
        logits: NDArray[Any] = row.request.get_output_tensor(0).data[0, -1].copy()
        return logits
