"""What is configured, and where each part of it was found. Keys are spoken of by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from ipfs_accelerate_py.backends import BackendSpec, backend_names, find_backend
from ipfs_accelerate_py.cli.selection import BACKEND_VARIABLE, MODEL_VARIABLE, Connection, choose_backend, shown_address
from ipfs_accelerate_py.credentials import CREDENTIALS_FILE, Credentials
from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["configuration"]

# Each place by itself, in their order, to say which one a value came from.
_PLACES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("environment", {"dotenv_path": None, "home": None}),
    (".env", {"environ": {}, "home": None}),
    (f"~/{CREDENTIALS_FILE}", {"environ": {}, "dotenv_path": None}),
)


def configuration() -> dict[str, Any]:
    """Defaults, backends and the models on this machine, as plain data.

    Raises `ConfigurationError` where a file with keys cannot be read, or must not be trusted.
    """
    try:
        default: dict[str, Any] = {"name": choose_backend(Connection())}
    except ConfigurationError as error:
        default = {"name": None, "reason": error.message}
    model, source = _found((MODEL_VARIABLE,))
    return {
        "default_backend": {**default, "source": _found((BACKEND_VARIABLE,))[1]},
        "default_model": {"name": model, "source": source},
        "backends": [_backend(find_backend(name)) for name in backend_names()],
    }


def _backend(spec: BackendSpec) -> dict[str, Any]:
    if spec.in_process:
        return _local(spec)
    keys = Credentials().keys(None, (), spec.key_env)
    url, source = _found(spec.url_env)
    needs_key = spec.needs_key(url or spec.base_url, {})
    return {
        "name": spec.name,
        "aliases": list(spec.aliases),
        "configured": bool(keys) or (url is not None and not needs_key),
        "base_url": shown_address(url or spec.base_url),
        "base_url_source": source,
        "keys": [{"name": key.name, "source": key.source} for key in keys],
        "requires_key": needs_key,
        "variables": {"key": list(spec.key_env), "base_url": list(spec.url_env)},
    }


def _local(spec: BackendSpec) -> dict[str, Any]:
    from ipfs_accelerate_py.runtimes.models import list_models

    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    return {
        "name": spec.name,
        "aliases": list(spec.aliases),
        "configured": not missing,
        "missing": missing,
        "models": [model.name for model in list_models()],
    }


def _found(names: Sequence[str]) -> tuple[str | None, str | None]:
    """The value of the first of these variables that is set, and the place it was found in."""
    for place, restriction in _PLACES:
        value = Credentials(**restriction).value(None, (), names)
        if value is not None:
            return value, place
    return None, None
