"""What each model type can do, and which class of Transformers does it.

All from Transformers' own tables, so that a type it gains is a type we have; what those do not say (which of its tasks
a type was made for) is data here and in ``overrides``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.runtimes.engines.base import Source
from ipfs_accelerate_py.runtimes.extras import require

from .classes import auto_classes, known_types
from .gone import gone
from .overrides import HEADS, OWN_CLASS, OWN_TASK
from .senses import MIXED, does_bare, tells_of_images
from .tasks import TASKS, TaskSpec, find_task
from .unserved import UNSERVED

__all__ = ["Family", "auto_classes", "family_of", "gone", "known_types", "listed_types", "open_source", "own_auto"]

#: Auto classes from the most telling to the least: the first that knows a type is the one it was made for.
ORDER: tuple[str, ...] = (
    *("AutoModelForSpeechSeq2Seq", "AutoModelForCTC", "AutoModelForTDT", "AutoModelForRNNT"),
    *("AutoModelForTextToWaveform", "AutoModelForTextToSpectrogram"),
    *("AutoModelForImageTextToText", "AutoModelForMultimodalLM", "AutoModelForSeq2SeqLM"),
    *("AutoModelForMaskedLM", "AutoModelForCausalLM"),
    *("AutoModelForZeroShotObjectDetection", "AutoModelForObjectDetection", "AutoModelForZeroShotImageClassification"),
    *("AutoModelForImageClassification", "AutoModelForVideoClassification"),
    *("AutoModelForUniversalSegmentation", "AutoModelForSemanticSegmentation", "AutoModelForInstanceSegmentation"),
    *("AutoModelForImageSegmentation", "AutoModelForMaskGeneration", "AutoModelForDepthEstimation"),
    *("AutoModelForKeypointDetection", "AutoModelForKeypointMatching", "AutoModelForImageToImage"),
    *("AutoModelForVisualQuestionAnswering", "AutoModelForDocumentQuestionAnswering"),
    *("AutoModelForTableQuestionAnswering", "AutoModelForAudioClassification", "AutoModelForTimeSeriesPrediction"),
    *("AutoModelForSequenceClassification", "AutoModelForTokenClassification", "AutoModelForQuestionAnswering"),
    *("AutoModelForMultipleChoice", "AutoModelForNextSentencePrediction", "AutoModelForMaskedImageModeling"),
    *("AutoModelForAudioFrameClassification", "AutoModelForAudioXVector", "AutoModelForTextRecognition"),
    *("AutoModelForTableRecognition", "AutoModelForImageMatting", "AutoModelForPoseEstimation"),
    *("AutoModelForNormalEstimation", "AutoModelForPointmapEstimation", "AutoModelForDecision"),
    *("AutoModelForAudioTokenization", "AutoModel", "AutoModelForTextEncoding", "AutoBackbone"),
    "AutoModelForPreTraining",
)


@dataclass(frozen=True, slots=True)
class Family:
    """What a model type, or one checkpoint of it, can do.

    Attributes:
        model_type: as in ``config.json``.
        tasks: names of its tasks, that for which it was made first.
        classes: by task, the Auto class that makes its model.
    """

    model_type: str
    tasks: tuple[str, ...]
    classes: Mapping[str, str]

    def auto(self, task: str = "") -> str:
        """Name of the Auto class for a task; the own one's without.

        Raises:
            UnsupportedOperation: the family does not do that; the message lists what it does.
        """
        found = find_task(task) if task else None
        name = found.name if found is not None else task or (self.tasks[0] if self.tasks else "")
        if name in self.classes:
            return self.classes[name]
        able = ", ".join(self.tasks) or "no task that runs here"
        reasons = (why for (each, kind), why in UNSERVED.items() if kind == self.model_type and name in ("", each))
        why = next((f" ({each})" for each in reasons), "")
        wanted = repr(task) if task else "anything"
        raise UnsupportedOperation(f"model type {self.model_type!r} does not do {wanted}{why}, but {able}")


@cache
def listed_types() -> tuple[str, ...]:
    """The 300 types of the older releases' list, gone ones too."""
    path = Path(__file__).parent / "data" / "huggingface_model_types.json"
    return tuple(json.loads(path.read_text(encoding="utf-8")))


def own_auto(model_type: str, architectures: Sequence[str] = ()) -> str:
    """Name of the Auto class that a checkpoint was made for: by its architectures, else by its type.

    Raises:
        RuntimeUnavailable: no Auto class knows the type; with the reason where it is gone.
    """
    classes = auto_classes()
    order = [*ORDER, *sorted(set(classes) - set(ORDER))]
    if (own := OWN_CLASS.get(model_type)) is not None and not architectures:
        order.insert(0, own)
    able = [name for name in order if model_type in classes.get(name, {})]
    if not able:
        raise RuntimeUnavailable(why_unknown(model_type))
    for name in able:
        if set(architectures) & set(classes[name][model_type]):
            return name
    return own if own is not None and own in able else able[0]


