"""The first call of a model, made before anybody waits for it: libraries compile and allocate when they first run."""

from __future__ import annotations

import asyncio
import io
import struct
import wave
import zlib
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.runtimes.families.tasks import TASKS

from .base import Head
from .jobs import Job

__all__ = ["picture", "sample", "silence", "warm"]

_TEXT = "The quick brown fox jumps over the lazy dog."
_MASKED = tuple(f"The quick brown {mask} jumps." for mask in ("[MASK]", "<mask>", "<extra_id_0>"))
_LABELS = ["one", "another"]

# Tasks whose input is a mapping; the others' are a text, or bytes of what they take.
_SHAPED: dict[str, Any] = {
    "zero-shot-classification": {"text": _TEXT, "labels": _LABELS},
    "text-ranking": {"query": _TEXT, "documents": [_TEXT]},
    "question-answering": {"question": "What jumps?", "context": _TEXT},
    "multiple-choice": {"text": _TEXT, "choices": _LABELS},
    "next-sentence-prediction": [_TEXT, _TEXT],
    "table-question-answering": {"question": "What?", "table": {"a": ["1", "2"], "b": ["3", "4"]}},
    "chat": {"role": "user", "content": "Hello"},
}


def warm(head: Head, task: str) -> bool:
    """Answer one made-up input; whether that went well. Blocks.

    That our input does not suit a model says nothing against it: whoever calls it with one of theirs hears of it.
    """
    if task == "count":
        return True
    for given in _MASKED if task == "fill-mask" else (sample(task),):
        try:
            asyncio.run(_ask(head, task, Job(task=task, inputs=[given], options=_options(task))))
        except AccelerateError:
            continue
        return True
    return False


async def _ask(head: Head, task: str, job: Job) -> None:
    await head.run(task, job)


def _options(task: str) -> dict[str, Any]:
    spec = TASKS.get(task)
    if task in ("chat", "completion"):
        return {"max_tokens": 1}
    return {"max_new_tokens": 1} if spec is not None and spec.generates else {}


def sample(task: str) -> Any:
    """An input of the shape that the task takes."""
    if task in _SHAPED:
        return _SHAPED[task]
    spec = TASKS.get(task)
    takes = spec.takes if spec is not None else ("text",)
    if "image" in takes:
        return {"image": picture(), "text": _TEXT, "question": _TEXT, "labels": _LABELS}
    if "audio" in takes:
        return silence()
    if "text" in takes:
        return _TEXT
    return [0.0] * 64


def picture(side: int = 32) -> bytes:
    """A grey PNG of that many pixels each way."""
    rows = b"".join(b"\0" + bytes([128] * side) for _ in range(side))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""),
    ]  # fmt: skip
    made = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in parts:
        made.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(made)


def silence(seconds: float = 0.5, rate: int = 16000) -> bytes:
    """A WAV of so much silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(bytes(2 * int(seconds * rate)))
    return file.getvalue()
