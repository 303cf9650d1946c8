"""Tensors of the Open Inference Protocol: checked, written as JSON or as bytes, and read back.

Source: the protocol's specification (oip_v2_rest.yaml, oip_v2_grpc.proto) and its extension for binary tensors. No
array library is imported: whatever has Python's buffer protocol (numpy's arrays do) is read through it.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError, ProtocolError
from ipfs_accelerate_py.types import Tensor

__all__ = ["DATATYPES", "check", "count", "elements", "fits_json", "json_data", "nested", "pack", "unpack"]

#: Bytes of an element, and the code by which Python's `array` knows it (two floats are not known to it).
DATATYPES: dict[str, tuple[int, str]] = {
    "BOOL": (1, "B"),
    "INT8": (1, "b"),
    "INT16": (2, "h"),
    "INT32": (4, "i"),
    "INT64": (8, "q"),
    "UINT8": (1, "B"),
    "UINT16": (2, "H"),
    "UINT32": (4, "I"),
    "UINT64": (8, "Q"),
    "FP16": (2, "e"),
    "BF16": (2, ""),
    "FP32": (4, "f"),
    "FP64": (8, "d"),
    "BYTES": (0, ""),
}
_FLOATS = frozenset(("FP16", "BF16", "FP32", "FP64"))
#: Formats of the buffer protocol by datatype; which letter a 64-bit integer has is a matter of the platform.
_FORMATS = {
    "BOOL": ("?",),
    "INT8": ("b",),
    "INT16": ("h",),
    "INT32": ("i", "l"),
    "INT64": ("q", "l"),
    "UINT8": ("B",),
    "UINT16": ("H",),
    "UINT32": ("I", "L"),
    "UINT64": ("Q", "L"),
    "FP16": ("e",),
    "FP32": ("f",),
    "FP64": ("d",),
}


def check(tensor: Tensor) -> Tensor:
    """The tensor with its data as `bytes` (the binary layout) or a list, and everything about it right.

    Raises `ConfigurationError`, naming the tensor, for an unknown datatype, a shape that is none, and data that is not
    of that shape and datatype: nothing is sent then.
    """
    where = f"the tensor {tensor.name!r}"
    if not isinstance(tensor.name, str):
        raise ConfigurationError(f"a tensor's name must be a text, not {type(tensor.name).__name__}")
    if tensor.datatype not in DATATYPES:
        raise ConfigurationError(
            f"{where} has the datatype {tensor.datatype!r}; the datatypes are: {', '.join(DATATYPES)}"
        )
    shape = _shape(tensor.shape, where)
    data = _plain(tensor, where)
    size = count(shape)
    if isinstance(data, bytes):
        _check_bytes(data, size, tensor.datatype, shape, where)
    else:
        _check_nesting(data, shape, where)
        flat = _flat(data)
        if len(flat) != size:
            raise ConfigurationError(f"{where} of shape {shape} has {size} elements, and its data has {len(flat)}")
        _check_elements(flat, tensor.datatype, where)
    return Tensor(tensor.name, shape, tensor.datatype, data, tensor.parameters)


def count(shape: Iterable[int]) -> int:
    """How many elements a tensor of this shape has; a scalar's shape is empty."""
    return math.prod(shape)


def elements(tensor: Tensor) -> list[Any]:
    """The elements in row-major order, as Python's own values. BYTES are `bytes`, or texts where they came as JSON."""
    data = tensor.data
    if isinstance(data, bytes | bytearray | memoryview):
        return unpack(bytes(data), tensor.datatype)
    return _flat(_lists(data.tolist() if hasattr(data, "tolist") else data))


def nested(tensor: Tensor) -> Any:
    """The elements as lists inside lists, one level a dimension; a scalar's is the element itself."""
    flat = elements(tensor)
    if len(flat) != count(tensor.shape):
        raise ProtocolError(f"the tensor {tensor.name!r} of shape {tensor.shape} has {len(flat)} elements")
    if not tensor.shape:
        return flat[0]
    for size in reversed(tensor.shape[1:]):
        if size == 0:
            # Slices of nothing cannot be told apart by counting: the outer dimensions say how many there are.
            return _empty(tensor.shape)
        flat = [flat[at : at + size] for at in range(0, len(flat), size)]
    return flat


