"""The torch model of a sentence-transformers folder: batches of tokens in, one vector a text out."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable

from .extras import require
from .folder import DenseStep, ModelFolder
from .pooling import pool
from .tokenizing import Encoded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EncoderModel"]

Tensor = Any

# Models whose encoder alone makes the token vectors, and the class that loads just that.
_ENCODER_ONLY = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}

# transformers' verbosity and progress bars are settings of the whole process, so one load at a time changes them.
_loading = threading.Lock()


class EncoderModel:
    """Transformer, pooling and dense layers on one device.

    The transformer runs in ``dtype``; pooling and what follows run in float32 always.

    Raises:
        RuntimeUnavailable: weights are missing, unreadable, or not those of this model.
    """

    def __init__(self, folder: ModelFolder, *, device: str, dtype: str) -> None:
        self._folder = folder
        self._device = device
        self._torch = require("torch")
        self._model = self._load(dtype)
        parameters = inspect.signature(self._model.forward).parameters
        self._takes_types = "token_type_ids" in parameters
        self._dense = [self._load_dense(step) if isinstance(step, DenseStep) else None for step in folder.steps]
        # A last Normalize is left to the caller, who may ask for raw or shortened vectors.
        self.normalizes = bool(self._dense) and self._dense[-1] is None
        while self._dense and self._dense[-1] is None:
            self._dense.pop()
        self._numpy = require("numpy")

    @property
    def max_positions(self) -> int | None:
        """Positions the model has room for, or None where it has no such limit."""
        positions = getattr(self._model.config, "max_position_embeddings", None)
        if not isinstance(positions, int) or positions <= 0:
            return None
        for module in self._model.modules():
            # RoBERTa and its kin count positions from padding_idx + 1, and have that many fewer.
            padding = getattr(module, "padding_idx", None)
            table = getattr(module, "position_embeddings", None)
            if isinstance(padding, int) and isinstance(table, self._torch.nn.Embedding):
                return positions - padding - 1
        return positions

    def forward(self, texts: Sequence[tuple[Encoded, int]], *, pad_id: int, pad_type_id: int) -> Tensor:
        """Vectors of shape ``(len(texts), dimensions)``, float32, on the device and perhaps still being computed.

        Args:
            texts: tokens of each text, and how many at its start pooling leaves out.
        """
        ids, types, attention, included = self._pad(texts, pad_id, pad_type_id)
        torch, device = self._torch, self._device
        with torch.inference_mode():
            mask = torch.from_numpy(attention).to(device, non_blocking=True)
            inputs = {"input_ids": torch.from_numpy(ids).to(device, non_blocking=True), "attention_mask": mask.long()}
            if types is not None:
                inputs["token_type_ids"] = torch.from_numpy(types).to(device, non_blocking=True)
            tokens = self._model(**inputs, return_dict=True).last_hidden_state.float()
            counted = mask if included is attention else torch.from_numpy(included).to(device, non_blocking=True)
            vectors = pool(self._folder.pooling.modes, tokens, mask, counted)
            for layer in self._dense:
                vectors = torch.nn.functional.normalize(vectors, dim=-1) if layer is None else layer(vectors)
        return vectors

    def collect(self, vectors: Tensor) -> NDArray[np.float32]:
        """Vectors in host memory, once the device has finished them."""
        array: NDArray[np.float32] = vectors.cpu().numpy()
        return array

    # On the right, whatever the tokenizer's padding_side: positions then start at the text, so that a vector does not
    # depend on what else is in the batch. (On the left they do not, in models that count positions absolutely. A
    # decoder's tokens never see what is to their right.)
    def _pad(self, texts: Sequence[tuple[Encoded, int]], pad_id: int, pad_type_id: int) -> Any:
        np = self._numpy
        # A tokenizer without special tokens makes nothing of an empty text: one position of padding stands for it.
        width = max(1, *(len(encoded.ids) for encoded, _ in texts))
        ids = np.full((len(texts), width), pad_id, dtype=np.int64)
        attention = np.zeros((len(texts), width), dtype=np.bool_)
        typed = self._takes_types and texts[0][0].type_ids is not None
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

    def _load(self, dtype: str) -> Any:
        transformers = require("transformers")
        where = str(self._folder.transformer)
        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            with _loading, _quiet(transformers):
                config = transformers.AutoConfig.from_pretrained(where, **local)
                name = _ENCODER_ONLY.get(config.model_type, "AutoModel")
                if name == "AutoModel" and getattr(config, "is_encoder_decoder", False):
                    raise self._refuse(f"encoder-decoder models of type {config.model_type!r} are not served here")
                if hasattr(config, "use_cache"):
                    config.use_cache = False
                model, report = getattr(transformers, name).from_pretrained(
                    where, config=config, dtype=getattr(self._torch, dtype), output_loading_info=True, **local
                )
        except RuntimeUnavailable:
            raise
        except Exception as exc:
            raise self._refuse(f"its weights do not load: {exc}") from exc
        # The pooler of BERT-like models is not used here, and many folders leave it out.
        missing = sorted(key for key in report["missing_keys"] if "pooler." not in key)
        if missing or report["mismatched_keys"]:
            wrong = missing or [str(each) for each in report["mismatched_keys"]]
            raise self._refuse(f"its weights file lacks {len(wrong)} tensors of the model, {wrong[0]} for one")
        return model.eval().to(self._device)

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

        return dense

    def _refuse(self, reason: str) -> RuntimeUnavailable:
        return RuntimeUnavailable(f"model {self._folder.name!r} cannot be served: {reason}")


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without transformers' progress bars and load reports on standard error; what matters in them is raised."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
