"""Imports of the optional ``local`` extra, made only when a model is really loaded."""

from __future__ import annotations

import importlib
from typing import Any

from ipfs_accelerate_py.errors import MissingExtra

__all__ = ["require"]


def require(module: str) -> Any:
    """The imported ``module``.

    Called inside functions only, so that importing the package costs nothing and works without the extra.

    Raises:
        MissingExtra: the module, or something that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        missing = exc.name or module
        raise MissingExtra(
            f'local models need {missing!r}, which is not installed: pip install "ipfs-accelerate-py[local]"'
        ) from exc
