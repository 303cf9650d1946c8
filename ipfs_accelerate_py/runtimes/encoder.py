"""The model of a sentence-transformers folder: batches of tokens in, one vector a text out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable

from .extras import require
from .folder import DenseStep, ModelFolder
from .pooling import pool
from .tokenizing import Encoded
from .transformer_step import Transformer, refused

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EncoderModel"]

Tensor = Any


class Begun:
    """A forward pass under way: what the transformer has begun, real tokens, and those of them that pooling counts."""

    __slots__ = ("attention", "included", "running", "vectors")

    def __init__(self, running: Any, attention: NDArray[np.bool_], included: NDArray[np.bool_]) -> None:
        self.running = running
        self.attention = attention
        self.included = included
        self.vectors: Tensor | None = None


class EncoderModel:
    """Transformer, pooling and dense layers. Pooling and what follows run in float32 always.

    Raises:
        RuntimeUnavailable: weights are missing, unreadable, or not those of this model.
    """

    def __init__(self, folder: ModelFolder, transformer: Transformer, *, device: str) -> None:
        self._folder = folder
        self._device = device
        self._transformer = transformer
        self._torch = require("torch")
        self._dense = [self._load_dense(step) if isinstance(step, DenseStep) else None for step in folder.steps]
        # A last Normalize is left to the caller, who may ask for raw or shortened vectors.
        self.normalizes = bool(self._dense) and self._dense[-1] is None
        while self._dense and self._dense[-1] is None:
            self._dense.pop()
        self._numpy = require("numpy")

    @property
    def waits(self) -> bool:
        """See `Transformer`."""
        return self._transformer.waits

    @property
    def memory(self) -> int:
        """Bytes that its weights take."""
        layers = [each.layers for each in self._dense if each is not None]  # type: ignore[attr-defined]  # torch's modules say not what they have
        weights = [weight for each in layers for weight in each.parameters()]
        return self._transformer.memory + sum(int(each.numel() * each.element_size()) for each in weights)

    @property
    def loss(self) -> Any:
        """What quantising the transformer cost (`engines.loss.Loss`), or None."""
        return getattr(self._transformer, "loss", None)

    @property
    def max_positions(self) -> int | None:
        """Positions the model has room for, or None where it has no such limit."""
        return self._transformer.max_positions

    def forward(self, texts: Sequence[tuple[Encoded, int]], *, pad_id: int, pad_type_id: int) -> Begun:
        """Begin a forward pass.

        Args:
            texts: tokens of each text, and how many at its start pooling leaves out.
        """
        ids, types, attention, included = self._pad(texts, pad_id, pad_type_id)
        inputs = {"input_ids": ids, "attention_mask": attention.astype("int64")}
        if types is not None:
            inputs["token_type_ids"] = types
        with self._torch.inference_mode():
            begun = Begun(self._transformer.begin(inputs), attention, included)
            if not self._transformer.waits:
                # What torch has begun on a device goes on there, and only vectors come back.
                begun.vectors = self._finish(begun)
        return begun

    def collect(self, begun: Begun) -> NDArray[np.float32]:
        """Vectors in host memory, once the device has finished them: shape ``(texts, dimensions)``."""
        with self._torch.inference_mode():
            vectors = self._finish(begun) if begun.vectors is None else begun.vectors
            array: NDArray[np.float32] = vectors.cpu().numpy()
        return array

    def _finish(self, begun: Begun) -> Tensor:
        """Token vectors to text vectors."""
        torch, device = self._torch, self._device
        tokens = self._transformer.tokens(begun.running)
        mask = torch.from_numpy(begun.attention).to(device, non_blocking=True)
        counted = mask
        if begun.included is not begun.attention:
            counted = torch.from_numpy(begun.included).to(device, non_blocking=True)
        vectors = pool(self._folder.pooling.modes, tokens, mask, counted)
        for layer in self._dense:
            vectors = torch.nn.functional.normalize(vectors, dim=-1) if layer is None else layer(vectors)
        return vectors

    # On the right, whatever the tokenizer's padding_side: positions then start at the text, so that a vector does not
    # depend on what else is in the batch. (On the left they do not, in models that count positions absolutely. A
    # decoder's tokens never see what is to their right.)
    def _pad(self, texts: Sequence[tuple[Encoded, int]], pad_id: int, pad_type_id: int) -> Any:
        np = self._numpy
        # A tokenizer without special tokens makes nothing of an empty text: one position of padding stands for it.
        width = max(1, *(len(encoded.ids) for encoded, _ in texts))
        ids = np.full((len(texts), width), pad_id, dtype=np.int64)
        attention = np.zeros((len(texts), width), dtype=np.bool_)
        typed = self._transformer.takes_types and texts[0][0].type_ids is not None
        types = np.full((len(texts), width), pad_type_id, dtype=np.int64) if typed else None
        included = attention.copy() if any(skipped for _, skipped in texts) else attention
        for row, (encoded, skipped) in enumerate(texts):
            length = len(encoded.ids)
            ids[row, :length] = encoded.ids
            attention[row, :length] = True
            if types is not None:
                types[row, :length] = encoded.type_ids
            if included is not attention:
                included[row, skipped:length] = True
        return ids, types, attention, included

    def _load_dense(self, step: DenseStep) -> Callable[[Tensor], Tensor]:
        torch = self._torch
        activation: Any = getattr(torch.nn, step.activation, None)
        if not (inspect.isclass(activation) and issubclass(activation, torch.nn.Module)):
            raise self._refuse(f"torch.nn has no activation {step.activation!r}")
        parts = {"linear": torch.nn.Linear(step.in_features, step.out_features, bias=step.bias)}
        if step.residual and step.in_features != step.out_features:
            parts["residual"] = torch.nn.Linear(step.in_features, step.out_features, bias=False)
        layers = torch.nn.ModuleDict(parts)
        try:
            if step.weights.suffix == ".safetensors":
                state = require("safetensors.torch").load_file(step.weights)
            else:
                state = torch.load(step.weights, map_location="cpu", weights_only=True)
            layers.load_state_dict(state)
            activate: Any = activation()
        except Exception as exc:
            raise self._refuse(f"its dense layer {step.weights.parent.name} does not load: {exc}") from exc
        layers.eval().float().to(self._device)

        def dense(vectors: Tensor) -> Tensor:
            out = activate(layers["linear"](vectors))
            if step.residual:
                out = out + (layers["residual"](vectors) if "residual" in layers else vectors)
            return out

        dense.layers = layers  # type: ignore[attr-defined]  # torch's modules say not what they have
        return dense

    def _refuse(self, reason: str) -> RuntimeUnavailable:
        return refused(self._folder, reason)
