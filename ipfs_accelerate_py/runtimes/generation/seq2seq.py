"""Encoder-decoders of PyTorch: what an encoder made of a text, a recording or an image is kept by row, and rows step
together whatever the lengths of both sides are.

What the decoder looks at in the encoder's outputs is computed once, when a row is read, and kept as another cache of
columns (see ``columns``): those of a shorter input are padded on the left and masked.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.runtimes.extras import require

from .base import Prompt, Sampling
from .columns import column_cache
from .kinds import Kind
from .own_steps import vocabulary
from .positions import most_positions
from .preparing import encoder_output, feature_tensors, prepare
from .searching import beam_search
from .shifting import Shift
from .torch_steps import TorchRow, check_ids, logits_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Seq2SeqSteps"]


class _Pool:
    """Rows that share forward passes: both their caches."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        kind = require("transformers").EncoderDecoderCache
        self.rows: list[TorchRow] = []
        self.own, self.cross = column_cache(kinds), column_cache(kinds)
        self.pair = kind(self.own, self.cross)

    def begin(self, rows: int) -> None:
        self.own.begin(rows)
        self.cross.begin(rows)

    def absorb(self, other: _Pool) -> None:
        self.own.absorb(other.own)
        self.cross.absorb(other.cross)
        self.pair.is_updated = dict.fromkeys(range(len(self.cross.layers)), True)
        for row in other.rows:
            row.slot, row.cache = len(self.rows), self
            self.rows.append(row)

    def set_aside(self, named: set[int]) -> list[_Pool]:
        """Rows that are not to step go to pools of their own."""
        made = []
        for row in [each for each in self.rows if id(each) not in named]:
            pool = _Pool(self.own.kinds)
            pool.own, pool.cross, pool.rows = self.own.take(row.slot), self.cross.take(row.slot), [row]
            self.remove(row)
            made.append(pool)
        return made

    def remove(self, row: TorchRow) -> None:
        assert row.slot is not None
        self.own.remove(row.slot)
        self.cross.remove(row.slot)
        last = self.rows.pop()
        if last is not row:
            self.rows[row.slot] = last
            last.slot = row.slot


