"""A checkpoint to Transformers' model object, with everything it says on the way turned into errors or nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.runtimes.extras import lacks, require

from .base import Source
from .counting import counted

__all__ = ["attention_of", "load_model", "loading_quietly", "quiet"]

# Types whose text attends to what comes after it by ``scaled_dot_product_attention`` where nothing is filled up, and
# not where something is: Transformers leaves a causal mask out then, for a module that does not say it is causal.
_EAGER = frozenset({"aimv2", "aimv2_text_model"})

# Types whose classes load more after their weights, and take the pair of model and report for the model (Transformers
# 5.23), as classes that decide do: they are not asked for the report.
_UNREPORTED = frozenset({"qwen2_5_omni"})

# transformers' verbosity and progress bars are settings of the whole process, so one load at a time changes them.
_loading = threading.Lock()


def load_model(source: Source, dtype: str, *, trust_remote_code: bool = False, **options: Any) -> Any:
    """The model in evaluation mode, from safetensors where there are any. Nothing is downloaded.

    Raises:
        RuntimeUnavailable: weights are missing, unreadable, or not those of this model.
        MissingExtra: the model's class needs a package that is not installed.
        UnsupportedOperation: they are those of another of the type's classes.
    """
    transformers, torch = require("transformers"), require("torch")
    kind = _class_of(source)
    if (attention := attention_of(source.config)) is not None:
        options.setdefault("attn_implementation", attention)
    reports = source.auto != "AutoModelForDecision" and getattr(source.config, "model_type", "") not in _UNREPORTED
    try:
        with _loading, quiet(transformers), counted(transformers, Path(source.path)):
            model = kind.from_pretrained(
                str(source.path),
                config=source.config,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=reports,
                **options,
            )
            model, report = model if reports else (model, {"missing_keys": (), "mismatched_keys": ()})
    except ImportError as exc:
        raise lacks(f"model {source.name!r}", exc) from exc
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


def _class_of(source: Source) -> Any:
    """Transformers' class of that name; of a backbone the type's own, since AutoBackbone takes no folder: it asks the
    network for a repository of that name."""
    transformers = require("transformers")
    if source.auto != "AutoBackbone":
        return getattr(transformers, source.auto)
    named = require("transformers.models.auto.modeling_auto").MODEL_FOR_BACKBONE_MAPPING_NAMES
    return getattr(transformers, named.get(getattr(source.config, "model_type", ""), source.auto))


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
