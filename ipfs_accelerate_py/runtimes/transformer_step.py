"""The transformer of an embedding model: padded tokens in, a vector for each token out. By PyTorch, or by OpenVINO."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from ipfs_accelerate_py.errors import RuntimeUnavailable

from .devices import available_cpus
from .extras import require
from .folder import ModelFolder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .engines.base import LoadPlan, Source
    from .families.tasks import TaskSpec

__all__ = ["MAX_STREAMS", "OpenVINOTransformer", "TorchTransformer", "Transformer", "source_of"]

Tensor = Any

#: Most batches that are computed side by side on a processor. Beyond a few the interpreter lock bounds what further
#: ones bring, and further processors are used inside the batches.
MAX_STREAMS = 4

# Models whose encoder alone makes the token vectors, and the class that loads just that.
_ENCODER_ONLY = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}


class Transformer(Protocol):
    """What of an embedding model runs on another engine's behalf."""

    #: Bytes that its weights take.
    memory: int
    takes_types: bool
    #: Positions it has room for, or None where it has no such limit.
    max_positions: int | None
    #: Whether `tokens` has to wait for what was begun, and so is better asked on another thread.
    waits: bool

    def begin(self, inputs: Mapping[str, NDArray[Any]]) -> Any:
        """Begin a forward pass of ``input_ids``, ``attention_mask`` and perhaps ``token_type_ids``, all int64."""
        ...

    def tokens(self, begun: Any) -> Tensor:
        """Its token vectors, as torch's float32 tensor of shape (texts, positions, size)."""
        ...


class TorchTransformer:
    """See `Transformer`.

    Raises:
        RuntimeUnavailable: weights are missing, unreadable, or not those of this model.
    """

    waits = False

    def __init__(self, folder: ModelFolder, *, device: str, dtype: str) -> None:
        self._torch = require("torch")
        self._device = device
        self._model = _load(folder, dtype).to(device)
        self.takes_types = "token_type_ids" in inspect.signature(self._model.forward).parameters
        self.max_positions = _positions(self._model, self._model.config)
        weights = (*self._model.parameters(), *self._model.buffers())
        self.memory = sum(each.numel() * each.element_size() for each in weights)

    def begin(self, inputs: Mapping[str, NDArray[Any]]) -> Any:
        torch = self._torch
        given = {name: torch.from_numpy(value).to(self._device, non_blocking=True) for name, value in inputs.items()}
        return self._model(**given, return_dict=True).last_hidden_state.float()

    def tokens(self, begun: Any) -> Tensor:
        return begun


class OpenVINOTransformer:
    """See `Transformer`. Loaded by the OpenVINO engine, which keeps what it exports on disk."""

    waits = True

    def __init__(self, folder: ModelFolder, plan: LoadPlan) -> None:
        #: Batches that it computes side by side.
        self.streams, plan = _side_by_side(plan)
        from .engines.openvino_engine import OpenVINOEngine

        transformers = require("transformers")
        source, task = source_of(folder)
        self._torch = require("torch")
        # What quantising costs is measured on texts' vectors, which is what they are loaded for.
        plan = replace(plan, options={**plan.options, "pooling": folder.pooling.modes})
        self._network: Any = OpenVINOEngine().load(source, task, plan)
        names = self._network.inputs
        self.takes_types = names is None or "token_type_ids" in names
        with self._torch.device("meta"):  # its modules, for what they say of positions, and none of its weights
            self.max_positions = _positions(transformers.AutoModel.from_config(source.config), source.config)
        self.memory = self._network.memory
        self.device = self._network.device
        self.precision = self._network.precision
        #: What quantising cost (`engines.loss.Loss`), or None.
        self.loss = getattr(self._network, "loss", None)

    def begin(self, inputs: Mapping[str, NDArray[Any]]) -> Any:
        return self._network.launch(inputs)

    def tokens(self, begun: Any) -> Tensor:
        return self._torch.from_numpy(self._network.collect(begun)["last_hidden_state"])

    def close(self) -> None:
        self._network.close()


def source_of(folder: ModelFolder) -> tuple[Source, TaskSpec]:
    """A folder's transformer as any engine loads it, and the task that gives its token vectors."""
    from .engines.base import Source
    from .families.tasks import TASKS

    config = _config(folder, require("transformers"))
    return Source(folder.name, folder.transformer, config, _auto(folder, config)), TASKS["feature-extraction"]


def _side_by_side(plan: LoadPlan) -> tuple[int, LoadPlan]:
    """How many batches are computed at once, and the plan that says so, where the caller's own does not.

    A batch to each processor costs less processor time than each batch on all of them: nobody waits for
    another thread at the end of every operation, and nobody stands still when another process has one processor.
    """
    from .engines.openvino_devices import choose_openvino_device

    given = dict(plan.options.get("openvino") or {})
    if "NUM_STREAMS" in given or "hint" in plan.options or choose_openvino_device(plan.device) != "CPU":
        return 1, plan
    streams = min(plan.threads or available_cpus(), MAX_STREAMS)
    return streams, replace(
        plan, options={**plan.options, "hint": "THROUGHPUT", "openvino": {**given, "NUM_STREAMS": streams}}
    )


def _config(folder: ModelFolder, transformers: Any) -> Any:
    try:
        return transformers.AutoConfig.from_pretrained(
            str(folder.transformer), local_files_only=True, trust_remote_code=False
        )
    except Exception as exc:
        raise refused(folder, f"its configuration does not load: {exc}") from exc


def _auto(folder: ModelFolder, config: Any) -> str:
    name = _ENCODER_ONLY.get(config.model_type, "AutoModel")
    if name == "AutoModel" and getattr(config, "is_encoder_decoder", False):
        raise refused(folder, f"encoder-decoder models of type {config.model_type!r} are not served here")
    return name if name == "AutoModel" else "AutoModelForTextEncoding"


def _load(folder: ModelFolder, dtype: str) -> Any:
    from .engines.loading import loading_quietly

    transformers, torch = require("transformers"), require("torch")
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        with loading_quietly():
            config = _config(folder, transformers)
            _auto(folder, config)
            if hasattr(config, "use_cache"):
                config.use_cache = False
            model, report = getattr(transformers, _ENCODER_ONLY.get(config.model_type, "AutoModel")).from_pretrained(
                str(folder.transformer), config=config, dtype=getattr(torch, dtype), output_loading_info=True, **local
            )
    except RuntimeUnavailable:
        raise
    except Exception as exc:
        raise refused(folder, f"its weights do not load: {exc}") from exc
    # The pooler of BERT-like models is not used here, and many folders leave it out.
    missing = sorted(key for key in report["missing_keys"] if "pooler." not in key)
    if missing or report["mismatched_keys"]:
        wrong = missing or [str(each) for each in report["mismatched_keys"]]
        raise refused(folder, f"its weights file lacks {len(wrong)} tensors of the model, {wrong[0]} for one")
    return model.eval()


def _positions(model: Any, config: Any) -> int | None:
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    embedding = require("torch").nn.Embedding
    for module in model.modules():
        # RoBERTa and its kin count positions from padding_idx + 1, and have that many fewer.
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and isinstance(getattr(module, "position_embeddings", None), embedding):
            return positions - padding - 1
    return positions


def refused(folder: ModelFolder, reason: str) -> RuntimeUnavailable:
    """The error that says why a folder is not served."""
    return RuntimeUnavailable(f"model {folder.name!r} cannot be served: {reason}")
