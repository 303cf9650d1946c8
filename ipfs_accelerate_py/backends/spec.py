"""A backend is a row of data. Adding a service that speaks a known dialect takes a row and no code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ipfs_accelerate_py.dialects.base import Dialect
from ipfs_accelerate_py.dialects.openai import OpenAIDialect
from ipfs_accelerate_py.errors import ConfigurationError, UnknownBackend

__all__ = ["BackendSpec", "backend_names", "find_backend", "register_backend"]


@dataclass(frozen=True)
class BackendSpec:
    """One service.

    Attributes:
        name: what callers and configuration call it.
        dialect: makes the translation to its wire format; None for a backend that runs in this process.
        base_url: where it is unless the caller, metadata or environment say otherwise.
        key_metadata, url_metadata: names in a metadata dictionary, the first that is set counts.
        key_env, url_env: environment variables, the first that is set counts; keys also as ``NAME_1`` and so on.
        requires_key: whether a call without a key is refused before it is sent.
        key_header, key_prefix: how a key is sent.
        headers: sent with each request.
        aliases: other names it is known by.
        defaults: settings that differ for this service.
    """

    name: str
    dialect: Callable[[], Dialect] | None = OpenAIDialect
    base_url: str = ""
    key_metadata: tuple[str, ...] = ()
    key_env: tuple[str, ...] = ()
    url_metadata: tuple[str, ...] = ()
    url_env: tuple[str, ...] = ()
    requires_key: bool = True
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    headers: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


_ROWS = [
    BackendSpec(
        "openai",
        base_url="https://api.openai.com/v1",
        key_metadata=("openai_api_key",),
        key_env=("OPENAI_API_KEY",),
        url_metadata=("openai_base_url",),
        url_env=("OPENAI_BASE_URL",),
        aliases=("openai_api",),
    ),
    BackendSpec(
        "groq",
        base_url="https://api.groq.com/openai/v1",
        key_metadata=("groq_api_key",),
        key_env=("GROQ_API_KEY",),
        url_metadata=("groq_base_url",),
        url_env=("GROQ_BASE_URL",),
    ),
    BackendSpec(
        "llvm",
        base_url="http://localhost:8000/v1",
        key_metadata=("llvm_api_key",),
        key_env=("LLVM_API_KEY",),
        url_metadata=("llvm_endpoint", "llvm_api_endpoint"),
        url_env=("LLVM_API_ENDPOINT",),
        requires_key=False,
        aliases=("vllm", "hosted_vllm", "llamacpp"),
    ),
    BackendSpec(
        "local",
        dialect=None,
        requires_key=False,
        # The runtime batches what arrives together, so callers must arrive together.
        defaults={"max_concurrent_requests": 256, "queue_size": 10_000, "max_retries": 0},
    ),
]
_specs: dict[str, BackendSpec] = {}


def register_backend(spec: BackendSpec) -> None:
    """Add a row, or replace the one of that name. Aliases must not take another row's name."""
    for name in (spec.name, *spec.aliases):
        owner = _specs.get(name)
        if owner is not None and owner.name != spec.name:
            raise ConfigurationError(f"the backend name {name!r} already belongs to {owner.name!r}")
    for name in (spec.name, *spec.aliases):
        _specs[name] = spec


def find_backend(name: str) -> BackendSpec:
    """The row of that name or alias; `UnknownBackend` lists those there are."""
    spec = _specs.get(name)
    if spec is None:
        raise UnknownBackend(f"there is no backend {name!r}; the backends are: {', '.join(backend_names())}")
    return spec


def backend_names() -> list[str]:
    """Every backend's own name."""
    return sorted({spec.name for spec in _specs.values()})


for _row in _ROWS:
    register_backend(_row)
