"""The parts of answers that are not text: rankings, labels, images, recordings, verdicts, tensors."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Image", "Label", "Moderation", "Ranked", "Segment", "Tensor"]


class Ranked(msgspec.Struct):
    """One document of a reranking: its place in the request, its score (higher fits better), and the document itself
    where the service sent it back."""

    index: int
    score: float
    document: Any = None


class Label(msgspec.Struct):
    """One class that a classifier sees in an input."""

    label: str
    score: float


class Image(msgspec.Struct):
    """One image that was made: where it can be fetched, or its bytes. ``prompt`` is the one the service really used."""

    url: str = ""
    data: bytes = b""
    media_type: str = ""
    prompt: str = ""


class Segment(msgspec.Struct):
    """A stretch of a transcription. ``start`` and ``end`` are seconds from the recording's beginning."""

    start: float
    end: float
    text: str
    speaker: str = ""


class Moderation(msgspec.Struct):
    """The verdict on one input: whether it was flagged, and by category whether and how strongly (0 to 1)."""

    flagged: bool
    categories: dict[str, bool] = {}
    scores: dict[str, float] = {}


class Tensor(msgspec.Struct):
    """A named tensor of the Open Inference Protocol.

    ``datatype`` is one of the protocol's names (``FP32``, ``INT64``, ``BOOL``, ``BYTES``, ...). ``data`` holds the
    elements in row-major order: a flat or nested list, or `bytes` in the protocol's binary layout (little-endian; each
    element of ``BYTES`` after its length as 4 bytes).
    """

    name: str
    shape: list[int]
    datatype: str
    data: Any
    parameters: dict[str, Any] = {}
