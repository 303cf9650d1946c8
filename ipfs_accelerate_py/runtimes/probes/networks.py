"""A subject on a runtime: what runs its forward pass there, in which precision."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.runtimes.devices import choose_device
from ipfs_accelerate_py.runtimes.engines.base import Engine, LoadPlan, Network, Source
from ipfs_accelerate_py.runtimes.engines.choosing import engine
from ipfs_accelerate_py.runtimes.engines.torch_engine import TorchEngine, TorchNetwork
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.families.tasks import TASKS, TaskSpec

from .results import Cell
from .subjects import Subject

__all__ = ["CannotHere", "Runner", "open_runner"]

_CALIBRATION = (31, 32, 33, 34)


class CannotHere(AccelerateError):
    """This runtime does not do this, by design or on this machine: a cell of its is skipped, with this reason."""


class Runner:
    """A network, given a batch at a time."""

    def __init__(
        self,
        network: Network,
        inputs: frozenset[str] | None,
        weights: int,
        *,
        chance: bool = False,
        folder: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self._network, self._inputs, self._folder = network, inputs, folder
        #: Bytes that weights take.
        self.weights = weights
        #: Whether it draws random numbers inside, so that there is no one answer.
        self.chance = chance
        self._torch = require("torch")

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """All outputs by name, floats as float32."""
        names = self._inputs
        given = batch if names is None else {name: value for name, value in batch.items() if name in names}
        self._torch.manual_seed(0)  # of what samples inside
        found: dict[str, Any] = self._network.collect(self._network.launch(given))
        return found

    def close(self) -> None:
        """Let go of weights, device and files."""
        self._network.close()
        if self._folder is not None:
            self._folder.cleanup()


def open_runner(subject: Subject, cell: Cell, *, threads: int = 1) -> Runner:
    """The subject, loaded by the cell's runtime.

    Raises:
        CannotHere: the runtime says beforehand that it cannot, and why.
        Exception: whatever the runtime raises where it turns out that it cannot.
    """
    if cell.runtime == "torch":
        return _by_torch(subject, cell)
    if cell.runtime == "openvino":
        return _by_engine(subject, cell, threads) if subject.files else _by_openvino(subject, cell, threads)
    return _by_engine(subject, cell, threads)


def _by_torch(subject: Subject, cell: Cell) -> Runner:
    plan = LoadPlan(runtime="torch", device=cell.device, precision=cell.precision)
    _refuse(
        TorchEngine().refuses(Source(subject.name, Path(), subject.model.config), TASKS["feature-extraction"], plan)
    )
    device = choose_device(cell.device)
    model = subject.model
    if (cell.precision, device) != ("float32", "cpu"):
        model = copy.deepcopy(model).to(device=device, dtype=getattr(require("torch"), cell.precision))
    network = TorchNetwork(model, device=device, precision=cell.precision)
    return Runner(network, None, network.memory)


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise CannotHere(reason)


def _by_engine(subject: Subject, cell: Cell, threads: int) -> Runner:
    """As anybody's checkpoint is loaded; of a type, from files written for it."""
    engine = _engine(cell.runtime)
    folder = None if subject.files else tempfile.TemporaryDirectory(prefix="probe-")
    try:
        source, task = subject.files or _written(subject, folder.name if folder else "")
        options = {"trace_first": True}
        plan = LoadPlan(
            runtime=cell.runtime, device=cell.device, precision=cell.precision, threads=threads, options=options
        )
        _refuse(engine.refuses(source, task, plan))
        network = engine.load(source, task, plan)
    except BaseException:
        if folder is not None:
            folder.cleanup()
        raise
    return Runner(network, network.inputs, network.memory, folder=folder)


def _engine(runtime: str) -> Engine:
    """Of ``llvm`` the one that compiles forward passes: llama.cpp writes whole texts."""
    return engine("iree_engine", "IREEEngine") if runtime == "llvm" else engine("openvino_engine", "OpenVINOEngine")


def _written(subject: Subject, folder: str) -> tuple[Source, TaskSpec]:
    from ipfs_accelerate_py.runtimes.families.catalog import family_of, open_source
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    tasks = family_of(subject.model_type).tasks
    if not tasks:
        raise CannotHere(f"{subject.model_type} has no task of its own to be compiled for")
    return open_source(subject.name, write_tiny(subject.model_type, folder, auto=subject.auto), tasks[0])


def _by_openvino(subject: Subject, cell: Cell, threads: int) -> Runner:
    from ipfs_accelerate_py.runtimes.engines.openvino_devices import choose_openvino_device, choose_precision
    from ipfs_accelerate_py.runtimes.engines.openvino_export import export_model
    from ipfs_accelerate_py.runtimes.engines.openvino_network import Graph, OpenVINONetwork

    try:
        device = choose_openvino_device(cell.device)
        choose_precision(cell.precision, device)
    except AccelerateError as exc:
        raise CannotHere(exc.message) from exc
    first = subject.exported()
    graph = _smaller(first.model, cell.precision, subject)

    def compiled(exported: Any, graph: Any) -> Graph:
        return Graph(_compile(graph, device, cell.precision, threads), frozenset(exported.inputs), exported.outputs)

    def more(batch: Mapping[str, Any], exact: bool = False) -> Graph:
        further = export_model(subject.model, [batch], trace_first=True)
        return compiled(further, _smaller(further.model, cell.precision, subject))

    network = OpenVINONetwork(
        [compiled(first, graph)],
        device=device,
        precision=cell.precision,
        memory=_constants(graph),
        inputs=frozenset(first.inputs),
        more=more,
    )
    return Runner(network, frozenset(first.inputs), network.memory, chance=first.agreement is None)


def _compile(graph: Any, device: str, precision: str, threads: int) -> Any:
    from ipfs_accelerate_py.runtimes.engines.openvino_devices import core, settings_of

    return core().compile_model(graph, device, settings_of(device, precision, LoadPlan(threads=threads)))


def _smaller(graph: Any, precision: str, subject: Subject) -> Any:
    """The graph with weights in that precision; the one that was given stays as it is."""
    from ipfs_accelerate_py.runtimes.engines.openvino_quantise import QUANTISED, quantise

    if precision == "float16":
        openvino = require("openvino")
        with tempfile.TemporaryDirectory(prefix="probe-") as folder:
            path = f"{folder}/graph.xml"
            openvino.save_model(graph, path, compress_to_fp16=True)
            return openvino.Core().read_model(path).clone()
    if precision not in QUANTISED:
        return graph
    names = {name for port in graph.inputs for name in port.get_names()}
    batches = [subject.sampler.batch(seed, 2 if subject.batches else 1) for seed in _CALIBRATION]
    return quantise(
        graph.clone(), precision, [{name: each[name] for name in each if name in names} for each in batches]
    )


def _constants(graph: Any) -> int:
    """Bytes of a graph's constants."""
    bits = 0
    for node in graph.get_ops():
        if node.get_type_name() == "Constant":
            port = node.output(0)
            count = 1
            for size in port.get_shape():
                count *= size
            bits += count * port.get_element_type().bitwidth
    return bits // 8
