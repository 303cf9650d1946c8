"""The tasks: by Hugging Face's name of each, which Auto classes make its models and what goes in and comes out.

Data, no code: what a task does before and after the forward pass is in ``processing``, found by its name.
Names: https://huggingface.co/tasks, and those of Transformers' pipelines, which its version 5 partly dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ALIASES", "TASKS", "TaskSpec", "find_task"]


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task.

    Attributes:
        name: Hugging Face's name of it.
        auto: names of Transformers' Auto classes that make its models, the first that knows the type counts.
        takes: what one input is made of: ``text``, ``pair``, ``audio``, ``image``, ``video``, ``series``.
        gives: name of the type in ``results`` that one input's answer has.
        generates: whether the answer is written token by token.
        without_processor: whether its inputs are arrays, so that a checkpoint needs no processor.
    """

    name: str
    auto: tuple[str, ...]
    takes: tuple[str, ...]
    gives: str
    generates: bool = False
    without_processor: bool = False


_SEQ2SEQ = ("AutoModelForSeq2SeqLM",)

#: In order of preference: the first that a type's classes allow, and its checkpoint was made for, is its own.
TASKS: Mapping[str, TaskSpec] = {
    each.name: each
    for each in (
        TaskSpec("text-generation", ("AutoModelForCausalLM",), ("text",), "Text", generates=True),
        TaskSpec("text2text-generation", _SEQ2SEQ, ("text",), "Text", generates=True),
        TaskSpec("summarization", _SEQ2SEQ, ("text",), "Text", generates=True),
        TaskSpec("translation", _SEQ2SEQ, ("text",), "Text", generates=True),
        TaskSpec("fill-mask", ("AutoModelForMaskedLM",), ("text",), "Fills"),
        TaskSpec("text-classification", ("AutoModelForSequenceClassification",), ("text",), "Labels"),
        TaskSpec("zero-shot-classification", ("AutoModelForSequenceClassification",), ("text",), "Labels"),
        TaskSpec("text-ranking", ("AutoModelForSequenceClassification",), ("pair",), "Ranking"),
        TaskSpec("token-classification", ("AutoModelForTokenClassification",), ("text",), "Entities"),
        TaskSpec("question-answering", ("AutoModelForQuestionAnswering",), ("pair",), "Spans"),
        TaskSpec("multiple-choice", ("AutoModelForMultipleChoice",), ("pair",), "Labels"),
        TaskSpec("next-sentence-prediction", ("AutoModelForNextSentencePrediction",), ("pair",), "Labels"),
        TaskSpec("table-question-answering", ("AutoModelForTableQuestionAnswering",), ("pair",), "Spans"),
        TaskSpec("sentence-similarity", ("AutoModelForTextEncoding", "AutoModel"), ("text",), "Vector"),
        TaskSpec("feature-extraction", ("AutoModel", "AutoModelForTextEncoding"), ("text",), "Features"),
        TaskSpec("sparse-embedding", ("AutoModelForMaskedLM",), ("text",), "Features"),
        TaskSpec(
            "automatic-speech-recognition",
            ("AutoModelForSpeechSeq2Seq", "AutoModelForCTC", "AutoModelForTDT", "AutoModelForRNNT"),
            ("audio",),
            "Transcript",
        ),
        TaskSpec("audio-classification", ("AutoModelForAudioClassification",), ("audio",), "Labels"),
        TaskSpec("audio-frame-classification", ("AutoModelForAudioFrameClassification",), ("audio",), "Features"),
        TaskSpec("audio-xvector", ("AutoModelForAudioXVector",), ("audio",), "Vector"),
        TaskSpec("zero-shot-audio-classification", ("AutoModel",), ("audio",), "Labels"),
        TaskSpec("text-to-audio", ("AutoModelForTextToWaveform", "AutoModelForTextToSpectrogram"), ("text",), "Audio"),
        TaskSpec("image-classification", ("AutoModelForImageClassification",), ("image",), "Labels"),
        TaskSpec("zero-shot-image-classification", ("AutoModelForZeroShotImageClassification",), ("image",), "Labels"),
        TaskSpec("object-detection", ("AutoModelForObjectDetection",), ("image",), "Boxes"),
        TaskSpec("zero-shot-object-detection", ("AutoModelForZeroShotObjectDetection",), ("image",), "Boxes"),
        TaskSpec(
            "image-segmentation",
            (
                "AutoModelForUniversalSegmentation",
                "AutoModelForSemanticSegmentation",
                "AutoModelForInstanceSegmentation",
                "AutoModelForImageSegmentation",
            ),
            ("image",),
            "Masks",
        ),
        TaskSpec("mask-generation", ("AutoModelForMaskGeneration",), ("image",), "Masks"),
        TaskSpec("depth-estimation", ("AutoModelForDepthEstimation",), ("image",), "DepthMap"),
        TaskSpec("keypoint-detection", ("AutoModelForKeypointDetection",), ("image",), "Keypoints"),
        TaskSpec("keypoint-matching", ("AutoModelForKeypointMatching",), ("image",), "Keypoints"),
        TaskSpec("image-to-image", ("AutoModelForImageToImage",), ("image",), "Picture"),
        TaskSpec(
            "image-feature-extraction", ("AutoModelForImage", "AutoModel", "AutoBackbone"), ("image",), "Features"
        ),
        TaskSpec("masked-image-modeling", ("AutoModelForMaskedImageModeling",), ("image",), "Features"),
        TaskSpec("video-classification", ("AutoModelForVideoClassification", "AutoModel"), ("video",), "Labels"),
        TaskSpec(
            "image-text-to-text",
            ("AutoModelForImageTextToText", "AutoModelForMultimodalLM"),
            ("image", "text"),
            "Text",
            generates=True,
        ),
        TaskSpec("image-to-text", ("AutoModelForImageTextToText",), ("image",), "Text", generates=True),
        TaskSpec("visual-question-answering", ("AutoModelForVisualQuestionAnswering",), ("image", "text"), "Labels"),
        TaskSpec("document-question-answering", ("AutoModelForDocumentQuestionAnswering",), ("image", "text"), "Spans"),
        TaskSpec(
            "time-series-forecasting",
            ("AutoModelForTimeSeriesPrediction", "AutoModel"),
            ("series",),
            "Forecast",
            without_processor=True,
        ),
    )
}

#: Other names of a task: the older pipelines', and our own endpoints'.
ALIASES: Mapping[str, str] = {
    "ner": "token-classification",
    "sentiment-analysis": "text-classification",
    "text-to-speech": "text-to-audio",
    "embed": "sentence-similarity",
    "embedding": "sentence-similarity",
    "embeddings": "sentence-similarity",
    "rerank": "text-ranking",
    "reranking": "text-ranking",
    "classification": "text-classification",
    "chat": "text-generation",
    "completion": "text-generation",
    "transcription": "automatic-speech-recognition",
    "asr": "automatic-speech-recognition",
    "speech": "text-to-audio",
    "summarisation": "summarization",
    "vqa": "visual-question-answering",
    "semantic-segmentation": "image-segmentation",
}


def find_task(name: str) -> TaskSpec | None:
    """The task of that name or alias (``translation_en_to_de`` too); None where there is none."""
    key = name.strip().lower().replace("_", "-")
    if key.startswith("translation-"):
        key = "translation"
    return TASKS.get(ALIASES.get(key, key))
