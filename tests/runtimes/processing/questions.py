"""Three inputs of different sizes for each task, and the options that a small random model needs to say anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ipfs_accelerate_py.runtimes.families.tasks import TASKS

from .small import tone

__all__ = ["question"]

TEXTS = (
    "the quick brown fox",
    "a dog. It was not there, and we all went home after the long day in the city",
    "what is it that you want",
)
LABELS = ["a city of dogs", "sports"]
#: Width and height: one each way, and one that is square.
SIZES = ((64, 48), (40, 72), (48, 48))
_WRITTEN = {"max_tokens": 5, "temperature": 0}


def image(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture of coarse random patches."""
    patches = np.random.default_rng(seed).integers(0, 255, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def question(task: str, folder: Path) -> tuple[list[Any], dict[str, Any]]:
    """Inputs and options for the checkpoint in ``folder``."""
    if task in _SHAPED:
        inputs, told = _SHAPED[task]()
        return inputs, told
    takes = TASKS[task].takes
    options: dict[str, Any] = dict(_WRITTEN) if TASKS[task].generates else {}
    if "audio" in takes:
        rate = _rate(folder)
        return [tone(seconds, 300 + 90 * at, rate) for at, seconds in enumerate((0.9, 0.5, 0.7))], options
    if "video" in takes:
        if json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] == "xclip":
            options["candidate_labels"] = LABELS
        return [[image(w, h, 10 * at + n) for n in range(6 + 4 * at)] for at, (w, h) in enumerate(SIZES)], options
    if "image" in takes:
        return [image(*size, seed=at) for at, size in enumerate(SIZES)], options
    if "series" in takes:
        return _series(folder)
    return list(TEXTS), options


def _pictures() -> list[Image.Image]:
    return [image(*size, seed=at) for at, size in enumerate(SIZES)]


_SHAPED: dict[str, Any] = {
    "fill-mask": lambda: ([f"{text} [MASK] ok" for text in TEXTS], {"top_k": 3}),
    "zero-shot-classification": lambda: (list(TEXTS), {"candidate_labels": LABELS}),
    "text-ranking": lambda: ([{"query": text, "documents": list(TEXTS)[at:]} for at, text in enumerate(TEXTS)], {}),
    "question-answering": lambda: ([{"question": "what is it?", "context": text} for text in TEXTS], {"top_k": 2}),
    "multiple-choice": lambda: ([{"text": text, "choices": list(TEXTS)} for text in TEXTS], {}),
    "next-sentence-prediction": lambda: ([[text, TEXTS[0]] for text in TEXTS], {}),
    "table-question-answering": lambda: (
        [
            {"query": text, "table": {"name": ["anna", "fox", "dog"][: at + 1], "age": ["1", "22", "3"][: at + 1]}}
            for at, text in enumerate(TEXTS)
        ],
        {"threshold": 0.0},
    ),
    "zero-shot-image-classification": lambda: (_pictures(), {"candidate_labels": LABELS}),
    "object-detection": lambda: (_pictures(), {"threshold": 0.0}),
    "zero-shot-object-detection": lambda: (_pictures(), {"candidate_labels": LABELS, "threshold": 0.0}),
    "zero-shot-audio-classification": lambda: ([tone(0.9), tone(0.5, 600.0)], {"candidate_labels": LABELS}),
    "image-segmentation": lambda: (_pictures(), {"threshold": 0.0}),
    "mask-generation": lambda: ([{"image": each, "points": [[10, 12]]} for each in _pictures()], {}),
    "keypoint-matching": lambda: ([[each, image(56, 40, 9)] for each in _pictures()], {"threshold": 0.0}),
    "image-text-to-text": lambda: (
        [{"image": each, "text": text} for each, text in zip(_pictures(), TEXTS, strict=True)],
        dict(_WRITTEN),
    ),
    "visual-question-answering": lambda: (
        [{"image": each, "question": text} for each, text in zip(_pictures(), TEXTS, strict=True)],
        {},
    ),
    "document-question-answering": lambda: (
        [
            {"image": each, "question": "who is it?", "words": words,
             "boxes": [[9 * n, 5, 9 * n + 8, 20] for n, _ in enumerate(words)]}
            for each, words in zip(_pictures(), [text.split() for text in TEXTS], strict=True)
        ],
        {},
    ),
}  # fmt: skip


def _rate(folder: Path) -> int:
    for name in ("preprocessor_config.json", "processor_config.json"):
        file = folder / name
        if file.is_file():
            told = json.loads(file.read_text(encoding="utf-8"))
            told = told.get("feature_extractor") or told
            if isinstance(rate := told.get("sampling_rate"), int):
                return rate
    return 16000


def _series(folder: Path) -> tuple[list[Any], dict[str, Any]]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    columns = int(config.get("num_input_channels") or 1)
    random = np.random.default_rng(0)
    drawn = [random.standard_normal((steps, columns)).cumsum(0) for steps in (64, 96, 80)]
    inputs: list[Any] = [each.tolist() if columns > 1 else each[:, 0].tolist() for each in drawn]
    times, plain = int(config.get("num_time_features") or 0), int(config.get("num_static_real_features") or 0)
    if times or plain:
        ahead = int(config["prediction_length"])
        inputs = [
            {"past_values": each, "past_time_features": random.random((len(each), times)).tolist(),
             "future_time_features": random.random((ahead, times)).tolist(),
             **({"static_real_features": [0.5] * plain} if plain else {})}
            for each in inputs
        ]  # fmt: skip
    return inputs, {}
