"""The checks of a model on OpenVINO: exported with some inputs, compared with PyTorch in float32 on others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.engines.openvino_agreement import compare
from ipfs_accelerate_py.runtimes.engines.openvino_export import export_model
from ipfs_accelerate_py.runtimes.engines.openvino_hybrid import shorter
from ipfs_accelerate_py.runtimes.engines.openvino_network import network_of

from .checks import TOLERANCE, difference, finite, run
from .overrides import CONSTANT, UNBATCHED
from .rows import FAILED, OK, SKIPPED, UNTESTED, Row, one_line
from .samples import fit_sampler

__all__ = ["check_openvino"]

# Seeds of what is exported with, and of what is asked afterwards.
_EXPORTED, _FRESH = (11, 12), (21, 22)


def check_openvino(model: Any, row: Row) -> Row:
    """Fill in a row with what the graph of a PyTorch model does."""
    row.checks.update(dict.fromkeys(("ran", "exported", "finite", "reacts", "agrees"), UNTESTED))
    try:
        sampler = fit_sampler(model)
        row.checks["ran"] = OK
        sizes = (1,) if row.type in UNBATCHED else (2, 3)
        samples = [sampler.batch(seed, size) for seed, size in zip(_EXPORTED, sizes, strict=False)]
        # Texts of another length too, so that the graph must follow it.
        samples += [each for each in (shorter(samples[0]),) if each]
        fresh = [sampler.batch(seed, sizes[0]) for seed in _FRESH]
        expected = [run(model, each) for each in fresh]
    except Exception as exc:
        return _failed(row, "ran", one_line(exc))
    try:
        exported = export_model(model, samples, trace_first=True)
        network = network_of(exported, plan=LoadPlan(threads=1))
        row.checks["exported"] = OK
        got = [_answer(network, exported.inputs, each) for each in fresh]
    except Exception as exc:
        return _failed(row, "exported", one_line(exc))
    row.figures |= {"fixed": float(exported.fixed), "traced": float(exported.way.startswith("convert_model"))}
    if not all(finite(each) for each in got):
        return _failed(row, "finite", "NotFinite: an output has NaN or infinity")
    row.checks["finite"] = OK
    moved = difference(*got, strict=False)
    row.figures["reacts"] = moved
    if moved <= TOLERANCE and row.type not in CONSTANT:
        return _failed(row, "reacts", f"Constant: two different inputs differ by {moved:.1e} in the output")
    row.checks["reacts"] = OK if row.type not in CONSTANT else SKIPPED
    if exported.agreement is None:
        row.outcome, row.checks["agrees"] = SKIPPED, SKIPPED
        row.reason = "it draws random numbers inside, so there is no one answer to agree with"
        return row
    return _agrees(expected, got, row)


def _agrees(expected: list[dict[str, Any]], got: list[dict[str, Any]], row: Row) -> Row:
    worst = 1.0
    apart = 0.0
    try:
        for ours, theirs in zip(expected, got, strict=True):
            shared = {name: value for name, value in ours.items() if name in theirs}
            if not shared:
                return _failed(row, "agrees", "NoOutputs: the graph gives none of the model's outputs")
            for name, value in shared.items():
                worst = min(worst, compare(name, value, theirs[name]))
            apart = max(apart, difference(shared, theirs))
    except Exception as exc:
        return _failed(row, "agrees", one_line(exc))
    row.figures |= {"cosine": worst, "difference": apart}
    row.checks["agrees"] = row.outcome = OK
    return row


def _answer(network: Any, names: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in batch.items() if name in set(names)}
    found: dict[str, Any] = network.collect(network.launch(given))
    return found


def _failed(row: Row, check: str, reason: str) -> Row:
    row.checks[check] = row.outcome = FAILED
    row.reason = reason
    return row
