"""What a GGUF file says of its model: its header alone is read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ipfs_accelerate_py.errors import RuntimeUnavailable

__all__ = ["GGUFFacts", "read_gguf"]

# Types of metadata values, by the specification's numbers: struct's letter of each fixed one.
_FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
# A header is megabytes of vocabulary at most; what claims more is no such file.
_MOST = 64 << 20


@dataclass(frozen=True, slots=True)
class GGUFFacts:
    """What a file says.

    Attributes:
        architecture: llama.cpp's name of it (``llama``, ``gpt2``, ``qwen2``, ``bert``, ...).
        name: the model's own name, or empty.
        context: most positions it was trained for.
        blocks: its layers.
        vocabulary: number of its tokens.
        template: whether it brings a chat template.
        size: bytes of the file.
        pooled: whether it is an encoder that pools (an embedding model).
    """

    architecture: str
    name: str
    context: int
    blocks: int
    vocabulary: int
    template: bool
    size: int
    pooled: bool


def read_gguf(path: Path) -> GGUFFacts:
    """Read the header. Raises `RuntimeUnavailable` where the file is none, or is cut off."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            found = _metadata(file)
    except (OSError, struct.error, UnicodeDecodeError, MemoryError, ValueError) as exc:
        raise RuntimeUnavailable(f"{path.name} is no readable GGUF file: {exc}") from exc
    architecture = str(found.get("general.architecture", ""))
    if not architecture:
        raise RuntimeUnavailable(f"{path.name} does not say which architecture its model has")
    return GGUFFacts(
        architecture=architecture,
        name=str(found.get("general.name", "")),
        context=int(found.get(f"{architecture}.context_length", 0)),
        blocks=int(found.get(f"{architecture}.block_count", 0)),
        vocabulary=int(found.get("tokenizer.ggml.tokens", 0)),
        template="tokenizer.chat_template" in found,
        size=size,
        pooled=f"{architecture}.pooling_type" in found,
    )


def _metadata(file: BinaryIO) -> dict[str, Any]:
    """Values by key; of an array, its length."""
    magic, version, _, count = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    if version not in (2, 3):
        raise ValueError(f"version {version} of the format is not known here")
    if count > 100_000:
        raise ValueError(f"it claims {count} entries")
    return {_text(file): _value(file, *struct.unpack("<I", file.read(4))) for _ in range(count)}


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _MOST:
        raise ValueError(f"it claims a text of {length} bytes")
    raw = file.read(length)
    if len(raw) != length:
        raise ValueError("it is cut off")
    return raw.decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind in _FIXED:
        form = "<" + _FIXED[kind]
        return struct.unpack(form, file.read(struct.calcsize(form)))[0]
    if kind == _STRING:
        return _text(file)
    if kind != _ARRAY:
        raise ValueError(f"it has a value of the unknown type {kind}")
    inner, length = struct.unpack("<IQ", file.read(12))
    if inner in _FIXED:
        file.seek(struct.calcsize("<" + _FIXED[inner]) * length, 1)
    else:
        for _ in range(length):
            _value(file, inner)
    return length