class Seq2SeqSteps:
    """See `StepModel`."""

    together = True

    def __init__(self, model: Any, kinds: Sequence[Kind]) -> None:
        self._torch = require("torch")
        self._model, self._kinds = model, kinds
        self._takes = frozenset(inspect.signature(model.forward).parameters)
        self._shift = Shift(model)
        self._size = 0
        self._pools: dict[Hashable, _Pool] = {}
        self._reads_text = model.main_input_name == "input_ids"
        self._steps = 0
        self.vocab_size = vocabulary(model)
        self.max_positions = most_positions(model.config)
        self.manner = "rows of all lengths step together"
        if not self._reads_text:
            self.manner = "rows step together whose inputs are of one length"

    @property
    def steady(self) -> bool:
        """Of several pools some may have got their token before another failed."""
        return len(self._pools) <= 1

    def open(self, prompt: Prompt) -> TorchRow:
        if not prompt.features:
            raise InvalidRequest("this model continues nothing by itself: give its encoder an input", status=400)
        if prompt.ids:
            check_ids(prompt.ids, 1 << 40)
        return TorchRow(prompt)

    def release(self, row: Any) -> None:
        row.released = True
        if row.slot is None:
            return
        with self._torch.inference_mode():
            row.cache.remove(row)
        row.slot = row.cache = None
        for key in [key for key, pool in self._pools.items() if not pool.rows]:
            del self._pools[key]

    def close(self) -> None:
        for pool in self._pools.values():
            for row in pool.rows:
                row.slot, row.cache, row.released = None, None, True
        self._pools.clear()

    def search(self, prompt: Prompt, sampling: Sampling, limit: int) -> tuple[list[int], str]:
        return beam_search(self._model, prompt, sampling, limit)

    def snapshot(self) -> dict[str, object]:
        rows = [row for pool in self._pools.values() for row in pool.rows]
        return {
            "manner": self.manner,
            "rows": len(rows),
            "positions": sum(row.length for row in rows),
            "cache_bytes": sum(pool.own.held() + pool.cross.held() for pool in self._pools.values()),
            "forward_passes": self._steps,
        }

    # --- inputs ------------------------------------------------------------------------------------------------------

    def prefill(self, rows: Sequence[Any], most: int) -> list[NDArray[np.float32] | None]:
        """Rows whose inputs have one shape are read together."""
        shape = _shape(rows[0].prompt)
        alike = [row for row in rows if _shape(row.prompt) == shape] if shape is not None else [rows[0]]
        longest = max((max(each.shape, default=1) for each in _arrays(rows[0].prompt).values()), default=1)
        chosen = alike[: max(1, most // longest)]
        model, torch, pool = self._model, self._torch, _Pool(self._kinds)
        pool.begin(len(chosen))
        with torch.inference_mode():
            made = [feature_tensors(model, row.prompt) for row in chosen]
            given = {name: torch.cat([each[name] for each in made]) for name in made[0]} if len(made) > 1 else made[0]
            ids = torch.tensor([row.ids for row in chosen], device=model.device) if rows[0].ids else None
            _, ids, arguments = prepare(model, ids, given, pool.pair)
            inputs = model.prepare_inputs_for_generation(ids, is_first_iteration=True, **arguments)
            self._steps += 1
            logits = logits_of(model(**inputs, return_dict=True).logits[:, -1])
            pool.own.commit(ids.shape[1])
            pool.cross.commit(pool.cross.used().keys.shape[-2])
            self._size = arguments["encoder_outputs"][0].shape[-1]
            for row in chosen:
                row.length = ids.shape[1]
            pool.rows = list(chosen)
            self._admit(pool, arguments.get("attention_mask"))
        found = {id(row): at for at, row in enumerate(chosen)}
        return [logits[found[id(row)]] if id(row) in found else None for row in rows]

    def _admit(self, pool: _Pool, mask: Any) -> None:
        key: Hashable = "text"
        if not self._reads_text:
            key = pool.cross.frame.width
        partial = mask is not None and not bool(mask.all())
        if partial:  # it has padding of its own, which only the model's code knows how to carry over to its outputs
            key = object()
        common = self._pools.setdefault(key, _Pool(self._kinds))
        common.absorb(pool)
        for row in pool.rows:
            row.given = {"attention_mask": mask} if partial else {}

    # --- steps -------------------------------------------------------------------------------------------------------

    def step(self, rows: Sequence[Any], tokens: Sequence[int]) -> NDArray[np.float32]:
        import numpy as np

        found = np.empty((len(rows), self.vocab_size), np.float32)
        groups: dict[int, list[int]] = {}
        for at, row in enumerate(rows):
            groups.setdefault(id(row.cache), []).append(at)
        for group in groups.values():
            pool = rows[group[0]].cache
            aside = pool.set_aside({id(rows[at]) for at in group})
            by_slot = {rows[at].slot: at for at in group}
            order = [by_slot[slot] for slot in range(len(group))]
            with self._torch.inference_mode():
                try:
                    found[order] = logits_of(self._forward(pool, [tokens[at] for at in order]))
                finally:
                    for other in aside:
                        pool.absorb(other)
            for at in group:
                rows[at].length += 1
        return found

    def _forward(self, pool: _Pool, tokens: list[int]) -> Any:
        torch, device, model = self._torch, self._model.device, self._model
        pool.own.reserve(1)
        mine, theirs = pool.own.frame, pool.cross.frame
        # Only its shape counts: what is looked at is in the cache. It takes no memory.
        hidden = torch.zeros((1, 1, 1), device=device, dtype=model.dtype).expand(len(tokens), theirs.width, self._size)
        inputs: dict[str, Any] = {
            "decoder_input_ids": torch.tensor(tokens, device=device)[:, None],
            "encoder_outputs": encoder_output(hidden),
            "past_key_values": pool.pair,
            "use_cache": True,
            "return_dict": True,
            **pool.rows[0].given,
        }
        if self._reads_text and "attention_mask" not in inputs and min(theirs.lengths) != theirs.width:
            inputs["attention_mask"] = _mask(torch, theirs.lengths, theirs.width, device)
        uneven = min(mine.lengths) != mine.width
        if uneven:
            inputs["decoder_attention_mask"] = _mask(torch, [each + 1 for each in mine.lengths], mine.width + 1, device)
        if "decoder_position_ids" in self._takes:
            inputs["decoder_position_ids"] = torch.tensor(mine.lengths, device=device)[:, None]
        self._steps += 1
        self._shift.seen = list(mine.lengths) if uneven else None
        try:
            logits = model(**inputs).logits[:, -1]
        except BaseException:
            pool.own.settle()
            raise
        finally:
            self._shift.seen = None
        pool.own.commit(1)
        return logits


def _mask(torch: Any, lengths: Sequence[int], width: int, device: Any) -> Any:
    starts = width - torch.tensor(lengths, device=device)[:, None]
    return (torch.arange(width, device=device)[None, :] >= starts).long()


def _arrays(prompt: Prompt) -> dict[str, Any]:
    import numpy as np

    return {
        name: np.asarray(value)
        for name, value in prompt.features.items()
        if hasattr(value, "__array__") or isinstance(value, list)
    }


def _shape(prompt: Prompt) -> Hashable:
    """What must be equal for two prompts to be read together; None where one is read alone."""
    arrays = _arrays(prompt)
    if len(arrays) != len(prompt.features) or prompt.flat:
        return None
    return len(prompt.ids), tuple(sorted((name, each.shape) for name, each in arrays.items()))
