"""Targets and aliases: what a router is made of, as its user writes it. Plain data, checked when it is made."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.backends import find_backend
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.settings import MID_STREAM

__all__ = ["STRATEGIES", "Alias", "Target"]

#: How a target is chosen; see docs/routing.md.
STRATEGIES = ("order", "weighted", "least-busy", "latency", "cost", "headroom")


class Target:
    """One model of one backend that may answer for an alias.

    Args:
        backend: name of a backend, as for `Client`.
        model: the backend's own name of the model.
        base_url, api_key, metadata, headers: as for `Client`.
        weight: share of the calls, for the strategy "weighted".
        accepts_continuation: whether the model goes on where a last message of the assistant ends. None: as is known
            of the backend (docs/routing.md has the list); a target that is not known to accept it is never asked to.
        context_window: tokens that fit into the model's context, for fallbacks to a larger one; None: not known.
        name: what logs and metrics call it; else ``backend/model``.
        settings: any setting of `Settings`, limits of time among them, and the options of the backend; they go before
            those of alias and router.
    """

    __slots__ = (
        "accepts_continuation", "api_key", "backend", "base_url", "context_window", "headers", "metadata", "model",
        "name", "settings", "weight",
    )  # fmt: skip

    def __init__(
        self,
        backend: str,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        weight: float = 1.0,
        accepts_continuation: bool | None = None,
        context_window: int | None = None,
        name: str = "",
        **settings: Any,
    ) -> None:
        find_backend(backend)  # a wrong name is told of here
        if not isinstance(model, str) or not model:
            raise ConfigurationError(f"a target needs the name of a model, not {model!r}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise ConfigurationError(f"weight must be a number of at least 0, not {weight!r}")
        self.backend = backend
        self.model = model
        self.base_url = base_url
        self.api_key = api_key
        self.metadata = metadata
        self.headers = headers
        self.weight = float(weight)
        self.accepts_continuation = accepts_continuation
        self.context_window = context_window
        self.name = name or f"{backend}/{model}"
        self.settings: dict[str, Any] = settings

    def __repr__(self) -> str:
        # Without keys and headers.
        return f"Target({self.backend!r}, {self.model!r})"


class Alias:
    """A name with several targets, and how they are used; `Router` makes one of a plain list of targets.

    Args:
        targets: in the order of preference.
        strategy: one of `STRATEGIES`; or a callable that orders candidates (docs/routing.md).
        fallbacks: aliases to turn to when every target has failed.
        context_fallbacks: aliases for requests that do not fit into the context.
        content_policy_fallbacks: aliases for requests that the provider's content policy refuses.
        mid_stream: what happens to a stream that breaks after its first content, when another target can be asked.
            "continue": the other one goes on, where it is known to accept that or where its answer begins with what
            was delivered already; else the stream ends in its error. "restart": the same, but instead of the error a
            chunk with ``restart`` says that the answer begins anew. "error": always the error. (``collect()``, which
            shows nobody the pieces, restarts always.)
        sticky: calls with the same ``session`` stay with one target as long as it is well.
        shadow: targets that get a copy of a call, whose answer nobody waits for; of a share of all (``shadow_share``).
        hedge: seconds after which a second attempt is begun, or "p95" for what is measured; None: never.
        settings: limits of time and other settings for all its targets.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        strategy: str | Callable[..., Any] | None = None,
        fallbacks: Sequence[str] = (),
        context_fallbacks: Sequence[str] = (),
        content_policy_fallbacks: Sequence[str] = (),
        mid_stream: str | None = None,
        sticky: bool = False,
        shadow: Sequence[Target] = (),
        shadow_share: float = 1.0,
        hedge: float | str | None = None,
        **settings: Any,
    ) -> None:
        if not targets:
            raise ConfigurationError("an alias needs at least one target")
        if isinstance(strategy, str) and strategy not in STRATEGIES:
            raise ConfigurationError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
        if mid_stream is not None and mid_stream not in MID_STREAM:
            raise ConfigurationError(f"mid_stream must be one of {', '.join(MID_STREAM)}, not {mid_stream!r}")
        self.targets = list(targets)
        self.strategy = strategy
        self.fallbacks = list(fallbacks)
        self.context_fallbacks = list(context_fallbacks)
        self.content_policy_fallbacks = list(content_policy_fallbacks)
        self.mid_stream = mid_stream
        self.sticky = sticky
        self.shadow = list(shadow)
        self.shadow_share = shadow_share
        self.hedge = hedge
        self.settings: dict[str, Any] = settings

    def with_targets(self, targets: Sequence[Target]) -> Alias:
        """The same with other targets. Raises `ConfigurationError` where there are none."""
        if not targets:
            raise ConfigurationError("an alias needs at least one target")
        made = copy.copy(self)
        made.targets = list(targets)
        return made
