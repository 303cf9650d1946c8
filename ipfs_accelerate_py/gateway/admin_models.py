"""``/admin/models``: which models this machine has loaded; loading and unloading them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.gateway.table import not_found

if TYPE_CHECKING:
    from ipfs_accelerate_py.backends.local import LocalBackend
    from ipfs_accelerate_py.gateway.table import ModelTable

__all__ = ["ModelAdmin"]

logger = logging.getLogger(__name__)
_FIELDS = {"model": str, "task": str, "pin": bool, "wait": bool}


class ModelAdmin:
    """The handlers. ``aclose`` it: loadings that nobody waits for are its own."""

    def __init__(self, table: ModelTable) -> None:
        self._table = table
        self._loading: set[asyncio.Task[Any]] = set()

    async def list(self, query: dict[str, str]) -> Any:
        """What is loaded, how far loadings are, and what could be loaded."""
        backends = self._table.local_backends()
        loaded = [msgspec.to_builtins(facts) for local in backends for facts in local.manager.loaded()]
        progress = [
            {"name": each.name, "phase": each.phase, "done": each.done, "total": each.total, "error": each.error}
            for local in backends
            for each in local.manager.progress()
        ]
        return {
            "loaded": _once(loaded),
            "loading": _once(progress),
            "available": self._table.local,
            "memory": [local.manager.snapshot() for local in backends],
        }

    async def load(self, body: dict[str, Any]) -> Any:
        """``{"model": ..., "task": ..., "pin": true, "wait": false}``; `list` tells how far it is."""
        local, name = self._find(body)
        loading = local.load(name, body.get("task", ""), pin=body.get("pin", False))
        if body.get("wait", True):
            return {"loaded": msgspec.to_builtins(await loading)}
        task = asyncio.get_running_loop().create_task(_logged(name, loading))
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)
        return {"loading": name}

    async def unload(self, body: dict[str, Any]) -> Any:
        """``{"model": ...}``: when its calls have ended."""
        local, name = self._find(body)
        return {"unloaded": await local.unload(name)}

    async def aclose(self) -> None:
        for task in self._loading:
            task.cancel()
        await asyncio.gather(*self._loading, return_exceptions=True)

    def _find(self, body: dict[str, Any]) -> tuple[LocalBackend, str]:
        wrong = [name for name, value in body.items() if type(value) is not _FIELDS.get(name)]
        if wrong or not body.get("model"):
            text = "The body must have a 'model', and may have 'task' (texts), 'pin' and 'wait' (true or false)."
            raise bad_request(text, "invalid_value", wrong[0] if wrong else "model")
        target = self._table.find(body["model"])
        if target is None or target.backend is None or target.backend.local is None:
            raise not_found(body["model"])
        return target.backend.local, target.model


async def _logged(name: str, loading: Any) -> None:
    try:
        await loading
    except AccelerateError as error:
        logger.warning("loading %s: %s", name, error)


def _once(items: list[Any]) -> list[Any]:
    """Backends that share a manager tell the same."""
    return [item for at, item in enumerate(items) if item not in items[:at]]
