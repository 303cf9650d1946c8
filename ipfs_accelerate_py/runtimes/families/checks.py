"""The checks that every model type goes through: finite, moved by its input, alone as in a batch, alike elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.runtimes.engines.outputs import flatten
from ipfs_accelerate_py.runtimes.extras import require

from .catalog import own_auto
from .overrides import CONSTANT, SKIPPED_TYPES, UNBATCHED
from .rows import FAILED, OK, SKIPPED, UNTESTED, Row, one_line
from .samples import Sampler, as_tensors, fit_sampler
from .tiny import tiny_model

__all__ = ["TOLERANCE", "check_model", "check_type", "difference", "finite", "run", "warm"]

#: Largest absolute difference in float32 that is rounding, relative to the largest output but at least to 1.
TOLERANCE = 2e-4
# Masks stand for "never" by the lowest float32 or minus infinity.
_NEVER = 1e37


def warm(runtimes: Sequence[str]) -> None:
    """Import everything that children would, each for itself."""
    warnings.simplefilter("ignore")
    transformers, torch = require("transformers"), require("torch")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    for each in ("bert", "llama", "t5", "clip", "whisper"):
        fit_sampler(tiny_model(each))
    if "openvino" in runtimes:
        for each in ("openvino", "openvino.frontend.pytorch", "transformers.exporters.exporter_openvino"):
            require(each)


def check_type(model_type: str, runtime: str) -> Row:
    """The row of one type on one runtime."""
    row = Row(model_type, runtime)
    if (why := SKIPPED_TYPES.get(model_type)) is not None:
        row.outcome, row.reason = SKIPPED, why
        return row
    try:
        row.auto = own_auto(model_type)
        model = tiny_model(model_type, auto=row.auto)
    except Exception as exc:
        row.checks["built"] = row.outcome = FAILED
        row.reason = one_line(exc)
        return row
    row.checks["built"] = OK
    row.figures["parameters"] = sum(each.numel() for each in model.parameters())
    if runtime == "torch":
        return check_model(model, row)
    from .checks_openvino import check_openvino

    return check_openvino(model, row)


def check_model(model: Any, row: Row) -> Row:
    """Fill in a row with what a PyTorch model does."""
    try:
        sampler = fit_sampler(model)
    except Exception as exc:
        row.checks["ran"] = row.outcome = FAILED
        row.reason = one_line(exc)
        return row
    row.checks["ran"] = OK
    one, other = (run(model, sampler.batch(seed)) for seed in (1, 2))
    row.checks.update(dict.fromkeys(("finite", "reacts", "batched"), UNTESTED))
    if not finite(one) or not finite(other):
        row.checks["finite"] = row.outcome = FAILED
        row.reason = "NotFinite: an output has NaN or infinity"
        return row
    row.checks["finite"] = OK
    moved = difference(one, other, strict=False)
    row.figures["reacts"] = moved
    if moved <= TOLERANCE and row.type not in CONSTANT:
        row.checks["reacts"] = row.outcome = FAILED
        row.reason = f"Constant: two different inputs differ by {moved:.1e} in the output"
        return row
    row.checks["reacts"] = OK if row.type not in CONSTANT else SKIPPED
    return _batched(model, sampler, row)


def _batched(model: Any, sampler: Sampler, row: Row) -> Row:
    if (why := UNBATCHED.get(row.type)) is not None:
        row.checks["batched"], row.outcome = SKIPPED, OK
        row.reason = why
        return row
    try:
        pair = sampler.batch(3, 2)
        both = run(model, pair)
        alone = [run(model, _part(sampler, pair, at)) for at in (0, 1)]
    except Exception as exc:
        row.checks["batched"] = row.outcome = FAILED
        row.reason = one_line(exc)
        return row
    apart = min(
        max(difference(_rows(both, each, at, turns=turns), each) for at, each in enumerate(alone))
        for turns in (False, True)
    )
    row.figures["batched"] = apart
    same = apart <= TOLERANCE
    row.checks["batched"] = row.outcome = OK if same else FAILED
    if not same:
        row.reason = f"BatchDiffers: an input in a batch of two gives another answer than alone, by {apart:.1e}"
    return row


def run(model: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """All outputs by name."""
    torch = require("torch")
    torch.manual_seed(0)  # of what samples inside
    with torch.inference_mode():
        return flatten(model(**as_tensors(batch), return_dict=True))


def _part(sampler: Sampler, batch: Mapping[str, Any], at: int) -> dict[str, Any]:
    """One of the two inputs of a batch."""
    return {
        name: value[at * len(value) // 2 : (at + 1) * len(value) // 2]
        if getattr(value, "shape", ()) and len(value) >= 2
        else value
        for name, value in batch.items()
    }


def _rows(both: Mapping[str, Any], alone: Mapping[str, Any], at: int, *, turns: bool = False) -> dict[str, Any]:
    """That input's part of a batch's outputs; those that are not by input are left out.

    An axis twice as long as alone runs over the inputs (both axes of a table of images by texts do); one a little
    longer was padded for the other input. With ``turns``, parts of the two (frames of films) take turns on the axis.
    """
    found = {}
    for name, value in both.items():
        one = alone.get(name)
        if one is None or not one.shape or value.ndim != one.ndim or name.endswith("loss"):  # a batch's mean
            continue
        parts, by_input = [], False
        for size, whole in zip(one.shape, value.shape, strict=True):
            doubled = whole == 2 * size and (size != 0)
            by_input = by_input or doubled
            mine = slice(at, None, 2) if turns else slice(at * size, (at + 1) * size)
            parts.append(mine if doubled else slice(0, size))
        if by_input:
            found[name] = value[tuple(parts)]
    return found


def finite(outputs: Mapping[str, Any]) -> bool:
    """Whether floats are finite; minus infinity is a mask's, and stands for "never" in logits."""
    numpy = require("numpy")
    floats = [value for value in outputs.values() if value.dtype.kind == "f" and value.size]
    return bool(floats) and all(
        not numpy.isnan(value).any() and not numpy.isposinf(value).any() and numpy.isfinite(value).any()
        for value in floats
    )


def difference(one: Mapping[str, Any], other: Mapping[str, Any], *, strict: bool = True) -> float:
    """Largest difference of floats in both, relative to the size of that output where it is above 1.

    Outputs of other shapes differ by infinity, or with ``strict`` false by 1.
    """
    numpy = require("numpy")
    worst, compared = 0.0, 0
    for name, value in one.items():
        theirs = other.get(name)
        if theirs is None or value.dtype.kind != "f" or not value.size:
            continue
        compared += 1
        if value.shape != theirs.shape:
            worst = max(worst, float("inf") if strict else 1.0)
            continue
        finite = (numpy.abs(value) < _NEVER) & (numpy.abs(theirs) < _NEVER)
        if not finite.any():
            continue
        size = max(1.0, float(numpy.abs(value[finite]).max()))
        worst = max(worst, float(numpy.abs(value[finite] - theirs[finite]).max()) / size)
    return worst if compared else (float("inf") if strict else 0.0)
