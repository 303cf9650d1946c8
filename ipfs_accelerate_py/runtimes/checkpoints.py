"""What lies at a place: a checkpoint, a sentence-transformers folder, a GGUF file; told from small files alone.

Nothing heavy is imported, and no weights are read. What a model can do is told here as far as its ``config.json`` says
for what it was made; what its family can do besides is for ``families.catalog``, which needs Transformers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable

from .folder import read_folder

__all__ = ["Checkpoint", "gguf_files", "look_at", "why_not"]

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")

#: The end of an architecture's name, and the task of models of that kind.
_ENDINGS = (
    ("ForMaskedLM", "fill-mask"),
    ("ForMaskedImageModeling", "masked-image-modeling"),
    ("WithLMHeadModel", "fill-mask"),
    ("ForCausalLM", "text-generation"),
    ("LMHeadModel", "text-generation"),
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForMultipleChoice", "multiple-choice"),
    ("ForNextSentencePrediction", "next-sentence-prediction"),
    ("ForImageClassification", "image-classification"),
    ("ForImageClassificationWithTeacher", "image-classification"),
    ("ForVideoClassification", "video-classification"),
    ("ForAudioFrameClassification", "audio-frame-classification"),
    ("ForXVector", "audio-xvector"),
    ("ForCTC", "automatic-speech-recognition"),
    ("ForObjectDetection", "object-detection"),
    ("ForDepthEstimation", "depth-estimation"),
    ("Segmentation", "image-segmentation"),
    ("ForPrediction", "time-series-forecasting"),
    ("ForTextToSpeech", "text-to-audio"),
    ("ForConditionalGeneration", "text2text-generation"),
    # Of two towers, and of texts alone: they are named after what they are, not what they are for.
    ("XCLIPModel", "video-classification"),
    ("CLIPModel", "zero-shot-image-classification"),
    ("SiglipModel", "zero-shot-image-classification"),
    ("Siglip2Model", "zero-shot-image-classification"),
    ("AlignModel", "zero-shot-image-classification"),
    ("ClapModel", "zero-shot-audio-classification"),
    ("DPRQuestionEncoder", "sentence-similarity"),
    ("DPRContextEncoder", "sentence-similarity"),
)
_SPLIT = re.compile(r"-(\d{5})-of-\d{5}$")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One model at a place.

    Attributes:
        path: its folder, or a GGUF file.
        kind: ``checkpoint``, ``sentence-transformers`` or ``gguf``.
        model_type: as in ``config.json`` (of a GGUF file, ``gguf``).
        tasks: for what it was made, as far as its files say.
        size: bytes of its weights' files.
    """

    path: Path
    kind: str
    model_type: str
    tasks: tuple[str, ...]
    size: int


def look_at(path: Path) -> Checkpoint | None:
    """The model at ``path``, or None where there is none that could be loaded."""
    if path.is_file():
        if path.suffix != ".gguf":
            return None
        return Checkpoint(path, "gguf", "gguf", ("text-generation",), path.stat().st_size)
    config = _config(path)
    if (path / "modules.json").is_file():
        try:
            transformer = read_folder(path).transformer
        except RuntimeUnavailable:
            pass
        else:
            kind = str((_config(transformer) or {}).get("model_type", ""))
            size = _size(transformer) or _size(path)
            return Checkpoint(path, "sentence-transformers", kind, ("sentence-similarity",), size)
    if config is None or not config.get("model_type") or not (size := _size(path)):
        return None
    return Checkpoint(path, "checkpoint", str(config["model_type"]), _tasks(config), size)


def why_not(path: Path) -> str:
    """Why `look_at` finds nothing at a place that somebody named."""
    if not path.exists():
        return f"there is nothing at {path}"
    if path.is_file():
        return f"{path} is no GGUF file"
    if (path / "modules.json").is_file():
        try:
            read_folder(path)
        except RuntimeUnavailable as error:
            return error.message
    config = _config(path)
    if config is None:
        return f"no model at {path} (it has neither a readable config.json nor modules.json)"
    if not config.get("model_type"):
        return f"no model at {path} (its config.json names no model_type)"
    return f"no weights at {path} (safetensors, or files of PyTorch)"


def gguf_files(folder: Path) -> list[Path]:
    """GGUF models in a folder, the first part of each that is split."""
    found = []
    for file in sorted(folder.glob("*.gguf")):
        part = _SPLIT.search(file.stem)
        if part is None or part[1] == "00001":
            found.append(file)
    return found


def _config(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _size(folder: Path) -> int:
    """Bytes of the weights' files of the first kind that there is."""
    for pattern in _WEIGHTS:
        if files := list(folder.glob(pattern)):
            return sum(file.stat().st_size for file in files)
    return 0


def _tasks(config: dict[str, Any]) -> tuple[str, ...]:
    architectures = config.get("architectures") or []
    name = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    task = next((task for ending, task in _ENDINGS if name.endswith(ending)), "")
    # Names that several families give to different things; what they read tells them apart.
    sees = any(key in config for key in ("vision_config", "image_token_id", "image_token_index"))
    hears = any(key in config for key in ("num_mel_bins", "conv_kernel", "conv_dim", "input_feat_per_channel"))
    if task == "text2text-generation" or name.endswith("ForSpeechSeq2Seq"):
        task = "image-text-to-text" if sees else "automatic-speech-recognition" if hears else task
    elif task == "text-classification" and hears:
        task = "audio-classification"
    elif task == "text-classification" and len(config.get("id2label") or ()) == 1:
        task = "text-ranking"
    return (task,) if task else ()
