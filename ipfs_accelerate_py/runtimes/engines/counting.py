"""How far the reading of a checkpoint's weights is, told while Transformers reads them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.runtimes.progress import tell

__all__ = ["counted"]

#: What Transformers calls the bar of this loop (``core_model_loading``); other bars are let be.
_BAR = "Loading weights"
#: Most pieces of news about one model.
_NEWS = 100


@contextlib.contextmanager
def counted(transformers: Any, folder: Path) -> Iterator[None]:
    """While inside, ``loading`` is told with the bytes read so far of those in the folder's files.

    By the share of tensors that are there, as tensors are converted in any order; where this version of Transformers
    has no hook for it, nothing is told. The hook is one for the process: one load at a time.
    """
    place = getattr(transformers.utils.logging, "set_tqdm_hook", None)
    total = sum(each.stat().st_size for each in folder.glob("*.safetensors")) if folder.is_dir() else 0
    if place is None or not total:
        yield
        return

    def hook(factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args and kwargs.get("desc") == _BAR:
            args = (_told(list(args[0]), total), *args[1:])
        return factory(*args, **kwargs)

    before = place(hook)
    try:
        yield
    finally:
        place(before)


def _told(tensors: list[Any], total: int) -> Iterator[Any]:
    often = max(1, len(tensors) // _NEWS)
    for at, each in enumerate(tensors, 1):
        yield each
        if at % often == 0 or at == len(tensors):
            tell("loading", total * at // len(tensors), total)
