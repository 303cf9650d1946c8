"""A model of Transformers' to machine code: exported by PyTorch, lowered by IREE, compiled by LLVM for this processor.

https://iree.dev/guides/deployment-configurations/cpu/ ; the importer from PyTorch's graph is IREE's own.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FORMAT", "compile_shape", "state_of"]

#: Of what is kept on disk: raised when the same checkpoint is compiled differently.
FORMAT = 2
# A layer norm of many rows wants more of the stack than the compiler's 32 KiB; threads have megabytes.
_FLAGS = ("--iree-llvmcpu-target-cpu=host", "--iree-llvmcpu-stack-allocation-limit=262144")


def state_of(model: Any) -> dict[str, Any]:
    """All weights and buffers by name, in the order in which the compiled function takes them."""
    found: dict[str, Any] = dict(model.named_parameters())
    found.update(model.named_buffers())
    return {name: tensor.detach() for name, tensor in found.items()}


def compile_shape(model: Any, batch: Mapping[str, NDArray[Any]], folder: Path) -> dict[str, Any]:
    """Compile the forward pass for batches of exactly these shapes into ``folder / "module.vmfb"``.

    Weights are arguments of the function, so that modules for several shapes share them in memory.

    Returns:
        ``inputs`` (names in order) and ``outputs`` (names in order).

    Raises:
        RuntimeUnavailable: the exporter, the importer or the compiler refuses it; the message has what it said.
    """
    torch = require("torch")
    names = list(batch)
    state = state_of(model)
    given = tuple(torch.as_tensor(batch[name]) for name in names)
    found: list[str] = []

    class Pure(torch.nn.Module):  # type: ignore[misc,name-defined]
        """The forward pass as a function of weights and inputs, giving a flat tuple."""

        def forward(self, weights: Any, arrays: Any) -> Any:
            made = torch.func.functional_call(
                model,
                dict(zip(state, weights, strict=True)),
                (),
                {**dict(zip(names, arrays, strict=True)), "return_dict": True},
            )
            leaves = _tensors(made)
            found[:] = leaves
            return tuple(leaves.values())

    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, of its own code
            exported = torch.export.export(Pure().eval(), (tuple(state.values()), given), strict=False)
            exported = exported.run_decompositions({**torch.export.default_decompositions(), **_decompositions()})
        importer = require("iree.compiler.extras.fx_importer").FxImporter()
        importer.import_frozen_program(exported, func_name="main")
        written = io.BytesIO()
        importer.module.operation.write_bytecode(written)
        module = require("iree.compiler").compile_str(
            written.getvalue(), target_backends=["llvm-cpu"], input_type="torch", extra_args=list(_FLAGS)
        )
    except Exception as exc:  # a compiler raises what it likes
        raise RuntimeUnavailable(f"IREE cannot compile it: {_first_line(exc)}") from exc
    (folder / "module.vmfb").write_bytes(module)
    return {"inputs": names, "outputs": list(found)}


def _decompositions() -> dict[Any, Any]:
    """Of operations that PyTorch leaves whole and IREE's importer does not know: what they are made of."""
    aten = require("torch").ops.aten
    norms = (aten._native_batch_norm_legit_no_training, aten._native_batch_norm_legit)
    found: dict[Any, Any] = require("torch._decomp").get_decompositions(norms)
    return {**found, aten.squeeze.dims: _squeeze}


def _squeeze(tensor: Any, dims: Any) -> Any:
    gone = {dim % tensor.dim() for dim in dims} if tensor.dim() else set()
    return tensor.reshape([size for at, size in enumerate(tensor.shape) if at not in gone or size != 1])


def _tensors(outputs: Any) -> dict[str, Any]:
    """Names as `flatten` gives them, with the tensors themselves."""
    kept: dict[str, Any] = {}

    def walk(name: str, value: Any) -> None:
        if value is None:
            return
        if hasattr(value, "detach"):
            kept[name or "output"] = value
        elif isinstance(value, Mapping):
            for key, each in value.items():
                walk(f"{name}.{key}" if name else str(key), each)
        elif isinstance(value, list | tuple):
            for at, each in enumerate(value):
                walk(f"{name}.{at}" if name else str(at), each)

    walk("", outputs)
    return kept


def _first_line(exc: Exception) -> str:
    """The first error in words: without where it is (a tower of calls, or all that the importer knows of a node), and
    without addresses, which are others each time."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    telling = next((line for line in lines if "error:" in line), lines[0] if lines else type(exc).__name__)
    words = telling.rpartition("error: ")[2].partition(" loc(")[0].partition(", {")[0]
    return re.sub(r" at 0x[0-9a-f]+", "", words)[:300]
