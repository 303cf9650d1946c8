"""The parts of answers that are not text: rankings, labels, images, recordings, verdicts, tensors, results of tasks."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

__all__ = [
    "Audio",
    "Box",
    "Boxes",
    "DepthMap",
    "Entities",
    "Entity",
    "Features",
    "Fill",
    "Fills",
    "Forecast",
    "Image",
    "Keypoints",
    "Label",
    "Labels",
    "Mask",
    "Masks",
    "Moderation",
    "Picture",
    "Ranked",
    "Ranking",
    "Segment",
    "Span",
    "Spans",
    "TaskResult",
    "Tensor",
    "Text",
    "Transcript",
    "Vector",
]


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


# --- results of the tasks of models on this machine ---------------------------------------------------------------
# One per input. Tagged, so that they cross from a worker process and come back as what they were. Scores are
# probabilities from 0 to 1 where nothing else is said. Boxes and points are in pixels of the input image.


class Vector(msgspec.Struct, tag="vector"):
    """One embedding."""

    values: list[float]


class Features(msgspec.Struct, tag="features"):
    """The model's last hidden states, or its other outputs by name, without the batch's axis: FP32 tensors."""

    tensors: list[Tensor]


class Text(msgspec.Struct, tag="text"):
    """Text that was written: generated, summarised, translated, read from an image."""

    text: str
    finish_reason: str = "stop"


class Labels(msgspec.Struct, tag="labels"):
    """Classes of one input, the likeliest first."""

    labels: list[Label]


class Ranking(msgspec.Struct, tag="ranking"):
    """Documents by how well each answers the query, the best first."""

    ranking: list[Ranked]


class Entity(msgspec.Struct):
    """A stretch of the input and its class. ``start`` and ``end`` count characters."""

    label: str
    score: float
    text: str
    start: int
    end: int


class Entities(msgspec.Struct, tag="entities"):
    """What a token classifier finds in one text, in order."""

    entities: list[Entity]


class Span(msgspec.Struct):
    """An answer in a context. ``start`` and ``end`` count characters; an empty ``text`` says that there is none."""

    text: str
    score: float
    start: int
    end: int


class Spans(msgspec.Struct, tag="spans"):
    """Answers to one question, the likeliest first."""

    answers: list[Span]


class Fill(msgspec.Struct):
    """What may stand in the place of a mask: the token's text, its id, and the text with it filled in."""

    token: str
    token_id: int
    score: float
    text: str


class Fills(msgspec.Struct, tag="fills"):
    """For each mask of one text, what may stand there, the likeliest first."""

    masks: list[list[Fill]]


class Transcript(msgspec.Struct, tag="transcript"):
    """What is said in a recording; ``segments`` and ``words`` where such timestamps were asked for. ``duration`` is in
    seconds."""

    text: str
    segments: list[Segment] = []
    language: str = ""
    duration: float = 0.0
    words: list[Segment] = []


class Audio(msgspec.Struct, tag="audio"):
    """A recording that was made: mono samples from -1 to 1, FP32, at ``rate`` samples a second."""

    samples: Tensor
    rate: int


class Box(msgspec.Struct):
    """An object in an image, and the rectangle it is in."""

    label: str
    score: float
    x0: float
    y0: float
    x1: float
    y1: float


class Boxes(msgspec.Struct, tag="boxes"):
    """Objects in one image, the likeliest first."""

    boxes: list[Box]


class Mask(msgspec.Struct):
    """A part of an image: ``mask`` is a BOOL tensor of the image's height and width. ``score`` is None where the
    model has none (semantic segmentation)."""

    label: str
    score: float | None
    mask: Tensor


class Masks(msgspec.Struct, tag="masks"):
    """Parts of one image."""

    masks: list[Mask]


class Picture(msgspec.Struct, tag="picture"):
    """An image that was made of another one. ``width`` and ``height`` are in pixels."""

    image: Image
    width: int
    height: int


class DepthMap(msgspec.Struct, tag="depth"):
    """Depth by pixel: an FP32 tensor of the image's height and width, in the model's own unit."""

    depth: Tensor


class Keypoints(msgspec.Struct, tag="keypoints"):
    """Points that a model marks in an image: ``x``, ``y`` and score of each. Of two images, the points of the first and
    then those of the second; ``matches`` are pairs of indices in that list, and how sure each is."""

    points: list[tuple[float, float, float]]
    matches: list[tuple[int, int, float]] = []


class Forecast(msgspec.Struct, tag="forecast"):
    """What comes after a time series: ``mean`` by step (and variable), and ``quantiles`` by level where there are."""

    mean: Tensor
    quantiles: dict[str, Tensor] = {}


TaskResult: TypeAlias = (
    Vector
    | Features
    | Text
    | Labels
    | Ranking
    | Entities
    | Spans
    | Fills
    | Transcript
    | Audio
    | Boxes
    | Masks
    | DepthMap
    | Picture
    | Keypoints
    | Forecast
)
"""One input's result; which of these it is depends on the task."""
