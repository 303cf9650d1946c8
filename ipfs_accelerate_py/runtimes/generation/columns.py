"""A cache of keys and values for rows of different lengths that step together, without copying it at every step.

All rows end at the same column. A row's first position is where its length puts it, further left the longer it is, and
what lies left of that is masked, as in a batch padded on the left, which is what Transformers' models are made for::

    row 0   . . . a b c d e |
    row 1   . . . . . f g h |      start = 3, end = 8
    row 2   . . . i j k l m |

A step writes one column for every row and moves ``end``. A row joins by being written to the left of ``end``; one
leaves by the last row's taking its place. Buffers are larger than what is in use and double when they are full; models
are given views. Recurrent layers (Mamba and the like) keep one state per row instead, which has no columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

from .kinds import Kind

__all__ = ["Frame", "column_cache"]

#: Columns that a buffer has at least.
_LEAST = 64


class Frame:
    """Which columns and rows of all layers' buffers are in use."""

    __slots__ = ("end", "lengths", "start")

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        #: Columns of each row, all of which end at ``end``.
        self.lengths: list[int] = []

    @property
    def width(self) -> int:
        return self.end - self.start


@cache
def _classes() -> Any:
    """The classes, made when transformers is first needed."""
    torch, utils = require("torch"), require("transformers.cache_utils")

    class ColumnLayer(utils.DynamicLayer):  # type: ignore[misc, name-defined]
        """One attention layer's buffers, ``(rows, heads, columns, size)``, and views of what is in use."""

        def __init__(self, frame: Frame, window: bool) -> None:
            super().__init__()
            self.frame, self.is_sliding, self.pending = frame, window, 0
            self.buffers: list[Any] = []

        def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            frame, more = self.frame, key_states.shape[-2]
            if not self.buffers:
                self.is_initialized = True
                self.dtype, self.device = key_states.dtype, key_states.device
                self.buffers = [
                    each.new_empty((*each.shape[:2], max(_LEAST, frame.end + 2 * more), each.shape[3]))
                    for each in (key_states, value_states)
                ]
            if frame.end + more > self.buffers[0].shape[2]:
                self.resize(rows=self.buffers[0].shape[0], columns=2 * (frame.end + more))
            count, end = key_states.shape[0], frame.end + more
            for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
                buffer[:count, :, frame.end : end] = new
            self.pending = more
            self.keys, self.values = (buffer[:count, :, frame.start : end] for buffer in self.buffers)
            return self.keys, self.values

        def resize(self, *, rows: int, columns: int, shift: int = 0) -> None:
            """Buffers of another size; what they hold moves ``shift`` columns to the right (left if negative)."""
            start, end = self.frame.start, self.frame.end + self.pending
            made = []
            for buffer in self.buffers:
                kept = min(rows, buffer.shape[0])
                new = buffer.new_zeros((rows, buffer.shape[1], columns, buffer.shape[3]))
                new[:kept, :, start + shift : end + shift] = buffer[:kept, :, start:end]
                made.append(new)
            self.buffers = made

        def settle(self) -> None:
            """After rows or columns have changed: views of what is in use."""
            self.pending = 0
            count, frame = len(self.frame.lengths), self.frame
            if self.buffers:
                self.keys, self.values = (buffer[:count, :, frame.start : frame.end] for buffer in self.buffers)

        def get_seq_length(self) -> int:
            return self.frame.width + self.pending if self.buffers else 0

        def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
            return self.get_seq_length() + query_length, 0

    class StateLayer(utils.LinearAttentionLayer):  # type: ignore[misc, name-defined]
        """One recurrent layer's states, the rows first."""

        def states(self) -> list[tuple[dict[int, Any], int]]:
            pairs = [(self.conv_states, self.is_conv_states_initialized)]
            pairs.append((self.recurrent_states, self.is_recurrent_states_initialized))
            return [(held, at) for held, there in pairs for at in held if there[at]]

        def adopt(self, other: Any) -> None:
            """Become what ``other`` is; the tensors are shared until one of both is changed."""
            for name in ("conv_states", "recurrent_states", "is_conv_states_initialized", "conv_kernel_size"):
                setattr(self, name, dict(getattr(other, name)))
            for name in ("is_recurrent_states_initialized", "has_previous_state"):
                setattr(self, name, dict(getattr(other, name)))
            self.device, self.dtype = other.device, other.dtype

    class BothLayer(StateLayer, ColumnLayer, utils.LinearAttentionAndFullAttentionLayer):  # type: ignore[misc, name-defined]
        """A layer with attention and a recurrent state side by side."""

        def __init__(self, frame: Frame, window: bool, states: int) -> None:
            ColumnLayer.__init__(self, frame, window)
            utils.LinearAttentionLayer.__init__(self, number_of_states=states)

    class ColumnCache(utils.Cache):  # type: ignore[misc, name-defined]
        """All layers of one decoder. See the module."""

        def __init__(self, kinds: Sequence[Kind]) -> None:
            self.frame = Frame()
            layers: list[Any] = []
            for kind, window, count in kinds:
                if kind == "columns":
                    layers.append(ColumnLayer(self.frame, window))
                elif kind == "states":
                    layers.append(StateLayer(number_of_states=count))
                elif kind == "both":
                    layers.append(BothLayer(self.frame, window, count))
                else:
                    layers.append(utils.DummyLayer())
            super().__init__(layers=layers)
            self.kinds = kinds
            self.columns = [layer for layer in layers if isinstance(layer, ColumnLayer)]
            self.states = [layer for layer in layers if isinstance(layer, StateLayer)]

        @property
        def is_compileable(self) -> bool:
            return False

        def get_seq_length(self, layer_idx: int = 0) -> int:
            # Of a cache with recurrent layers only, too: some models ask.
            return super().get_seq_length(layer_idx) if self.columns else self.frame.width

        def used(self) -> Any:
            """The first layer that holds something, or None."""
            return next((layer for layer in self.columns if layer.buffers), None)

        def reserve(self, more: int) -> None:
            """Room for ``more`` columns."""
            frame, layer = self.frame, self.used()
            if layer is None or frame.end + more <= layer.buffers[0].shape[2]:
                return
            needed = frame.width + more
            rows, columns = layer.buffers[0].shape[0], layer.buffers[0].shape[2]
            columns = columns if 2 * needed <= columns else 2 * needed
            self._move(rows, columns, -frame.start)

        def _move(self, rows: int, columns: int, shift: int) -> None:
            for layer in self.columns:
                if layer.buffers:
                    layer.resize(rows=rows, columns=columns, shift=shift)
            self.frame.start += shift
            self.frame.end += shift

        def commit(self, more: int, lengths: Sequence[int] | None = None) -> None:
            """The forward pass is over: ``more`` columns have come to every row, or as many as make it so long."""
            frame = self.frame
            frame.end += more
            frame.lengths = list(lengths) if lengths is not None else [length + more for length in frame.lengths]
            frame.start = frame.end - max(frame.lengths)
            self.settle()

        def settle(self) -> None:
            for layer in self.columns:
                layer.settle()

        def begin(self, rows: int) -> None:
            """An empty cache is to have so many rows."""
            self.frame.lengths = [0] * rows

        def absorb(self, other: Any) -> None:
            """Take all rows of ``other``, which is of no use afterwards."""
            mine, theirs = self.frame, other.frame
            if not mine.lengths:
                mine.start, mine.end, mine.lengths = theirs.start, theirs.end, theirs.lengths
                for to, of in zip(self.columns, other.columns, strict=True):
                    to.buffers, to.is_initialized = of.buffers, of.is_initialized
                    if of.is_initialized:
                        to.dtype, to.device = of.dtype, of.device
                for to, of in zip(self.states, other.states, strict=True):
                    to.adopt(of)
                self.settle()
                return
            old, count = len(mine.lengths), len(mine.lengths) + len(theirs.lengths)
            layer = self.used()
            if layer is not None:
                rows, columns = layer.buffers[0].shape[0], layer.buffers[0].shape[2]
                short = max(0, theirs.width - mine.end)
                if count > rows or short:
                    columns = columns if mine.end + short < columns else 2 * (mine.end + short)
                    self._move(rows if count <= rows else max(count, 2 * rows), columns, short)
                for to, of in zip(self.columns, other.columns, strict=True):
                    for at in range(2):
                        into, new = to.buffers[at], of.buffers[at][: count - old, :, theirs.start : theirs.end]
                        into[old:count, :, : mine.end - theirs.width] = 0
                        into[old:count, :, mine.end - theirs.width : mine.end] = new
            for to, of in zip(self.states, other.states, strict=True):
                for (held, at), (new, _) in zip(to.states(), of.states(), strict=True):
                    held[at] = torch.cat([held[at], new[at]])
            if not self.columns:
                mine.end = mine.start + max(mine.width, theirs.width)
            mine.lengths = mine.lengths + theirs.lengths
            mine.start = mine.end - max(mine.lengths)
            self.settle()

        def remove(self, at: int) -> None:
            """Row ``at`` leaves; the last one takes its place."""
            frame = self.frame
            last = len(frame.lengths) - 1
            if at != last:
                for layer in self.columns:
                    for buffer in layer.buffers:
                        buffer[at, :, frame.start : frame.end] = buffer[last, :, frame.start : frame.end]
                frame.lengths[at] = frame.lengths[last]
            frame.lengths.pop()
            keep = [last if row == at else row for row in range(last)]
            for layer in self.states:
                for held, state in layer.states():
                    held[state] = held[state][keep]
            if not frame.lengths:
                self.clear()
                return
            frame.start = frame.end - max(frame.lengths)
            self.settle()

        def take(self, at: int) -> Any:
            """A cache with a copy of row ``at`` alone."""
            frame, length = self.frame, self.frame.lengths[at]
            made = ColumnCache(self.kinds)
            made.frame.lengths, made.frame.end = [length], length
            for to, of in zip(made.columns, self.columns, strict=True):
                if of.buffers:
                    to.buffers = [each[at : at + 1, :, frame.end - length : frame.end].clone() for each in of.buffers]
                    to.is_initialized, to.dtype, to.device = True, of.dtype, of.device
            for to, of in zip(made.states, self.states, strict=True):
                to.adopt(of)
                for held, state in to.states():
                    held[state] = held[state][at : at + 1].clone()
            made.settle()
            return made

        def clear(self) -> None:
            frame = self.frame
            frame.start = frame.end = 0
            frame.lengths = []
            for layer in self.columns:
                layer.buffers, layer.keys, layer.values, layer.pending = [], None, None, 0
                layer.is_initialized = False

        def held(self) -> int:
            """Bytes of all buffers and states."""
            tensors = [buffer for layer in self.columns for buffer in layer.buffers]
            tensors += [held[at] for layer in self.states for held, at in layer.states()]
            return sum(each.numel() * each.element_size() for each in tensors)

    return ColumnCache


def column_cache(kinds: Sequence[Kind]) -> Any:
    """An empty cache for a decoder with such layers."""
    return _classes()(kinds)
