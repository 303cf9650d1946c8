"""Batches like those that a model will be given: made by the task's own processing, of plain inputs.

What a graph is exported with decides which inputs it has and which axes may vary, so it is exported with real traffic:
a tokenizer, an image processor or a feature extractor decides what the model is given, here as later.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.families.tasks import TaskSpec
from ipfs_accelerate_py.runtimes.processing.base import Context, Piece, Processing
from ipfs_accelerate_py.runtimes.processing.registry import PROCESSING, make_processing

from .base import LoadPlan, Source
from .calibration_texts import TEXTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["batches", "forward_names", "plain_inputs", "samples_of"]

# Rows of the batches that a graph is exported with: the first is traced.
_ROWS = (3, 2, 1)


def forward_names(source: Source) -> frozenset[str] | None:
    """Names that the class's forward pass takes, without loading any weights; None for any."""
    import inspect

    transformers = require("transformers")
    made = getattr(transformers, source.auto)  # an Auto class, or the very class where none leads to it
    kind = made._model_mapping[type(source.config)] if hasattr(made, "_model_mapping") else made
    kinds = kind if isinstance(kind, list | tuple) else [kind]
    names = set(getattr(source.config, "architectures", None) or ())
    chosen = next((each for each in kinds if each.__name__ in names), kinds[0])
    parameters = inspect.signature(chosen.forward).parameters
    keywords = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    found = frozenset(name for name in parameters if name not in ("self", "args", "kwargs"))
    return None if keywords and len(found) < 2 else found


def samples_of(source: Source, task: TaskSpec, plan: LoadPlan, inputs: frozenset[str] | None) -> list[dict[str, Any]]:
    """Three batches of other numbers of rows and other lengths, the largest first.

    Raises:
        RuntimeUnavailable: nothing can be made that the task's processing takes.
    """
    pieces = _pieces(source, task, plan, inputs, sum(_ROWS))
    found, at = [], 0
    for count in _ROWS:
        found.append(_collate(pieces[0], pieces[1][at : at + count]))
        at += count
    return [each for each in found if each]


def batches(
    source: Source, task: TaskSpec, plan: LoadPlan, inputs: frozenset[str] | None, count: int, given: Sequence[Any] = ()
) -> list[dict[str, Any]]:
    """``count`` batches of one row each, of the caller's ``given`` inputs or of plain ones."""
    work, pieces = _pieces(source, task, plan, inputs, count, given)
    return [_collate(work, [piece]) for piece in itertools.islice(pieces, count)]


def plain_inputs(task: TaskSpec, count: int, config: Any = None) -> Iterator[Any]:
    """Inputs that the task takes: sentences, pictures of blobs, tones, series of the length and the variables that
    ``config`` says; each other than the last."""
    np = require("numpy")
    drawn = np.random.default_rng(7)
    for at in range(count):
        text = TEXTS[at % len(TEXTS)]
        other = TEXTS[(at + 5) % len(TEXTS)]
        if task.name == "multiple-choice":
            yield {"text": text, "choices": [other, text]}
        elif task.name == "table-question-answering":
            yield {"query": text, "table": {"city": ["Rome", "Oslo"], "people": ["3", "1"]}}
        elif task.name == "zero-shot-classification":
            yield {"text": text, "candidate_labels": ["news", "sport"]}
        elif task.name == "document-question-answering":
            words = text.split()
            boxes = [[10 * n, 10, 10 * n + 8, 20] for n in range(len(words))]
            yield {"image": _picture(drawn, 96), "question": "What is it?", "words": words, "boxes": boxes}
        elif task.name == "keypoint-matching":
            yield [_picture(drawn, 96), _picture(drawn, 96)]
        elif task.takes[0] == "image":
            labels = {"candidate_labels": ["a cat", "a red car"], "question": "What is it?", "text": "a photo of"}
            wants = "zero-shot" in task.name or len(task.takes) > 1
            image = _picture(drawn, 96)
            yield {"image": image, **labels} if wants else image
        elif task.takes[0] == "audio":
            sound = {"array": _tones(drawn, 16000 + 3200 * (at % 3)), "sampling_rate": 16000}
            yield {"audio": sound, "candidate_labels": ["rain", "a dog"]} if "zero-shot" in task.name else sound
        elif task.takes[0] == "video":
            yield {
                "video": [_picture(drawn, 64) for _ in range(16)], "candidate_labels": ["running", "sleeping"]
            }  # fmt: skip
        elif task.takes[0] == "series":
            steps = max(64, int(getattr(config, "context_length", None) or 0))
            yield drawn.standard_normal((steps, int(getattr(config, "num_input_channels", None) or 1))).cumsum(0)
        elif task.takes[0] == "pair":
            yield [text, other]
        else:
            yield text


def _pieces(
    source: Source,
    task: TaskSpec,
    plan: LoadPlan,
    inputs: frozenset[str] | None,
    count: int,
    given: Sequence[Any] = (),
) -> tuple[Processing, list[Piece]]:
    context = Context(source.path, source.config, inputs, source.auto, plan.trust_remote_code)
    # What is done around a text's forward pass differs by task; what the model is given of a text does not.
    plain = task.takes[0] in ("text", "pair") and task.name not in (
        "multiple-choice", "table-question-answering", "text-to-audio", "zero-shot-classification",
    )  # fmt: skip
    name = "sentence-similarity" if plain else task.name
    if name not in PROCESSING:
        raise RuntimeUnavailable(f"OpenVINO is not used for {task.name} of this model")
    try:
        work = make_processing(name, context)
        pieces: list[Piece] = []
        for each in itertools.cycle(given) if given else plain_inputs(task, 4 * count, source.config):
            pieces.extend(work.split(each, {}))
            if len(pieces) >= 4 * count:
                break
    except Exception as exc:  # a processor raises whatever its library does
        raise RuntimeUnavailable(f"no inputs can be made to export model {source.name!r} with: {exc}") from exc
    if not pieces:
        raise RuntimeUnavailable(f"no inputs can be made to export model {source.name!r} with")
    return work, pieces


def _collate(work: Processing, pieces: Sequence[Piece]) -> dict[str, NDArray[Any]]:
    """One batch of those that may run together with the first."""
    np = require("numpy")
    together = [piece for piece in pieces if piece.group == pieces[0].group] if pieces else []
    if pieces and len(together) < len(pieces):
        together = [pieces[0]] * len(pieces)  # rows of one shape will do to export with
    made: Mapping[str, Any] = work.collate(together) if together else {}
    # Flags (``use_cache``) are no arrays: a graph has been told them when it was made.
    return {
        name: np.asarray(value) for name, value in made.items() if value is not None and not isinstance(value, bool)
    }


def _picture(drawn: Any, size: int) -> Any:
    """Smooth blobs of colour, which look more like a photograph to a network than noise does."""
    np = require("numpy")
    image = require("PIL.Image")
    coarse = drawn.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return image.fromarray(coarse).resize((size, size), image.Resampling.BICUBIC)


def _tones(drawn: Any, length: int) -> Any:
    np = require("numpy")
    time = np.arange(length) / 16000.0
    waves = sum(np.sin(2 * np.pi * float(drawn.uniform(80, 2000)) * time) for _ in range(3))
    return (0.2 * waves + 0.02 * drawn.standard_normal(length)).astype(np.float32)
