"""The messages of the Open Inference Protocol over gRPC, made from a table when they are first needed.

Source: the protocol's own description (oip_v2_grpc.proto). Generated code would put these messages into protobuf's
common pool, where those of Triton's client and of MLServer are already, under the same names from other files: whoever
came second could not be imported. So they are in a pool of their own. The tests hold the table against the description.
"""

from __future__ import annotations

import functools
from typing import Any

from ipfs_accelerate_py.errors import MissingExtra

__all__ = ["METHODS", "SERVICE", "TABLE", "grpc_module", "message_class"]

SERVICE = "inference.GRPCInferenceService"
#: Each takes a message called like itself and ``Request``, and gives one with ``Response``.
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")

#: By message: fields as name, number, type. ``[]`` is repeated, ``{}`` a map from texts; a message's name is a type.
TABLE: dict[str, tuple[tuple[str, int, str], ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": (("live", 1, "bool"),),
    "ServerReadyRequest": (),
    "ServerReadyResponse": (("ready", 1, "bool"),),
    "ModelReadyRequest": (("name", 1, "string"), ("version", 2, "string")),
    "ModelReadyResponse": (("ready", 1, "bool"),),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (("name", 1, "string"), ("version", 2, "string"), ("extensions", 3, "string[]")),
    "ModelMetadataRequest": (("name", 1, "string"), ("version", 2, "string")),
    "ModelMetadataResponse": (
        ("name", 1, "string"),
        ("versions", 2, "string[]"),
        ("platform", 3, "string"),
        ("inputs", 4, "ModelMetadataResponse.TensorMetadata[]"),
        ("outputs", 5, "ModelMetadataResponse.TensorMetadata[]"),
        ("properties", 6, "string{}"),
    ),
    "ModelMetadataResponse.TensorMetadata": (
        ("name", 1, "string"),
        ("datatype", 2, "string"),
        ("shape", 3, "int64[]"),
    ),
    "ModelInferRequest": (
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, "InferParameter{}"),
        ("inputs", 5, "ModelInferRequest.InferInputTensor[]"),
        ("outputs", 6, "ModelInferRequest.InferRequestedOutputTensor[]"),
        ("raw_input_contents", 7, "bytes[]"),
    ),
    "ModelInferRequest.InferInputTensor": (
        ("name", 1, "string"),
        ("datatype", 2, "string"),
        ("shape", 3, "int64[]"),
        ("parameters", 4, "InferParameter{}"),
        ("contents", 5, "InferTensorContents"),
    ),
    "ModelInferRequest.InferRequestedOutputTensor": (
        ("name", 1, "string"),
        ("parameters", 2, "InferParameter{}"),
    ),
    "ModelInferResponse": (
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, "InferParameter{}"),
        ("outputs", 5, "ModelInferResponse.InferOutputTensor[]"),
        ("raw_output_contents", 6, "bytes[]"),
    ),
    "ModelInferResponse.InferOutputTensor": (
        ("name", 1, "string"),
        ("datatype", 2, "string"),
        ("shape", 3, "int64[]"),
        ("parameters", 4, "InferParameter{}"),
        ("contents", 5, "InferTensorContents"),
    ),
    # Its fields are alternatives: one `oneof`.
    "InferParameter": (
        ("bool_param", 1, "bool"),
        ("int64_param", 2, "int64"),
        ("string_param", 3, "string"),
        ("double_param", 4, "double"),
        ("uint64_param", 5, "uint64"),
    ),
    "InferTensorContents": (
        ("bool_contents", 1, "bool[]"),
        ("int_contents", 2, "int32[]"),
        ("int64_contents", 3, "int64[]"),
        ("uint_contents", 4, "uint32[]"),
        ("uint64_contents", 5, "uint64[]"),
        ("fp32_contents", 6, "float[]"),
        ("fp64_contents", 7, "double[]"),
        ("bytes_contents", 8, "bytes[]"),
    ),
}
_ALTERNATIVES = {"InferParameter": "parameter_choice"}


def grpc_module(module: str) -> Any:
    """The imported module, or `MissingExtra` with the name of the extra that brings it."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as problem:
        missing = problem.name or module
        raise MissingExtra(
            f"asking a model server by gRPC needs {missing!r}, which is not installed: "
            'pip install "ipfs-accelerate-py[grpc]"'
        ) from problem


@functools.cache
def message_class(name: str) -> Any:
    """The class of a message of the table."""
    grpc_module("google.protobuf")
    factory = grpc_module("google.protobuf.message_factory")
    return factory.GetMessageClass(_pool().FindMessageTypeByName(f"inference.{name}"))


@functools.cache
def _pool() -> Any:
    descriptors = grpc_module("google.protobuf.descriptor_pb2")
    file = descriptors.FileDescriptorProto(
        name="ipfs_accelerate_py/oip_v2_grpc.proto", package="inference", syntax="proto3"
    )
    made: dict[str, Any] = {}
    for name, fields in TABLE.items():
        outer, _, inner = name.rpartition(".")
        message = made[name] = (made[outer].nested_type if outer else file.message_type).add(name=inner)
        if name in _ALTERNATIVES:
            message.oneof_decl.add(name=_ALTERNATIVES[name])
        for field, number, kind in fields:
            _add(message, field, number, kind, name)
    pool = grpc_module("google.protobuf.descriptor_pool").DescriptorPool()
    pool.Add(file)
    return pool


def _add(message: Any, name: str, number: int, kind: str, owner: str) -> None:
    field = message.field.add(name=name, number=number, label=1)
    if kind.endswith("[]"):
        kind = kind.removesuffix("[]")
        field.label = 3  # repeated
    elif kind.endswith("{}"):
        # As the language defines maps: a repeated message of key and value, named after the field.
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        _add(entry, "key", 1, "string", owner)
        _add(entry, "value", 2, kind.removesuffix("{}"), owner)
        kind = f"{owner}.{entry.name}"
        field.label = 3
    elif owner in _ALTERNATIVES:
        field.oneof_index = 0
    if kind[0].isupper():
        field.type = field.TYPE_MESSAGE
        field.type_name = f".inference.{kind}"
    else:
        field.type = getattr(field, f"TYPE_{kind.upper()}")
