"""The mapped models through ``endpoint_handler``: every type, sync and async, one input and several, on each runtime.

    python -m bench.mapped_models [--devices cpu openvino] [--types bert gpt2 ...] [--out OUT]

Checkpoints are tiny ones made from each type's configuration, so that no hub is needed; files, classes and code are
those of the real ones. A row says what the answers were, by how much those of a batch differ from single ones, and by
how much they differ from those of the first device.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import os
import sys
import tempfile
import time
import wave
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipfs_accelerate_py import ipfs_accelerate_py, results
from ipfs_accelerate_py.runtimes.families.tasks import TASKS
from ipfs_accelerate_py.runtimes.models import list_models, mapped_models

__all__ = ["TOLERANCE", "Row", "examine", "make_models"]

#: The most by which a number of a batch's answer may differ from that of the same input alone.
TOLERANCE = 2e-4
#: The same between two devices that both compute in float32.
AGREEMENT = 1e-3
_WRITING = {"max_tokens": 5, "temperature": 0}
_CHOICES = {"candidate_labels": ["cat", "dog", "a b"]}


@dataclass(slots=True)
class Row:
    """What came of one type on one device.

    Attributes:
        task: the model's own.
        seconds: of the first call, which loads the model.
        difference: the largest between answers of a batch and single ones.
        agreement: the largest difference from the first device's answers; None for the first.
        engine: what ran it.
        reason: why it failed, else empty.
    """

    model_type: str
    device: str
    task: str
    gives: str = ""
    seconds: float = 0.0
    difference: float = 0.0
    engine: str = ""
    reason: str = ""
    agreement: float | None = None
    answers: list[Any] = field(default_factory=list, repr=False)

    def __str__(self) -> str:
        head = f"{self.model_type:<17} {self.device:<9} {self.task:<31}"
        if self.reason:
            return f"{head} FAILED {self.reason}"
        agreement = "" if self.agreement is None else f"{self.agreement:.1e}"
        return f"{head} {self.gives:<11} {self.difference:8.1e} {agreement:>8} {self.seconds:6.1f} {self.engine}"

    def compare(self, first: Row) -> None:
        """With another device's answers to the same inputs: too much of a difference is a failure."""
        if self.reason or first.reason:
            return
        self.agreement = max(map(apart, first.answers, self.answers))
        exact = all(row.engine.endswith(" float32") for row in (first, self))
        if exact and not self.agreement <= AGREEMENT:
            self.reason = f"its answers differ from those on {first.device} by {self.agreement:.1e}"


def make_models(root: Path, types: list[str]) -> None:
    """A tiny checkpoint of each type, in the folder of its name."""
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    for name in types:
        if not (root / name / "config.json").is_file():
            write_tiny(name, root / name)


def examine(
    accelerate: ipfs_accelerate_py, model_type: str, device: str, endpoint: Mapping[str, Any] | None = None
) -> Row:
    """Ask a type's model in every way. Nothing is raised: the row says what failed. ``endpoint`` are options of
    `add_endpoint`."""
    found = next((model for model in list_models() if model.name == model_type), None)
    row = Row(model_type, device, found.tasks[0] if found is not None and found.tasks else "?")
    try:
        if endpoint:
            accelerate.add_endpoint(model_type, device, endpoint)
        _ask(accelerate, row)
    except Exception as error:
        row.reason = f"{type(error).__name__}: {error}".replace("\n", " ")[:400]
    return row


def _ask(accelerate: ipfs_accelerate_py, row: Row) -> None:
    inputs, options = _inputs(row.model_type, row.task)
    handler = accelerate.endpoint_handler(row.model_type, row.device)
    began = time.perf_counter()
    alone = [handler(inputs[0], **options)["results"][0]]
    row.seconds = time.perf_counter() - began
    alone += [handler(each, **options)["results"][0] for each in inputs[1:]]

    async def awaited() -> list[Any]:
        return [(await handler(inputs[0], **options))["results"], (await handler(inputs, **options))["results"]]

    [again], together = asyncio.run(awaited())
    sync = handler(inputs, **options)["results"]
    row.gives = TASKS[row.task].gives
    fields = _fields(row.gives)
    for name, answers in {"single": alone, "awaited": [again], "list": sync, "awaited list": together}.items():
        for answer in answers:
            if set(answer) != fields:
                raise AssertionError(f"{name}: a {row.gives} has {sorted(fields)}, and this has {sorted(answer)}")
    for answers in (sync, together):
        if len(answers) != len(inputs):
            raise AssertionError(f"{len(answers)} answers to {len(inputs)} inputs")
        row.difference = max(row.difference, *(apart(one, two) for one, two in zip(alone, answers, strict=True)))
    row.difference = max(row.difference, apart(alone[0], again))
    if row.difference > TOLERANCE:
        raise AssertionError(f"answers of a batch differ from single ones by {row.difference:.1e}")
    if row.gives not in ("Text", "Transcript") and apart(alone[0], alone[1]) == 0:
        raise AssertionError("different inputs have the same answer")
    row.engine = _engine(accelerate, row)
    row.answers = alone