def pack(tensor: Tensor) -> bytes:
    """The data of a checked tensor in the binary layout."""
    if isinstance(tensor.data, bytes):
        return tensor.data
    flat = _flat(tensor.data)
    datatype = tensor.datatype
    try:
        if datatype == "BYTES":
            return b"".join([struct.pack("<I", len(item)) + item for item in map(_encoded, flat)])
        if datatype == "BF16":
            return _bf16(flat)
        if datatype == "FP16":
            return struct.pack(f"<{len(flat)}e", *flat)
        packed = array(DATATYPES[datatype][1], flat)
    except (TypeError, ValueError, OverflowError, struct.error) as problem:
        raise ConfigurationError(f"the tensor {tensor.name!r} cannot be written as {datatype}: {problem}") from None
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack(data: bytes, datatype: str) -> list[Any]:
    """Elements of the binary layout. Raises `ProtocolError` where the bytes are none."""
    size, code = DATATYPES.get(datatype, (0, ""))
    if datatype == "BYTES":
        return _texts(data)
    if size == 0:
        raise ProtocolError(f"the upstream's tensor has an unknown datatype {datatype!r}")
    if len(data) % size:
        raise ProtocolError(f"{len(data)} bytes are no whole number of elements of {datatype}")
    if datatype == "BF16":
        wide = array("I", [half << 16 for half in _integers("H", data)])
        return array("f", wide.tobytes()).tolist()
    if datatype == "FP16":
        return list(struct.unpack(f"<{len(data) // 2}e", data))
    found = _integers(code, data)
    return [bool(value) for value in found] if datatype == "BOOL" else found.tolist()


def fits_json(tensor: Tensor) -> bool:
    """Whether JSON can say a checked tensor: it knows no 16-bit floats, no infinities, no bytes that are no text."""
    if tensor.datatype in ("FP16", "BF16"):
        return False
    if isinstance(tensor.data, bytes):
        return False
    flat = _flat(tensor.data)
    if tensor.datatype == "BYTES":
        return all(isinstance(item, str) or _is_text(item) for item in flat)
    return tensor.datatype not in _FLOATS or all(map(math.isfinite, flat))


def json_data(tensor: Tensor) -> Any:
    """A checked tensor's data as JSON says it. Raises `ConfigurationError` for what it cannot."""
    if isinstance(tensor.data, bytes):
        tensor = Tensor(tensor.name, tensor.shape, tensor.datatype, unpack(tensor.data, tensor.datatype))
    if tensor.datatype in _FLOATS and not all(map(math.isfinite, _flat(tensor.data))):
        raise ConfigurationError(
            f"the tensor {tensor.name!r} has elements that are not finite, which JSON cannot say: send it as bytes "
            "(binary=True)"
        )
    return _texted(tensor.data, tensor.name) if tensor.datatype == "BYTES" else tensor.data


# --- checks ------------------------------------------------------------------------------------------------------


def _shape(shape: Any, where: str) -> list[int]:
    try:
        found = [size.__index__() for size in shape]
    except (TypeError, AttributeError):
        raise ConfigurationError(f"{where} must have a shape of whole numbers, not {shape!r}") from None
    if any(size < 0 for size in found):
        raise ConfigurationError(f"{where} has the shape {found}; what is sent has no dimension below 0")
    return found


def _plain(tensor: Tensor, where: str) -> Any:
    """The data as a list or bytes."""
    data = tensor.data
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    if isinstance(data, list | tuple | range):
        return _lists(data)
    view = _view(data)
    if view is not None:
        if isinstance(data, memoryview) and view.format == "B":
            return view.tobytes()  # bytes in another dress
        letter = view.format.lstrip("@=<")
        same = letter in _FORMATS.get(tensor.datatype, ()) and view.itemsize == DATATYPES[tensor.datatype][0]
        if same and sys.byteorder == "little":
            return view.tobytes()
    if hasattr(data, "tolist"):
        found = data.tolist()
        return found if isinstance(found, list) else [found]
    if view is not None:
        return view.tolist()
    raise ConfigurationError(f"{where} must have a list, an array or bytes as its data, not {type(data).__name__}")


def _lists(data: Sequence[Any]) -> list[Any]:
    """Lists, also where there were tuples, arrays or an array library's numbers among them."""
    kinds = set(map(type, data))
    if any(hasattr(kind, "tolist") for kind in kinds):
        data = [item.tolist() if hasattr(item, "tolist") else item for item in data]
    if kinds & {list, tuple}:
        data = [_lists(item) if isinstance(item, list | tuple) else item for item in data]
    return data if isinstance(data, list) else list(data)


