"""The Open Inference Protocol, version 2, over HTTP: tensors in, tensors out.

Source: the protocol's specification (oip_v2_rest.yaml), and its extension for binary tensors, by which the raw bytes of
tensors follow the JSON and ``Inference-Header-Content-Length`` says how long that is. OpenVINO Model Server, Triton,
MLServer and KServe speak it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from ipfs_accelerate_py.dialects.base import WireRequest
from ipfs_accelerate_py.dialects.oip.errors import refined
from ipfs_accelerate_py.dialects.oip.tensors import DATATYPES, check, count, fits_json, json_data, pack, unpack
from ipfs_accelerate_py.dialects.openai.errors import error_from_body
from ipfs_accelerate_py.dialects.reading import name
from ipfs_accelerate_py.errors import BackendError, ConfigurationError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import InferRequest, Reply, Tensor

__all__ = [
    "OPTIONS",
    "decode_infer",
    "encode_infer",
    "model_path",
    "read_json",
    "read_tensor",
    "requested_outputs",
    "segment",
]

LENGTH = "Inference-Header-Content-Length"
#: Options of an inference that are read here; the others are sent as they are.
OPTIONS = ("id", "outputs", "parameters", "binary", "row_format")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


# --- paths -------------------------------------------------------------------------------------------------------


def segment(text: str, what: str = "model") -> str:
    """A name as one segment of a path, whatever is in it: it cannot lead anywhere else."""
    if not isinstance(text, str) or text in ("", ".", ".."):
        raise ConfigurationError(f"{text!r} is no name of a {what}")
    return quote(text, safe="")


def model_path(model: str, version: str = "", verb: str = "") -> str:
    """``/v2/models/<model>[/versions/<version>][/<verb>]``; without a verb, the path of the model's metadata."""
    path = f"/v2/models/{segment(model)}"
    if version:
        path += f"/versions/{segment(version, 'version')}"
    return f"{path}/{verb}" if verb else path


# --- requests ----------------------------------------------------------------------------------------------------


