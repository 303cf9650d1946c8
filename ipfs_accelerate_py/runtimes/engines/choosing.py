"""Which engine runs a model, and the loading of it: within a budget of memory, and by trial where nobody said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, cast

from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.families.tasks import TaskSpec

from .base import Engine, LoadPlan, Network, Source
from .fitting import fit
from .trials import choose_by_trial, installed

__all__ = ["ENGINES", "choose_engine", "engine", "load_network", "settle"]

#: By name of the runtime, those that may be it, in order: module and class.
ENGINES: dict[str, tuple[tuple[str, str], ...]] = {
    "torch": (("torch_engine", "TorchEngine"),),
    "openvino": (("openvino_engine", "OpenVINOEngine"),),
    "llvm": (("iree_engine", "IREEEngine"), ("llama_engine", "LlamaEngine")),
}
#: Devices that only OpenVINO has, by its own names.
_OPENVINO_DEVICES = ("GPU", "NPU", "AUTO")


def engine(module: str, kind: str) -> Engine:
    """One engine; they keep no state."""
    return cast(Engine, getattr(import_module(f"ipfs_accelerate_py.runtimes.engines.{module}"), kind)())


def choose_engine(source: Source, task: TaskSpec, plan: LoadPlan) -> Engine:
    """The engine for this model and plan, without a trial: where the runtime is ``auto``, the one that has what the
    plan asks for, PyTorch before others.

    Raises:
        ConfigurationError: no runtime of that name.
        RuntimeUnavailable: why none can, by runtime.
    """
    if plan.runtime not in ("auto", *ENGINES):
        raise ConfigurationError(f"unknown runtime {plan.runtime!r}: use auto, {', '.join(ENGINES)}")
    reasons = []
    for runtime in _wanted(source, plan):
        for module, kind in ENGINES[runtime]:
            found = engine(module, kind)
            reason = found.refuses(source, task, plan)
            if reason is None:
                return found
            reasons.append(reason)
    raise RuntimeUnavailable(f"model {source.name!r} cannot run here as asked: {'; '.join(reasons)}")


def load_network(source: Source, task: TaskSpec, plan: LoadPlan) -> Network:
    """Load a model: what the plan leaves open is chosen here.

    A budget of memory (``plan.memory``) chooses the precision. With the option ``trial`` the runtime ``auto`` is the
    one that a measured trial found fastest on this machine (see `trials`); the trial costs an export once, so without
    it PyTorch is taken unless a trial has been made already.

    Raises as `choose_engine` and the engine do.
    """
    plan = settle(source, task, plan)
    return choose_engine(source, task, plan).load(source, task, plan)


def settle(source: Source, task: TaskSpec, plan: LoadPlan, runtimes: Sequence[str] = tuple(ENGINES)) -> LoadPlan:
    """The plan with what its budget of memory and a trial leave of it.

    Args:
        runtimes: those that a trial may choose from, PyTorch first.
    """
    plan = fit(source, plan)
    if _can_try(source, task, plan):
        runtime, _ = choose_by_trial(
            source, task, plan, _candidates(runtimes), lambda network: _samples(source, task, plan, network)
        )
        plan = replace(plan, runtime=runtime)
    return plan


def _wanted(source: Source, plan: LoadPlan) -> list[str]:
    if plan.runtime != "auto":
        return [plan.runtime]
    if source.config is None:
        return ["llvm"]
    if plan.device in _OPENVINO_DEVICES:
        return ["openvino"]
    return [each for each in ("torch", "openvino") if installed(each)] or ["torch"]


def _can_try(source: Source, task: TaskSpec, plan: LoadPlan) -> bool:
    """Trials are of one forward pass on the processor, for whoever asked for one."""
    return (
        plan.runtime == "auto"
        and bool(plan.options.get("trial"))
        and source.config is not None
        and plan.device in ("auto", "cpu")
        and plan.device_map is None
        and plan.precision in ("auto", "float32")
        and not task.generates
    )


def _candidates(runtimes: Sequence[str] = tuple(ENGINES)) -> list[Engine]:
    return [engine(*ENGINES[each][0]) for each in runtimes if each == "torch" or installed(each)]


def _samples(source: Source, task: TaskSpec, plan: LoadPlan, network: Network) -> list[dict[str, Any]]:
    # What a graph would be exported with: inputs as the task's own processing makes them, several lengths and rows.
    from .openvino_samples import samples_of

    return samples_of(source, task, plan, network.inputs)
