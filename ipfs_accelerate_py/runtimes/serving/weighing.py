"""What a checkpoint's weights will take in memory, from its files' headers; nothing is loaded."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path

from ipfs_accelerate_py.runtimes.engines.base import LoadPlan

__all__ = ["readable", "weigh"]

# Bytes of a weight, by the precision it is loaded in. int4 comes with a scale for every group of weights.
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.05, "int8-weights": 1.05, "int4": 0.6}

# Bits of a value by safetensors' names (https://github.com/huggingface/safetensors, "Format").
_BITS = {"F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16}
_FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})

# A header is JSON; one of more than this is none.
_LONGEST_HEADER = 100 << 20


def weigh(path: Path, plan: LoadPlan) -> int:
    """Bytes that the weights at ``path`` (a folder or a GGUF file) take when loaded so; 0 where there are none to see.

    Where the plan leaves the precision open it is taken for float32, the most that it may come to. GGUF files are
    mapped as they are.
    """
    if path.is_file():
        return path.stat().st_size
    size = _BYTES.get(plan.precision, 4.0)
    total = 0.0
    for file in _files(path):
        if file.suffix != ".safetensors":
            # A pickle has no header that could be read without running it: its own size, and what it is cast to.
            total += file.stat().st_size * (size / 4.0 if plan.precision in _BYTES else 1.0)
            continue
        for kind, count in _tensors(file):
            total += count * (size if kind in _FLOATS else _BITS.get(kind, 8) / 8)
    return int(total)


def _files(path: Path) -> Iterator[Path]:
    """Files of weights, of one format: a checkpoint that has several formats is loaded from one."""
    for pattern in ("*.safetensors", "*/*.safetensors", "pytorch_model*.bin", "*/pytorch_model*.bin"):
        found = sorted(path.glob(pattern))
        if found:
            # A folder may hold variants beside the whole ("model.fp16.safetensors"), which is not loaded as well.
            whole = [file for file in found if file.name.startswith(("model.safetensors", "model-", "pytorch_model"))]
            yield from whole or found
            return


def _tensors(file: Path) -> Iterator[tuple[str, int]]:
    """Type and number of values of each tensor; of an unreadable file, its bytes as one."""
    size = file.stat().st_size
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > min(size, _LONGEST_HEADER):
                raise ValueError("no header")
            header = json.loads(opened.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                yield tensor["dtype"], math.prod(tensor["shape"])
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        yield "U8", size


def readable(count: float) -> str:
    """Bytes for people: ``1.3 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError
