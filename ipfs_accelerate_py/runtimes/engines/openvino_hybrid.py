"""Models that write from something that is read once: what reads it runs on OpenVINO, what writes on torch.

An encoder of T5, BART or Whisper and the vision tower of a model of pictures and texts are whole forward passes, which
OpenVINO does best; the loop that writes is Transformers' own, with all that its models do there.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .base import LoadPlan
from .openvino_devices import core, settings_of
from .openvino_export import Exported, export_model
from .openvino_network import Graph, OpenVINONetwork
from .torch_engine import TorchNetwork

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HybridNetwork", "Reader", "build_reader", "find_readers", "open_reader", "shorter"]


class HybridNetwork(TorchNetwork):
    """See `TorchNetwork`: ``model`` generates as it always does, and its parts in ``readers`` run on OpenVINO."""

    engine = "openvino"
    loss = None

    def __init__(self, model: Any, readers: Mapping[str, Reader], *, precision: str, facts: Mapping[str, Any]) -> None:
        super().__init__(model, device="cpu", precision=precision)
        self.readers = dict(readers)
        self.facts = dict(facts)

    def close(self) -> None:
        for reader in self.readers.values():
            reader.put_back()
        super().close()


class Reader:
    """A module of a torch model, whose forward pass an OpenVINO graph takes over. What the graph was not made for
    (other names, other shapes) the module itself computes, as before; ``passes`` counts both."""

    def __init__(self, module: Any, network: OpenVINONetwork, facts: Mapping[str, Any]) -> None:
        self._module, self._network = module, network
        place, name = facts["kind"]
        self._kind = getattr(import_module(place), name)
        self._lengths: dict[str, int] = facts["lengths"]
        constants = facts["constants"]
        self._constants = dict(constants)
        self._own = module.forward
        #: Whoever asks which arguments the module takes (``generate`` does) is told its own.
        self.__signature__ = self._signature = inspect.signature(module.forward)
        self.passes = {"openvino": 0, "torch": 0}
        module.forward = self

    def put_back(self) -> None:
        """Undo it."""
        self._module.__dict__.pop("forward", None)
        self._network.close()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        torch = require("torch")
        tensors, constants = split_arguments(self._signature, args, kwargs)
        batch = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
        if constants != self._constants or not self._network.takes(batch):
            self.passes["torch"] += 1
            return self._own(*args, **kwargs)
        self.passes["openvino"] += 1
        found = self._network.collect(self._network.launch(batch))
        return self._kind(**_nested({name: torch.from_numpy(array) for name, array in found.items()}, self._lengths))


def build_reader(place: Path, model: Any, part: Any, *, trace_first: bool = False) -> dict[str, Any]:
    """Export a part to ``place`` and give the facts that `open_reader` needs. Raises `RuntimeUnavailable`."""
    sampler = require("ipfs_accelerate_py.runtimes.families.samples").fit_sampler(model)
    exported, answer, constants = _export_reader(model, part, [sampler.batch(0, 2), sampler.batch(1, 3)], trace_first)
    require("openvino").save_model(exported.model, str(place), compress_to_fp16=False)
    return {
        "inputs": exported.inputs,
        "outputs": exported.outputs,
        "kind": [type(answer).__module__, type(answer).__qualname__],
        "lengths": {name: len(value) for name, value in answer.items() if isinstance(value, list | tuple)},
        "constants": constants,
        "way": exported.way,
        "agreement": exported.agreement,
    }


def open_reader(place: Path, facts: Mapping[str, Any], part: Any, device: str, plan: LoadPlan) -> Reader:
    """The part of a model, run by the graph at ``place`` from now on."""
    compiled = core().compile_model(core().read_model(str(place)), device, settings_of(device, "float32", plan))
    graph = Graph(compiled, frozenset(facts["inputs"]), list(facts["outputs"]))
    network = OpenVINONetwork(
        [graph], device=device, precision="float32", memory=0, inputs=frozenset(facts["inputs"]), facts=facts
    )
    return Reader(part, network, facts)


def find_readers(model: Any) -> Iterator[tuple[str, Any]]:
    """Parts of a model that read: its encoder, or its towers for images and sounds."""
    seen = set()
    for name, options in (("image", {"modality": "image"}), ("audio", {"modality": "audio"}), ("encoder", {})):
        try:
            found = model.get_encoder(**options)
        except Exception:  # it has no such part: classes say so in as many ways as there are classes
            found = None
        if found is not None and found is not model and id(found) not in seen and hasattr(found, "forward"):
            seen.add(id(found))
            yield name, found


def _export_reader(
    model: Any, part: Any, batches: Sequence[Mapping[str, Any]], trace_first: bool
) -> tuple[Exported, Any, dict[str, Any]]:
    """A graph of ``part`` for what ``model`` gives it when it is given ``batches``, what it answers, and the arguments
    that are no tensors.

    Raises:
        RuntimeUnavailable: it cannot be exported; it is not run by these inputs; it gives no plain output.
    """
    torch = require("torch")
    signature = inspect.signature(part.forward)
    calls: list[tuple[dict[str, Any], dict[str, Any]]] = []
    kinds: list[Any] = []

    def before(_module: Any, args: Any, kwargs: Any) -> None:
        calls.append(split_arguments(signature, args, kwargs))

    def after(_module: Any, _args: Any, output: Any) -> None:
        kinds.append(output)

    hooks = [part.register_forward_pre_hook(before, with_kwargs=True), part.register_forward_hook(after)]
    try:
        with torch.no_grad():
            for batch in batches:
                model(**{name: torch.as_tensor(value) for name, value in batch.items()}, return_dict=True)
    finally:
        for hook in hooks:
            hook.remove()
    if not calls or not isinstance(kinds[0], Mapping):
        raise RuntimeUnavailable("it is not run as a whole that gives named outputs")
    tensors, constants = calls[0]
    samples = [
        {name: value.detach().cpu().numpy() for name, value in each.items()}
        for each, others in calls
        if each.keys() == tensors.keys() and others == constants
    ]

    class Part(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch is not imported at module level
        def __init__(self) -> None:
            super().__init__()
            self.part = part
            self.config = getattr(part, "config", model.config)

        def forward(self, **given: Any) -> Any:
            given.pop("return_dict", None)
            return self.part(**given, **constants)

        def set_attn_implementation(self, name: str) -> None:
            self.part.set_attn_implementation(name)

    samples += [each for each in (shorter(samples[0]),) if each]
    exported = export_model(Part().eval(), samples, trace_first=trace_first)
    if any(name.count(".") > 1 or not name.partition(".")[2].isdecimal() for name in exported.outputs if "." in name):
        raise RuntimeUnavailable("its outputs hold others")
    return exported, kinds[0], constants


def _nested(flat: Mapping[str, Any], lengths: Mapping[str, int]) -> dict[str, Any]:
    """Outputs as the class has them: ``hidden_states.1`` is in a tuple again, whose other places may be None."""
    found: dict[str, Any] = {name: [None] * count for name, count in lengths.items()}
    for name, value in flat.items():
        field, _, place = name.partition(".")
        if place:
            found[field][int(place)] = value
        else:
            found[field] = value
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def shorter(batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The batch with about half as many positions of its text; nothing where it has no text to cut."""
    ids = batch.get("input_ids")
    if ids is None or getattr(ids, "ndim", 0) != 2 or ids.shape[1] < 4:
        return {}
    length = ids.shape[1]
    return {
        name: value[:, : length // 2 + 1] if value.ndim >= 2 and value.shape[1] == length else value
        for name, value in batch.items()
    }


def split_arguments(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A call's arguments by name: tensors, and the rest without those that are None."""
    bound = signature.bind_partial(*args, **kwargs)
    given: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            given.update(value)
        else:
            given[name] = value
    tensors = {name: value for name, value in given.items() if hasattr(value, "detach")}
    rest = {
        name: value
        for name, value in given.items()
        if name not in tensors
        and value is not None
        and name != "return_dict"
        # Not to give these is what is done without being told.
        and not (value is False and name in ("output_attentions", "output_hidden_states"))
    }
    return tensors, rest
