"""A decoder as OpenVINO graphs that keep its keys and values themselves: *stateful*, and *paged* of that.

The paged graph takes tokens of any number of sequences in one row, with tables that say where each one's keys and
values lie (https://arxiv.org/abs/2309.06180). OpenVINO makes it from the stateful one by a transformation of its own,
which recognises the attention of most decoders. What it does not recognise runs stateful, a request for each sequence.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .openvino_export import calm, export_lock, first_line

__all__ = ["Decoder", "export_decoder", "make_paged"]

#: Input of a paged graph: the places of the tokens whose logits are wanted.
WANTED = "wanted"
# Operations after the projection to the vocabulary that treat each entry by itself.
_ELEMENTWISE = frozenset({"Add", "Multiply", "Divide", "Subtract", "Tanh", "Convert", "Clamp", "Minimum", "Maximum"})


@dataclass(slots=True)
class Decoder:
    """Graphs of one decoder. ``reason`` is why there is no paged one."""

    stateful: Any
    paged: Any = None
    reason: str = ""
    inputs: list[str] = field(default_factory=list)


def export_decoder(model: Any) -> Decoder:
    """Both graphs of a causal language model (in float32, in evaluation mode); the paged one where it can be made.

    Raises:
        RuntimeUnavailable: Transformers' exporter does not export it with its cache; says why.
    """
    torch = require("torch")
    with export_lock, calm(), torch.no_grad():
        graph, inputs = _export(model, several=True)
        if not _any_length(graph):
            # A recurrent model goes on by one token in another way than it reads several: of one token it is, then.
            graph, inputs = _export(model, several=False)
    found = Decoder(graph, inputs=[each for each in inputs if each not in ("past_key_values", "cache_params")])
    try:
        found.paged = make_paged(graph.clone())
    except Exception as exc:  # whatever the transformation says, the graph without pages is there
        found.reason = f"its attention is not one that OpenVINO can page: {first_line(exc)}"
    return found


def _export(model: Any, *, several: bool) -> tuple[Any, list[str]]:
    """A stateful graph that gives logits alone, and the inputs that it was made with."""
    exporting = require("transformers.exporters.exporter_openvino")
    given = _decode_inputs(model, several=several)
    inputs = list(given)
    try:
        shapes = _growing(model, given)
        if not several and isinstance(shapes.get("input_ids"), dict):
            shapes["input_ids"].pop(1, None)
        config = exporting.OpenVINOConfig(stateful=True, dynamic=True, dynamic_shapes=shapes)
        graph = exporting.OpenVINOExporter().export(model, given, config=config).program
    except Exception as exc:  # an exporter raises whatever the model's code does
        raise RuntimeUnavailable(
            f"OpenVINO cannot generate with it: exporting its cache fails: {type(exc).__name__}: {first_line(exc)}"
        ) from exc
    if not graph.get_variables():
        raise RuntimeUnavailable("OpenVINO cannot generate with it: no state was found in the exported graph")
    if not any("logits" in port.get_names() for port in graph.outputs):
        raise RuntimeUnavailable("OpenVINO cannot generate with it: the exported graph gives no logits")
    for port in list(graph.outputs):
        if "logits" not in port.get_names():
            graph.remove_result(port.get_node())
    if not several:
        graph.reshape({"input_ids": [-1, 1]})  # which tells whoever runs it
    return graph, inputs


def _any_length(graph: Any) -> bool:
    """Whether there are logits for as many tokens as there are ids."""
    shape = graph.outputs[0].get_partial_shape()
    return len(shape) != 3 or bool(shape[1].is_dynamic)


def make_paged(graph: Any) -> Any:
    """The stateful graph made paged, in place. Raises what OpenVINO's transformation does, or `RuntimeUnavailable`."""
    require("openvino")
    transformations = require("openvino._offline_transformations")
    _batch_from_ids(graph)
    transformations.paged_attention_transformation(graph)
    kinds = [node.get_type_name() for node in graph.get_ordered_ops()]
    if "PagedAttentionExtension" not in kinds or "ReadValue" in kinds:
        raise RuntimeUnavailable("some of its layers keep a state of another kind")
    _only_wanted(graph)
    return graph


