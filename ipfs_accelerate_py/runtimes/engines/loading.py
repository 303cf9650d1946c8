"""A checkpoint to Transformers' model object, with everything it says on the way turned into errors or nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.runtimes.extras import require

from .base import Source
from .counting import counted

__all__ = ["attention_of", "load_model", "loading_quietly", "quiet"]

# Types whose text attends to what comes after it by ``scaled_dot_product_attention`` where nothing is filled up, and
# not where something is: Transformers leaves a causal mask out then, for a module that does not say it is causal.
_EAGER = frozenset({"aimv2", "aimv2_text_model"})

# transformers' verbosity and progress bars are settings of the whole process, so one load at a time changes them.
_loading = threading.Lock()


def load_model(source: Source, dtype: str, *, trust_remote_code: bool = False, **options: Any) -> Any:
    """The model in evaluation mode, from safetensors where there are any. Nothing is downloaded.

    Raises:
        RuntimeUnavailable: weights are missing, unreadable, or not those of this model.
        UnsupportedOperation: they are those of another of the type's classes.
    """
    transformers, torch = require("transformers"), require("torch")
    kind = getattr(transformers, source.auto)
    if (attention := attention_of(source.config)) is not None:
        options.setdefault("attn_implementation", attention)
    try:
        with _loading, quiet(transformers), counted(transformers, Path(source.path)):
            model, report = kind.from_pretrained(
                str(source.path),
                config=source.config,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                **options,
            )
    except Exception as exc:  # files of others, read by code of others: any of it may raise anything
        raise RuntimeUnavailable(f"model {source.name!r} cannot be loaded: {exc}") from exc
    missing = sorted(key for key in report["missing_keys"] if "pooler." not in key)
    if missing or report["mismatched_keys"]:
        wrong = missing or [str(each) for each in report["mismatched_keys"]]
        # Of another head than the checkpoint was saved with, that is a wrong question; of its own, a broken file.
        own = type(model).__name__ in (getattr(source.config, "architectures", None) or ())
        raise (RuntimeUnavailable if own else UnsupportedOperation)(
            f"model {source.name!r} cannot be loaded: its weights lack {len(wrong)} tensors that {kind.__name__} has, "
            f"{wrong[0]} for one; it was not made for this task"
        )
    return model.eval()


def attention_of(config: Any) -> str | None:
    """The implementation of attention that a type needs to answer alike alone and in a batch; None for any."""
    return "eager" if getattr(config, "model_type", None) in _EAGER else None


@contextlib.contextmanager
def loading_quietly() -> Iterator[None]:
    """One load at a time, and nothing on standard error."""
    with _loading, quiet(require("transformers")):
        yield


@contextlib.contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Without transformers' progress bars and load reports on standard error; what matters in them is raised."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
