"""A torch model to an OpenVINO graph whose answers are the torch model's, by whichever way gives them.

Ways, in order: Transformers' own exporter (https://huggingface.co/docs/transformers/main/en/exporters), then
``openvino.convert_model`` on a trace with eager attention; each first with axes that may vary, then with fixed shapes.
A graph is taken only when it gives what the torch model gives, for inputs of other shapes than it was made with too:
a trace can bake in a number that should have followed the input, and would be silently wrong.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .loading import quiet
from .openvino_agreement import check_graph, same_each_time
from .openvino_ports import Disagrees, settle_ports
from .outputs import flatten

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Exported", "Sample", "calm", "export_lock", "export_model", "first_line", "patched"]

Sample = Mapping[str, "NDArray[Any]"]

# Transformers' exporter replaces functions of torch while it works, which is a matter of the whole process.
export_lock = threading.RLock()


@dataclass(slots=True)
class Exported:
    """A graph that agrees with its model.

    Attributes:
        model: ``openvino.Model``; its ports have the names below.
        inputs: names that it was made for; a batch has exactly these.
        outputs: names as `outputs.flatten` gives them for torch, in that order.
        fixed: whether it takes only the shapes that it was made with.
        way: by which way it was made.
        failed: why the ways before did not do, each in a line.
        agreement: the worst cosine against torch among outputs; None where the model answers by chance.
    """

    model: Any
    inputs: list[str]
    outputs: list[str]
    fixed: bool = False
    way: str = ""
    failed: list[str] = field(default_factory=list)
    agreement: float | None = None


def export_model(
    model: Any, samples: Sequence[Sample], *, fixed: bool | None = None, trace_first: bool = False
) -> Exported:
    """The graph of ``model`` (in float32, in evaluation mode) for inputs like ``samples``.

    The first sample is what is traced, so it should have more than one row and none of its axes be 1 that may vary.
    Axes in which samples differ may vary, the others are fixed. ``fixed`` None tries both. ``trace_first`` changes the
    order of the two ways: a trace takes a fifth of the time that Transformers' exporter does.

    Raises:
        RuntimeUnavailable: no way gives a graph that agrees; says why each did not.
    """
    with export_lock, calm(), _without_cache(model):
        torch = require("torch")
        reference = _reference(model, samples)
        chance = not same_each_time(lambda: run_torch(model, samples[0]))
        axes = varying_axes([sample for sample, _ in reference])
        failed: list[str] = []
        for name, way, is_fixed in _ways(axes, fixed, trace_first):
            kept = [reference[0]] if is_fixed else reference
            try:
                with torch.no_grad():
                    graph = way(model, samples[0], list(reference[0][1]), {} if is_fixed else axes)
                graph = settle_ports(graph, list(samples[0]), list(reference[0][1]))
                agreement = check_graph(graph, kept, chance=chance)
            except Disagrees as exc:
                failed.append(f"{name}: {exc}")
            except Exception as exc:  # whatever goes wrong inside a compiler is a reason to try the next way
                failed.append(f"{name}: {type(exc).__name__}: {first_line(exc)}")
            else:
                return Exported(
                    graph, list(samples[0]), list(reference[0][1]), is_fixed or not axes, name, failed, agreement
                )
    raise RuntimeUnavailable("OpenVINO cannot run it: " + "; ".join(failed))


def run_torch(model: Any, sample: Sample) -> dict[str, NDArray[Any]]:
    """The torch model's answer, as `outputs.flatten` gives it."""
    torch = require("torch")
    with torch.no_grad():
        return flatten(model(**_tensors(sample), return_dict=True))


