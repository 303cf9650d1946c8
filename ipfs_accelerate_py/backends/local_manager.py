"""One model manager for all who are told the same: clients of one process share its models and its budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py import forks
from ipfs_accelerate_py.backends.local_options import LocalOptions

if TYPE_CHECKING:
    from ipfs_accelerate_py.runtimes.serving.manager import ModelManager

__all__ = ["Held", "hold"]


class Held:
    """A share of a manager. `release` it; the last share closes the manager."""

    def __init__(self, key: Any, manager: ModelManager) -> None:
        self._key = key
        self.manager = manager
        self.users = 0

    @property
    def usable(self) -> bool:
        """Whether it belongs to this process, and not to the one that this one was forked from."""
        return bool(self._key[-1] == forks.generation())

    async def release(self) -> None:
        if not self.usable:
            return
        self.users -= 1
        if self.users == 0:
            _held.pop(self._key, None)
            await self.manager.aclose()


_held: dict[Any, Held] = {}


def hold(options: LocalOptions) -> Held:
    """A share of the manager for these options; made where there is none. Call it on the portal's or any one loop."""
    key = (*astuple(options.serving), options.folders, forks.generation())
    found = _held.get(key)
    if found is None:
        from ipfs_accelerate_py.runtimes.serving.manager import ModelManager

        found = _held[key] = Held(key, ModelManager(options.serving, find=_finder(options.folders)))
    found.users += 1
    return found


def _finder(folders: tuple[str, ...]) -> Callable[[str], Path]:
    from ipfs_accelerate_py.errors import RuntimeUnavailable
    from ipfs_accelerate_py.runtimes.extras import check_installed
    from ipfs_accelerate_py.runtimes.models import find_model

    def find(name: str) -> Path:
        try:
            found = find_model(name, folders=folders)
        except RuntimeUnavailable:
            check_installed("torch")  # without the extra that is what has to be said
            raise
        if found.suffix != ".gguf":
            check_installed("torch")
        return found

    return find
