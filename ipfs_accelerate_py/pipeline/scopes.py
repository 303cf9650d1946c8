"""Whom a limit or a budget is for: a tenant, a gateway's key, a model, or everybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.types import Call

__all__ = ["EACH", "Holder", "Scope", "Scoped", "positive", "spoken"]

#: In the place of a name: every one of them by itself.
EACH = "*"

Holder = tuple[str, str, str]
"""Tenant, caller and model that share one limit; empty where the scope does not tell them apart."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls are counted, and which of them together.

    Attributes:
        tenant, caller, model: a name (those calls and no others), ``"*"`` (all, each tenant, caller or model by
            itself), or empty (all, together). ``caller`` is the name of a gateway's key; ``model`` is what the caller
            asks for: an alias, where there are aliases.
    """

    tenant: str = ""
    caller: str = ""
    model: str = ""

    def __post_init__(self) -> None:
        for name in ("tenant", "caller", "model"):
            if not isinstance(getattr(self, name), str):
                raise ConfigurationError(f'{name} must be a name, "*" for each by itself, or "" for all together')

    def holder(self, call: Call) -> Holder | None:
        """Who the call is counted for, or None where it is not counted."""
        tenant, caller, model = self.tenant, self.caller, self.model
        if tenant == EACH:
            tenant = call.tenant
        elif tenant and tenant != call.tenant:
            return None
        if caller == EACH:
            caller = call.caller
        elif caller and caller != call.caller:
            return None
        if model:
            asked = call.alias or call.request.model
            if model == EACH:
                model = asked
            elif model != asked:
                return None
        return tenant, caller, model

    @property
    def kind(self) -> str:
        """Whose it is, in a word: "tenant", "key", "model" or "global"."""
        return "tenant" if self.tenant else "key" if self.caller else "model" if self.model else "global"

    @property
    def name(self) -> str:
        """As one word: what a limit is called that was given no name."""
        parts = [f"{name}:{value}" for name in ("tenant", "caller", "model") if (value := getattr(self, name))]
        return ",".join(parts) or "all"


class _HasScope(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def scope(self) -> Scope: ...


T = TypeVar("T", bound=_HasScope)


class Scoped(Generic[T]):
    """Things that have a scope, by name: found for a call without looking at those of other callers and tenants."""

    def __init__(self) -> None:
        self._all: dict[str, T] = {}
        self._callers: dict[str, dict[str, T]] = {}
        self._tenants: dict[str, dict[str, T]] = {}
        self._rest: dict[str, T] = {}

    def __len__(self) -> int:
        return len(self._all)

    def get(self, name: str) -> T | None:
        return self._all.get(name)

    def put(self, item: T) -> None:
        """Add it, in the place of the one of that name."""
        self.pop(item.name)
        self._all[item.name] = item
        self._group(item.scope)[item.name] = item

    def pop(self, name: str) -> T | None:
        item = self._all.pop(name, None)
        if item is not None:
            del self._group(item.scope)[name]
        return item

    def counted(self, call: Call) -> Iterator[tuple[T, Holder]]:
        """Those that count ``call``, and for whom."""
        for group in (self._rest, self._tenants.get(call.tenant), self._callers.get(call.caller)):
            if group:
                for item in group.values():
                    holder = item.scope.holder(call)
                    if holder is not None:
                        yield item, holder

    def _group(self, scope: Scope) -> dict[str, T]:
        if scope.caller and scope.caller != EACH:
            return self._callers.setdefault(scope.caller, {})
        if scope.tenant and scope.tenant != EACH:
            return self._tenants.setdefault(scope.tenant, {})
        return self._rest


def spoken(holder: Holder) -> str:
    """A holder in an error message."""
    parts = [f"{name} {value!r}" for name, value in zip(("tenant", "key", "model"), holder, strict=True) if value]
    return f" of {', '.join(parts)}" if parts else ""


def positive(name: str, value: Any, *, whole: bool = False) -> Any:
    """A number above 0, or None; anything else is a `ConfigurationError`."""
    if value is None:
        return None
    right = isinstance(value, int) or (isinstance(value, float) and (value.is_integer() or not whole))
    if isinstance(value, bool) or not right or not 0 < value < float("inf"):
        raise ConfigurationError(f"{name} must be a {'whole ' * whole}number above 0, or None, not {value!r}")
    return int(value) if whole else float(value)
