"""TensorFlow Serving's REST API, as OpenVINO Model Server offers it: ``/v1/models/<model>[/versions/<v>]:predict``.

Source: TensorFlow Serving's documentation of its RESTful API, and OpenVINO Model Server's of its own. Values have
neither shape nor datatype on the wire: a tensor's shape is that of its nesting, and its datatype is told from its
elements.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.base import WireRequest
from ipfs_accelerate_py.dialects.oip.dialect import read_json, requested_outputs, segment
from ipfs_accelerate_py.dialects.oip.tensors import check, json_data, nested
from ipfs_accelerate_py.errors import ConfigurationError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import InferRequest, Reply, Tensor

__all__ = ["decode_predict", "encode_predict", "model_path"]

_encode = msgspec.json.Encoder().encode


def model_path(model: str, version: str = "", verb: str = "") -> str:
    """``/v1/models/<model>[/versions/<version>]`` and ``:predict`` or ``/metadata``; without a verb, the status."""
    path = f"/v1/models/{segment(model)}"
    if version:
        path += f"/versions/{segment(version, 'version')}"
    return path + {"": "", "metadata": "/metadata"}.get(verb, f":{verb}")


# --- requests ----------------------------------------------------------------------------------------------------


def encode_predict(request: InferRequest) -> WireRequest:
    """One prediction: inputs by name (columns), or with ``row_format`` one object for each of a batch (rows).

    A single tensor without a name is sent without one. Options of ours besides: ``signature_name``.
    """
    options = dict(request.options)
    rows = options.pop("row_format", False)
    ignored = []
    if options.pop("binary", None):
        raise UnsupportedOperation(
            "TensorFlow Serving's REST API has no binary tensors; use protocol='oip', or leave out binary"
        )
    if options.pop("id", None) is not None:
        ignored.append("id")  # it comes back as it went, and the answer has no place for it
    if options.pop("parameters", None):
        raise UnsupportedOperation("TensorFlow Serving's REST API has no parameters; use protocol='oip'")
    options.pop("outputs", None)  # picked from the answer
    tensors = [check(tensor) for tensor in request.inputs]
    values = {tensor.name: _values(tensor) for tensor in tensors}
    if len(values) != len(tensors):
        raise ConfigurationError("two of the tensors have one name")
    if "" in values and len(values) > 1:
        raise ConfigurationError("where there are several tensors each needs a name")
    body: dict[str, Any] = {}
    if values:
        # A lone tensor without a name is sent without one.
        body = {"instances": _rows(tensors, values)} if rows else {"inputs": values.get("", values)}
    body.update(options)
    if not body.keys() & {"instances", "inputs"}:
        raise ConfigurationError("a prediction needs tensors")
    try:
        encoded = _encode(body)
    except (TypeError, ValueError, RecursionError) as problem:
        raise ConfigurationError(f"the request cannot be written as JSON: {problem}") from None
    return WireRequest("POST", model_path(request.model, request.version, "predict"), encoded, ignored=tuple(ignored))


def _values(tensor: Tensor) -> Any:
    if tensor.datatype != "BYTES":
        data = json_data(tensor)  # a list, or an error for what JSON cannot say
        return nested(Tensor(tensor.name, tensor.shape, tensor.datatype, data))
    return _base64(nested(tensor))


def _base64(value: Any) -> Any:
    """Texts as they are; bytes as the API writes them."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    return [_base64(item) for item in value] if isinstance(value, list) else value


def _rows(tensors: list[Tensor], values: dict[str, Any]) -> list[Any]:
    sizes = {tensor.shape[0] if tensor.shape else None for tensor in tensors}
    if len(sizes) != 1 or None in sizes:
        raise ConfigurationError(
            "in rows the first dimension is the batch, and must be the same for each tensor: "
            + ", ".join(f"{tensor.name!r} has the shape {tensor.shape}" for tensor in tensors)
        )
    if "" in values:
        rows: list[Any] = values[""]
        return rows
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


# --- answers -----------------------------------------------------------------------------------------------------


def decode_predict(body: bytes, request: InferRequest) -> Reply:
    """The answer. A single output without a name is called what the answer calls it: ``outputs`` or ``predictions``."""
    raw = read_json(body)
    if "outputs" in raw:
        found = raw["outputs"]
        named: Mapping[str, Any] = found if isinstance(found, dict) and "b64" not in found else {"outputs": found}
    elif "predictions" in raw:
        named = _columns(raw["predictions"])
    else:
        raise ProtocolError("the upstream's answer has neither 'outputs' nor 'predictions'", body=raw)
    wanted = [each["name"] for each in requested_outputs(request.options.get("outputs"))]
    missing = [name for name in wanted if name not in named]
    if missing:
        raise ProtocolError(f"the upstream's answer has no output {missing[0]!r}; it has: {', '.join(named)}", body=raw)
    tensors = [_tensor(name, value) for name, value in named.items() if not wanted or name in wanted]
    return Reply(model=request.model, tensors=tensors, raw=raw)


def _columns(rows: Any) -> Mapping[str, Any]:
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and "b64" not in row for row in rows):
        return {"predictions": rows}
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ProtocolError("the rows of the upstream's answer do not have the same outputs")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _tensor(name: str, value: Any) -> Tensor:
    shape: list[int] = []
    level = [value]
    while any(isinstance(item, list) for item in level):
        sizes = {len(item) if isinstance(item, list) else None for item in level}
        if len(sizes) != 1 or None in sizes:
            raise ProtocolError(f"the output {name!r} of the upstream's answer is nested unevenly")
        shape.append(len(level[0]))
        level = [inner for item in level for inner in item]
    flat = [_element(name, item) for item in level]
    return Tensor(name, shape, _datatype(name, flat), flat)


def _element(name: str, item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    try:
        return base64.b64decode(item["b64"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise ProtocolError(f"an element of the output {name!r} of the upstream's answer cannot be read") from None


def _datatype(name: str, flat: list[Any]) -> str:
    kinds = set(map(type, flat))
    if kinds <= {str, bytes} and kinds:
        return "BYTES"
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    if kinds <= {int, float}:
        return "FP32"
    raise ProtocolError(f"the output {name!r} of the upstream's answer has elements of several kinds")
