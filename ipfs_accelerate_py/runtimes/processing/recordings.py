"""What all tasks of recordings share: reading them, the model's features, windows of long ones, batches.

Only recordings of equal shape run together, except with models that mask padding wherever it could reach: those are
named here, each tried alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import lacks, require

from .arrays import only, stack
from .base import Context, Piece, Processing
from .options import bad_input, number
from .sound import Sound, read_sound

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AudioProcessing", "feature_extractor", "frames_of"]

#: Types that take padding where their convolutions normalise each position by itself (``feat_extract_norm`` "layer").
#: With "group" the padding changes every position.
_MASKED = frozenset(("hubert", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-conformer", "wavlm"))
# Names of what a feature extractor makes of the recording itself.
_MAIN = ("input_values", "input_features")


def feature_extractor(context: Context) -> Any:
    """The checkpoint's feature extractor.

    Raises:
        RuntimeUnavailable: it has none that loads.
        MissingExtra: its own needs a package that is not installed.
    """
    transformers = require("transformers")
    try:
        return transformers.AutoFeatureExtractor.from_pretrained(
            str(context.path), local_files_only=True, trust_remote_code=context.trust_remote_code
        )
    except ImportError as exc:
        raise lacks("the checkpoint's feature extractor", exc) from exc
    except Exception as exc:
        raise RuntimeUnavailable(
            f"the checkpoint has no feature extractor for recordings that loads: {str(exc).splitlines()[0]}"
        ) from exc


def frames_of(config: Any, samples: int) -> int | None:
    """Frames that a model's convolutions make of so many samples; None where the config does not tell.

    The formula is that of a convolution without padding: https://pytorch.org/docs/stable/generated/torch.nn.Conv1d.html
    """
    kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
    if not isinstance(kernels, list | tuple) or not isinstance(strides, list | tuple):
        return None
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


class AudioProcessing(Processing):
    """Base of the tasks whose pieces are recordings or windows of them."""

    #: Seconds of a window where neither the model nor the caller says.
    window = 30.0

    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config
        self.extractor = feature_extractor(context)
        self.rate = int(getattr(self.extractor, "sampling_rate", 16000))
        kind = str(getattr(self.config, "model_type", ""))
        masks = bool(getattr(self.extractor, "return_attention_mask", False))
        inputs = context.inputs
        masks = masks and (inputs is None or "attention_mask" in inputs)
        self._padded = masks and kind in _MASKED and getattr(self.config, "feat_extract_norm", "") == "layer"

    def read(self, given: Any) -> Sound:
        """The recording at the model's rate. Raises `InvalidRequest` where it is too short to make a frame of."""
        sound = read_sound(given, self.rate)
        frames = frames_of(self.config, len(sound.samples))
        if frames is not None and frames < 1:
            raise bad_input(f"input is too short: {len(sound.samples)} samples make no frame of this model's")
        return sound

    def features(self, samples: NDArray[np.float32], **settings: Any) -> dict[str, Any]:
        """What the checkpoint's feature extractor makes of it, without the batch's axis."""
        made = self.extractor(samples, sampling_rate=self.rate, return_tensors="np", **settings)
        return {name: array[0] for name, array in made.items()}

    def piece(self, samples: NDArray[np.float32], note: Any = None, **settings: Any) -> Piece:
        """Samples as a piece."""
        features = only(self.features(samples, **settings), self.context.inputs)
        if not features:
            raise RuntimeUnavailable(
                f"the checkpoint's feature extractor, {type(self.extractor).__name__}, makes nothing for this model"
            )
        main = next((name for name in _MAIN if name in features), None) or next(iter(features))
        shape = features[main].shape
        length = frames_of(self.config, len(samples)) or max(shape)
        group = None if self._padded else tuple((name, array.shape) for name, array in features.items())
        return Piece(features, max(1, int(length)), group, note)

    def collate(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        fill = float(getattr(self.extractor, "padding_value", 0.0))
        return {
            name: stack([piece.features[name] for piece in pieces], fill=fill if name in _MAIN else 0)
            for name in pieces[0].features
        }

    def windows(self, sound: Sound, options: Mapping[str, Any]) -> list[NDArray[np.float32]]:
        """The recording in windows of equal length that lie next to each other, the last one back far enough to be
        whole; for tasks that take the mean over them. ``chunk_length_s`` is their seconds, 0 for none."""
        seconds = number(options, "chunk_length_s", self.own_window(), low=0)
        size = int(seconds * self.rate)
        total = len(sound.samples)
        if size <= 0 or total <= size:
            return [sound.samples]
        starts = [*range(0, total - size, size), total - size]
        return [sound.samples[start : start + size] for start in starts]

    def own_window(self) -> float:
        """Seconds that the feature extractor looks at: what is beyond it would throw away."""
        extractor = self.extractor
        for name in ("chunk_length", "max_length_s"):
            if isinstance(value := getattr(extractor, name, None), int | float) and value > 0:
                return float(value)
        frames = getattr(extractor, "max_length", None)
        if isinstance(frames, int) and hasattr(extractor, "num_mel_bins"):
            return frames / 100 + 0.015  # Frames of 25 ms, every 10.
        return self.window
