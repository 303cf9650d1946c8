"""How large a checkpoint's weights are, from their files' headers: nothing is loaded."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from ipfs_accelerate_py.errors import RuntimeUnavailable

__all__ = ["BITS", "Weights", "human", "measure_weights", "needed"]

#: Bits that a weight takes, by precision: quantised ones with their scales, as OpenVINO (groups of 128) and GGUF
#: (blocks of 32) keep them, the larger of both.
BITS = {
    "float32": 32.0,
    "bfloat16": 16.0,
    "float16": 16.0,
    "int8": 8.5,
    "int8-weights": 8.5,
    "int4": 4.5,
}
# safetensors' names of number formats: https://huggingface.co/docs/safetensors
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
_BYTES |= {"U64": 8, "U32": 4, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_MOST_HEADER = 100 << 20


@dataclass(frozen=True, slots=True)
class Weights:
    """What a checkpoint's files hold: numbers, and the bytes they take there."""

    count: int
    bytes: int

    def at(self, precision: str) -> int:
        """Bytes in memory at that precision; ``auto`` is as in the files."""
        return self.bytes if precision == "auto" else round(self.count * BITS[precision] / 8)


def measure_weights(path: Path) -> Weights:
    """Read the sizes of a folder's weights, or of a GGUF file.

    Raises:
        RuntimeUnavailable: there are none, or a header is unreadable.
    """
    if path.is_file():
        size = path.stat().st_size
        return Weights(size, size)
    files = sorted(path.glob("*.safetensors"))
    if files:
        found = [_safetensors(each) for each in files]
        return Weights(sum(each.count for each in found), sum(each.bytes for each in found))
    size = sum(each.stat().st_size for each in path.glob("pytorch_model*.bin"))
    if not size:
        raise RuntimeUnavailable(f"{path.name} has no weights (no *.safetensors, no pytorch_model*.bin)")
    return Weights(size // 4, size)  # whose format is not known without loading them: float32, as nearly all are


def needed(path: Path, precision: str, *, loading: str = "auto") -> int:
    """Bytes that a model takes when it is loaded with ``precision``, while it is being loaded with ``loading``."""
    weights = measure_weights(path)
    return max(weights.at(precision), weights.at(loading) if loading != "auto" else 0)


def human(size: int) -> str:
    """Bytes for people: ``1.5 GB``."""
    amount = float(size)
    for unit in ("bytes", "KB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _safetensors(path: Path) -> Weights:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MOST_HEADER:
                raise ValueError(f"its header claims {length} bytes")
            header = json.loads(file.read(length))
        count = size = 0
        for name, each in header.items():
            if name == "__metadata__":
                continue
            numbers = 1
            for dimension in each["shape"]:
                numbers *= int(dimension)
            count += numbers
            size += numbers * _BYTES.get(each["dtype"], 1)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as exc:
        raise RuntimeUnavailable(f"{path.name} is no readable safetensors file: {exc}") from exc
    return Weights(count, size)
