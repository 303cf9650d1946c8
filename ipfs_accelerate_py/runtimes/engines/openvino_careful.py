"""8-bit weights for as many layers as keep the answers: the others stay in float.

OpenVINO computes a layer with 8-bit weights in 8-bit integers, its activations quantised as they come in groups of
`GROUP`: that is what makes it fast, and most of what it costs. Some layers stand it better than others, and which ones
depends on the model. So each kind of layer (by the shape of its weights, and by where in the network it is) is tried
alone; those that cost least for the work they save are taken together as long as the sum of what they cost is within
what is allowed; and what came out is measured on inputs that had no part in choosing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .loss import Loss, measure
from .openvino_quantise import answers_of, loss_of, quantise, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GROUP", "PARTS", "Unit", "choose_units", "find_units", "quantise_carefully", "shrink"]

#: Activations that share a scale, where the option ``group`` does not say otherwise. A fifth less work with 128, and
#: several times the loss.
GROUP = 32
_GROUPS = (32, 64, 128)
#: Parts of the network, from input to output, that are tried apart.
PARTS = 6


@dataclass(frozen=True, slots=True)
class Unit:
    """Layers that are quantised together: their names, how many weights they have, and what quantising them alone
    costs (1 less the worst cosine)."""

    names: tuple[str, ...]
    weights: int
    cost: float = 0.0


def shrink(
    graph: Any,
    precision: str,
    options: Mapping[str, Any],
    inputs: Sequence[Mapping[str, NDArray[Any]]],
    cut: int,
    outputs: Sequence[str],
    *,
    writes: bool = False,
) -> tuple[Any, Loss, list[str]]:
    """A quantised graph, what that cost, and the names of layers left in float: as a plan's ``options`` say.

    Args:
        inputs: the first ``cut`` are to calibrate or to choose with; the others say what it cost.
    """
    pooling = tuple(options.get("pooling") or ())
    group = options.get("group", GROUP)
    if group not in _GROUPS or (group != GROUP and precision != "int8-weights"):
        raise ConfigurationError(f"group is one of {', '.join(map(str, _GROUPS))}, with int8-weights; not {group!r}")
    if options.get("keep_cosine"):
        least = float(options["keep_cosine"])
        return quantise_carefully(graph, precision, least, inputs, cut, outputs, pooling, group)
    before = graph.clone()
    made = quantise(graph, precision, inputs[:cut])
    if precision == "int8-weights":
        _set_group(made, group)
    return made, loss_of(before, made, inputs[cut:], outputs, writes=writes, pooling=pooling), []


def quantise_carefully(
    graph: Any,
    precision: str,
    least: float,
    inputs: Sequence[Mapping[str, NDArray[Any]]],
    cut: int,
    outputs: Sequence[str],
    pooling: Sequence[str] = (),
    group: int = GROUP,
) -> tuple[Any, Loss, list[str]]:
    """A graph whose worst cosine is at least ``least``, what was measured, and the names of layers left in float.

    Args:
        inputs: the first ``cut`` choose which layers are quantised; the others say what that cost.
        pooling: see `openvino_quantise.loss_of`.
        group: activations that share a scale.

    Raises:
        ConfigurationError: another precision than ``int8-weights``.
        RuntimeUnavailable: not one layer can be quantised within that, or NNCF cannot.
    """
    if precision != "int8-weights":
        raise ConfigurationError(f"keep_cosine is for the precision int8-weights, not {precision}")
    units = find_units(graph)
    if not units:
        raise RuntimeUnavailable("it has no layers whose weights could be kept in 8 bits")
    choosing, held_out = (_judge(graph, each, outputs, pooling) for each in (inputs[:cut], inputs[cut:]))
    tried = [replace(each, cost=1.0 - choosing(_quantised(graph, units, [each], group)).least_cosine) for each in units]
    allowed = 1.0 - least

    def costs(some: Sequence[Unit]) -> tuple[Any, Loss | None]:
        made = _quantised(graph, units, some, group)
        if 1.0 - choosing(made).least_cosine > allowed:
            return made, None
        loss = held_out(made)
        return made, loss if 1.0 - loss.least_cosine <= allowed else None

    taken, rest = choose_units(tried, allowed)
    made, loss = costs(taken)
    while loss is None and taken:
        rest.insert(0, taken.pop())
        made, loss = costs(taken)
    if not taken or loss is None:
        raise RuntimeUnavailable(f"no part of it can be kept in 8 bits with every cosine at least {least}")
    # The worst answer is seldom the same one, so there is mostly room for more than the sum says.
    for each in [one for one in rest if one.cost <= allowed]:
        more, cost = costs([*taken, each])
        if cost is not None:
            taken, made, loss = [*taken, each], more, cost
    kept = [name for each in tried if each not in taken for name in each.names]
    share = 1.0 - sum(each.weights for each in taken) / sum(each.weights for each in units)
    said = f"{len(kept)} of {sum(len(each.names) for each in units)} layers ({share:.0%} of their weights)"
    return made, replace(loss, left=said), kept


def find_units(graph: Any) -> list[Unit]:
    """Layers by the shape of their weights, and those of one shape by their part of the network."""
    shapes: dict[tuple[int, ...], list[str]] = {}
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "MatMul" and _constant(node):
            shape = tuple(int(each) for each in node.input_value(1).get_shape())
            shapes.setdefault(shape, []).append(node.get_friendly_name())
    units = []
    for shape, names in shapes.items():
        weights = 1
        for each in shape:
            weights *= each
        parts = min(PARTS, len(names))
        cuts = [len(names) * at // parts for at in range(parts + 1)]
        for low, high in itertools.pairwise(cuts):
            units.append(Unit(tuple(names[low:high]), weights * (high - low)))
    return units


def choose_units(tried: Sequence[Unit], allowed: float) -> tuple[list[Unit], list[Unit]]:
    """Those to quantise, that together cost what is allowed, and the rest; of both the best first, which are those
    that save most for what they cost."""
    taken: list[Unit] = []
    rest: list[Unit] = []
    spent = 0.0
    for each in sorted(tried, key=lambda each: max(each.cost, 0.0) / each.weights):
        cost = max(each.cost, 0.0)
        (taken if spent + cost <= allowed else rest).append(each)
        spent += cost if spent + cost <= allowed else 0.0
    return taken, rest


def _judge(
    graph: Any, inputs: Sequence[Mapping[str, NDArray[Any]]], outputs: Sequence[str], pooling: Sequence[str]
) -> Callable[[Any], Loss]:
    """What measures a quantised graph against this one, whose answers are computed once."""
    answers = answers_of(graph, inputs, outputs, pooling)
    masks = None if pooling else [each.get("attention_mask") for each in inputs]
    return lambda made: measure(answers, answers_of(made, inputs, outputs, pooling), masks=masks)


def _quantised(graph: Any, units: Sequence[Unit], taken: Sequence[Unit], group: int) -> Any:
    nncf = require("nncf")
    names = {name for each in taken for name in each.names}
    left = [name for each in units for name in each.names if name not in names]
    # Tables are looked up and not multiplied: 8 bits would make them smaller, and nothing faster.
    left += [each.get_friendly_name() for each in graph.get_ordered_ops() if each.get_type_name() == "Gather"]
    try:
        with silent(nncf):
            made = nncf.compress_weights(
                graph.clone(),
                mode=nncf.CompressWeightsMode.INT8_ASYM,
                ignored_scope=nncf.IgnoredScope(names=left, validate=False),
            )
    except Exception as exc:  # NNCF's errors are of many classes
        raise RuntimeUnavailable(f"NNCF cannot make it int8-weights: {exc}") from exc
    _set_group(made, group)
    return made


def _set_group(graph: Any, group: int) -> None:
    """Kept with the graph, so that it is compiled as it was measured."""
    graph.set_rt_info(str(group), ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])


def _constant(node: Any) -> bool:
    """Whether what it multiplies with is fixed: a weight, however it is turned before."""
    source = node.input_value(1).get_node()
    while source.get_type_name() in ("Convert", "Transpose", "Reshape"):
        source = source.input_value(0).get_node()
    return bool(source.get_type_name() == "Constant")
