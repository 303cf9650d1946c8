"""An encoder as machine code: a module for each shape, compiled when it first comes, with weights shared by all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.devices import available_cpus
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.progress import tell

from .artifacts import Artifacts
from .base import LoadPlan, Source
from .fingerprint import content_key
from .iree_compile import FORMAT, compile_shape, state_of
from .iree_shapes import LENGTHS, ROWS, Axes, cut, fit, length_of, round_up
from .machine import describe_machine
from .openvino_agreement import compare
from .openvino_ports import Disagrees
from .outputs import flatten

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["IREENetwork"]

#: Modules of one network. Each takes seconds to compile, so inputs of ever other shapes are better run elsewhere.
MOST_SHAPES = 24
_flags = threading.Lock()


class IREENetwork:
    """See `Network`. ``facts`` says which shapes there are and what compiling took."""

    engine = "llvm"
    device = "cpu"
    precision = "float32"

    def __init__(
        self, source: Source, plan: LoadPlan, open_model: Callable[[], Any], inputs: frozenset[str] | None
    ) -> None:
        self.inputs = inputs
        self._source = source
        self._open_model = open_model
        self._most = int(plan.options.get("shapes", MOST_SHAPES))
        self._fill = {"input_ids": int(getattr(source.config, "pad_token_id", None) or 0)}
        self._positions: int | None = getattr(source.config, "max_position_embeddings", None)
        self._runtime = require("iree.runtime")
        self._hal = _open_device(self._runtime, plan.threads or available_cpus())
        model = open_model()
        state = state_of(model)
        self.memory = sum(each.numel() * each.element_size() for each in state.values())
        self._weights: list[Any] = [
            # Not by `ascontiguousarray`, which makes a list of a single number.
            self._runtime.asdevicearray(self._hal, require("numpy").asarray(each.numpy(), order="C"))
            for each in state.values()
        ]
        #: Held until the first shape is compiled, which comes at once; later ones read it again.
        self._model: Any = model
        self._modules: dict[tuple[Any, ...], tuple[Any, dict[str, Any]]] = {}
        self.facts: dict[str, Any] = {"shapes": [], "built": 0}

    def launch(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        np = require("numpy")
        given = {
            name: np.asarray(value)
            for name, value in batch.items()
            if value is not None and not isinstance(value, bool | str)
        }
        counts = {array.shape[0] for array in given.values()}
        if len(counts) != 1 or (rows := counts.pop()) <= ROWS[-1]:
            return self._run(given)
        most = ROWS[-1]
        parts = [
            self._run({name: array[at : at + most] for name, array in given.items()}) for at in range(0, rows, most)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def collect(self, launched: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        return launched

    def close(self) -> None:
        self._modules.clear()
        self._weights = []
        self._model = None

    # --- within ---------------------------------------------------------------------------------------------------

    def _run(self, given: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        counts = {array.shape[0] for array in given.values()}
        rows, length = min(counts), length_of(given)
        # Inputs of several kinds (a picture with its labels) have no common rows to fill up.
        wide = round_up(rows, ROWS) if len(counts) == 1 else rows
        deep = None if length is None else round_up(length, LENGTHS, self._positions)
        fitted = fit(given, wide, deep, self._fill) if len(counts) == 1 else given
        key = tuple((name, str(array.dtype), *array.shape) for name, array in fitted.items())
        if key not in self._modules:
            self._modules[key] = self._open(key, given, fitted, length)
        call, facts = self._modules[key]
        outputs = _call(call, self._weights, fitted, facts)
        return cut(outputs, _axes(facts), rows, length) if len(counts) == 1 else outputs

    def _open(
        self, key: tuple[Any, ...], given: dict[str, NDArray[Any]], fitted: dict[str, NDArray[Any]], length: int | None
    ) -> tuple[Any, dict[str, Any]]:
        if len(self._modules) >= self._most:
            raise RuntimeUnavailable(
                f"model {self._source.name!r} has been compiled for {len(self._modules)} shapes, and these inputs have "
                "another: use the runtime torch for inputs of ever other sizes, or the option shapes"
            )
        name = content_key(
            self._source,
            engine="iree",
            shape=[list(each) for each in key],
            machine=describe_machine(),
            format=FORMAT,
            **{each: version(each) for each in ("iree-base-compiler", "torch", "transformers")},
        )

        def build(folder: Path) -> Mapping[str, Any]:
            tell("compiling")
            model = self._model if self._model is not None else self._open_model()
            facts = compile_shape(model, fitted, folder)
            facts |= _learn_axes(model, given)
            self._agrees(model, given, self._load(folder / "module.vmfb"), fitted, facts, length)
            return facts

        with Artifacts("iree").entry(name, build) as entry:
            call = self._load(entry.folder / "module.vmfb")
            facts = dict(entry.facts)
            self.facts["built"] += entry.built
        self._model = None
        self.facts["shapes"].append({each: list(shape) for each, _, *shape in key})
        return call, facts

    def _load(self, path: Path) -> Any:
        context = self._runtime.SystemContext(config=self._runtime.Config(device=self._hal))
        context.add_vm_module(self._runtime.VmModule.copy_buffer(context.instance, path.read_bytes()))
        return context.modules.module.main

    def _agrees(
        self,
        model: Any,
        given: dict[str, NDArray[Any]],
        call: Any,
        fitted: dict[str, NDArray[Any]],
        facts: dict[str, Any],
        length: int | None,
    ) -> None:
        """Compare with PyTorch's answer to the batch as it came: what padding changes shows too."""
        expected = _torch(model, given)
        outputs = _call(call, self._weights, fitted, facts)
        got = cut(outputs, _axes(facts), min(array.shape[0] for array in given.values()), length)
        try:
            for name, array in expected.items():
                if got[name].shape != array.shape:
                    raise Disagrees(f"{name} has shape {got[name].shape} and torch's {array.shape}")
                compare(name, array, got[name])
        except Disagrees as exc:
            raise RuntimeUnavailable(
                f"model {self._source.name!r} compiled with fixed shapes does not answer as PyTorch does: {exc}"
            ) from exc


