"""A backend is a row of data. Adding a service that speaks a known dialect takes a row and no code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ipfs_accelerate_py.dialects.base import Dialect, DialectFactory
from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
from ipfs_accelerate_py.errors import ConfigurationError, UnknownBackend
from ipfs_accelerate_py.types import Call, Reply

__all__ = ["BackendSpec", "Option", "Service", "backend_names", "find_backend", "register_backend"]


def openai_dialect(base_url: str, options: Mapping[str, Any]) -> Dialect:
    """OpenAI's format; the option ``stream_usage`` is off for servers that refuse ``stream_options``."""
    return OpenAIDialect(stream_usage=bool(options.get("stream_usage", True)))


def in_key_header(spec: BackendSpec, secret: str | None, options: Mapping[str, Any]) -> dict[str, str]:
    """A key in the row's own header, after its prefix."""
    return {} if secret is None else {spec.key_header: spec.key_prefix + secret}


@dataclass(frozen=True)
class Option:
    """Something a service can be told that is no setting of the pipeline: a version, a default model.

    It is given to `Client` by its name, or else found in the metadata or environment under one of these names. A
    ``secret`` one becomes a `Secret`, which nothing prints.
    """

    name: str
    default: Any = None
    metadata: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    secret: bool = False


class Service(Protocol):
    """The innermost handler of a service that is not asked by a dialect over HTTP."""

    async def __call__(self, call: Call) -> Reply: ...
    def snapshot(self) -> dict[str, Any]: ...
    def aclose(self) -> Awaitable[None]: ...


@dataclass(frozen=True)
class BackendSpec:
    """One service.

    Attributes:
        name: what callers and configuration call it.
        dialect: makes the translation to its wire format from the base URL and the options.
        service: makes a handler of its own in the place of dialect and transport (models in this process, a store of
            objects); where it answers None, dialect and transport it is.
        base_url: where it is unless the caller, metadata or environment say otherwise.
        normalize_url: makes a base URL of what people write in its place.
        key_metadata, url_metadata: names in a metadata dictionary, the first that is set counts.
        key_env, url_env: environment variables, the first that is set counts; keys also as ``NAME_1`` and so on.
        requires_key: whether a call without a key is refused before it is sent.
        key_needed: the same for one address, for services that need one at their own address and nowhere else.
        in_process: it has neither URL nor key, for it runs here.
        store: it keeps objects and answers no prompts, so it is never chosen because it is configured.
        key_header, key_prefix: how a key is sent.
        authorize: makes the headers that carry the key, where they are more than that one.
        headers: sent with each request.
        options: what the service can be told beside settings.
        aliases: other names it is known by.
        defaults: settings that differ for this service.
    """

    name: str
    dialect: DialectFactory = openai_dialect
    service: Callable[[BackendSpec, str, Mapping[str, Any]], Service | None] | None = None
    base_url: str = ""
    normalize_url: Callable[[str], str] = str
    key_metadata: tuple[str, ...] = ()
    key_env: tuple[str, ...] = ()
    url_metadata: tuple[str, ...] = ()
    url_env: tuple[str, ...] = ()
    requires_key: bool = True
    key_needed: Callable[[str, Mapping[str, Any]], bool] | None = None
    in_process: bool = False
    store: bool = False
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    authorize: Callable[[BackendSpec, str | None, Mapping[str, Any]], dict[str, str]] = in_key_header
    headers: Mapping[str, str] = field(default_factory=dict)
    options: tuple[Option, ...] = ()
    aliases: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def needs_key(self, base_url: str, options: Mapping[str, Any]) -> bool:
        """Whether a call to this address without a key is refused before it is sent."""
        return self.requires_key and (self.key_needed is None or self.key_needed(base_url or self.base_url, options))


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
