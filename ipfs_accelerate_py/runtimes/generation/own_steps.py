"""Models whose rows cannot share a forward pass: each row has a cache of its model's own kind, and takes its turn.

Everything that differs by model (arguments, positions, cache, the encoder's pass) is done by the model's own code, as
``model.generate`` would, so whatever Transformers generates with runs here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.runtimes.extras import require

from .base import Prompt, Sampling
from .positions import most_positions
from .preparing import feature_tensors, prepare
from .searching import beam_search
from .torch_steps import TorchRow, check_ids, logits_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OwnSteps"]

#: Attributes in which some models keep what belongs to the sequence under way.
_KEPT = ("rope_deltas", "recurrent_states", "conv1d_state")


class OwnSteps:
    """See `StepModel`."""

    together = False

    def __init__(self, model: Any, why: str) -> None:
        self._torch = require("torch")
        self._model = model
        self._encoder = bool(model.config.is_encoder_decoder)
        self._rows: list[TorchRow] = []
        self._keepers = [(each, name) for each in model.modules() for name in _KEPT if hasattr(each, name)]
        self.vocab_size = vocabulary(model)
        self.max_positions = most_positions(model.config)
        self.manner = f"rows take turns: {why}"

    def open(self, prompt: Prompt) -> TorchRow:
        if prompt.ids or not (self._encoder or prompt.features):
            check_ids(prompt.ids, 1 << 40 if prompt.features else self.vocab_size)
        row = TorchRow(prompt)
        self._rows.append(row)
        return row

    def release(self, row: Any) -> None:
        row.released, row.cache, row.model, row.given = True, None, None, {}
        if row in self._rows:
            self._rows.remove(row)

    def close(self) -> None:
        for row in list(self._rows):
            self.release(row)

    def search(self, prompt: Prompt, sampling: Sampling, limit: int) -> tuple[list[int], str]:
        return beam_search(self._model, prompt, sampling, limit)

    def snapshot(self) -> dict[str, object]:
        return {
            "manner": self.manner,
            "rows": len(self._rows),
            "positions": sum(row.length for row in self._rows),
        }

    def prefill(self, rows: Sequence[Any], most: int) -> list[NDArray[np.float32] | None]:
        row = rows[0]
        model = self._model
        with self._torch.inference_mode():
            ids = self._torch.tensor([row.ids], device=model.device) if row.ids else None
            row.model, row.cache, given = prepare(model, ids, feature_tensors(model, row.prompt))
            for module, name in self._keepers:
                setattr(module, name, None)
            logits = self._run(row, given, first=True)
        row.length = max(row.cache.shape[1], len(row.ids))
        return [logits, *[None] * (len(rows) - 1)]

    def step(self, rows: Sequence[Any], tokens: Sequence[int]) -> NDArray[np.float32]:
        import numpy as np

        found = []
        for row, token in zip(rows, tokens, strict=True):
            with self._torch.inference_mode():
                for (module, name), value in zip(self._keepers, row.given["kept"], strict=True):
                    setattr(module, name, value)
                new = row.cache.new_full((1, 1), token)
                row.cache = self._torch.cat([row.cache, new], dim=1)
                found.append(self._run(row, row.given["arguments"], first=False))
            row.length += 1
        return np.stack(found)

    def _run(self, row: TorchRow, given: dict[str, Any], *, first: bool) -> NDArray[np.float32]:
        """One forward pass; ``row.cache`` holds all ids so far, ``row.given`` what the next one needs."""
        model = row.model
        more = 1 if not first and given.get("use_cache") else None
        inputs = model.prepare_inputs_for_generation(
            row.cache, next_sequence_length=more, is_first_iteration=first, **given
        )
        outputs = model(**inputs, return_dict=True)
        arguments = model._update_model_kwargs_for_generation(
            outputs, given, is_encoder_decoder=model.config.is_encoder_decoder
        )
        row.given = {"arguments": arguments, "kept": [getattr(*each) for each in self._keepers]}
        found: NDArray[np.float32] = logits_of(outputs.logits[:, -1])[0]
        return found


def vocabulary(model: Any) -> int:
    """Length of a row of the model's logits."""
    head = model.get_output_embeddings()
    for name in ("out_features", "num_embeddings"):
        if isinstance(found := getattr(head, name, None), int):
            return found
    config = model.config.get_text_config(decoder=True)
    return int(getattr(config, "vocab_size", 0) or getattr(config, "decoder_vocab_size", 0))
