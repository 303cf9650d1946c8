"""Which class does a task's work."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from ipfs_accelerate_py.errors import UnsupportedOperation

from .base import Context, Processing

__all__ = ["PROCESSING", "WRITING", "make_processing"]

#: By task: module and class. A task that generates is not here but in ``generation``.
PROCESSING: dict[str, tuple[str, str]] = {
    "fill-mask": ("fill_mask", "FillMask"),
    "text-classification": ("text_classification", "TextClassification"),
    "zero-shot-classification": ("zero_shot_text", "ZeroShotText"),
    "text-ranking": ("text_ranking", "TextRanking"),
    "token-classification": ("token_classification", "TokenClassification"),
    "question-answering": ("question_answering", "QuestionAnswering"),
    "multiple-choice": ("multiple_choice", "MultipleChoice"),
    "next-sentence-prediction": ("text_classification", "NextSentence"),
    "table-question-answering": ("table_question_answering", "TableQuestionAnswering"),
    "sentence-similarity": ("text_features", "SentenceVectors"),
    "feature-extraction": ("text_features", "TextFeatures"),
    "sparse-embedding": ("sparse_vectors", "SparseVectors"),
    "time-series-forecasting": ("time_series", "Forecasting"),
    "automatic-speech-recognition": ("speech_ctc", "SpeechCTC"),  # of models that do not generate
    "audio-classification": ("audio_classification", "AudioClassification"),
    "audio-frame-classification": ("audio_features", "AudioFrames"),
    "audio-xvector": ("audio_features", "SpeakerVector"),
    "zero-shot-audio-classification": ("zero_shot_audio", "ZeroShotAudio"),
    "text-to-audio": ("text_to_audio", "TextToAudio"),
    "image-classification": ("image_classification", "ImageClassification"),
    "zero-shot-image-classification": ("zero_shot_image", "ZeroShotImage"),
    "object-detection": ("object_detection", "ObjectDetection"),
    "zero-shot-object-detection": ("object_detection", "ZeroShotDetection"),
    "image-segmentation": ("image_segmentation", "ImageSegmentation"),
    "mask-generation": ("mask_generation", "MaskGeneration"),
    "depth-estimation": ("depth_estimation", "DepthEstimation"),
    "keypoint-detection": ("keypoints", "KeypointDetection"),
    "keypoint-matching": ("keypoints", "KeypointMatching"),
    "image-to-image": ("image_features", "ImageToImage"),
    "image-feature-extraction": ("image_features", "ImageFeatures"),
    "masked-image-modeling": ("image_features", "MaskedImage"),
    "video-classification": ("video_classification", "VideoClassification"),
    "visual-question-answering": ("visual_questions", "VisualQuestions"),
    "document-question-answering": ("visual_questions", "DocumentQuestions"),
}

#: By task that generates: module of ``generation`` or ``processing``, and class (a `generation.base.Writing`).
WRITING: dict[str, tuple[str, str]] = {
    "text-generation": ("generation.writing", "Continuation"),
    "text2text-generation": ("generation.writing", "Rewriting"),
    "summarization": ("generation.writing", "Rewriting"),
    "translation": ("generation.writing", "Translation"),
    "automatic-speech-recognition": ("processing.speech_seq2seq", "SpeechSeq2Seq"),  # of models that generate
    "image-text-to-text": ("processing.image_to_text", "ImageTextToText"),
    "image-to-text": ("processing.image_to_text", "ImageToText"),
}


def make_processing(task: str, context: Context) -> Processing:
    """The work of that task for one model.

    Raises:
        UnsupportedOperation: there is none of that name.
        RuntimeUnavailable: the checkpoint lacks what it needs (a tokenizer, an image processor).
    """
    found = PROCESSING.get(task)
    if found is None:
        raise UnsupportedOperation(f"no task {task!r} runs on this machine; those that do: {', '.join(PROCESSING)}")
    module, kind = found
    made = getattr(import_module(f"ipfs_accelerate_py.runtimes.processing.{module}"), kind)
    return cast(Processing, made(context))
