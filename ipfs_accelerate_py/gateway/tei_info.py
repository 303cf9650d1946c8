"""What TEI's ``/info`` says of a model, as far as its files tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ipfs_accelerate_py._version import __version__
from ipfs_accelerate_py.backends.local import LocalBackend
from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.models import find_model

__all__ = ["describe"]

#: What a gateway takes at once; a model's own batches are formed behind it.
_CALLS = 1000
_BATCH = 2048


def describe(local: LocalBackend | None, model: str) -> dict[str, Any]:
    """Fields of ``/info`` beside the names. Reads the model's small files."""
    found: dict[str, Any] = {
        "model_sha": None,
        "model_dtype": "float32",
        "model_type": {"embedding": {"pooling": "mean"}},
        "max_concurrent_requests": _CALLS,
        "max_input_length": 512,
        "max_batch_tokens": _BATCH,
        "max_batch_requests": None,
        "max_client_batch_size": _BATCH,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": __version__,
        "sha": None,
        "docker_label": None,
    }
    if local is None:
        return found
    try:
        path = find_model(model, folders=local.options.folders)
    except RuntimeUnavailable:
        return found
    config = _config(path)
    found["max_input_length"] = next(
        (value for name in ("max_position_embeddings", "n_positions") if isinstance(value := config.get(name), int)),
        512,
    )
    if any("SequenceClassification" in str(each) for each in config.get("architectures") or ()):
        labels = {str(number): str(label) for number, label in (config.get("id2label") or {"0": "LABEL_0"}).items()}
        kind = "reranker" if len(labels) == 1 else "classifier"
        found["model_type"] = {
            kind: {"id2label": labels, "label2id": {label: int(number) for number, label in labels.items()}}
        }
    if local.loaded:
        for facts in local.manager.loaded():
            if facts.name == model:
                found["model_dtype"] = facts.precision
    return found


def _config(path: Path) -> dict[str, Any]:
    for file in (path / "config.json", path / "0_Transformer" / "config.json"):
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(config, dict):
            return config
    return {}
