"""`Router`: the verbs of `AsyncRouter`, for ordinary code and any number of threads."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.router.core import AsyncRouter
from ipfs_accelerate_py.router.health import Check
from ipfs_accelerate_py.router.opening import OpenTarget
from ipfs_accelerate_py.router.targets import Alias, Target
from ipfs_accelerate_py.sync_face import SyncFace, blocking, on_loop
from ipfs_accelerate_py.transport import Transport

__all__ = ["Router"]


class Router(SyncFace):
    """Several targets behind one name: where one fails, is slow or full, another one answers.

    ::

        router = Router(
            {"smart": [Target("openai", "gpt-4o"), Target("claude", "claude-sonnet-4-5"), Target("local", "...")]},
            first_content_timeout=6,
        )
        reply = router.chat("smart", "Hello")
        print(reply.backend, reply.target_model)

    Arguments, verbs, attributes and errors are those of `AsyncRouter`. May be used from any thread; after a fork the
    child begins with fresh connections and empty queues.
    """

    _client: AsyncRouter

    def __init__(
        self,
        aliases: Mapping[str, Sequence[Target] | Alias],
        *,
        strategy: str | Callable[..., Any] = "order",
        fallbacks: Mapping[str, Sequence[str]] | None = None,
        default_fallbacks: Sequence[str] = (),
        context_fallbacks: Mapping[str, Sequence[str]] | None = None,
        content_policy_fallbacks: Mapping[str, Sequence[str]] | None = None,
        mid_stream: str = "continue",
        health_check_interval: float | None = None,
        health_check: str | Check = "models",
        metadata: Mapping[str, Any] | None = None,
        transport: Transport | None = None,
        open_target: OpenTarget | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
        **settings: Any,
    ) -> None:
        self._client = AsyncRouter(
            aliases,
            strategy=strategy,
            fallbacks=fallbacks,
            default_fallbacks=default_fallbacks,
            context_fallbacks=context_fallbacks,
            content_policy_fallbacks=content_policy_fallbacks,
            mid_stream=mid_stream,
            health_check_interval=health_check_interval,
            health_check=health_check,
            metadata=metadata,
            transport=transport,
            open_target=open_target,
            clock=clock,
            draw=draw,
            **settings,
        )
        self.settings = self._client.settings
        self._generation = 0

    # --- state ---------------------------------------------------------------------------------------------------

    set_alias = blocking(AsyncRouter.set_alias)
    remove_alias = blocking(AsyncRouter.remove_alias)
    add_target = blocking(AsyncRouter.add_target)
    remove_target = blocking(AsyncRouter.remove_target)
    time_limit = on_loop(AsyncRouter.time_limit)
    reset_usage = on_loop(AsyncRouter.reset_usage)
    snapshot = on_loop(AsyncRouter.snapshot)
    close = blocking(AsyncRouter.aclose)

    @property
    def asynchronous(self) -> AsyncRouter:
        """The asynchronous router behind this one; its calls belong on the portal's loop."""
        return self._client

    def __enter__(self) -> Router:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Router({', '.join(self._client.aliases)})"

    def _renew(self) -> None:
        self._client.renew()
