"""Loading within a budget of memory: the most exact precision that fits, or a refusal with the sizes."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.devices import cpu_flags, native_bfloat16

from .base import LoadPlan, Source
from .sizes import BITS, Weights, human, measure_weights

__all__ = ["fit"]

# Of weights and what computing with them takes beside (activations, graphs), the share that weights may be.
_SHARE = 0.9


def fit(source: Source, plan: LoadPlan) -> LoadPlan:
    """The plan with a precision (and a runtime that has it) whose weights fit into ``plan.memory`` bytes.

    A precision that was named stays. Without a budget the plan is what it was.

    Raises:
        RuntimeUnavailable: nothing fits; the message has the budget and what each precision needs.
    """
    if plan.memory is None or plan.precision not in ("auto", *BITS):
        return plan  # a precision that nobody has is the engine's to refuse
    weights = measure_weights(source.path)
    for precision, runtime in _ways(source, plan):
        if weights.at(precision) <= plan.memory * _SHARE:
            return replace(plan, precision=precision, runtime=runtime)
    raise RuntimeUnavailable(
        f"model {source.name!r} does not fit into the {human(plan.memory)} it was given: its weights take "
        f"{_sizes(weights, source, plan)}, and {1 - _SHARE:.0%} is kept for computing"
    )


def _ways(source: Source, plan: LoadPlan) -> list[tuple[str, str]]:
    """Precisions with a runtime for each, the most exact first."""
    if source.config is None or plan.precision != "auto":
        return [(plan.precision, plan.runtime)]
    half = [("bfloat16", plan.runtime)] if _halves(plan) else []
    if plan.runtime == "torch":
        return [("float32", "torch"), *half]
    quantiser = plan.runtime
    if plan.runtime == "auto":
        if find_spec("openvino") is None:
            return [("float32", "torch"), *half]
        quantiser = "openvino"
    return [("float32", plan.runtime), *half, ("int8-weights", quantiser), ("int4", quantiser)]


def _halves(plan: LoadPlan) -> bool:
    """Whether 16 bits cost no time: on devices, and on processors that multiply them."""
    return plan.device not in ("auto", "cpu") or native_bfloat16(cpu_flags())


def _sizes(weights: Weights, source: Source, plan: LoadPlan) -> str:
    tried = dict.fromkeys(precision for precision, _ in _ways(source, plan))
    return ", ".join(f"{human(weights.at(each))} in {'its file' if each == 'auto' else each}" for each in tried)
