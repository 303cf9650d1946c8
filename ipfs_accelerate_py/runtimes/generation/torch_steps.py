"""Decoders of PyTorch that many rows share: one forward pass a step for all of them. See ``columns``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.runtimes.extras import require

from .base import Prompt, Sampling
from .columns import column_cache
from .kinds import Kind
from .positions import most_positions
from .preparing import feature_tensors, prepare
from .searching import beam_search
from .shifting import Shift

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["TorchRow", "TorchSteps", "check_ids", "logits_of"]


class TorchRow:
    """See `Row`. While its prompt is being read it has a cache of its own."""

    __slots__ = ("cache", "given", "ids", "length", "model", "prompt", "released", "slot")

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self.ids = list(prompt.ids)
        self.length = 0
        #: Its place in the common cache, once it has been read.
        self.slot: int | None = None
        self.cache: Any = None
        self.model: Any = None
        #: What its model is given beside tokens and cache, where it is prepared by the model's own code.
        self.given: dict[str, Any] = {}
        self.released = False


class TorchSteps:
    """See `StepModel`. ``model`` is Transformers' object of a decoder that takes a mask of what is padding.

    ``in_parts``: whether a prompt may be read in several forward passes.
    """

    together = True

    def __init__(self, model: Any, kinds: Sequence[Kind], *, in_parts: bool = True) -> None:
        self._torch = require("torch")
        self._model = model
        self._kinds = kinds
        takes = inspect.signature(model.forward).parameters
        self._takes = frozenset(takes)
        self._cache_name = "past_key_values" if "past_key_values" in takes else "cache_params"
        self._cache = column_cache(kinds)
        self._rows: list[TorchRow] = []
        self._recurrent = any(kind.name in ("states", "both") for kind in kinds)
        self._attends = any(kind.name in ("columns", "both") for kind in kinds)
        self._in_parts = in_parts
        #: A column that a failed step has written is not counted; a state that it has changed stays changed.
        self.steady = not self._recurrent
        self._shift = Shift(model)
        self._steps = 0
        config = model.config.get_text_config(decoder=True)
        self.vocab_size = int(config.vocab_size)
        self.max_positions = most_positions(model.config)
        self._known = max(self.vocab_size, *(int(v) + 1 for k, v in vars(model.config).items() if _is_token(k, v)), 0)
        self._sees = hasattr(model.config, "vision_config") or hasattr(model.config, "audio_config")
        self.manner = "rows of all lengths step together"
        if self._recurrent:
            self.manner += "; their recurrent states are kept by row, and prompts are read one by one"
        if not in_parts:
            self.manner += "; a prompt is read whole"

    # --- rows --------------------------------------------------------------------------------------------------------

    def open(self, prompt: Prompt) -> TorchRow:
        # Ids that stand for pieces of an image may lie above those of the text.
        check_ids(prompt.ids, self._known if prompt.features else self.vocab_size)
        if prompt.features and not (self._sees or self._takes.issuperset(prompt.features)):
            names = ", ".join(prompt.features)
            raise InvalidRequest(f"this model takes text alone, not {names}", status=400, param="input")
        return TorchRow(prompt)

    def release(self, row: Any) -> None:
        row.released, row.cache, row.given = True, None, {}
        if row.slot is None:
            return
        with self._torch.inference_mode():
            self._cache.remove(row.slot)
        last = self._rows.pop()
        if last is not row:
            self._rows[row.slot] = last
            last.slot = row.slot
        row.slot = None

    def close(self) -> None:
        for row in list(self._rows):
            row.slot, row.released = None, True
        self._rows.clear()
        self._cache.clear()

    def search(self, prompt: Prompt, sampling: Sampling, limit: int) -> tuple[list[int], str]:
        return beam_search(self._model, prompt, sampling, limit)

    def snapshot(self) -> dict[str, object]:
        return {
            "manner": self.manner,
            "rows": len(self._rows),
            "positions": sum(row.length for row in self._rows),
            "cache_bytes": self._cache.held(),
            "forward_passes": self._steps,
        }

    # --- prompts -----------------------------------------------------------------------------------------------------

    def prefill(self, rows: Sequence[Any], most: int) -> list[NDArray[np.float32] | None]:
        if not self._in_parts:
            most = max(most, len(rows[0].ids))
        chosen = self._choose(rows, most)
        with self._torch.inference_mode():
            if len(chosen) == 1:
                return self._read_part(rows, chosen[0], most)
            return self._read_whole(rows, chosen)

    def _choose(self, rows: Sequence[TorchRow], most: int) -> list[TorchRow]:
        """The rows of one forward pass: the first, and those after it that fit beside it as a padded batch."""
        first = rows[0]
        if first.length or len(first.ids) > most or self._recurrent or first.prompt.features:
            return [first]
        chosen, longest = [first], len(first.ids)
        for row in rows[1:]:
            width = max(longest, len(row.ids))
            if self._shift.found and len(row.ids) != longest:
                continue
            if not row.length and not row.prompt.features and width * (len(chosen) + 1) <= most:
                chosen.append(row)
                longest = width
        return chosen

    def _read_seen(self, rows: Sequence[TorchRow], row: TorchRow) -> list[NDArray[np.float32] | None]:
        """A prompt with images is read whole, its features put in by the model's own code."""
        model, cache = self._model, column_cache(self._kinds)
        cache.begin(1)
        ids = self._torch.tensor([row.ids], device=model.device)
        model, ids, given = prepare(model, ids, feature_tensors(model, row.prompt), cache)
        inputs = model.prepare_inputs_for_generation(ids, is_first_iteration=True, **given)
        logits = logits_of(model(**inputs, return_dict=True).logits[:, -1])
        cache.commit(cache.used().keys.shape[-2])
        row.length = cache.frame.width
        self._admit([row], cache)
        return [logits[0] if each is row else None for each in rows]

    def _read_part(self, rows: Sequence[TorchRow], row: TorchRow, most: int) -> list[NDArray[np.float32] | None]:
        if row.prompt.features:
            return self._read_seen(rows, row)
        if row.cache is None:
            row.cache = column_cache(self._kinds)
            row.cache.begin(1)
        ids = row.ids[row.length : row.length + most]
        logits = self._forward(row.cache, [ids], [row.length])
        row.cache.commit(len(ids))
        row.length += len(ids)
        done = row.length >= len(row.ids)
        if done:
            self._admit([row], row.cache)
        return [logits_of(logits)[0] if each is row and done else None for each in rows]

    def _read_whole(self, rows: Sequence[TorchRow], chosen: list[TorchRow]) -> list[NDArray[np.float32] | None]:
        cache = column_cache(self._kinds)
        cache.begin(len(chosen))
        width = max(len(row.ids) for row in chosen)
        ids = [[0] * (width - len(row.ids)) + row.ids for row in chosen]
        logits = logits_of(self._forward(cache, ids, [0] * len(chosen), [width - len(row.ids) for row in chosen]))
        cache.commit(width, [len(row.ids) for row in chosen])
        for row in chosen:
            row.length = len(row.ids)
        self._admit(chosen, cache)
        found = {id(row): at for at, row in enumerate(chosen)}
        return [logits[found[id(row)]] if id(row) in found else None for row in rows]

    def _admit(self, rows: Sequence[TorchRow], cache: Any) -> None:
        """Rows that have been read join those that step."""
        self._cache.absorb(cache)
        for row in rows:
            row.slot, row.cache = len(self._rows), None
            self._rows.append(row)

    # --- steps -------------------------------------------------------------------------------------------------------

    def step(self, rows: Sequence[Any], tokens: Sequence[int]) -> NDArray[np.float32]:
        given = {row.slot: token for row, token in zip(rows, tokens, strict=True)}
        if len(given) != len(self._rows):
            return self._step_some(rows, tokens)
        order = [row.slot for row in rows]
        with self._torch.inference_mode():
            self._cache.reserve(1)
            lengths = self._cache.frame.lengths
            logits = self._forward(self._cache, [[given[at]] for at in range(len(order))], lengths)
            self._cache.commit(1)
        for row in rows:
            row.length += 1
        array = logits_of(logits)
        return array if order == list(range(len(order))) else array[order]

    def _step_some(self, rows: Sequence[TorchRow], tokens: Sequence[int]) -> NDArray[np.float32]:
        # Rows that are left out would get a column too: they are set aside, and put back behind the others.
        named = {id(row) for row in rows}
        with self._torch.inference_mode():
            aside = [(row, self._cache.take(row.slot)) for row in self._rows if id(row) not in named]
            others = [row for row, _ in aside]
            for row in others:
                self.release(row)
                row.released = False
            try:
                return self.step(rows, tokens)
            finally:
                for row, cache in aside:
                    self._admit([row], cache)

    def _forward(
        self, cache: Any, ids: Sequence[Sequence[int]], seen: Sequence[int], pads: Sequence[int] | None = None
    ) -> Any:
        """Logits of the last column. ``seen``: positions each row already has; ``pads``: of the new ones, before it."""
        torch, takes, device = self._torch, self._takes, self._model.device
        tensor = torch.tensor(ids, device=device)
        more, width = tensor.shape[1], cache.frame.width
        inputs: dict[str, Any] = {"input_ids": tensor, self._cache_name: cache, "use_cache": True, "return_dict": True}
        starts = torch.tensor(seen, device=device)[:, None]
        absent = torch.tensor(pads, device=device)[:, None] if pads is not None else 0
        if "position_ids" in takes:
            columns = torch.arange(more, device=device)[None, :]
            inputs["position_ids"] = (starts + columns - absent).clamp_(min=0)
        if self._attends and "attention_mask" in takes and (pads is not None or any(each != width for each in seen)):
            columns = torch.arange(width + more, device=device)[None, :]
            # Left of a row's own columns there is nothing of it.
            inputs["attention_mask"] = (columns >= width - starts + absent).long()
        if "logits_to_keep" in takes:
            inputs["logits_to_keep"] = 1
        self._steps += 1
        self._shift.seen = seen if "attention_mask" in inputs else None
        try:
            return self._model(**inputs).logits[:, -1]
        except BaseException:
            cache.settle()
            raise
        finally:
            self._shift.seen = None


def logits_of(tensor: Any) -> NDArray[np.float32]:
    """Rows of logits as NumPy's; on the CPU in float32 nothing is copied."""
    found: NDArray[np.float32] = tensor.detach().float().cpu().numpy()
    return found


def _is_token(name: str, value: Any) -> bool:
    return isinstance(value, int) and name.endswith(("_token_id", "_token_index"))


def check_ids(ids: Sequence[int], vocab_size: int) -> None:
    """Raises `InvalidRequest` where there are no tokens, or some that the model does not have."""
    if not ids:
        raise InvalidRequest("the prompt is empty: give at least one token", status=400, param="prompt")
    if min(ids) < 0 or max(ids) >= vocab_size:
        wrong = next(each for each in ids if not 0 <= each < vocab_size)
        raise InvalidRequest(f"token {wrong} is none of the model's {vocab_size}", status=400, param="prompt")
