"""Whether a graph gives what its torch model gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.runtimes.extras import require

from .openvino_ports import Disagrees, answers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_graph", "compare", "same_each_time"]

#: Least cosine of an output, over all its entries.
COSINE = 0.999
#: Largest difference of an entry, as a part of the output's largest one. Float32 sums taken in another order differ
#: by far less; a wrong mask or position by far more.
DIFFERENCE = 2e-2
#: Part of the whole numbers of an output that must be equal: which of two near values is the larger may differ.
EQUAL = 0.98


def same_each_time(run: Callable[[], Mapping[str, NDArray[Any]]]) -> bool:
    """Whether two runs give the same: some models draw random numbers even when they are not trained."""
    np = require("numpy")
    first, second = run(), run()
    return all(
        array.shape == second[name].shape and bool(np.array_equal(array, second[name], equal_nan=_floats(array)))
        for name, array in first.items()
    )


def check_graph(
    graph: Any, references: Sequence[tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]], *, chance: bool = False
) -> float | None:
    """The worst cosine among outputs, for inputs with torch's answer to each; None for a model that answers by chance,
    of which only shapes can be compared.

    Raises:
        Disagrees: it does not give what torch gives; whatever OpenVINO raises where it cannot compile or run it.
    """
    openvino = require("openvino")
    compiled = openvino.Core().compile_model(
        graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}
    )
    request = compiled.create_infer_request()
    worst = 1.0
    for sample, expected in references:
        got = answers(request, compiled, sample, list(expected))
        for name, array in expected.items():
            if got[name].shape != array.shape:
                raise Disagrees(f"{name} has shape {got[name].shape} and torch's {array.shape}")
            if not chance:
                worst = min(worst, compare(name, array, got[name]))
    return None if chance else worst


def compare(name: str, expected: NDArray[Any], got: NDArray[Any]) -> float:
    """The cosine between two arrays (1 for equal ones). Raises `Disagrees` where they are too different."""
    np = require("numpy")
    if not _floats(expected):
        equal = float((expected == got).mean()) if expected.size else 1.0
        if equal < EQUAL:
            raise Disagrees(f"{name} is equal to torch's in {equal:.0%} of its entries")
        return 1.0
    finite = np.isfinite(expected)
    if not bool((finite == np.isfinite(got)).all()):
        # Masks are written as minus infinity by some and as the lowest number by others.
        got = np.where(got <= -1e30, -np.inf, got)
        expected = np.where(expected <= -1e30, -np.inf, expected)
        finite = np.isfinite(expected)
        if not bool((finite == np.isfinite(got)).all()):
            raise Disagrees(f"{name} has infinite or undefined entries where torch's has not, or the other way round")
    one, other = expected[finite].astype(np.float64), got[finite].astype(np.float64)
    if not one.size:
        return 1.0
    # Scaled, so that the lowest number of float32, squared, is still one.
    scale = max(float(np.abs(one).max()), 1e-30)
    difference = float(np.abs(one - other).max()) / scale
    length = float(np.linalg.norm(one / scale) * np.linalg.norm(other / scale))
    cosine = float((one / scale) @ (other / scale)) / length if length else float(difference == 0.0)
    if (cosine < COSINE or difference > DIFFERENCE) and float(np.abs(one - other).max()) > 1e-5:
        raise Disagrees(f"{name} differs from torch's: cosine {cosine:.4f}, largest difference {difference:.2g} of it")
    return max(cosine, 0.0) if difference else 1.0


def _floats(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "f"
