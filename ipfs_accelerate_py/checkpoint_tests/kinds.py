"""What of a module depends on the task: its inputs, the options of its questions, what Transformers is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Kind", "kind_of"]

_WRITTEN = {"max_tokens": 8, "temperature": 0}
#: Encoder-decoders' checkpoints have numbers of beams of their own.
_REWRITTEN = {**_WRITTEN, "num_beams": 1}
_LABELS = ["a dog", "a city of books"]


@dataclass(frozen=True, slots=True)
class Kind:
    """How one task is tested.

    Attributes:
        inputs: name of a section of ``data/inputs.txt``.
        options: of every question, so that both sides answer the same.
        processor: what Transformers makes arrays with: a section of ``data/references.txt``, or empty where
            ``reference`` has its own.
        reference: the section with what Transformers answers; empty where its answer cannot be compared.
        why: it is not compared, for the module's reader.
        reacts: whether different inputs must have different answers; not where they are a few words.
    """

    inputs: str
    options: Mapping[str, Any] = field(default_factory=dict)
    processor: str = ""
    reference: str = ""
    why: str = ""
    reacts: bool = True


_DRAWN = "What comes out is drawn at random, by another order of draws than Transformers' own."
_SPECIAL = "Transformers has no one way to ask this: each type's processor wants its own arguments."
_WINDOWS = "Transformers' answer is of a pipeline that it no longer has."


def _image(task: str, options: Mapping[str, Any] | None = None) -> Kind:
    """One picture, read by the model's own processor and answered as Transformers answers the task."""
    return Kind("image", options or {}, "images", task)


KINDS: Mapping[str, Kind] = {
    "text-generation": Kind("text", _WRITTEN, "tokenizer", "text-generation", reacts=False),
    "text2text-generation": Kind("text", _REWRITTEN, "tokenizer", "text2text-generation", reacts=False),
    "summarization": Kind("text", {**_REWRITTEN, "prefix": ""}, "tokenizer", "text2text-generation", reacts=False),
    "translation": Kind("translated", _REWRITTEN, "tokenizer", "text2text-generation", reacts=False),
    "fill-mask": Kind("masked", {"top_k": 3}, "tokenizer", "fill-mask"),
    "text-classification": Kind("text", {"function_to_apply": "softmax"}, "tokenizer", "text-classification"),
    "zero-shot-classification": Kind("text", {"candidate_labels": _LABELS}, why=_WINDOWS),
    "text-ranking": Kind("ranking", why=_WINDOWS),
    "token-classification": Kind(
        "text", {"aggregation_strategy": "none", "ignore_labels": []}, "tokenizer", "token-classification"
    ),
    "question-answering": Kind("question", {"top_k": 2}, why=_WINDOWS),
    "multiple-choice": Kind("choices", why=_WINDOWS),
    "next-sentence-prediction": Kind("texts_in_pairs", why=_WINDOWS),
    "table-question-answering": Kind("table", {"threshold": 0.0}, why=_WINDOWS),
    "sentence-similarity": Kind("text", {"pooling": "mean"}, "tokenizer", "sentence-similarity"),
    "feature-extraction": Kind("text", {}, "tokenizer", "feature-extraction"),
    "sparse-embedding": Kind("text", why=_WINDOWS),
    "automatic-speech-recognition": Kind("audio", {}, "", "automatic-speech-recognition", reacts=False),
    "audio-classification": Kind("audio", {"function_to_apply": "softmax"}, "", "audio-classification"),
    "audio-frame-classification": Kind("audio", why=_SPECIAL),
    "audio-xvector": Kind("audio", why=_SPECIAL),
    "zero-shot-audio-classification": Kind(
        "audio", {"candidate_labels": _LABELS}, "joined", "zero-shot-audio-classification"
    ),
    "text-to-audio": Kind("text", {"seed": 0, "max_tokens": 16}, why=_DRAWN),
    "image-classification": _image("image-classification", {"top_k": 100_000, "function_to_apply": "softmax"}),
    "zero-shot-image-classification": Kind(
        "image", {"candidate_labels": _LABELS}, "joined_images", "zero-shot-image-classification"
    ),
    "object-detection": _image("object-detection", {"threshold": 0.0}),
    "zero-shot-object-detection": Kind(
        "image", {"candidate_labels": _LABELS, "threshold": 0.0}, "joined_images", "zero-shot-object-detection"
    ),
    "image-segmentation": _image("image-segmentation", {"threshold": 0.0}),
    "mask-generation": Kind("image_point", {}, "images", "mask-generation"),
    "depth-estimation": _image("depth-estimation"),
    "keypoint-detection": _image("keypoint-detection"),
    "keypoint-matching": Kind("image_pair", {"threshold": 0.0}, "images", "keypoint-matching", reacts=False),
    "image-to-image": _image("image-to-image"),
    "image-feature-extraction": _image("image-feature-extraction"),
    "masked-image-modeling": Kind("image", {"seed": 0}, why=_DRAWN),
    "video-classification": Kind(
        "video", {"top_k": 100_000, "function_to_apply": "softmax"}, "images", "video-classification"
    ),
    "image-text-to-text": Kind("image_text", _WRITTEN, "joined_images", "image-text-to-text", reacts=False),
    "image-to-text": Kind("image", _WRITTEN, why=_SPECIAL, reacts=False),
    "visual-question-answering": Kind(
        "image_question", {"top_k": 100_000}, "joined_images", "visual-question-answering"
    ),
    "document-question-answering": Kind("document", why=_SPECIAL),
    "time-series-forecasting": Kind("series", {}, "", "time-series-forecasting"),
}  # fmt: skip

