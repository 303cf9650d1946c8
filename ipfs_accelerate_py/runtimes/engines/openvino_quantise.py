"""Smaller numbers in a graph: weights in 16, 8 or 4 bits, or weights and activations in 8. By NNCF, OpenVINO's own.

https://openvinotoolkit.github.io/nncf
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .loss import Loss, measure
from .openvino_ports import answers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["QUANTISED", "answers_of", "loss_of", "quantise", "silent"]

#: Precisions that cost accuracy, so that it is measured.
QUANTISED = frozenset({"int8", "int8-weights", "int4"})


def quantise(graph: Any, precision: str, calibration: Sequence[Mapping[str, NDArray[Any]]]) -> Any:
    """The graph with smaller numbers; a new one for ``int8``, else the same, changed.

    ``calibration`` are batches by which ``int8`` finds the range of each activation.

    Raises:
        RuntimeUnavailable: NNCF cannot, with its reason.
    """
    nncf = require("nncf")
    try:
        with silent(nncf):
            if precision == "int8-weights":
                return nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_ASYM)
            if precision == "int4":
                return nncf.compress_weights(
                    graph,
                    mode=nncf.CompressWeightsMode.INT4_ASYM,
                    group_size=64,
                    advanced_parameters=nncf.AdvancedCompressionParameters(
                        group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST
                    ),
                )
            names = [port.get_any_name() for port in graph.inputs]
            data = nncf.Dataset([{name: batch[name] for name in names} for batch in calibration])
            return nncf.quantize(
                graph, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=max(1, len(calibration))
            )
    except Exception as exc:  # NNCF's errors are of many classes
        raise RuntimeUnavailable(f"NNCF cannot make it {precision}: {exc}") from exc


def loss_of(
    before: Any,
    after: Any,
    inputs: Sequence[Mapping[str, NDArray[Any]]],
    outputs: Sequence[str],
    *,
    writes: bool = False,
    pooling: Sequence[str] = (),
) -> Loss:
    """What two graphs answer to ``inputs``, compared; both compute in float32. With ``pooling`` (names of modes, see
    `runtimes.pooling`) it is the sentences' vectors that are compared."""
    found = [answers_of(graph, inputs, outputs, pooling) for graph in (before, after)]
    masks = [batch.get("attention_mask") for batch in inputs]
    return measure(*found, masks=None if pooling else masks, writes=writes)


def answers_of(
    graph: Any, inputs: Sequence[Mapping[str, NDArray[Any]]], outputs: Sequence[str], pooling: Sequence[str] = ()
) -> list[dict[str, NDArray[Any]]]:
    """What a graph gives for each of ``inputs``, in float32, by name; see `loss_of`."""
    openvino = require("openvino")
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    found = [answers(request, compiled, batch, outputs) for batch in inputs]
    if not pooling:
        return found
    return [_pooled(each, batch, pooling) for each, batch in zip(found, inputs, strict=True)]


def _pooled(
    given: Mapping[str, NDArray[Any]], batch: Mapping[str, NDArray[Any]], pooling: Sequence[str]
) -> dict[str, NDArray[Any]]:
    from ipfs_accelerate_py.runtimes.pooling import pool

    torch = require("torch")
    mask = torch.from_numpy(batch["attention_mask"]).bool()
    vectors = pool(tuple(pooling), torch.from_numpy(given["last_hidden_state"]), mask, mask)
    return {"sentence_embedding": vectors.numpy()}


@contextlib.contextmanager
def silent(nncf: Any) -> Iterator[None]:
    """Without NNCF's tables and bars on standard output."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    disabled = getattr(nncf.common.logging.track_progress.track, "disable", None) if hasattr(nncf, "common") else None
    try:
        with contextlib.redirect_stdout(None):
            yield
    finally:
        logger.setLevel(level)
        del disabled