def encode_infer(request: InferRequest) -> WireRequest:
    """One inference.

    With ``binary`` True every tensor is sent as bytes, and asked for as bytes; with False, none is. Where it is not
    said, tensors given as bytes or arrays, and those that JSON cannot say, go as bytes; answers are asked for as JSON.
    """
    options = request.options
    binary = options.get("binary")
    if options.get("row_format"):
        raise UnsupportedOperation(
            "the Open Inference Protocol has no rows; they are TensorFlow Serving's (protocol='tfs')"
        )
    inputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for tensor in [check(tensor) for tensor in request.inputs]:
        entry: dict[str, Any] = {"name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype}
        parameters = {key: value for key, value in tensor.parameters.items() if key != "binary_data_size"}
        if binary or (binary is None and not fits_json(tensor)):
            data = pack(tensor)
            raw.append(data)
            parameters["binary_data_size"] = len(data)
        else:
            entry["data"] = json_data(tensor)
        if parameters:
            entry["parameters"] = parameters
        inputs.append(entry)
    body: dict[str, Any] = {"inputs": inputs}
    if options.get("id") is not None:
        body["id"] = options["id"]
    parameters = dict(options.get("parameters") or {})
    outputs = requested_outputs(options.get("outputs"))
    if binary and outputs:
        outputs = [{**each, "parameters": {"binary_data": True, **each.get("parameters", {})}} for each in outputs]
    elif binary:
        parameters.setdefault("binary_data_output", True)
    if parameters:
        body["parameters"] = parameters
    if outputs:
        body["outputs"] = outputs
    # What is not known here is the server's own.
    body.update({key: value for key, value in options.items() if key not in OPTIONS})
    head = _written(body)
    path = model_path(request.model, request.version, "infer")
    if not raw:
        return WireRequest("POST", path, head)
    headers = {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}
    return WireRequest("POST", path, b"".join((head, *raw)), headers)


def requested_outputs(given: Any) -> list[dict[str, Any]]:
    """The outputs asked for: names, or objects with a name and parameters."""
    if given is None:
        return []
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigurationError(f"outputs must be a list of names, not {type(given).__name__}")
    made = [{"name": each} if isinstance(each, str) else each for each in given]
    if not all(isinstance(each, Mapping) and isinstance(each.get("name"), str) for each in made):
        raise ConfigurationError("each of outputs must be a name, or an object with a name")
    return [dict(each) for each in made]


def _written(body: dict[str, Any]) -> bytes:
    try:
        return _encode(body)
    except (TypeError, ValueError, RecursionError) as problem:
        raise ConfigurationError(f"the request cannot be written as JSON: {problem}") from None


# --- answers -----------------------------------------------------------------------------------------------------


def decode_infer(body: bytes, headers: Mapping[str, str], *, binary: bool = False) -> Reply:
    """The answer. Tensors that came as bytes are handed on as bytes where ``binary`` asked for that, else as lists."""
    length = len(body)
    said = headers.get(LENGTH)
    if said is not None:
        if not (said.isascii() and said.isdigit()) or int(said) > len(body):
            raise ProtocolError(f"the upstream says that {said[:20]!r} of the {len(body)} bytes of its answer are JSON")
        length = int(said)
    raw = read_json(body[:length])
    rest = memoryview(body)[length:]
    try:
        outputs = raw["outputs"]
        if not isinstance(outputs, list):
            raise ProtocolError(f"the outputs of the upstream's answer are no list but a {type(outputs).__name__}")
        tensors = []
        at = 0
        for output in outputs:
            parameters = dict(output.get("parameters") or {})
            size = parameters.pop("binary_data_size", None)
            data: Any = output.get("data")
            if size is not None and data is None:
                if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(rest) - at:
                    raise ProtocolError(
                        f"the tensor {output['name']!r} says it has {size!r} bytes, which are not there"
                    )
                data = bytes(rest[at : at + size])
                at += size
            tensors.append(read_tensor(output, data, parameters, binary=binary))
        if at != len(rest):
            raise ProtocolError(f"{len(rest) - at} bytes of the upstream's answer belong to no tensor")
        return Reply(model=name(raw.get("model_name")), id=name(raw.get("id")), tensors=tensors, raw=raw)
    except BackendError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise ProtocolError(
            f"the upstream's answer is not the Open Inference Protocol's: {type(problem).__name__}: {problem}", body=raw
        ) from None


def read_tensor(output: Mapping[str, Any], data: Any, parameters: dict[str, Any], *, binary: bool) -> Tensor:
    """One tensor of an answer, whose data is a list or bytes; raises `ProtocolError` where it is not of its shape."""
    label, shape, datatype = output["name"], output["shape"], output["datatype"]
    if not isinstance(shape, list) or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ProtocolError(f"the tensor {label!r} has no shape but {shape!r}")
    width = DATATYPES[datatype][0] if datatype in DATATYPES else 0
    if isinstance(data, bytes):
        if width and len(data) != count(shape) * width:
            raise ProtocolError(
                f"the tensor {label!r} of shape {shape} and datatype {datatype} came with {len(data)} bytes"
            )
        if not binary:
            data = unpack(data, datatype)
    elif not isinstance(data, list):
        raise ProtocolError(f"the tensor {label!r} has no data")
    if isinstance(data, list) and not _holds(data, count(shape)):
        raise ProtocolError(f"the tensor {label!r} of shape {shape} came with another number of elements")
    return Tensor(label, shape, datatype, data, parameters)


def _holds(data: list[Any], wanted: int) -> bool:
    while any(isinstance(item, list) for item in data):
        data = [inner for item in data for inner in (item if isinstance(item, list) else [item])]
    return len(data) == wanted


def read_json(body: bytes) -> dict[str, Any]:
    """An answer's JSON object; raises the error that is in it, or `ProtocolError`.

    Some servers write NaN and Infinity as they stand, which is not JSON, and has but one meaning.
    """
    try:
        raw = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            raw = json.loads(body)
        except (ValueError, RecursionError):
            beginning = body[:80].decode("utf-8", "replace")
            raise ProtocolError(f"the upstream's answer is not JSON; it begins with {beginning!r}") from None
    if not isinstance(raw, dict):
        raise ProtocolError(f"the upstream's answer is not a JSON object but a {type(raw).__name__}")
    if raw.get("error") and not raw.keys() & {"outputs", "predictions"}:
        raise refined(error_from_body(raw))
    return raw
