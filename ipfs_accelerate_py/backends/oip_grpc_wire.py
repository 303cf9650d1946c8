"""What goes over gRPC in the Open Inference Protocol, to and from the vocabulary. Source: oip_v2_grpc.proto."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from ipfs_accelerate_py.backends.oip_messages import METHODS, message_class
from ipfs_accelerate_py.dialects.oip.dialect import OPTIONS, read_tensor, requested_outputs
from ipfs_accelerate_py.dialects.oip.tensors import check, elements, pack
from ipfs_accelerate_py.errors import ConfigurationError, ProtocolError, ServerError, UnsupportedOperation
from ipfs_accelerate_py.types import Call, InferRequest, RawRequest, Reply, Tensor

__all__ = ["about", "infer_message", "infer_reply", "said"]

#: The field of `InferTensorContents` for a datatype; 16-bit floats have none.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_PATHS = re.compile(
    r"/v2(?:/(?:health/(?P<health>live|ready)"
    r"|models/(?P<model>[^/?]+)(?:/versions/(?P<version>[^/?]+))?(?P<ready>/ready)?))?/?"
)


def infer_message(request: InferRequest) -> Any:
    """The message of an inference: tensors as raw bytes, or with ``binary=False`` as typed contents."""
    options = request.options
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown or options.get("row_format"):
        raise UnsupportedOperation(
            f"the Open Inference Protocol has no option {(unknown or ['row_format'])[0]!r} over gRPC"
        )
    message = message_class("ModelInferRequest")(
        model_name=request.model, model_version=request.version, id=str(options.get("id") or "")
    )
    _set_parameters(message.parameters, options.get("parameters") or {})
    raw = options.get("binary") is not False
    for tensor in [check(tensor) for tensor in request.inputs]:
        entry = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        _set_parameters(entry.parameters, tensor.parameters)
        if raw:
            message.raw_input_contents.append(pack(tensor))
        else:
            _set_contents(entry.contents, tensor)
    for output in requested_outputs(options.get("outputs")):
        entry = message.outputs.add(name=output["name"])
        _set_parameters(entry.parameters, output.get("parameters") or {})
    return message


def _set_contents(contents: Any, tensor: Tensor) -> None:
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise ConfigurationError(
            f"the tensor {tensor.name!r} of {tensor.datatype} can be sent as bytes only (binary=True)"
        )
    values = elements(tensor)
    if field == "bytes_contents":
        values = [value.encode() if isinstance(value, str) else value for value in values]
    try:
        getattr(contents, field).extend(values)
    except (TypeError, ValueError) as problem:
        raise ConfigurationError(
            f"the tensor {tensor.name!r} cannot be written as {tensor.datatype}: {problem}"
        ) from None


def _set_parameters(target: Any, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
            setattr(target[name], "int64_param" if value < 1 << 63 else "uint64_param", value)
        elif isinstance(value, str):
            target[name].string_param = value
        elif isinstance(value, float):
            target[name].double_param = value
        else:
            raise ConfigurationError(f"the parameter {name!r} must be a text, a number or a truth value, not {value!r}")


def _parameters(given: Any) -> dict[str, Any]:
    found = {}
    for name, parameter in given.items():
        chosen = parameter.WhichOneof("parameter_choice")
        found[name] = getattr(parameter, chosen) if chosen else None
    return found


def infer_reply(response: Any, *, binary: bool) -> Reply:
    """The answer. Tensors came as raw bytes or typed contents; they go on as bytes where ``binary``, else as lists."""
    raw = response.raw_output_contents
    if raw and len(raw) != len(response.outputs):
        raise ProtocolError(f"the upstream's answer has {len(response.outputs)} tensors and the bytes of {len(raw)}")
    tensors = []
    outputs = []
    for index, output in enumerate(response.outputs):
        entry = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        data: Any = raw[index] if raw else list(getattr(output.contents, _CONTENTS.get(output.datatype, ""), ()))
        parameters = _parameters(output.parameters)
        tensor = read_tensor(entry, data, parameters, binary=binary)
        if binary and not raw:
            tensor.data = pack(tensor)
        tensors.append(tensor)
        outputs.append({**entry, "parameters": parameters} if parameters else entry)
    answer: dict[str, Any] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "id": response.id,
        "outputs": outputs,
    }
    if response.parameters:
        answer["parameters"] = _parameters(response.parameters)
    return Reply(model=response.model_name, id=response.id, tensors=tensors, raw=answer)


# --- what server and models say of themselves --------------------------------------------------------------------


def about(call: Call) -> tuple[str, Any]:
    """Method and message for a path of REST's."""
    request = call.request
    assert isinstance(request, RawRequest)
    found = _PATHS.fullmatch(request.path) if request.method in ("GET", "HEAD") else None
    if found is None:
        raise UnsupportedOperation(
            "over gRPC only these can be asked for: GET /v2, /v2/health/live, /v2/health/ready, "
            "/v2/models/<model>[/versions/<version>][/ready]; the server's REST API is on another port"
        )
    if found["health"]:
        method = f"Server{found['health'].title()}"
        return method, message_class(f"{method}Request")()
    if found["model"] is None:
        return "ServerMetadata", message_class("ServerMetadataRequest")()
    method = "ModelReady" if found["ready"] else "ModelMetadata"
    name, version = unquote(found["model"]), unquote(found["version"] or "")
    return method, message_class(f"{method}Request")(name=name, version=version)


def said(method: str, response: Any) -> Any:
    """The answer as REST would have given it; there, not to be ready is an error, too."""
    assert method in METHODS
    if method == "ServerMetadata":
        return {"name": response.name, "version": response.version, "extensions": list(response.extensions)}
    if method == "ModelMetadata":
        tensors = {
            kind: [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in given]
            for kind, given in (("inputs", response.inputs), ("outputs", response.outputs))
        }
        found = {"name": response.name, "versions": list(response.versions), "platform": response.platform, **tensors}
        return {**found, "properties": dict(response.properties)} if response.properties else found
    word = "live" if method == "ServerLive" else "ready"
    if not getattr(response, word):
        error = ServerError(f"the {'model' if method == 'ModelReady' else 'server'} is not {word}")
        error.outage = method != "ModelReady"
        raise error
    return {word: True}
