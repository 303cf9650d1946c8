"""``/v2/models/<model>/infer``: the Open Inference Protocol, with JSON, bytes, or some of each."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.wire import Answer, Request

from .tensors import SIZES, Tensor, answered, from_bytes, refuse, to_bytes

__all__ = ["answer"]

_encode = msgspec.json.Encoder().encode
_LENGTH: Final = "inference-header-content-length"


def answer(request: Request, model: str, version: str) -> Answer:
    """The model's answer; wrong requests are refused as OpenVINO Model Server refuses them, with 400 and a text."""
    body, rest = _parts(request)
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise refuse("Invalid request: inputs must be a list of at least one tensor")
    tensors = []
    for item in inputs:
        tensor, rest = _read(item, rest, alone=len(inputs) == 1)
        tensors.append(tensor)
    if rest:
        raise refuse("Invalid request: the body is longer than its tensors")
    made = {one.name: one for one in map(answered, tensors)}
    wanted = body.get("outputs")
    if wanted is None:
        wanted = [{"name": name} for name in made]
    all_binary = _parameters(body).get("binary_data_output") is True
    outputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for item in wanted:
        if not isinstance(item, dict) or item.get("name") not in made:
            raise refuse("Invalid request: an output is asked for that the model does not have")
        tensor = made[item["name"]]
        output: dict[str, Any] = {"name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype}
        # 16-bit floats have no form in JSON.
        if _parameters(item).get("binary_data", all_binary) is True or tensor.datatype in ("FP16", "BF16"):
            data = to_bytes(tensor)
            raw.append(data)
            output["parameters"] = {"binary_data_size": len(data)}
        else:
            to_bytes(tensor)  # refuses what does not fit
            output["data"] = [_text(value) for value in tensor.values]
        outputs.append(output)
    said: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": outputs}
    if "id" in body:
        said["id"] = body["id"]
    head = _encode(said)
    if not raw:
        return Answer(body=head)
    return Answer(
        headers=[("inference-header-content-length", str(len(head)))],
        body=b"".join((head, *raw)),
        content_type="application/octet-stream",
    )


def _parts(request: Request) -> tuple[dict[str, Any], bytes]:
    """The JSON object, and the bytes after it."""
    body, rest = request.body, b""
    given = request.headers.get(_LENGTH)
    if given is not None:
        if not given.isdigit() or int(given) > len(request.raw):
            raise refuse("Invalid Inference-Header-Content-Length")
        rest = request.raw[int(given) :]
        try:
            body = msgspec.json.decode(request.raw[: int(given)])
        except msgspec.DecodeError:
            body = None
    if not isinstance(body, dict):
        raise refuse("Invalid JSON structure: Could not parse the request")
    return body, rest


def _parameters(item: dict[str, Any]) -> dict[str, Any]:
    found = item.get("parameters")
    return found if isinstance(found, dict) else {}


def _read(item: Any, rest: bytes, *, alone: bool) -> tuple[Tensor, bytes]:
    if not isinstance(item, dict):
        raise refuse("Invalid request: each of inputs must be an object")
    name, datatype, shape = item.get("name"), item.get("datatype"), item.get("shape")
    if not isinstance(name, str):
        raise refuse("Invalid request: an input has no name")
    if datatype not in SIZES:
        raise refuse(f"Invalid input precision - of {name}: {datatype}")
    if not isinstance(shape, list) or not all(
        isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape
    ):
        raise refuse(f"Invalid input shape - of {name}")
    count = math.prod(shape)
    if "data" in item:
        if datatype in ("FP16", "BF16"):
            raise refuse(f"Invalid input precision - {datatype} of {name} must be sent in binary form")
        values = [_value(name, value, datatype) for value in _flat(item["data"])]
    else:
        size = _parameters(item).get("binary_data_size")
        if size is None:
            # It may be left out where it can be told from the shape, or where all bytes are one tensor's.
            size = len(rest) if alone else count * SIZES[datatype]
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
            raise refuse(f"Invalid content size of tensor {name}")
        values, rest = from_bytes(rest[:size], datatype), rest[size:]
    if len(values) != count:
        raise refuse(
            f"Invalid number of elements in tensor {name} - Expected: {count} by its shape; Actual: {len(values)}"
        )
    return Tensor(name, datatype, shape, values), rest


def _flat(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise refuse("Invalid request: data must be a list")
    found: list[Any] = []
    for item in data:
        found += _flat(item) if isinstance(item, list) else [item]
    return found


def _value(name: str, value: Any, datatype: str) -> Any:
    if datatype == "BYTES" and isinstance(value, str):
        return value.encode()
    if datatype == "BOOL" and isinstance(value, bool):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if datatype.startswith("FP") and number:
        return float(value)
    if datatype.startswith(("INT", "UINT")) and number and not isinstance(value, float):
        bits = 8 * SIZES[datatype]
        low, high = (-(1 << bits - 1), 1 << bits - 1) if datatype.startswith("INT") else (0, 1 << bits)
        if low <= value < high:
            return value
    raise refuse(f"Could not parse the data of {name} as {datatype}")


def _text(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise refuse("An output of BYTES is no text; ask for it in binary form") from None