def _decode_inputs(model: Any, *, several: bool = True) -> dict[str, Any]:
    """Inputs of a pass that goes on from a cache with one token or ``several``, as the model's ``generate`` prepares
    them."""
    import inspect

    torch = require("torch")
    decomposing = require("transformers.exporters.utils")
    size = int(model.config.get_text_config(decoder=True).vocab_size)
    drawn = torch.Generator().manual_seed(0)
    ids = torch.randint(min(5, size - 1), size, (2, 6), generator=drawn)
    prompt = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    try:
        # Some checkpoints (MPT) say that they go without a cache, which they need not.
        with _with_cache(model.config), _with_cache(model.generation_config):
            stages = decomposing.decompose_prefill_decode(model, prompt, multi_token_decode=several)
        given = dict(stages["decode"][1])
    except Exception as exc:  # an exporter raises whatever the model's code does
        raise RuntimeUnavailable(f"OpenVINO cannot generate with it: {first_line(exc)}") from exc
    given = {name: value for name, value in given.items() if value is not None and name not in ("use_cache",)}
    for name in ("return_dict", "output_attentions", "output_hidden_states", "cache_position", "logits_to_keep"):
        given.pop(name, None)
    cached = int(given["attention_mask"].shape[1]) if "attention_mask" in given else 6
    new = int(given["input_ids"].shape[1])
    takes = inspect.signature(model.forward).parameters
    if "position_ids" in takes and "position_ids" not in given:
        given["position_ids"] = torch.arange(cached - new, cached)[None].repeat(2, 1)
    return given


@contextlib.contextmanager
def _with_cache(settings: Any) -> Iterator[None]:
    before = getattr(settings, "use_cache", None)
    if before is False:
        settings.use_cache = True
    try:
        yield
    finally:
        if before is False:
            settings.use_cache = False


def _growing(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Which axes vary: rows and positions. Heads and widths do not, and leaving them open makes exporting slower."""
    dynamo = require("transformers.exporters.exporter_dynamo")
    dynamo.register_cache_pytrees_for_model(model)
    shapes: dict[str, Any] = dynamo.get_auto_dynamic_shapes(given)
    cache = shapes.get("past_key_values")
    if type(given.get("past_key_values")).__name__ == "DynamicCache" and isinstance(cache, list):
        shapes["past_key_values"] = [
            {axis: each[axis] for axis in (0, 2)} if isinstance(each, dict) and len(each) == 4 else each
            for each in cache
        ]
    return shapes


def _batch_from_ids(graph: Any) -> None:
    """The number of rows read off the ids, wherever an exporter read it off the mask, which a paged graph has not."""
    openvino, opset = require("openvino"), require("openvino.opset14")
    names = {name for port in graph.inputs for name in port.get_names()}
    for name in ("attention_mask", "position_ids", "beam_idx"):
        if name not in names:
            continue
        rows = opset.gather(
            opset.shape_of(graph.input("input_ids"), output_type="i64"), opset.constant(0), opset.constant(0)
        )
        for shape in [each.get_node() for each in graph.input(name).get_target_inputs()]:
            for each in list(_through_converts(shape)) if shape.get_type_name() == "ShapeOf" else []:
                if each.get_type_name() != "Gather":
                    continue
                index = each.input_value(1).get_node()
                if index.get_type_name() != "Constant" or [int(one) for one in index.get_data().reshape(-1)] != [0]:
                    continue
                made = rows
                if each.get_output_element_type(0) != openvino.Type.i64:
                    made = opset.convert(made, each.get_output_element_type(0))
                if each.get_output_partial_shape(0).rank.get_length() == 1:
                    made = opset.reshape(made, opset.constant([1]), special_zero=False)
                each.output(0).replace(made.output(0))
    graph.validate_nodes_and_infer_types()


def _through_converts(node: Any) -> Any:
    for port in node.output(0).get_target_inputs():
        user = port.get_node()
        if user.get_type_name() == "Convert":
            yield from _through_converts(user)
        else:
            yield user


def _only_wanted(graph: Any) -> None:
    """Project only those tokens to the vocabulary that somebody wants the logits of: of a prompt, the last."""
    import numpy as np

    openvino, opset = require("openvino"), require("openvino.opset14")
    node = graph.outputs[0].get_node().input_value(0).get_node()
    while node.get_type_name() in _ELEMENTWISE:
        inputs = [node.input_value(at).get_node() for at in range(node.get_input_size())]
        node = next((each for each in inputs if each.get_type_name() != "Constant"), inputs[0])
    shape = graph.outputs[0].get_partial_shape()
    if node.get_type_name() != "MatMul" or node.input_value(0).get_partial_shape().rank.get_length() != len(shape):
        return  # then all logits are given, and whoever runs it picks
    wanted = opset.parameter(openvino.PartialShape([-1]), dtype=np.int64, name=WANTED)
    wanted.output(0).get_tensor().set_names({WANTED})
    source = node.input_value(0)
    axis = 0 if shape.rank.get_length() == 2 or not (shape[0].is_static and shape[0].get_length() == 1) else 1
    picked = opset.gather(source, wanted, opset.constant(np.int64(axis)))
    node.input(0).replace_source_output(picked.output(0))
    graph.add_parameters([wanted])
    graph.validate_nodes_and_infer_types()
