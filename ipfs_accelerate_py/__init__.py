"""One interface to inference wherever it runs: hosted APIs, servers you run, the hardware in this machine.

::

    from ipfs_accelerate_py import Client
    client = Client("openai")
    print(client.chat("gpt-4o", "Hello").text)

Names are imported when they are first used, so that ``import ipfs_accelerate_py`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py._version import __version__

if TYPE_CHECKING:
    from ipfs_accelerate_py.backends import BackendSpec as BackendSpec
    from ipfs_accelerate_py.backends import register_backend as register_backend
    from ipfs_accelerate_py.client import AsyncClient as AsyncClient
    from ipfs_accelerate_py.endpoints import ipfs_accelerate_py as ipfs_accelerate_py
    from ipfs_accelerate_py.errors import AccelerateError as AccelerateError
    from ipfs_accelerate_py.router.core import AsyncRouter as AsyncRouter
    from ipfs_accelerate_py.router.targets import Alias as Alias
    from ipfs_accelerate_py.router.targets import Target as Target
    from ipfs_accelerate_py.settings import Settings as Settings
    from ipfs_accelerate_py.settings import Timeouts as Timeouts
    from ipfs_accelerate_py.sync import Client as Client
    from ipfs_accelerate_py.sync_router import Router as Router
    from ipfs_accelerate_py.types import Chunk as Chunk
    from ipfs_accelerate_py.types import Priority as Priority
    from ipfs_accelerate_py.types import Reply as Reply
    from ipfs_accelerate_py.types import Tensor as Tensor
    from ipfs_accelerate_py.types import Usage as Usage

_HOMES = {
    "AccelerateError": "errors",
    "Alias": "router.targets",
    "AsyncClient": "client",
    "AsyncRouter": "router.core",
    "BackendSpec": "backends",
    "Chunk": "types",
    "Client": "sync",
    "Priority": "types",
    "Reply": "types",
    "Router": "sync_router",
    "Settings": "settings",
    "Target": "router.targets",
    "Tensor": "types",
    "Timeouts": "settings",
    "Usage": "types",
    "ipfs_accelerate_py": "endpoints",
    "register_backend": "backends",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
