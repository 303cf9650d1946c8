"""The policies that stand in front of all targets, and are there only where somebody asks for them.

They can come and go while calls are under way: a call goes through those that were there when it came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.types import Handler

__all__ = ["ORDER", "PolicyMaker", "Stack"]

#: Outermost first. A hit must not spend a token, so caches are outside the limits; merged work is asked for as one
#: call, so batching is inside them; and the second attempt of a hedged call is no second call to anybody outside.
ORDER = ("tracing", "exact_cache", "semantic_cache", "single_flight", "limits", "batching", "hedging")

PolicyMaker: TypeAlias = Callable[[Handler], Handler]


class Stack:
    """Optional policies around ``inner``, in their one order."""

    def __init__(self, inner: Handler, makers: dict[str, PolicyMaker] | None = None) -> None:
        """``makers`` are those of another stack, whose policies are made anew here (in a forked child)."""
        self._inner = inner
        self._makers: dict[str, PolicyMaker] = dict(makers or {})
        self._policies: dict[str, Any] = {}
        #: What a call is given to.
        self.handler: Handler = inner
        self._rebuild()

    @property
    def makers(self) -> dict[str, PolicyMaker]:
        return self._makers

    def install(self, name: str, make: PolicyMaker) -> Any:
        """Put a policy in its place, or another one in the place of the one that is there; gives the policy.

        ``make`` is called with the handler inside, and again whenever what is inside changes: what a policy must keep
        across that (a cache's contents) belongs to an object of its own that ``make`` hands to it.
        """
        if name not in ORDER:
            raise ConfigurationError(f"there is no policy {name!r}; there are: {', '.join(ORDER)}")
        self._makers[name] = make
        self._rebuild()
        return self._policies[name]

    def remove(self, name: str) -> None:
        """Take a policy out; harmless where there is none."""
        if self._makers.pop(name, None) is not None:
            self._rebuild()

    def get(self, name: str) -> Any:
        """The policy of that name, or None."""
        return self._policies.get(name)

    def _rebuild(self) -> None:
        handler = self._inner
        policies = {}
        for name in reversed(ORDER):
            make = self._makers.get(name)
            if make is not None:
                handler = policies[name] = make(handler)
        self._policies = policies
        self.handler = handler
