"""IREE: encoders compiled ahead of time through LLVM for the processor that they run on."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.families.tasks import TaskSpec
from ipfs_accelerate_py.runtimes.processing.base import Context
from ipfs_accelerate_py.runtimes.processing.padding import padding_rule
from ipfs_accelerate_py.runtimes.processing.registry import PROCESSING
from ipfs_accelerate_py.runtimes.processing.time_series import DRAWN

from .base import LoadPlan, Source
from .iree_network import IREENetwork
from .loading import load_model
from .openvino_samples import forward_names, samples_of

__all__ = ["IREEEngine"]


class IREEEngine:
    """See `Engine`. Option of the plan: ``shapes`` (most modules of one network, 24)."""

    name = "llvm"

    def refuses(self, source: Source, task: TaskSpec, plan: LoadPlan) -> str | None:
        if source.config is None:
            return "IREE does not run GGUF files"
        if task.generates or source.auto == "AutoModelForSpeechSeq2Seq":
            return "IREE compiles forward passes of fixed shapes, and a model that writes grows with each token"
        if plan.device not in ("auto", "cpu"):
            return f"IREE compiles for the processor here, not for {plan.device}"
        if plan.device_map is not None:
            return "IREE takes no device map; it is PyTorch's"
        if plan.precision not in ("auto", "float32"):
            return f"IREE computes in float32 here, not in {plan.precision}; OpenVINO does (runtime openvino)"
        if (reason := _shapeless(source, task)) is not None:
            return reason
        try:
            require("iree.runtime")
        except AccelerateError as exc:
            return str(exc)
        return None

    def load(self, source: Source, task: TaskSpec, plan: LoadPlan) -> IREENetwork:
        """See `Engine`. Compiles for one input, which takes seconds and is kept by content; other lengths and a full
        batch are compiled when they first come."""
        if (reason := self.refuses(source, task, plan)) is not None:
            raise RuntimeUnavailable(f"model {source.name!r} cannot be compiled: {reason}")
        require("iree.compiler")
        inputs = forward_names(source)

        def open_model() -> Any:
            model = load_model(source, "float32", trust_remote_code=plan.trust_remote_code, attn_implementation="eager")
            if hasattr(model.config, "use_cache"):
                model.config.use_cache = False
            return model.requires_grad_(False)

        network = IREENetwork(source, plan, open_model, inputs)
        try:
            sample = samples_of(source, task, plan, inputs)[-1]  # the one of a single row
            network.collect(network.launch(sample))
        except BaseException:
            network.close()
            raise
        return network


def _shapeless(source: Source, task: TaskSpec) -> str | None:
    """Why its inputs have no few shapes that could be compiled for."""
    module, kind = PROCESSING.get(task.name, ("", ""))
    if not module:
        return f"{task.name} is no single forward pass"
    work = getattr(import_module(f"ipfs_accelerate_py.runtimes.processing.{module}"), kind)
    if isinstance(work.__dict__.get("runs"), property) or work.runs:
        return f"{task.name} takes several forward passes with the model's own code, which PyTorch runs"
    if task.name == "time-series-forecasting" and source.config.model_type in DRAWN:
        return "what comes next is drawn step by step with the model's own code, which PyTorch runs"
    if getattr(source.config, "conv_stride", None) is not None and "audio" in task.takes:
        return "recordings have any length, without a mask that would hide padding from its convolutions"
    if "text" in task.takes or "pair" in task.takes:
        rule = padding_rule(Context(source.path, source.config, forward_names(source), source.auto))
        if rule.left or rule.equal or rule.alone:
            return "it takes no padding at the end of a text, so each length would have to be compiled"
    return None
