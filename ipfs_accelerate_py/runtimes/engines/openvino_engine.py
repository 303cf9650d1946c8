"""OpenVINO: graphs exported from PyTorch, kept on disk by content, compiled for processors and Intel's devices."""

from __future__ import annotations

from ipfs_accelerate_py.errors import AccelerateError, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.families.tasks import TaskSpec
from ipfs_accelerate_py.runtimes.processing.time_series import DRAWN

from .base import LoadPlan, Network, Source
from .openvino_devices import PRECISIONS, choose_openvino_device, choose_precision
from .openvino_loading import Loading

__all__ = ["OpenVINOEngine"]

#: Types whose graph gave what PyTorch gives for the inputs of its export, and something else for others.
_DISAGREE = frozenset({"fsmt", "longcat_flash"})


class OpenVINOEngine:
    """See `Engine`."""

    name = "openvino"

    def refuses(self, source: Source, task: TaskSpec, plan: LoadPlan) -> str | None:
        if source.config is None:
            return "OpenVINO does not run GGUF files; llama.cpp does (runtime llvm)"
        if plan.device_map is not None:
            return "OpenVINO takes no device map; it is PyTorch's"
        if plan.precision not in ("auto", *PRECISIONS):
            return f"OpenVINO has no precision {plan.precision!r}: auto, {', '.join(PRECISIONS)}"
        if _writes(source, task) and not _decodes(source) and plan.precision not in ("auto", "float32"):
            return (
                "of a model that writes from an encoder's states, OpenVINO runs the encoder and PyTorch the rest, "
                "which is done in float32 only"
            )
        if source.config.model_type in _DISAGREE:
            return f"graphs of {source.config.model_type} gave other answers than PyTorch to fresh inputs"
        if task.name == "text-to-audio":
            return "a text-to-audio model is a loop of several networks, which only PyTorch runs here"
        if task.name == "time-series-forecasting" and source.config.model_type in DRAWN:
            return "what comes next is drawn step by step with the model's own code, which only PyTorch runs here"
        try:
            require("openvino")
            choose_precision(plan.precision, choose_openvino_device(plan.device))
        except AccelerateError as exc:
            return str(exc)
        return None

    def load(self, source: Source, task: TaskSpec, plan: LoadPlan) -> Network:
        """See `Engine`. The first load of a model exports it, which takes PyTorch and tens of seconds; later ones, in
        any process, read the graph from disk and need neither PyTorch nor the weights."""
        if (reason := self.refuses(source, task, plan)) is not None:
            raise RuntimeUnavailable(f"model {source.name!r} cannot run on OpenVINO: {reason}")
        loading = Loading(source, task, plan)
        if _writes(source, task):
            return loading.writer() if _decodes(source) else loading.hybrid()
        return loading.network()


def _writes(source: Source, task: TaskSpec) -> bool:
    """Whether its answers are written token by token, as a task's are or as a class does: speech may be recognised
    either way."""
    return task.generates or source.auto == "AutoModelForSpeechSeq2Seq"


def _decodes(source: Source) -> bool:
    """Whether it is a decoder of text alone."""
    return source.auto == "AutoModelForCausalLM" and not getattr(source.config, "is_encoder_decoder", False)