def varying_axes(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """By input, the axes in which samples differ."""
    first = samples[0]
    found = {}
    for name, array in first.items():
        axes = [
            axis
            for axis in range(getattr(array, "ndim", 0))
            if any(axis < each[name].ndim and each[name].shape[axis] != array.shape[axis] for each in samples[1:])
        ]
        if axes:
            found[name] = axes
    return found


def _reference(model: Any, samples: Sequence[Sample]) -> list[tuple[Sample, dict[str, NDArray[Any]]]]:
    found = [(samples[0], run_torch(model, samples[0]))]
    if not found[0][1]:
        raise RuntimeUnavailable("OpenVINO cannot run it: the model gives no arrays for these inputs")
    for sample in samples[1:]:
        # A shape that the model itself does not take shows nothing about the graph.
        with contextlib.suppress(Exception):
            found.append((sample, run_torch(model, sample)))
    return found


Way = Callable[[Any, Sample, list[str], Mapping[str, list[int]]], Any]


def _ways(axes: Mapping[str, list[int]], fixed: bool | None, trace_first: bool) -> Iterator[tuple[str, Way, bool]]:
    for is_fixed in (False, True):
        if (fixed is not None and is_fixed is not fixed) or (not axes and not is_fixed and fixed is None):
            continue
        shapes = "fixed shapes" if is_fixed else "axes that vary"
        exporter: list[tuple[str, Way]] = [("Transformers' exporter", _by_transformers)]
        traces: list[tuple[str, Way]] = [("convert_model", _by_tracing), ("convert_model, reworded", _by_rewording)]
        for name, way in [*traces, *exporter] if trace_first else [*exporter, *traces]:
            yield f"{name}, {shapes}", way, is_fixed


def _by_transformers(model: Any, sample: Sample, outputs: list[str], axes: Mapping[str, list[int]]) -> Any:
    torch = require("torch")
    exporting = require("transformers.exporters.exporter_openvino")
    given = _tensors(sample)
    shapes = {name: dict.fromkeys(axes[name], torch.export.Dim.AUTO) if name in axes else None for name in given}
    config = exporting.OpenVINOConfig(stateful=False, dynamic=bool(axes), dynamic_shapes=shapes if axes else None)
    return exporting.OpenVINOExporter().export(model, given, config=config).program


def _by_tracing(model: Any, sample: Sample, outputs: list[str], axes: Mapping[str, list[int]]) -> Any:
    openvino, torch = require("openvino"), require("torch")
    patching = require("openvino.frontend.pytorch.patch_functions")
    decoding = require("openvino.frontend.pytorch.ts_decoder")

    def flat(*tensors: Any) -> Any:
        found = model(**dict(zip(sample, tensors, strict=True)), return_dict=True)
        leaves = dict(_leaf_tensors("", found))
        return tuple(leaves[name] for name in outputs)

    tensors = _tensors(sample)
    model.requires_grad_(False)  # or its weights could be no constants of a trace
    with patched(model, "eager"):
        # As ``convert_model`` would, but of a function instead of a module, of which it would trace every part too, and
        # without a second trace to compare with: the graph is compared with the model itself later.
        with patching.FunctionsPatcher():
            given = tuple(tensors.values())
            traced = torch.jit.trace(flat, given, check_trace=False, strict=False)
        graph = openvino.convert_model(decoding.TorchScriptPythonDecoder(traced, example_input=given))
    if len(graph.inputs) != len(tensors):
        raise RuntimeUnavailable(f"the trace has {len(graph.inputs)} inputs of {len(tensors)}")
    for port, name in zip(graph.inputs, sample, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(graph.outputs, outputs, strict=True):
        port.get_tensor().add_names({f"output.{name}"})
    shapes = {
        port: [-1 if axis in axes.get(name, []) else size for axis, size in enumerate(sample[name].shape)]
        for port, name in zip(graph.inputs, sample, strict=True)
    }
    graph.reshape({port: openvino.PartialShape(shape) for port, shape in shapes.items()})
    return graph


def _by_rewording(model: Any, sample: Sample, outputs: list[str], axes: Mapping[str, list[int]]) -> Any:
    """A trace in which what OpenVINO does not know (experts, complex numbers) is said as in Transformers' exporter."""
    require("transformers.exporters.exporter_openvino")  # which knows how
    with require("transformers.exporters.utils").apply_patches("openvino"):
        return _by_tracing(model, sample, outputs, axes)


@contextlib.contextmanager
def patched(model: Any, attention: str) -> Iterator[None]:
    """With another implementation of attention, where the model lets it be chosen."""
    before = getattr(model.config, "_attn_implementation", None)
    with contextlib.suppress(Exception):
        model.set_attn_implementation(attention)
    try:
        yield
    finally:
        if before is not None:
            with contextlib.suppress(Exception):
                model.set_attn_implementation(before)


@contextlib.contextmanager
def _without_cache(model: Any) -> Iterator[None]:
    """Without keys and values among the outputs, which nobody reads of a whole forward pass."""
    changed = []
    found = {
        id(config): config for module in model.modules() if (config := getattr(module, "config", None)) is not None
    }
    for config in list(found.values()):
        parts = (getattr(config, name, None) for name in getattr(config, "sub_configs", {}))
        found |= {id(part): part for part in parts if part is not None}
    for config in found.values():
        for name in ("use_cache", "use_mems_eval"):
            if getattr(config, name, False) is True:
                setattr(config, name, False)
                changed.append((config, name))
    try:
        yield
    finally:
        for config, name in changed:
            setattr(config, name, True)


@contextlib.contextmanager
def calm() -> Iterator[None]:
    """Without what transformers, torch and exporters say on the way."""
    transformers = require("transformers")
    tracing = require("torch.export._trace")
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = logger.level
    with warnings.catch_warnings(), quiet(transformers):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        tracing.print = lambda *_, **__: None  # it prints the whole of a graph that it could not finish
        try:
            yield
        finally:
            del tracing.print
            logger.setLevel(level)


def _leaf_tensors(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    # The names of `outputs.flatten`, with tensors still tensors.
    if hasattr(value, "detach"):
        yield name or "output", value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaf_tensors(f"{name}.{key}" if name else str(key), each)
    elif isinstance(value, list | tuple):
        for at, each in enumerate(value):
            yield from _leaf_tensors(f"{name}.{at}" if name else str(at), each)


def _tensors(sample: Sample) -> dict[str, Any]:
    torch = require("torch")
    return {
        name: torch.from_numpy(value.copy()) if hasattr(value, "__array__") else value for name, value in sample.items()
    }


def first_line(exc: Exception) -> str:
    """The beginning of what an error says; of OpenVINO's frontend, its end, where it says what it cannot convert."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    if told := [line for line in lines if "No conversion rule" in line or "Conversion is failed for" in line]:
        return told[0][:200]
    return lines[0][:200] if lines else "no message"
