"""``/v1/models/<model>:predict``: TensorFlow Serving's API, in rows and in columns."""

from __future__ import annotations

import base64
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.wire import Answer, Request

from .tensors import Tensor, answered, refuse

__all__ = ["answer"]

_encode = msgspec.json.Encoder().encode
#: What a lone tensor without a name is called inside; its output has no name either.
_LONE: Final = ""


def answer(request: Request) -> Answer:
    """The model's answer, in the form that was asked in."""
    body = request.body
    if not isinstance(body, dict):
        raise refuse("Invalid JSON structure: Could not parse the request")
    if ("instances" in body) == ("inputs" in body):
        raise refuse("Invalid JSON structure: Either instances or inputs must be given")
    signature = body.get("signature_name", "serving_default")
    if signature != "serving_default":
        raise refuse(f"Invalid signature name: {signature}")
    if "inputs" in body:
        made = _made(_columns(body["inputs"]))
        return Answer(body=_encode({"outputs": made.get(_LONE, made)}))
    rows = body["instances"]
    if not isinstance(rows, list) or not rows:
        raise refuse("Invalid JSON structure: Instances must be a list of at least one")
    if not all(isinstance(row, dict) and "b64" not in row for row in rows):
        return Answer(body=_encode({"predictions": _made({_LONE: rows})[_LONE]}))
    if any(row.keys() != rows[0].keys() for row in rows):
        raise refuse("Invalid JSON structure: Instances must have the same inputs")
    made = _made({name: [row[name] for row in rows] for name in rows[0]})
    return Answer(
        body=_encode(
            {"predictions": [dict(zip(made, values, strict=True)) for values in zip(*made.values(), strict=True)]}
        )
    )


def _columns(inputs: Any) -> dict[str, Any]:
    return inputs if isinstance(inputs, dict) and "b64" not in inputs else {_LONE: inputs}


def _made(columns: dict[str, Any]) -> dict[str, Any]:
    outputs = {}
    for name, value in columns.items():
        shape, flat = _flattened(value)
        tensor = answered(Tensor(name, _datatype(flat), shape, [_read(item) for item in flat]))
        outputs[tensor.name] = _nested([_written(item) for item in tensor.values], shape)
    return outputs


def _flattened(value: Any) -> tuple[list[int], list[Any]]:
    shape: list[int] = []
    level = [value]
    while level and isinstance(level[0], list):
        if any(not isinstance(item, list) or len(item) != len(level[0]) for item in level):
            raise refuse("Could not parse input content. Not valid ndarray detected")
        shape.append(len(level[0]))
        level = [inner for item in level for inner in item]
    return shape, level


def _nested(flat: list[Any], shape: list[int]) -> Any:
    if not shape:
        return flat[0]
    step = len(flat) // shape[0] if shape[0] else 0
    return [_nested(flat[at * step : (at + 1) * step], shape[1:]) for at in range(shape[0])]


def _datatype(flat: list[Any]) -> str:
    kinds = set(map(type, flat))
    if kinds <= {str, dict} and kinds:
        return "BYTES"
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    if kinds <= {int, float}:
        return "FP32"
    raise refuse("Could not parse input content. Not valid ndarray detected")


def _read(item: Any) -> Any:
    if isinstance(item, dict):
        try:
            return base64.b64decode(item["b64"], validate=True)
        except (KeyError, TypeError, ValueError):
            raise refuse("Could not parse input content. Base64 decoding failed") from None
    return item.encode() if isinstance(item, str) else item


def _written(item: Any) -> Any:
    if not isinstance(item, bytes):
        return item
    try:
        return item.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(item).decode()}
