"""An OpenVINO graph, compiled, as a `Network`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .base import LoadPlan
from .loss import Loss
from .openvino_devices import core, settings_of
from .openvino_ports import input_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .openvino_export import Exported

__all__ = ["Graph", "OpenVINONetwork", "network_of"]

Batch = Mapping[str, "NDArray[Any]"]


@dataclass(slots=True, eq=False)
class Graph:
    """A compiled graph and the infer requests that are free.

    ``given`` are the names a batch must have; the graph itself may use fewer of them.
    """

    compiled: Any
    given: frozenset[str]
    outputs: list[str]
    ports: dict[str, Any] = field(default_factory=dict)
    free: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = input_names(self.compiled, self.given)
        self.ports = {name: port.get_partial_shape() for name, port in zip(names, self.compiled.inputs, strict=True)}

    def takes(self, batch: Batch) -> bool:
        """Whether it was made for these names and shapes."""
        return self.given == batch.keys() and all(
            shape.compatible(_partial(batch[name].shape)) for name, shape in self.ports.items()
        )


class OpenVINONetwork:
    """See `Network`. Several passes may be under way: each has an infer request of its own.

    A batch with other names, or with shapes that no graph of it takes, has a graph made for it by ``more`` (export
    takes seconds, once: it is kept on disk); a graph of fixed shapes for one row is given the rows of a batch in turn.
    """

    engine = "openvino"

    def __init__(
        self,
        graphs: Sequence[Graph],
        *,
        device: str,
        precision: str,
        memory: int,
        inputs: frozenset[str] | None,
        more: Callable[..., Graph] | None = None,
        loss: Loss | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.device = device
        self.precision = precision
        self.memory = memory
        self.inputs = inputs
        #: What quantising cost, where the model was quantised.
        self.loss = loss
        #: How it was made: ``way``, ``failed``, ``agreement``, ``seconds``.
        self.facts = dict(facts or {})
        self._graphs = list(graphs)
        self._more = more
        #: Made for one batch that another graph failed at.
        self._exact: dict[Any, Graph] = {}
        self._lock = threading.Lock()

    def launch(self, batch: Batch) -> Any:
        """See `Network`. Raises `RuntimeUnavailable` where no graph can be made for such a batch."""
        # Flags (``use_cache``) are no arrays: the graph has been told them when it was made.
        batch = {
            name: _array(value) for name, value in batch.items() if value is not None and not isinstance(value, bool)
        }
        graph = self._find(batch)
        if graph is not None:
            return [self._start(graph, batch)]
        count = _rows(batch)
        if count > 1:
            rows = [{name: value[at : at + 1] for name, value in batch.items()} for at in range(count)]
            graph = self._find(rows[0])
            if graph is not None and not any(each.is_dynamic for each in graph.ports.values()):
                return [self._start(graph, row) for row in rows]
        return [self._start(self._make(batch), batch)]

    def takes(self, batch: Batch) -> bool:
        """Whether there is a graph for such a batch already."""
        return self._find(batch) is not None

    def collect(self, launched: Any) -> dict[str, NDArray[np.float32]]:
        np = require("numpy")
        found = [self._finish(*each) for each in launched]
        if len(found) == 1:
            return found[0]
        return {name: np.concatenate([each[name] for each in found]) for name in found[0]}

    def close(self) -> None:
        self._graphs.clear()
        self._exact.clear()
        self._more = None

    def _find(self, batch: Batch) -> Graph | None:
        if self._exact and (exact := self._exact.get(_shapes(batch))) is not None:
            return exact
        return next((graph for graph in self._graphs if graph.takes(batch)), None)

    def _make(self, batch: Batch) -> Graph:
        with self._lock:
            graph = self._find(batch)
            if graph is None:
                if self._more is None:
                    shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in batch.items())
                    raise RuntimeUnavailable(f"this OpenVINO graph was not made for inputs of {shapes}")
                graph = self._more(batch)
                self._graphs.append(graph)
        return graph

    def _start(self, graph: Graph, batch: Batch) -> tuple[Graph, Any, Batch]:
        try:
            request = graph.free.pop()
        except IndexError:
            request = graph.compiled.create_infer_request()
        # The arrays are the graph's to read until the pass ends, so they are held on to.
        request.start_async({name: batch[name] for name in graph.ports}, share_inputs=True)
        return graph, request, batch

    def _finish(self, graph: Graph, request: Any, batch: Batch) -> dict[str, NDArray[Any]]:
        try:
            request.wait()
        except RuntimeError:
            # Numbers of this graph's samples are in it after all (two towers, whose batches grow apart): one of exactly
            # this batch has its own.
            key = _shapes(batch)
            if self._more is None or graph is self._exact.get(key):
                raise
            with self._lock:
                graph = self._exact.get(key) or self._more(batch, True)
                self._exact[key] = graph
            return self._finish(*self._start(graph, batch))
        results = request.results
        found = {name: results[at].copy() for at, name in enumerate(graph.outputs)}
        graph.free.append(request)
        return found


def network_of(exported: Exported, device: str = "CPU", plan: LoadPlan | None = None) -> OpenVINONetwork:
    """A network of a graph just exported, in float32; nothing is kept on disk."""
    plan = plan or LoadPlan()
    compiled = core().compile_model(exported.model, device, settings_of(device, "float32", plan))
    graph = Graph(compiled, frozenset(exported.inputs), exported.outputs)
    return OpenVINONetwork(
        [graph], device=device, precision="float32", memory=0, inputs=frozenset(exported.inputs),
        facts={"way": exported.way, "failed": exported.failed, "agreement": exported.agreement},
    )  # fmt: skip


def _array(value: Any) -> Any:
    # OpenVINO reads memory as it lies; arrays cut out of others are copied.
    return require("numpy").ascontiguousarray(value)


def _rows(batch: Batch) -> int:
    sizes = {value.shape[0] for value in batch.values() if value.ndim}
    return int(sizes.pop()) if len(sizes) == 1 and all(value.ndim for value in batch.values()) else 1


def _shapes(batch: Batch) -> Any:
    return tuple(sorted((name, value.shape) for name, value in batch.items()))


def _partial(shape: Sequence[int]) -> Any:
    return require("openvino").PartialShape(list(shape))
