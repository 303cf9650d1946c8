"""What is heard in each frame of a recording (who speaks when), and the vector of a voice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.results import Features, Vector
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import sigmoid, tensor
from .base import Context, Piece
from .options import bad_input, flag
from .recordings import AudioProcessing, frames_of

__all__ = ["AudioFrames", "SpeakerVector"]


class AudioFrames(AudioProcessing):
    """Input: a recording. Result: ``logits`` of shape ``(frames, classes)`` and ``scores``, the same from 0 to 1, each
    class by itself. Frames lie evenly over the recording. Options: ``chunk_length_s`` (windows of so many seconds, one
    after the other; whole where it is not there)."""

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        sound = self.read(given)
        size = int(self.rate * float(options.get("chunk_length_s") or 0)) or len(sound.samples)
        starts = range(0, len(sound.samples), size)
        cuts = [sound.samples[start : start + size] for start in starts]
        if len(cuts) > 1 and (frames_of(self.config, len(cuts[-1])) or 1) < 1:
            cuts.pop()  # A rest that makes no frame.
        return [self.piece(cut, note=frames_of(self.config, len(cut))) for cut in cuts]

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Features:
        np = require("numpy")
        logits = np.concatenate(
            [row["logits"][: piece.note] if piece.note else row["logits"]
             for row, piece in zip(rows, pieces, strict=True)]
        )  # fmt: skip
        return Features([tensor("logits", logits), tensor("scores", sigmoid(logits))])


class SpeakerVector(AudioProcessing):
    """Input: a recording of one voice. Result: its vector; those of one voice are near by cosine.

    Options: ``normalize`` (True: to unit length), ``chunk_length_s`` (30: of longer ones the mean of windows' vectors).
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        # Transformers' x-vector heads count their own convolutions' outputs without the dilation, and so take padding
        # into the mean.
        self._padded = False
        kernels, steps = getattr(self.config, "tdnn_kernel", ()), getattr(self.config, "tdnn_dilation", ())
        self._least = 1 + sum((kernel - 1) * step for kernel, step in zip(kernels, steps, strict=True))

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        sound = self.read(given)
        if (frames_of(self.config, len(sound.samples)) or self._least) <= self._least:
            raise bad_input(f"input is too short: a voice's vector takes more than {self._least} frames")
        return [self.piece(window) for window in self.windows(sound, options)]

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Vector:
        np = require("numpy")
        vectors = np.asarray([row["embeddings"].reshape(-1) for row in rows], dtype=np.float64)
        normalize = flag(options, "normalize", True)
        if normalize:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        vector = vectors.mean(axis=0)
        if normalize and len(rows) > 1:
            vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return Vector([float(each) for each in vector])