def why_unknown(model_type: str) -> str:
    """Why no class makes models of that type, for an error's message."""
    if (reason := gone(model_type)) is not None:
        return reason
    version = require("transformers").__version__
    return (
        f"model type {model_type!r} is not among those of Transformers {version}: a newer release may have it, "
        "or the checkpoint brings its own code (trust_remote_code, only where you trust its author)"
    )


def family_of(config: Any) -> Family:
    """The family of a checkpoint with that configuration (Transformers' object, or a type's name).

    Raises:
        RuntimeUnavailable: no Auto class knows its type.
    """
    model_type = config if isinstance(config, str) else config.model_type
    architectures = [] if isinstance(config, str) else list(getattr(config, "architectures", None) or ())
    own = own_auto(model_type, architectures)
    classes = auto_classes()
    tasks: dict[str, str] = {}
    for name, spec in TASKS.items():
        if (name, model_type) in UNSERVED:
            continue
        if (head := HEADS.get((name, model_type))) is not None:
            tasks[name] = head
            continue
        made = next((each for each in spec.auto if model_type in classes.get(each, {})), None)
        if made in ("AutoModel", "AutoBackbone") and not does_bare(name, model_type):
            continue
        if made in MIXED and "image" in spec.takes and not tells_of_images(made, model_type):
            continue
        if made is None and name == "text-generation" and model_type in classes["AutoModelForMultimodalLM"]:
            # It hears and writes; what it is asked in writing alone, it answers too.
            made = None if tells_of_images("AutoModelForMultimodalLM", model_type) else "AutoModelForMultimodalLM"
        if made is not None:
            tasks[name] = made
    order = {name: at for at, name in enumerate(ORDER)}
    first = OWN_TASK.get(model_type) if not architectures or own.endswith(("Seq2SeqLM", "AutoModel")) else None
    ranked = sorted(
        tasks,
        key=lambda name: (
            tasks[name] != own,
            name != first,
            not _fits(name, config),
            order.get(tasks[name], len(order)),
            tuple(TASKS).index(name),
        ),
    )
    return Family(model_type, tuple(ranked), tasks)


def _fits(task: str, config: Any) -> bool:
    """Among tasks of one class: a single label is a score of a pair, labels are classes."""
    single = len(getattr(config, "id2label", None) or (0, 1)) == 1
    if task == "zero-shot-classification":
        return any("entail" in str(label).lower() for label in (getattr(config, "id2label", None) or {}).values())
    return {"text-ranking": single, "text-classification": not single}.get(task, True)


def open_source(
    name: str, path: str | Path, task: str | None = None, trust_remote_code: bool = False
) -> tuple[Source, TaskSpec]:
    """A checkpoint and the task it is to do: ``task``, or that for which it was made.

    Args:
        name: what it was asked for by.
        path: its folder, or a GGUF file.
        task: a name or alias of `TASKS`.
        trust_remote_code: take configuration classes from Python files of the checkpoint.

    Raises:
        UnsupportedOperation: there is no such task, or this model does not do it.
        RuntimeUnavailable: nothing readable is there, or no class knows its type.
    """
    wanted = find_task(task) if task else None
    if task and wanted is None:
        raise UnsupportedOperation(f"no task {task!r}; those there are: {', '.join(TASKS)}")
    place = Path(path)
    if place.suffix == ".gguf":
        return Source(name, place), wanted or TASKS["text-generation"]
    config = _read(name, place, trust_remote_code)
    try:
        family = family_of(config)
    except RuntimeUnavailable:
        if (remote := getattr(config, "auto_map", None)) and trust_remote_code:
            return _remote(name, place, config, remote, wanted)
        raise
    if wanted is None:
        vectors = (place / "modules.json").is_file() and "sentence-similarity" in family.tasks
        if not family.tasks:
            family.auto()
        wanted = TASKS["sentence-similarity" if vectors else family.tasks[0]]
    return Source(name, place, config, family.auto(wanted.name)), wanted


def _read(name: str, place: Path, trust_remote_code: bool) -> Any:
    file = place / "config.json"
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise RuntimeUnavailable(f"model {name!r} has no readable config.json at {place}: {exc}") from exc
    model_type = raw.get("model_type", "")
    known = require("transformers.models.auto.configuration_auto").CONFIG_MAPPING_NAMES
    if model_type not in known and not (trust_remote_code and raw.get("auto_map")):
        raise RuntimeUnavailable(f"model {name!r} cannot be loaded: {why_unknown(model_type)}")
    try:
        return require("transformers").AutoConfig.from_pretrained(
            str(place), local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as exc:
        raise RuntimeUnavailable(f"model {name!r} cannot be loaded: its config.json is refused: {exc}") from exc


def _remote(
    name: str, place: Path, config: Any, remote: Mapping[str, Any], wanted: TaskSpec | None
) -> tuple[Source, TaskSpec]:
    """A checkpoint with its own code: the Auto classes that it says it fills."""
    for spec in [wanted] if wanted is not None else TASKS.values():
        for auto in spec.auto:
            if auto in remote:
                return Source(name, place, config, auto), spec
    raise UnsupportedOperation(f"model {name!r} brings code for {', '.join(remote)} only")
