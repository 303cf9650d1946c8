"""Tensors as the simulated server reads, computes and writes them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from ipfs_accelerate_py.simulator.wire import Problem, Refused

__all__ = ["SIZES", "Tensor", "answered", "from_bytes", "refuse", "to_bytes"]

#: Bytes of an element; those of BYTES have a length of their own.
SIZES: Final = {
    "BOOL": 1,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
    "BYTES": 0,
}
_CODES: Final = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}


def refuse(message: str, status: int = 400) -> Refused:
    return Refused(Problem(status, message))


@dataclass(slots=True)
class Tensor:
    """One tensor; ``values`` are its elements in row-major order."""

    name: str
    datatype: str
    shape: list[int]
    values: list[Any]


def answered(tensor: Tensor) -> Tensor:
    """What the simulated model makes of one input.

    Each number doubled (whole numbers wrap at their width), each BOOL negated, each element of BYTES reversed (a
    text by characters). The output is called like the input with ``input`` become ``output``, in capitals too, or else
    just like it.
    """
    name = tensor.name.replace("input", "output").replace("INPUT", "OUTPUT")
    return Tensor(name, tensor.datatype, tensor.shape, [_made(value, tensor.datatype) for value in tensor.values])


def _made(value: Any, datatype: str) -> Any:
    if datatype == "BOOL":
        return not value
    if datatype == "BYTES":
        try:
            return value.decode()[::-1].encode()
        except UnicodeDecodeError:
            return value[::-1]
    if datatype.startswith(("FP", "BF")):
        return value * 2.0
    bits = 8 * SIZES[datatype]
    doubled = value * 2 & ((1 << bits) - 1)
    return doubled - (1 << bits) if datatype.startswith("INT") and doubled >> (bits - 1) else doubled


def from_bytes(data: bytes, datatype: str) -> list[Any]:
    """Elements of the binary layout: little-endian, and each element of BYTES after its length in four bytes."""
    if datatype == "BYTES":
        found = []
        while data:
            if len(data) < 4:
                raise refuse("Invalid content size of tensor")
            (length,) = struct.unpack_from("<I", data)
            if len(data) < 4 + length:
                raise refuse("Invalid content size of tensor")
            found.append(data[4 : 4 + length])
            data = data[4 + length :]
        return found
    size = SIZES[datatype]
    if len(data) % size:
        raise refuse("Invalid content size of tensor")
    count = len(data) // size
    if datatype == "BF16":
        halves = struct.unpack(f"<{count}H", data)
        return [struct.unpack("<f", struct.pack("<I", half << 16))[0] for half in halves]
    return list(struct.unpack(f"<{count}{_CODES[datatype]}", data))


def to_bytes(tensor: Tensor) -> bytes:
    """The binary layout of a tensor."""
    if tensor.datatype == "BYTES":
        return b"".join(struct.pack("<I", len(item)) + item for item in tensor.values)
    if tensor.datatype == "BF16":
        return b"".join(struct.pack("<f", value)[2:] for value in tensor.values)
    try:
        return struct.pack(f"<{len(tensor.values)}{_CODES[tensor.datatype]}", *tensor.values)
    except (OverflowError, struct.error) as problem:
        raise refuse(f"The result of {tensor.name} cannot be written as {tensor.datatype}: {problem}", 500) from None
