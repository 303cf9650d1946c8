"""What a configuration comes to, as plain data: backends, models, aliases, keys. No secret shows in any of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.types import Priority

__all__ = ["AliasEntry", "BackendEntry", "GatewayKey", "KeyEntry", "ModelEntry"]


@dataclasses.dataclass(frozen=True)
class GatewayKey:
    """A key that clients show. ``name`` is the variable it came from, or ``config``."""

    name: str
    secret: Secret


@dataclasses.dataclass(frozen=True)
class KeyEntry:
    """A virtual key: what its holder may do, and who pays. Of the key itself there is only the SHA-256.

    Attributes:
        name: what logs, metrics and the ledger call it.
        digest: SHA-256 of the key.
        tenant: who pays; caches, budgets and the ledger keep tenants apart.
        models: names it may ask for (``openai/*`` for all of a backend); None for all.
        priority: the highest it may ask for, and what it has without asking if that is lower than NORMAL.
        expires: seconds since 1970 from which it is refused; None: never.
        limits: ``requests_per_minute``, ``tokens_per_minute``, ``max_concurrent``, and budgets under ``budgets``.
    """

    name: str
    digest: bytes = dataclasses.field(repr=False)
    tenant: str = ""
    models: frozenset[str] | None = None
    priority: Priority = Priority.HIGH
    expires: float | None = None
    limits: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    place: str = ""


@dataclasses.dataclass(frozen=True)
class BackendEntry:
    """One backend as a configuration describes it.

    ``keys`` are by name; None leaves it to the backend's own variables, and an empty mapping means that none is sent.
    """

    backend: str
    base_url: str | None = None
    keys: Mapping[str, Secret] | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    place: str = ""


@dataclasses.dataclass(frozen=True)
class ModelEntry:
    """A name that clients ask for, and the model of a backend that answers; or one target of several.

    ``options`` are of a router's `Target`: ``weight``, ``accepts_continuation``, ``context_window``, ``name``.
    ``price`` is as a `PriceBook` takes one; None for what is known of the model.
    """

    name: str
    model: str
    target: BackendEntry
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    price: Any = None


@dataclasses.dataclass(frozen=True)
class AliasEntry:
    """A name with several targets, or with others to turn to.

    ``options`` are of a router's `Alias`: ``strategy``, ``fallbacks``, ``mid_stream``, ..., and limits of time.
    ``listed`` is False for a name that only stands in for others: clients do not see it.
    """

    name: str
    targets: tuple[ModelEntry, ...]
    shadow: tuple[ModelEntry, ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    place: str = ""
    listed: bool = True