def _open_device(runtime: Any, threads: int) -> Any:
    if threads == 1:
        return runtime.get_driver("local-sync").create_default_device()
    with _flags:  # a setting of the whole process, read when a device is made
        runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
        return runtime.get_driver("local-task").create_default_device()


def _call(call: Any, weights: list[Any], batch: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    np = require("numpy")
    made = call(*weights, *(batch[name] for name in facts["inputs"]))
    found = made if isinstance(made, list | tuple) else (made,)
    arrays = {name: np.array(each.to_host()) for name, each in zip(facts["outputs"], found, strict=True)}
    return {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in arrays.items()}


def _torch(model: Any, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    torch = require("torch")
    with torch.inference_mode():
        return flatten(model(**{name: torch.as_tensor(array) for name, array in batch.items()}, return_dict=True))


def _learn_axes(model: Any, given: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Which axes of outputs grow with rows and with length: by giving more of each."""
    counts = {array.shape[0] for array in given.values()}
    if len(counts) != 1:
        return {"rows": {}, "lengths": {}}
    rows, length = counts.pop(), length_of(given)
    single = fit({name: array[:1] for name, array in given.items()}, 1, None, {})
    plain = _torch(model, single)
    more = _torch(model, fit(single, 2, None, {}))
    longer = plain
    if length is not None:
        # One shorter would do where there is no place for one longer.
        shorter = {
            name: array[:, : length - 1] if array.ndim >= 2 and array.shape[1] == length else array
            for name, array in single.items()
        }
        longer = _torch(model, shorter if length > 2 else fit(single, 1, length + 1, {}))
    assert rows
    return {"rows": _grown(plain, more), "lengths": _grown(plain, longer)}


def _grown(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[int]]:
    return {
        name: [at for at, (one, other) in enumerate(zip(array.shape, after[name].shape, strict=True)) if one != other]
        for name, array in before.items()
    }


def _axes(facts: Mapping[str, Any]) -> Axes:
    return Axes(
        {name: tuple(found) for name, found in facts["rows"].items()},
        {name: tuple(found) for name, found in facts["lengths"].items()},
    )
