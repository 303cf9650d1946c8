"""What callers of `ovms` give as data, as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.types import Tensor

__all__ = ["Declared", "needs_declaration", "tensors"]

#: Of a model's inputs: datatype by name, in the model's order.
Declared = Mapping[str, str]

_OF_ARRAYS = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
}


def needs_declaration(data: Any, precision: str) -> bool:
    """Whether the model must be asked for its inputs: for a name, or for the datatype of plain numbers."""
    if isinstance(data, Tensor) or _is_tensors(data):
        return False
    if isinstance(data, Mapping):
        return not precision and any(not _is_whole(value) for value in data.values())
    return True


def tensors(data: Any, declared: Declared, precision: str) -> list[Tensor]:
    """The data as tensors.

    It is a `Tensor`, a list of them or of objects with ``name``, ``shape``, ``datatype`` and ``data``; a mapping of
    names to arrays or (nested) lists; or an array or list alone, for a model with one input. ``precision`` is the
    datatype of floats; else it is the model's own, where that is known.
    """
    if isinstance(data, Tensor):
        return [data]
    if _is_tensors(data):
        return [item if isinstance(item, Tensor) else _whole(str(item.get("name", "")), item) for item in data]
    if isinstance(data, Mapping):
        return [
            _whole(name, value) if _is_whole(value) else _tensor(name, value, declared.get(name), precision)
            for name, value in data.items()
        ]
    if len(declared) > 1:
        raise ConfigurationError(
            f"the model has several inputs ({', '.join(declared)}): give a mapping of their names to their data"
        )
    for name, datatype in declared.items():
        return [_tensor(name, data, datatype, precision)]
    return [_tensor("", data, None, precision)]


def _is_tensors(data: Any) -> bool:
    return (
        isinstance(data, list | tuple)
        and bool(data)
        and all(isinstance(item, Tensor) or (isinstance(item, Mapping) and "datatype" in item) for item in data)
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, Mapping) and "datatype" in value)


def _whole(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return Tensor(name, value.shape, value.datatype, value.data, value.parameters)
    if "shape" not in value or "data" not in value:
        raise ConfigurationError(f"the input {name!r} needs shape, datatype and data")
    return Tensor(name, value["shape"], value["datatype"], value["data"], value.get("parameters") or {})


def _tensor(name: str, value: Any, declared: str | None, precision: str) -> Tensor:
    own = _OF_ARRAYS.get(str(getattr(value, "dtype", "")).removeprefix("torch."))
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "tolist"):
        datatype = _chosen(own or _of_elements(_flat(value.tolist())), declared, precision)
        return Tensor(
            name, [int(size) for size in shape], datatype, value if own == datatype else _listed(value.tolist())
        )
    if isinstance(value, str | bytes | bool | int | float):
        value = [value]
    if not isinstance(value, Sequence):
        raise ConfigurationError(f"the input {name!r} must be an array or a list, not {type(value).__name__}")
    flat = _flat(value)
    return Tensor(name, _shape(name, value), _chosen(_of_elements(flat), declared, precision), flat)


def _chosen(own: str, declared: str | None, precision: str) -> str:
    """``precision`` is for floats; whole numbers are floats where the model wants them so."""
    if own.startswith(("FP", "BF")) and precision:
        return precision
    return declared or own


def _of_elements(flat: list[Any]) -> str:
    kinds = set(map(type, flat))
    if kinds & {str, bytes}:
        return "BYTES"
    if kinds == {bool}:
        return "BOOL"
    return "INT64" if kinds == {int} else "FP32"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _flat(value: Any) -> list[Any]:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return [value]
    return [inner for item in value for inner in _flat(item)]


def _shape(name: str, value: Any) -> list[int]:
    shape: list[int] = []
    level = [value]
    while level and all(isinstance(item, list | tuple) or hasattr(item, "tolist") for item in level):
        level = [item.tolist() if hasattr(item, "tolist") else item for item in level]
        if not all(isinstance(item, list | tuple) for item in level):
            break  # numbers of an array library
        if len({len(item) for item in level}) != 1:
            raise ConfigurationError(f"the input {name!r} is nested unevenly: it has no shape")
        shape.append(len(level[0]))
        level = [inner for item in level for inner in item]
    return shape