def _view(data: Any) -> memoryview | None:
    try:
        return memoryview(data)
    except (TypeError, ValueError):  # numpy has types of its own that no buffer can say
        return None


def _check_bytes(data: bytes, size: int, datatype: str, shape: list[int], where: str) -> None:
    width = DATATYPES[datatype][0]
    if width:
        if len(data) != size * width:
            raise ConfigurationError(
                f"{where} of shape {shape} and datatype {datatype} has {size * width} bytes, "
                f"and its data has {len(data)}"
            )
        return
    try:
        found = len(_texts(data))
    except ProtocolError as problem:
        raise ConfigurationError(f"{where}: {problem.message}") from None
    if found != size:
        raise ConfigurationError(f"{where} of shape {shape} has {size} elements, and its data has {found}")


def _check_nesting(data: list[Any], shape: list[int], where: str) -> None:
    """Data is flat, or nested just as the shape says."""
    if not any(isinstance(item, list) for item in data):
        return
    level: list[Any] = [data]
    for depth, size in enumerate(shape):
        for item in level:
            if not isinstance(item, list) or len(item) != size:
                raise ConfigurationError(f"{where} has the shape {shape}, and its data is not so in dimension {depth}")
        level = [inner for item in level for inner in item]
    if any(isinstance(item, list) for item in level):
        raise ConfigurationError(f"{where} has the shape {shape}, and its data has more dimensions")


def _check_elements(flat: list[Any], datatype: str, where: str) -> None:
    kinds = set(map(type, flat))
    if datatype == "BYTES":
        wrong = kinds - {str, bytes}
    elif datatype == "BOOL":
        wrong = kinds - {bool}
    elif datatype in _FLOATS:
        wrong = {kind for kind in kinds if kind is bool or not issubclass(kind, int | float)}
    else:
        wrong = {kind for kind in kinds if kind is bool or not issubclass(kind, int)}
    if wrong:
        raise ConfigurationError(f"{where} of datatype {datatype} has an element of type {wrong.pop().__name__}")
    if datatype not in _FLOATS and datatype not in ("BYTES", "BOOL"):
        try:
            array(DATATYPES[datatype][1], flat)
        except OverflowError:
            raise ConfigurationError(f"{where} has an element that is no {datatype}: out of range") from None


# --- parts -------------------------------------------------------------------------------------------------------


def _flat(data: list[Any]) -> list[Any]:
    """The elements, however deep they are nested."""
    flat = data
    while any(isinstance(item, list) for item in flat):
        level: list[Any] = []
        for item in flat:
            if isinstance(item, list):
                level.extend(item)
            else:
                level.append(item)
        flat = level
    return flat


def _empty(shape: Sequence[int]) -> list[Any]:
    return [_empty(shape[1:]) for _ in range(shape[0])] if len(shape) > 1 else []


def _integers(code: str, data: bytes) -> array[Any]:
    found: array[Any] = array(code)
    found.frombytes(data)
    if sys.byteorder == "big":
        found.byteswap()
    return found


def _bf16(flat: list[Any]) -> bytes:
    """The upper halves of 32-bit floats, rounded to the nearest, ties to even; what is no number stays none."""
    whole = array("I", array("f", flat).tobytes())
    halves = [
        (bits >> 16) | 0x40 if bits & 0x7FFFFFFF > 0x7F800000 else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        for bits in whole
    ]
    return struct.pack(f"<{len(halves)}H", *halves)


def _texts(data: bytes) -> list[bytes]:
    """Elements of BYTES, each after its length."""
    found = []
    at = 0
    while at < len(data):
        if at + 4 > len(data) or (end := at + 4 + int.from_bytes(data[at : at + 4], "little")) > len(data):
            raise ProtocolError("elements of BYTES end before the length they begin with says")
        found.append(data[at + 4 : end])
        at = end
    return found


def _encoded(item: Any) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode()


def _is_text(item: bytes) -> bool:
    try:
        item.decode()
    except UnicodeDecodeError:
        return False
    return True


def _texted(data: Any, name: str) -> Any:
    if isinstance(data, bytes):
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ConfigurationError(
                f"the tensor {name!r} has bytes that are no UTF-8, which JSON cannot say: "
                "send it as bytes (binary=True)"
            ) from None
    return [_texted(item, name) for item in data] if isinstance(data, list) else data
