"""One load of a model by OpenVINO: what is on disk already, what must be built, and what a network is made of."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.families.tasks import TaskSpec
from ipfs_accelerate_py.runtimes.generation.positions import most_positions

from .artifacts import Artifacts, Entry
from .base import LoadPlan, Source
from .fingerprint import content_key
from .loading import load_model
from .loss import Loss
from .openvino_careful import PARTS, shrink
from .openvino_devices import choose_openvino_device, choose_precision, core, settings_of
from .openvino_export import Sample, export_model
from .openvino_hybrid import HybridNetwork, Reader, build_reader, find_readers, open_reader
from .openvino_network import Graph, OpenVINONetwork
from .openvino_quantise import QUANTISED
from .openvino_samples import batches, forward_names, samples_of
from .openvino_writing import WritingNetwork, build_decoder, compile_steps, loss_of_decoder, texts_to_ids

__all__ = ["Loading"]

#: Changes whenever what is kept on disk would be made otherwise.
FORMAT = 1
GRAPH = "graph.xml"
# Batches to calibrate with, and others, not among them, to measure the loss with.
_CALIBRATE, _MEASURE = 16, 8


class Loading:
    """One load: what its parts have in common, and the ways in which a model is run."""

    def __init__(self, source: Source, task: TaskSpec, plan: LoadPlan) -> None:
        self.source, self.task, self.plan = source, task, plan
        self.device = choose_openvino_device(plan.device)
        self.precision = choose_precision(plan.precision, self.device)
        self.store = Artifacts("openvino")
        self._names: frozenset[str] | None = None
        # Kept while one load makes several graphs of it, and let go of at its end.
        self._model: Any = None

    def network(self) -> OpenVINONetwork:
        """A model of one forward pass."""
        started = time.perf_counter()
        try:
            graph, entry = self._graph(None)
        finally:
            self._model = None
        facts = dict(entry.facts)
        loss = Loss(**facts["loss"]) if facts.get("loss") else None
        names = facts["forward"]
        return OpenVINONetwork(
            [graph],
            device=self.device,
            precision=self.precision,
            memory=int(facts["bytes"]),
            inputs=None if names is None else frozenset(names),
            more=self._more,
            loss=loss,
            facts={**facts, "built": entry.built, "seconds": time.perf_counter() - started, "key": entry.folder.name},
        )

    def writer(self) -> WritingNetwork:
        """A decoder that writes: its stateful graph from disk, paged where it can be."""
        started = time.perf_counter()
        try:
            with self._decoder(_stored(self.precision)) as entry:
                self._judge(entry)
                facts = dict(entry.facts)
                steps = compile_steps(
                    core().read_model(str(entry.folder / GRAPH)),
                    self.source.config,
                    self.device,
                    settings_of(self.device, self.precision, self.plan),
                    paged=facts["paged"],
                    reason=facts["reason"],
                )
        finally:
            self._model = None
        loss = Loss(**facts["loss"]) if facts.get("loss") else None
        return WritingNetwork(
            [],
            device=self.device,
            precision=self.precision,
            memory=int(facts["bytes"]),
            inputs=frozenset(facts["forward"]),
            more=self._more,
            loss=loss,
            facts={**facts, "built": entry.built, "seconds": time.perf_counter() - started, "key": entry.folder.name},
        ).writes_by(steps)

    def hybrid(self) -> HybridNetwork:
        """A model that writes from what an encoder reads: the encoder on OpenVINO, the rest on torch."""
        started = time.perf_counter()
        model = self._torch()
        readers: dict[str, Reader] = {}
        reasons: list[str] = []
        for name, part in find_readers(model):
            key = content_key(self.source, task="reader", part=name, versions=_versions(), format=FORMAT)
            try:
                with self.store.entry(key, partial(_read_into, model, part, self.plan)) as entry:
                    readers[name] = open_reader(entry.folder / GRAPH, entry.facts, part, self.device, self.plan)
            except RuntimeUnavailable as exc:
                reasons.append(f"{name}: {exc}")
        if not readers:
            raise RuntimeUnavailable(
                f"model {self.source.name!r}: no part of it can be run on OpenVINO: "
                + ("; ".join(reasons) or "it has no encoder, and is no decoder of text alone")
            )
        facts = {
            "runs": {**dict.fromkeys(readers, "openvino"), "the rest": "torch"},
            "failed": reasons,
            "seconds": time.perf_counter() - started,
        }
        return HybridNetwork(model, readers, precision="float32", facts=facts)

    def _decoder(self, precision: str) -> AbstractContextManager[Entry]:
        key = content_key(
            self.source,
            task="writing",
            precision=precision,
            calibration=self._calibration(precision),
            versions=_versions(),
            format=FORMAT,
        )
        return self.store.entry(key, lambda folder: self._build_decoder(folder, precision))

    def _build_decoder(self, folder: Path, precision: str) -> Mapping[str, Any]:
        openvino = require("openvino")
        config = self.source.config
        if precision == "float32":
            model = self._torch()
            try:
                graph, facts = build_decoder(model, config)
            except RuntimeUnavailable as exc:
                raise RuntimeUnavailable(f"model {self.source.name!r}: {exc}") from exc
            facts |= {"forward": sorted(forward_names(self.source) or ()), "loss": None}
        else:
            with self._decoder("float32") as entry:
                graph, facts = core().read_model(str(entry.folder / GRAPH)), dict(entry.facts)
                if precision in QUANTISED:
                    size = int(config.get_text_config(decoder=True).vocab_size)
                    texts = texts_to_ids(
                        self.source, self.plan.options.get("calibration") or (), size, most_positions(config)
                    )
                    graph, loss = loss_of_decoder(graph, precision, texts)
                    facts["loss"] = loss.plain()
                openvino.save_model(graph, str(folder / GRAPH), compress_to_fp16=precision == "float16")
        if precision == "float32":
            openvino.save_model(graph, str(folder / GRAPH), compress_to_fp16=False)
        return {**facts, "name": self.source.name, "bytes": _weights(folder)}

    def _torch(self) -> Any:
        if self._model is None:
            self._model = load_model(self.source, "float32", trust_remote_code=self.plan.trust_remote_code)
        return self._model

    def _more(self, batch: Sample, exact: bool = False) -> Graph:
        """A graph for batches like this one; ``exact``, for its shapes alone."""
        try:
            return self._graph(batch, exact)[0]
        finally:
            self._model = None

    def _graph(self, batch: Sample | None, exact: bool = False) -> tuple[Graph, Entry]:
        """The graph of the task's usual inputs, or that for batches like this one."""
        with self._entry(batch, _stored(self.precision), exact) as entry:
            self._judge(entry)
            model = core().read_model(str(entry.folder / GRAPH))
            compiled = core().compile_model(model, self.device, settings_of(self.device, self.precision, self.plan))
            facts = entry.facts
            return Graph(compiled, frozenset(facts["inputs"]), list(facts["outputs"])), entry

    def _entry(self, batch: Sample | None, precision: str, exact: bool = False) -> AbstractContextManager[Entry]:
        shape = None if batch is None else {name: [str(each.dtype), *each.shape] for name, each in batch.items()}
        if exact and shape is not None:
            shape["exact"] = []
        key = content_key(
            self.source,
            task=_kind(self.task),
            like=shape,
            precision=precision,
            calibration=self._calibration(precision),
            versions=_versions(),
            format=FORMAT,
        )
        build = self._export if precision == "float32" else self._shrink
        return self.store.entry(key, lambda folder: build(folder, batch, exact))

    def _calibration(self, precision: str) -> str:
        """Of the plan's options, those by which a quantised graph is made and judged."""
        said = self.plan.options
        if precision not in QUANTISED:
            return ""
        further = [f"{name}={said[name]}" for name in ("keep_cosine", "pooling", "group") if said.get(name)]
        return " ".join([repr(said.get("calibration")), *further, *[f"parts={PARTS}"] * bool(said.get("keep_cosine"))])

    def _judge(self, entry: Entry) -> None:
        said = entry.facts.get("loss")
        if not said or self.plan.force:
            return
        options = self.plan.options
        limits = {name: float(options[name]) for name in ("least_cosine", "most_perplexity") if name in options}
        reason = Loss(**said).too_much(**limits)
        if reason is not None:
            raise RuntimeUnavailable(
                f"model {self.source.name!r} in {self.precision} is not what it was: {reason}. "
                "Use another precision, calibrate with inputs of your own (option calibration), "
                "or load it all the same (force)"
            )

    def _export(self, folder: Path, batch: Sample | None, exact: bool = False) -> Mapping[str, Any]:
        source, task, plan = self.source, self.task, self.plan
        names = forward_names(source)
        samples = samples_of(source, task, plan, names) if batch is None else [batch, *([] if exact else _fewer(batch))]
        try:
            exported = export_model(self._torch(), samples, trace_first=bool(plan.options.get("trace_first")))
        except RuntimeUnavailable as exc:
            raise RuntimeUnavailable(f"model {source.name!r}: {exc}") from exc
        require("openvino").save_model(exported.model, str(folder / GRAPH), compress_to_fp16=False)
        return {
            "name": source.name,
            "inputs": exported.inputs,
            "outputs": exported.outputs,
            "forward": None if names is None else sorted(names),
            "fixed": exported.fixed,
            "way": exported.way,
            "failed": exported.failed,
            "agreement": exported.agreement,
            "loss": None,
            "bytes": _weights(folder),
        }

    def _shrink(self, folder: Path, batch: Sample | None, exact: bool = False) -> Mapping[str, Any]:
        """The float32 graph with smaller numbers, and what that changed in its answers."""
        with self._entry(batch, "float32", exact) as entry:
            facts = dict(entry.facts)
            graph = core().read_model(str(entry.folder / GRAPH))
            if self.precision in QUANTISED:
                found, cut = self._calibrating(facts, batch)
                writes = self.task.generates or self.source.auto == "AutoModelForCausalLM"
                graph, loss, facts["in_float"] = shrink(
                    graph, self.precision, self.plan.options, found, cut, facts["outputs"], writes=writes
                )
                facts["loss"] = loss.plain()
            require("openvino").save_model(graph, str(folder / GRAPH), compress_to_fp16=self.precision == "float16")
        return {**facts, "bytes": _weights(folder)}

    def _calibrating(self, facts: Mapping[str, Any], batch: Sample | None) -> tuple[list[Any], int]:
        """Batches, and how many of them are to calibrate with: the others are to measure with."""
        names = forward_names(self.source)
        if batch is not None or facts["fixed"]:
            found: list[Any] = [batch or samples_of(self.source, self.task, self.plan, names)[0]] * 2
        else:
            given = list(self.plan.options.get("calibration") or ())
            found = batches(self.source, self.task, self.plan, names, _CALIBRATE + _MEASURE, given)
        return found, max(1, len(found) * _CALIBRATE // (_CALIBRATE + _MEASURE))


def _read_into(model: Any, part: Any, plan: LoadPlan, folder: Path) -> dict[str, Any]:
    return build_reader(folder / GRAPH, model, part, trace_first=bool(plan.options.get("trace_first")))


def _weights(folder: Path) -> int:
    return (folder / GRAPH).with_suffix(".bin").stat().st_size


def _kind(task: TaskSpec) -> str:
    """What of a task decides the graph's inputs: tasks of equal kind share an entry."""
    return "text" if task.takes[0] in ("text", "pair") and task.name != "multiple-choice" else task.name


def _stored(precision: str) -> str:
    # What is computed in bfloat16 is decided when a graph is compiled; the graph is the same.
    return "float32" if precision == "bfloat16" else precision


def _fewer(batch: Sample) -> list[Sample]:
    """The batch's first row alone, where all inputs have the same number of rows."""
    counts = {value.shape[0] if value.ndim else 0 for value in batch.values()}
    if len(counts) != 1 or counts.pop() < 2:
        return []
    return [{name: value[:1] for name, value in batch.items()}]


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("openvino", "transformers", "torch")}
