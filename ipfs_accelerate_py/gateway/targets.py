"""What answers for a name: a backend, or an alias of the router."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ipfs_accelerate_py.backends import Backend
from ipfs_accelerate_py.types import Handler

if TYPE_CHECKING:
    from ipfs_accelerate_py.router.core import AsyncRouter

__all__ = ["AliasTarget", "AnyTarget", "Target"]


class Target:
    """What answers for one name.

    Attributes:
        name: what clients call it.
        route: the handler that answers: the backend behind its pipeline.
        backend: the backend asked.
        model: the backend's own name of the model.
        dialect: the wire format that the backend speaks; bodies of that format are forwarded. None where it has none.
        operations: what the backend's dialect can say; None where it has none.
        label: what metrics call it.
        alias, rescues: see `AliasTarget`.
    """

    __slots__ = ("backend", "dialect", "label", "model", "name", "operations", "route", "stream_usage")

    alias = False
    rescues = False

    def __init__(self, name: str, backend: Backend, model: str, label: str | None = None) -> None:
        self.name = name
        self.backend = backend
        self.route: Handler = backend.__call__
        self.model = model
        self.dialect = backend.dialect_name
        dialect = backend.http.dialect if backend.http is not None else None
        self.operations = None if dialect is None else dialect.operations
        self.stream_usage = bool(getattr(dialect, "stream_usage", True))
        self.label = label or name

    @property
    def total_timeout(self) -> float | None:
        """Seconds for a whole call, read live."""
        return self.backend.settings.total_timeout


class AliasTarget:
    """A name with several targets, or with others to turn to: the router answers.

    ``rescues`` says that another target may go on with a stream that breaks; then streams are read in chunks.
    """

    __slots__ = ("_router", "label", "model", "name", "rescues", "route")

    alias = True
    backend = None
    dialect = None
    operations = None
    stream_usage = True

    def __init__(self, name: str, router: AsyncRouter, *, rescues: bool) -> None:
        self.name = self.model = self.label = name
        self.route: Handler = router.route
        self.rescues = rescues
        self._router = router

    @property
    def total_timeout(self) -> float | None:
        """Seconds for a whole call, read live."""
        return self._router.time_limit(self.name)


AnyTarget: TypeAlias = Target | AliasTarget
