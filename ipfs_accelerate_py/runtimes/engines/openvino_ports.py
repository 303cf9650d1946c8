"""Names, order and number formats of a graph's inputs and outputs: Transformers' own, as torch gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.runtimes.extras import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Disagrees", "answers", "input_names", "settle_ports"]


class Disagrees(Exception):
    """A graph's answers are not its model's."""


def settle_ports(graph: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """The same graph with inputs named by ``inputs`` and exactly ``outputs`` as its results, in that order: without
    those that nobody reads (keys and values), and with floating-point ones in float32.

    A result is known by its place. Its name would not do: two results may be one tensor, and an input a result.

    Raises:
        Disagrees: an output is missing, or the graph wants an input that the model was not given.
    """
    openvino = require("openvino")
    opset = require("openvino.opset14")
    for port in graph.inputs:
        name = _name(port, inputs, "input.")
        if name is None:
            raise Disagrees(f"the graph wants an input {port.get_any_name()!r} that the model is not given")
        port.get_tensor().set_names({name})
    found: dict[str, Any] = {}
    for port in graph.outputs:
        name = _name(port, outputs, "output.")
        if name is None or name in found:
            continue
        source = port.get_node().input_value(0)
        if source.get_element_type() in (openvino.Type.f16, openvino.Type.bf16):
            source = opset.convert(source, openvino.Type.f32).output(0)
        found[name] = opset.result(source)
    missing = [name for name in outputs if name not in found]
    if missing:
        raise Disagrees(f"the graph lacks the output {missing[0]!r}")
    return openvino.Model([found[name] for name in outputs], graph.get_parameters(), graph.get_friendly_name())


def answers(request: Any, compiled: Any, batch: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What a compiled graph gives for one batch, by name."""
    results = request.infer({name: batch[name] for name in input_names(compiled, batch)})
    return {name: results[at].copy() for at, name in enumerate(outputs)}


def input_names(compiled: Any, known: Iterable[str]) -> list[str]:
    """By input of a compiled graph, which of ``known`` it is. Compiling adds the names of what it finds to be the same
    (an input reshaped to its own shape), so that a port's first name may be another."""
    return [next(name for name in known if name in port.get_names()) for port in compiled.inputs]


def _name(port: Any, names: Sequence[str], prefix: str) -> str | None:
    """Which of ``names`` a port is; exporters write ``input.x`` and ``output.x`` where both sides have an ``x``."""
    said = port.get_names()
    for name in names:
        if f"{prefix}{name}" in said:
            return name
    return next((name for name in names if name in said), None)
