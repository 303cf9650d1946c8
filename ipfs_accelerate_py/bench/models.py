"""What can be measured here: shapes of published models with random weights, and whatever models this machine has."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable

from .local import kind_of
from .local.base import Kind

__all__ = ["ALL", "Subject", "find_subject", "find_subjects", "kept"]

#: What ``all`` means: the models that the older project's guide has figures of, by their names here.
ALL = (
    *("opt-125m", "gpt2", "t5-efficient-tiny", "llava-0.5b", "clip-vit-base-patch32", "whisper-tiny"),
    *("wav2vec2-tiny", "bert-tiny", "all-MiniLM-L6-v2"),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to measure.

    Attributes:
        name: what it is called in the figures.
        kind: how it is measured.
        task: what it is asked to do.
        path: where it lies; None of a shape, which is written first.
        shape: whether its weights are random.
    """

    name: str
    kind: type[Kind]
    task: str
    path: Path | None = None
    shape: bool = False


def find_subjects(names: Sequence[str], task: str = "", folders: Sequence[str | Path] = ()) -> list[Subject]:
    """The models of these names; ``all`` is `ALL`.

    Raises:
        ConfigurationError: one of them is not here, or is nothing that is measured; with what there is.
    """
    wanted = [each for name in names for each in (ALL if name == "all" else (name,))]
    return [find_subject(name, task, folders) for name in dict.fromkeys(wanted)]


def find_subject(name: str, task: str = "", folders: Sequence[str | Path] = ()) -> Subject:
    """A shape, a model on this machine (see `find_model`), or the path of a checkpoint. Raises as `find_subjects`.

    A shape's name means the shape, whatever else is here; the path of a checkpoint is never a shape.
    """
    from ipfs_accelerate_py.runtimes.checkpoints import look_at
    from ipfs_accelerate_py.runtimes.families.shape_values import SHAPES
    from ipfs_accelerate_py.runtimes.models import find_model

    if (shape := SHAPES.get(name)) is not None:
        return Subject(name, _kind(name, [task or shape.task]), task or shape.task, shape=True)
    try:
        path = find_model(name, folders=folders)
    except RuntimeUnavailable as error:
        raise ConfigurationError(
            f"{error.message}. Models that can be measured: {', '.join(_known(folders))}"
        ) from None
    seen = look_at(path)
    tasks = [task] if task else list(seen.tasks if seen is not None else ())
    kind = _kind(name, tasks)
    chosen = next(each for each in tasks if each in kind.tasks)
    return Subject(path.name if name.startswith(("/", ".", "~")) else name, kind, chosen, path)


def _kind(name: str, tasks: Sequence[str]) -> type[Kind]:
    from .local import KINDS

    found = next((kind for task in tasks if (kind := kind_of(task)) is not None), None)
    if found is None:
        measured = ", ".join(task for kind in KINDS.values() for task in kind.tasks)
        does = ", ".join(tasks) or "nothing that its files tell (say it with --task)"
        raise ConfigurationError(f"{name!r} does {does}; what is measured is {measured}")
    return found


def _known(folders: Sequence[str | Path]) -> list[str]:
    from ipfs_accelerate_py.runtimes.models import list_models

    here = [model.name for model in list_models(folders=folders) if any(kind_of(task) for task in model.tasks)]
    return list(dict.fromkeys(["all", *ALL, *here]))


#: Changes whenever the files of a shape would be written otherwise.
_WRITTEN = 2


@contextlib.contextmanager
def kept(subject: Subject) -> Iterator[Path]:
    """Its folder. A shape is written once, into the cache (``shapes``), and stays there while it is used."""
    if subject.path is not None:
        yield subject.path
        return
    from ipfs_accelerate_py.runtimes.engines.artifacts import Artifacts
    from ipfs_accelerate_py.runtimes.families.shape_values import SHAPES
    from ipfs_accelerate_py.runtimes.families.shapes import write_shaped

    made_of = f"{subject.name} {SHAPES[subject.name]!r} {version('transformers')} {_WRITTEN}"

    def build(folder: Path) -> Mapping[str, str]:
        write_shaped(subject.name, folder)
        return {"name": subject.name}

    with Artifacts("shapes").entry(hashlib.sha256(made_of.encode()).hexdigest(), build) as entry:
        yield entry.folder