#: Types whose question is another than their task's, by type: what differs.
_VIDEO_TEXT = Kind("video", {"candidate_labels": _LABELS}, why=_SPECIAL)
_TYPES: Mapping[str, Kind] = {
    **dict.fromkeys(("videoprism", "xclip"), _VIDEO_TEXT),
    **dict.fromkeys(
        ("vjepa2", "videoprism_vision_model"),
        Kind("video", {"top_k": 100_000, "function_to_apply": "softmax"}, "films", "film-classification"),
    ),
    "vit_mae": Kind("image", why=_DRAWN),
    "bros": Kind("text", why=_SPECIAL),
    **dict.fromkeys(
        ("autoformer", "informer", "time_series_transformer"), Kind("series", {"seed": 0}, why=_DRAWN)
    ),
    **dict.fromkeys(("timesfm", "timesfm2_5"), Kind("series", why=_SPECIAL)),
    **dict.fromkeys(("eomt", "eomt_dinov3"), Kind("image", {"threshold": 0.0}, why=_SPECIAL)),
    "oneformer": Kind("image", {"subtask": "semantic"}, why=_SPECIAL),
}  # fmt: skip

#: Types whose own processor or ``generate`` puts other marks into the text than the library does, or forbids words.
_MARKING = frozenset({"blip-2", "chameleon", "florence2", "instructblip"})

#: Types that write what they hear, whose own ``generate`` needs nothing but the recording.
_WRITERS = frozenset({"whisper", "speech_to_text", "moonshine", "speech-encoder-decoder"})


def kind_of(model_type: str, task: str, auto: str) -> Kind:
    """How that type is tested at that task, made by that Auto class."""
    own = _TYPES.get(model_type)
    if own is not None and own.inputs in (KINDS[task].inputs,):
        return own
    if task == "automatic-speech-recognition" and auto != "AutoModelForCTC":
        if model_type in _WRITERS:
            spoken = {"language": "en"} if model_type == "whisper" else {}
            return Kind("audio", {**_WRITTEN, **spoken}, "joined", "speech-writing", reacts=False)
        return Kind("audio", _WRITTEN if auto == "AutoModelForSpeechSeq2Seq" else {}, why=_SPECIAL, reacts=False)
    if task in ("image-text-to-text", "image-to-text") and model_type == "vision-encoder-decoder":
        return Kind("image", _WRITTEN, "", "captioning", reacts=False)
    if task == "image-text-to-text" and model_type in _MARKING:
        return Kind("image_text", _WRITTEN, why=_SPECIAL, reacts=False)
    return KINDS[task]
