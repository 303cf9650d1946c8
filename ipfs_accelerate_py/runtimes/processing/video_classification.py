"""What happens in a video: of the classes the model knows, or of labels that the caller gives (X-CLIP)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.results import Labels

from .base import Context, Piece
from .candidates import candidate_labels, encode, ranked, run_together, sentences, shared_text
from .film_processors import film_processor
from .image_classification import label_scores
from .options import flag, whole
from .pictures import refused
from .processors import image_processor, tokenizer
from .videos import frames
from .vision import ImageTask

__all__ = ["VideoClassification"]

#: How many frames a model reads, where its configuration does not say.
_FRAMES = 16


class VideoClassification(ImageTask):
    """Options: ``num_frames`` (as the model was trained), ``frame_sampling_rate`` (every so many frames from the first;
    where it is not given, frames are spread over the whole video), ``top_k`` (5), ``function_to_apply``.

    A model of videos and texts takes ``candidate_labels`` and ``hypothesis_template`` ("{}") beside the ``video``.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config
        self.films = film_processor(context)
        if self.films is None:  # most of these models read frames as others read images
            self.images = image_processor(context)
        self.compares = context.inputs is not None and "input_ids" in context.inputs
        self.tokenizer = tokenizer(context) if self.compares else None
        self.lock = threading.Lock()
        vision = getattr(self.config, "vision_config", None)
        told = getattr(self.config, "num_frames", None) or getattr(vision, "num_frames", None)
        self.frames = told or getattr(self.config, "frames_per_clip", None) or _FRAMES

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        step = whole(options, "frame_sampling_rate", 0) or None
        count = whole(options, "num_frames", self.frames, low=1, high=1024)
        seen = self.clip(frames(given, count, step))
        if not self.compares:
            return [self.piece(seen)]
        labels = candidate_labels(given, options)
        texts = sentences(labels, given, options, "{}")
        piece = self.piece(seen, labels, also=tuple(texts))
        piece.features.update(encode(self.tokenizer, texts, self.config, self.takes, self.lock))
        return [piece]

    def clip(self, shown: list[Any]) -> dict[str, Any]:
        """Arrays of a clip's frames: frames x channels x height x width."""
        name = "pixel_values_videos" if self.takes("pixel_values_videos") else "pixel_values"
        try:
            if self.films is not None:
                return {name: self.films(shown)[self.films.name][0]}
            made = self.images(shown, return_tensors="np")["pixel_values"]
        except Exception as exc:  # a processor raises whatever its library does
            kind = "image" if self.films is None else "video"
            raise refused(f"{kind} processor", "these frames", exc) from exc
        # Processors of videos have an axis of videos before that of frames; those of images do not.
        return {name: made[0] if made.ndim == 5 else made}

    def collate(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        return shared_text(pieces)

    def rows(self, outputs: Mapping[str, Any], pieces: Sequence[Piece]) -> list[dict[str, Any]]:
        if self.config.model_type == "videoprism":
            # Its own scores are a softmax over the films of a batch: 1 for each of one film's texts.
            likeness = outputs["video_embeds"] @ outputs["text_embeds"].T
            return [{"logits": each} for each in likeness]
        return run_together(pieces, outputs, "logits_per_video", "logits_per_image", "logits")

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Labels:
        logits, labels = rows[0]["logits"], pieces[0].note
        if not self.compares:
            return label_scores(logits, self.config, options)
        return ranked(logits, labels, flag(options, "multi_label"), whole(options, "top_k", len(labels), low=1))
