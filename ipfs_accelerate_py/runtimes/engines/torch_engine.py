"""PyTorch: every model that Transformers has a class for, on the processor, CUDA, Metal, or spread over several."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import MemoryExhausted, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.devices import choose_device, choose_dtype
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.families.tasks import TaskSpec

from .base import LoadPlan, Source
from .loading import load_model
from .outputs import flatten

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["TorchEngine", "TorchNetwork"]

_PRECISIONS = ("auto", "float32", "bfloat16", "float16")


class TorchNetwork:
    """See `Network`. ``model`` is Transformers' own object, for who generates with it."""

    engine = "torch"

    def __init__(self, model: Any, *, device: str, precision: str) -> None:
        self._torch = require("torch")
        self.model = model
        #: Where inputs go: of a model that is spread over devices, the one that has its first layer.
        self.device = device
        self.precision = precision
        self.memory = _bytes(model)
        parameters = inspect.signature(model.forward).parameters
        keywords = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        self.inputs = None if keywords and len(parameters) < 3 else frozenset(parameters)
        self._returns_dict = "return_dict" in parameters or keywords
        self._dtype = next((each.dtype for each in model.parameters() if each.is_floating_point()), None)

    def launch(self, batch: Mapping[str, NDArray[Any]]) -> Any:
        torch = self._torch
        given = {name: self._tensor(value) for name, value in batch.items()}
        if self._returns_dict:
            given["return_dict"] = True
        try:
            with torch.inference_mode():
                return self.model(**given)
        except torch.OutOfMemoryError as exc:
            torch.cuda.empty_cache()
            raise MemoryExhausted(f"the device {self.device} has no memory left for this batch: {exc}") from exc

    def _tensor(self, value: Any) -> Any:
        if not hasattr(value, "__array__") and not hasattr(value, "to"):
            return value
        tensor = self._torch.as_tensor(value)
        if tensor.is_floating_point() and self._dtype is not None:
            tensor = tensor.to(self._dtype)
        return tensor.to(self.device, non_blocking=True)

    def collect(self, launched: Any) -> dict[str, NDArray[np.float32]]:
        return flatten(launched)

    def close(self) -> None:
        self.model = None
        if self.device.startswith("cuda"):
            self._torch.cuda.empty_cache()


class TorchEngine:
    """See `Engine`.

    With ``plan.device_map`` (``auto``, ``balanced``, ``sequential``, or a mapping of modules to devices, ``cpu`` and
    ``disk`` among them) the model is spread as Accelerate does it, within the options ``max_memory`` (by device) and
    ``offload_folder``.
    """

    name = "torch"

    def refuses(self, source: Source, task: TaskSpec, plan: LoadPlan) -> str | None:
        if source.config is None:
            return "PyTorch does not run GGUF files; llama.cpp does (runtime llvm)"
        if plan.precision not in _PRECISIONS:
            return f"PyTorch is not used for {plan.precision} here; OpenVINO is (runtime openvino)"
        if plan.device in ("GPU", "NPU"):
            return f"PyTorch has no device {plan.device}; OpenVINO does (runtime openvino)"
        return None

    def load(self, source: Source, task: TaskSpec, plan: LoadPlan) -> TorchNetwork:
        if (reason := self.refuses(source, task, plan)) is not None:
            raise RuntimeUnavailable(f"model {source.name!r} cannot be loaded: {reason}")
        if plan.device_map is not None:
            return self._spread(source, plan)
        device = choose_device(plan.device)
        precision = _precision(plan, device)
        model = load_model(source, precision, trust_remote_code=plan.trust_remote_code)
        try:
            return TorchNetwork(model.to(device), device=device, precision=precision)
        except require("torch").OutOfMemoryError as exc:
            raise MemoryExhausted(f"model {source.name!r} does not fit into {device}: {exc}") from exc

    def _spread(self, source: Source, plan: LoadPlan) -> TorchNetwork:
        require("accelerate")
        devices = plan.device_map.values() if isinstance(plan.device_map, Mapping) else ()
        first = next((f"cuda:{each}" if isinstance(each, int) else str(each) for each in devices), "auto")
        precision = _precision(plan, choose_device("auto") if first in ("auto", "disk") else first)
        spread = {name: plan.options[name] for name in ("max_memory", "offload_folder") if name in plan.options}
        # Accelerate tells standard error what it offloads; here it is the caller who asked for it.
        with _silent("accelerate.big_modeling"):
            model = load_model(
                source, precision, trust_remote_code=plan.trust_remote_code, device_map=plan.device_map, **spread
            )
        return TorchNetwork(model, device=_entry(model), precision=precision)


def _entry(model: Any) -> str:
    """Where a spread model takes its inputs; where its weights are offloaded, the device they are brought to."""
    device = str(model.device)
    if device != "meta":
        return device
    hook = getattr(model, "_hf_hook", None)
    found = next((each.execution_device for each in getattr(hook, "hooks", (hook,)) if each is not None), None)
    return f"cuda:{found}" if isinstance(found, int) else str(found or "cpu")


def _bytes(model: Any) -> int:
    """What weights take in memory, on all devices and offloaded to the processor; not what lies on disk."""
    places: Mapping[str, Any] = getattr(model, "hf_device_map", None) or {}
    on_disk = tuple(name for name, place in places.items() if place == "disk")
    total = 0
    for name, each in (*model.named_parameters(), *model.named_buffers()):
        if not any(not prefix or name == prefix or name.startswith(f"{prefix}.") for prefix in on_disk):
            total += each.numel() * each.element_size()
    return total


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _precision(plan: LoadPlan, device: str) -> str:
    if plan.precision != "auto":
        return plan.precision
    if device.startswith("mps"):
        return "float16"  # which Metal multiplies fastest on all of its chips
    return str(choose_dtype("auto", device)).removeprefix("torch.")