def _engine(accelerate: ipfs_accelerate_py, row: Row) -> str:
    """Runtime and precision of the type's model that is on that device."""
    runtime = {"openvino": "openvino", "llvm": "llvm"}.get(row.device, "torch")
    for each in accelerate.status()["local"]["models"]:
        if (each["name"], each["runtime"]) == (row.model_type, runtime) and (
            runtime != "torch" or each["device"].startswith(row.device)
        ):
            return f"{runtime} {each['precision']}"
    raise AssertionError(f"no model of that name is loaded on {row.device}")


def _fields(gives: str) -> set[str]:
    if gives == "Vector":
        return {"embedding"}
    return set(getattr(results, gives).__struct_fields__)


def apart(one: Any, two: Any) -> float:
    """The largest difference between numbers of two answers; infinity where they are of other shapes or words."""
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        return max((apart(one[name], two[name]) for name in one), default=0.0)
    if isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        return max((apart(left, right) for left, right in zip(one, two, strict=True)), default=0.0)
    if isinstance(one, int | float) and isinstance(two, int | float):
        return abs(one - two)
    return 0.0 if one == two else float("inf")


def _inputs(model_type: str, task: str) -> tuple[list[Any], dict[str, Any]]:
    """Three inputs of a task, of different lengths and sizes, and options."""
    takes = TASKS[task].takes
    pictures = [_picture(at, size) for at, size in enumerate(((40, 32), (32, 48), (64, 64)))]
    sounds = [_sound(at, seconds) for at, seconds in enumerate((0.5, 0.8, 0.3))]
    if task == "fill-mask":
        return ["a [MASK]", "the cat [MASK] on a b c", "b [MASK] c d"], {"top_k": 3}
    if task in ("question-answering", "document-question-answering"):
        return [{"question": "who", "context": text} for text in ("a b c", "the cat sat on a mat", "d e")], {}
    if task == "text-ranking":
        return [{"query": "a", "documents": texts} for texts in (["b", "c d e"], ["f g"], ["h", "i", "j k"])], {}
    if task == "image-text-to-text":
        return [{"image": each, "text": text} for each, text in zip(pictures, ("a", "b c", "d e f"), strict=True)], {
            **_WRITING
        }
    if task in ("zero-shot-image-classification", "zero-shot-object-detection"):
        return pictures, dict(_CHOICES)
    if task == "zero-shot-audio-classification":
        return sounds, dict(_CHOICES)
    if task == "video-classification":
        return [_film(at, frames) for at, frames in enumerate((16, 20, 12))], dict(_CHOICES)
    options: dict[str, Any] = dict(_WRITING) if TASKS[task].generates else {}
    if model_type == "mbart":
        options["tgt_lang"] = "en_XX"
    if takes == ("audio",):
        return sounds, options
    if takes == ("image",):
        return pictures, ({"threshold": 0.0} if task == "object-detection" else options)
    return ["a b", "the cat sat on a mat and more", "c d e"], options


def _picture(seed: int, size: tuple[int, int]) -> str:
    """A picture of coarse random patches: a PNG as base64."""
    import numpy as np
    from PIL import Image

    patches = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(patches).resize(size, Image.Resampling.NEAREST).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def _film(seed: int, frames: int) -> bytes:
    """An animation: a GIF file."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(seed)
    drawn = [Image.fromarray(random.integers(0, 255, (4, 4, 3), dtype=np.uint8)) for _ in range(frames)]
    first, *rest = [each.resize((32, 32), Image.Resampling.NEAREST) for each in drawn]
    out = io.BytesIO()
    first.save(out, "GIF", save_all=True, append_images=rest)
    return out.getvalue()


def _sound(seed: int, seconds: float) -> bytes:
    """A recording of noise: a WAV file at 16 kHz."""
    import numpy as np

    samples = np.random.default_rng(seed).normal(0, 6000, int(16000 * seconds)).clip(-32768, 32767).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    return out.getvalue()


def rows(root: Path, types: list[str], devices: list[str]) -> Iterator[Row]:
    """Rows of all types on all devices, each model unloaded before the next."""
    os.environ["IPFS_ACCELERATE_MODELS"] = str(root)
    os.environ["HF_HUB_OFFLINE"] = "1"
    make_models(root, types)
    for name in types:
        first: Row | None = None
        for device in devices:
            with ipfs_accelerate_py() as accelerate:
                row = examine(accelerate, name, device)
            if first is None:
                first = row
            else:
                row.compare(first)
            yield row


def main() -> int:
    """0 where all answered; the table goes to the terminal, and to a file with ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="*", default=["cpu", "openvino"])
    parser.add_argument("--types", nargs="*", default=list(mapped_models()))
    parser.add_argument("--out", default=None, help="write OUT.txt")
    parser.add_argument("--models", default=None, help="a folder to make the checkpoints in, and keep them")
    arguments = parser.parse_args()
    lines = [f"{'type':<17} {'device':<9} {'task':<31} {'result':<11} {'batch':>8} {'first':>8} {'load s':>6} engine"]
    print(lines[0], flush=True)
    answered = 0
    with tempfile.TemporaryDirectory() as temporary:
        for row in rows(Path(arguments.models or temporary), arguments.types, arguments.devices):
            answered += not row.reason
            lines.append(str(row))
            print(row, flush=True)
    count = len(arguments.types) * len(arguments.devices)
    lines.append(f"{answered} of {count} answered: sync and async, one input and several")
    print(lines[-1])
    if arguments.out:
        Path(f"{arguments.out}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if answered == count else 1


if __name__ == "__main__":
    sys.exit(main())
