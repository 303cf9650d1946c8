"""Typed results of tasks as plain dictionaries: for programs that want no types, and for JSON."""

from __future__ import annotations

import array
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from ipfs_accelerate_py.results import Audio, TaskResult, Tensor, Vector

__all__ = ["as_json", "as_plain", "nested"]

#: Letters of `array` for the tensors that results have; little-endian as they are.
_LETTERS = {"FP32": "f", "FP64": "d", "INT64": "q", "INT32": "i", "BOOL": "b"}


def as_plain(result: TaskResult) -> dict[str, Any]:
    """``{"text": ...}``, ``{"labels": [...]}``, ``{"boxes": [...]}``, ...: the fields of the result by their names.

    A vector is ``embedding``. Tensors are nested lists; an image's and a recording's bytes are bytes (the recording in
    a WAV file, with ``rate``).
    """
    if isinstance(result, Vector):
        return {"embedding": result.values}
    if isinstance(result, Audio):
        return {"audio": _wave(result), "rate": result.rate, "content_type": "audio/wav"}
    found: dict[str, Any] = msgspec.to_builtins(_without_tensors(result, nested), builtin_types=(bytes,))
    del found["type"]
    return found


def as_json(result: TaskResult) -> dict[str, Any]:
    """The same for JSON, with the kind of result as ``type``; bytes are base64, tensors as shape, datatype and the
    base64 of their bytes (little-endian)."""
    if isinstance(result, Audio):
        wave = msgspec.to_builtins(_wave(result))
        return {"type": "audio", "audio": wave, "rate": result.rate, "content_type": "audio/wav"}
    found: dict[str, Any] = msgspec.to_builtins(_without_tensors(result, _packed))
    return found


def nested(tensor: Tensor) -> Any:
    """The elements as nested lists."""
    data = tensor.data
    if isinstance(data, bytes | bytearray | memoryview) and tensor.datatype in _LETTERS:
        flat = array.array(_LETTERS[tensor.datatype], bytes(data))
        if sys.byteorder == "big":
            flat.byteswap()
        data = [bool(each) for each in flat] if tensor.datatype == "BOOL" else flat.tolist()
    if not isinstance(data, list) or (data and isinstance(data[0], list)):
        return data
    if not tensor.shape:
        return data[0]
    for size in reversed(tensor.shape[1:]):
        data = [data[at : at + size] for at in range(0, len(data), size)] if size else []
    return data


def _packed(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype, "data": tensor.data}


def _without_tensors(value: Any, shown: Callable[[Tensor], Any]) -> Any:
    """Builtins in the place of structs, with ``shown`` of every tensor."""
    if isinstance(value, Tensor):
        return shown(value)
    if isinstance(value, msgspec.Struct):
        kind = value.__struct_config__.tag
        fields = {name: _without_tensors(getattr(value, name), shown) for name in value.__struct_fields__}
        return fields if kind is None else {"type": kind, **fields}
    if isinstance(value, list | tuple):
        if value and not isinstance(value[0], msgspec.Struct | list | tuple | dict):
            return list(value)
        return [_without_tensors(each, shown) for each in value]
    if isinstance(value, dict):
        return {name: _without_tensors(each, shown) for name, each in value.items()}
    return value


def _wave(audio: Audio) -> bytes:
    """16 bits, mono, at the result's own rate."""
    import io
    import wave

    samples = nested(audio.samples)
    whole = array.array("h", (round(max(-1.0, min(1.0, each)) * 32767) for each in samples))
    if sys.byteorder == "big":
        whole.byteswap()
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(audio.rate)
        file.writeframes(whole.tobytes())
    return out.getvalue()
