"""Many sequences in one pass of a paged graph: see `openvino_decoder`, and `StepModel` for what is promised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.generation.base import Prompt

from .openvino_decoder import WANTED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PagedRow", "PagedSteps"]

# Blocks that there are at first; as many again are added whenever none is free.
_BLOCKS = 64


class PagedRow:
    """See `Row`. ``blocks`` are the places of its keys and values, in order."""

    __slots__ = ("blocks", "ids", "length", "released")

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids
        self.length = 0
        self.blocks: list[int] = []
        self.released = False


class PagedSteps:
    """See `StepModel`. ``compiled`` is a paged graph; tokens of all rows go through it in one pass, prompts too."""

    together = True
    manner = "rows of all lengths step together; keys and values lie in blocks (OpenVINO's paged attention)"

    def __init__(self, compiled: Any, *, vocab_size: int, max_positions: int) -> None:
        self.vocab_size = vocab_size
        self.max_positions = max_positions
        self._request = compiled.create_infer_request()
        self._inputs = {name: port for port in compiled.inputs for name in port.get_names()}
        self._caches = [name for name in self._inputs if name.startswith(("key_cache.", "value_cache."))]
        shape = self._inputs[self._caches[0]].get_partial_shape()
        #: Positions in a block.
        self._size = int(shape[2].get_length())
        self._free: list[int] = []
        self._count = 0
        self._rows: set[PagedRow] = set()
        self._passes = 0
        self._tensors: dict[str, Any] = {}
        self._grow(_BLOCKS)

    def open(self, prompt: Prompt) -> PagedRow:
        if prompt.features:
            raise InvalidRequest(
                f"this model takes text alone, not {', '.join(prompt.features)}", status=400, param="input"
            )
        if any(not 0 <= each < self.vocab_size for each in prompt.ids):
            raise InvalidRequest(f"a token id is not below {self.vocab_size}", status=400, param="input")
        if not prompt.ids:
            raise InvalidRequest("the prompt has no tokens", status=400, param="input")
        return PagedRow(list(prompt.ids))

    def prefill(self, rows: Sequence[Any], most: int) -> list[NDArray[np.float32] | None]:
        parts: list[tuple[PagedRow, list[int]]] = []
        for row in rows:
            part = row.ids[row.length : row.length + max(1, most)] if most > 0 or not parts else []
            if part:
                parts.append((row, part))
                most -= len(part)
        logits = self._pass(parts)
        found = {id(row): logits[at] for at, (row, _) in enumerate(parts) if row.length >= len(row.ids)}
        return [found.get(id(row)) for row in rows]

    def step(self, rows: Sequence[Any], tokens: Sequence[int]) -> NDArray[np.float32]:
        return self._pass([(row, [token]) for row, token in zip(rows, tokens, strict=True)])

    def release(self, row: Any) -> None:
        if not row.released:
            row.released = True
            self._free.extend(row.blocks)
            row.blocks = []
            self._rows.discard(row)

    def close(self) -> None:
        for row in list(self._rows):
            self.release(row)

    def snapshot(self) -> dict[str, object]:
        return {
            "manner": self.manner,
            "rows": len(self._rows),
            "positions": sum(row.length for row in self._rows),
            "cache_bytes": sum(each.byte_size for each in self._tensors.values()),
            "blocks_free": len(self._free),
            "forward_passes": self._passes,
        }

    def _pass(self, parts: Sequence[tuple[PagedRow, list[int]]]) -> NDArray[np.float32]:
        """Give each row its next tokens: the logits after the last of each."""
        np = require("numpy")
        for row, part in parts:
            self._make_room(row, row.length + len(part))
            self._rows.add(row)
        counts = [len(part) for _, part in parts]
        ends = np.cumsum(counts)
        tables = [len(row.blocks) for row, _ in parts]
        given: dict[str, Any] = {
            "input_ids": np.fromiter((token for _, part in parts for token in part), np.int64),
            "position_ids": np.concatenate([np.arange(row.length, row.length + len(part)) for row, part in parts]),
            "past_lens": np.array([row.length for row, _ in parts], np.int32),
            "subsequence_begins": np.array([0, *ends], np.int32),
            "block_indices": np.array([block for row, _ in parts for block in row.blocks], np.int32),
            "block_indices_begins": np.array([0, *np.cumsum(tables)], np.int32),
            "max_context_len": np.array(max(row.length + len(part) for row, part in parts), np.int32),
            WANTED: np.asarray(ends - 1, np.int64),
        }
        self._request.infer({name: value for name, value in given.items() if name in self._inputs}, share_inputs=True)
        self._passes += 1
        for row, part in parts:
            row.length += len(part)
        logits: NDArray[Any] = self._request.get_output_tensor(0).data.reshape(-1, self.vocab_size)
        return logits if WANTED in self._inputs else logits[ends - 1]

    def _make_room(self, row: PagedRow, length: int) -> None:
        lacking = -(-length // self._size) - len(row.blocks)
        if lacking > len(self._free):
            self._grow(max(self._count, lacking))
        for _ in range(lacking):
            row.blocks.append(self._free.pop())

    def _grow(self, more: int) -> None:
        openvino = require("openvino")
        for name in self._caches:
            port = self._inputs[name]
            _, *rest = port.get_partial_shape()
            shape = [self._count + more, *(each.get_length() for each in rest)]
            tensor = openvino.Tensor(port.get_element_type(), shape)
            old = self._tensors.get(name)
            if old is not None:
                tensor.data[: self._count] = old.data
            self._tensors[name] = tensor
            self._request.set_tensor(name, tensor)
        # The lowest last, so that they are taken first.
        self._free[:0] = range(self._count + more - 1, self._count - 1, -1)
        self._count += more
