"""What a checkpoint is, as one key: of the bytes of its weights, its configuration, and whatever else matters."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .artifacts import cache_root, file_digest, write_whole
from .base import Source

__all__ = ["content_key", "weight_files", "weights_digest"]

# What says where a copy lies or who wrote it, and nothing about the model.
_INCIDENTAL = frozenset({"_name_or_path", "transformers_version", "_commit_hash"})


def content_key(source: Source, **parts: Any) -> str:
    """SHA-256, in hexadecimal, of the weights, the configuration, the class, and ``parts`` (versions, precision,
    shapes). Equal keys mean that the same thing would be made again."""
    said = {
        "weights": weights_digest(source.path),
        "config": _plain(source.config),
        "auto": source.auto,
        **parts,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """Files that Transformers would load weights from, and code that the checkpoint brings."""
    if folder.is_file():
        return [folder]
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    return [*weights, *sorted(folder.glob("*.py"))] if weights else []


def weights_digest(folder: Path, memory: Path | None = None) -> dict[str, str]:
    """SHA-256 by file name.

    Reading gigabytes for each load would cost seconds, so a file's digest is remembered with its size and its time of
    change. Where a folder has no weights any more, what is remembered of it counts: what was exported of them can be
    used without them.
    """
    memory = memory or cache_root() / "digests"
    remembered_at = memory / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]}.json"
    known = _remembered(remembered_at)
    files = weight_files(folder)
    if not files:
        return {name: each["sha256"] for name, each in known.items()}
    found: dict[str, dict[str, Any]] = {}
    for path in files:
        stat = path.stat()
        mark = [stat.st_size, stat.st_mtime_ns]
        old = known.get(path.name)
        digest = old["sha256"] if old and old["mark"] == mark else file_digest(path)
        found[path.name] = {"mark": mark, "sha256": digest}
    if found != known:
        with contextlib.suppress(OSError):  # a cache that cannot be written to costs time only
            write_whole(remembered_at, json.dumps({"folder": str(folder), "files": found}))
    return {name: each["sha256"] for name, each in found.items()}


def _remembered(path: Path) -> dict[str, dict[str, Any]]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {str(name): {"mark": list(each["mark"]), "sha256": str(each["sha256"])} for name, each in said.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _plain(config: Any) -> Any:
    if config is None:
        return None
    said = config.to_dict() if hasattr(config, "to_dict") else config
    return _without(said) if isinstance(said, Mapping) else said


def _without(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        str(key): _without(value) if isinstance(value, Mapping) else value
        for key, value in said.items()
        if key not in _INCIDENTAL
    }
