"""`AsyncRouter`: several targets behind one name, for asyncio."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.calls import Maker
from ipfs_accelerate_py.errors import ConfigurationError, ModelNotFound
from ipfs_accelerate_py.features import Features
from ipfs_accelerate_py.live import LiveSettings
from ipfs_accelerate_py.pipeline.stack import PolicyMaker, Stack
from ipfs_accelerate_py.pipeline.usage import UsagePolicy, UsageTotals
from ipfs_accelerate_py.router.aliases import AliasState, Fallbacks, as_alias
from ipfs_accelerate_py.router.health import Check, HealthChecks
from ipfs_accelerate_py.router.opening import OpenTarget, RouterSettings, Targets
from ipfs_accelerate_py.router.route import Route
from ipfs_accelerate_py.router.shadow import Shadows
from ipfs_accelerate_py.router.state import RouterState
from ipfs_accelerate_py.router.strategies import make_strategy
from ipfs_accelerate_py.router.targets import STRATEGIES, Alias, Target
from ipfs_accelerate_py.settings import MID_STREAM
from ipfs_accelerate_py.transport import Transport
from ipfs_accelerate_py.types import Call, ModelInfo, Operation, Reply
from ipfs_accelerate_py.verbs import AsyncVerbs

__all__ = ["AsyncRouter"]


class AsyncRouter(RouterState, AsyncVerbs, Features, LiveSettings):
    """Several targets behind one name: where one fails, is slow or full, another one answers.

    ::

        router = AsyncRouter(
            {"smart": [Target("openai", "gpt-4o"), Target("claude", "claude-sonnet-4-5"), Target("local", "...")]},
            first_content_timeout=6,
        )
        reply = await router.chat("smart", "Hello")
        print(reply.backend, reply.target_model)

    Args:
        aliases: the names that can be asked for, each a list of `Target` or an `Alias`.
        strategy: how a target is chosen where an alias does not say: "order", "weighted", "least-busy", "latency",
            "cost", "headroom", or a function (docs/routing.md).
        fallbacks: by alias, the aliases to turn to when all its targets have failed.
        default_fallbacks: the same for aliases that have none of their own.
        context_fallbacks: by alias, those for requests that do not fit into the context.
        content_policy_fallbacks: by alias, those for requests that the provider's content policy refuses.
        mid_stream: what becomes of a stream that breaks after its first content; see `Alias`.
        health_check_interval: seconds between active checks of every target; None: none are made.
        health_check: what is asked then: "models", "chat", or a function that gives a request for a target.
        metadata: keys and URLs for targets that have no ``metadata`` of their own.
        transport: another transport than our own, for all targets.
        open_target: opens a target's backend in another way; what it opens, the router does not close.
        clock: for what the router measures and decides, in the seconds of `time.monotonic`.
        draw: chance, a number in [0, 1).
        settings: any setting of `Settings`, for all targets: those of an alias go before them, those of a target before
            these, and those of a call before all. Each is also a live attribute of the router. A router's targets are
            retried less than a client's (``max_retries=2``, ``initial_retry_delay=0.5``): there are others to ask.

    Verbs and options of calls are those of `AsyncClient`, with an alias in the place of the model. Raises
    `ConfigurationError` for names that are none and for fallbacks that go in a circle. A call for an unknown alias
    raises `ModelNotFound`; one that nobody answers, the first target's error, with ``fallbacks`` for what others said.
    """

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
        if isinstance(strategy, str) and strategy not in STRATEGIES:
            raise ConfigurationError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
        if mid_stream not in MID_STREAM:
            raise ConfigurationError(f"mid_stream must be one of {', '.join(MID_STREAM)}, not {mid_stream!r}")
        if not isinstance(aliases, Mapping) or not aliases:
            raise ConfigurationError('a router needs aliases: {"smart": [Target("openai", "gpt-4o"), ...]}')
        self._strategy = strategy
        self._mid_stream = mid_stream
        self._fallbacks = Fallbacks(fallbacks, default_fallbacks, context_fallbacks, content_policy_fallbacks)
        self._clock = clock
        self._draw = draw
        self.settings = shared = RouterSettings.of(settings)
        self._targets = Targets(shared, metadata, transport, open_target, clock)
        self._shadows = Shadows(draw=draw, clock=clock)
        self._health: HealthChecks | None = None
        if health_check_interval is not None:
            self._health = HealthChecks(health_check_interval, health_check, self._targets.all, draw=draw)
        self._configs = {name: as_alias(name, given) for name, given in aliases.items()}
        self._front: Stack
        self._usage: UsagePolicy
        self._build({})
        self._aliases: dict[str, AliasState] = self._opened(self._configs)
        if any(config.hedge is not None for config in self._configs.values()):
            self.enable_hedging(None)

    def _build(self, makers: dict[str, PolicyMaker]) -> None:
        self._front = Stack(self.route, makers)
        self._usage = UsagePolicy(self._front, UsageTotals())

    def _opened(self, configs: Mapping[str, Alias]) -> dict[str, AliasState]:
        made = {}
        for name, config in configs.items():
            made[name] = AliasState(
                name,
                config,
                [self._targets.open(target, config) for target in config.targets],
                [self._targets.open(target, config) for target in config.shadow],
                make_strategy(config.strategy or self._strategy, self._estimate, self._draw),
                config.mid_stream or self._mid_stream,
            )
        self._fallbacks.link(made)
        return made

    def _estimate(self, call: Call, backend: str, model: str) -> float | None:
        pricer = self._usage.pricer
        return None if pricer is None else pricer.estimate(call, backend, model)

    # --- calls ---------------------------------------------------------------------------------------------------

    def send(self, call: Call) -> Awaitable[Reply]:
        """A prepared `Call`, with an alias as its model."""
        return self._usage(call)

    async def route(self, call: Call) -> Reply:
        """The same without the policies in front: for a front that serves more than this router (the gateway's)."""
        if call.operation is Operation.MODELS:
            return Reply(models=[ModelInfo(name, "router") for name in self.aliases])
        alias = self.aliases.get(call.request.model)
        if alias is None:
            raise self._unknown(call.request.model)
        if self._health is not None:
            self._health.start()
        if alias.shadows:
            self._shadows.send(alias, call, self.time_limit(alias.name))
        route = Route(alias, call, self._clock)
        reply = await route.open()
        if reply.stream is not None and call.mid_stream != "error":
            # Where it is the alias that says "error", `collect` may yet say otherwise.
            from ipfs_accelerate_py.router.mid_stream import protect

            return protect(reply, route)
        return reply

    def _unknown(self, name: str) -> ModelNotFound:
        shown = name if len(name) <= 200 else name[:200] + "..."
        return ModelNotFound(
            f"there is no alias {shown!r}; the aliases are: {', '.join(self.aliases)}", status=404, param="model"
        )

    def _call(self, operation: Operation, options: dict[str, Any], request: Maker, *, stream: bool = False) -> Call:
        told = "timeout" in options or "total_timeout" in options
        call = super()._call(operation, options, request, stream=stream)
        alias = self.aliases.get(call.request.model)
        if not told and alias is not None and alias.total_timeout is not ...:
            limit = alias.total_timeout
            call.deadline = None if limit is None else time.monotonic() + limit
        return call

    # --- state ---------------------------------------------------------------------------------------------------

    @property
    def front(self) -> Stack:
        return self._front

    @property
    def usage_policy(self) -> UsagePolicy:
        return self._usage

    async def set_alias(self, name: str, alias: Alias | Sequence[Target]) -> None:
        """Add an alias, or put another one in its place; calls under way go on as they began.

        Nothing is changed where the new one is wrong. Targets that are in no alias any more are closed when the last
        of their calls is over.
        """
        await self._replace({**self._configs, name: as_alias(name, alias)})

    async def remove_alias(self, name: str) -> None:
        """Take an alias out. Raises `ConfigurationError` where another one falls back on it."""
        self._config(name)
        await self._replace({each: config for each, config in self._configs.items() if each != name})

    async def add_target(self, alias: str, target: Target) -> None:
        """Add a target to an alias, as the last of its order."""
        config = self._config(alias)
        await self._replace({**self._configs, alias: config.with_targets([*config.targets, target])})

    async def remove_target(self, alias: str, target: str) -> None:
        """Take the target of that name (`Target.name`) out of an alias; calls that it is answering finish."""
        config = self._config(alias)
        left = [each for each in config.targets if each.name != target]
        if len(left) == len(config.targets):
            names = ", ".join(each.name for each in left)
            raise ConfigurationError(f"{alias!r} has no target {target!r}; its targets are: {names}")
        await self._replace({**self._configs, alias: config.with_targets(left)})

    def _config(self, alias: str) -> Alias:
        found = self._configs.get(alias)
        if found is None:
            raise ConfigurationError(f"there is no alias {alias!r}; the aliases are: {', '.join(self._configs)}")
        return found

    async def _replace(self, configs: dict[str, Alias]) -> None:
        made = self._opened(configs)
        for name, config in configs.items():
            if self._configs.get(name) is config:  # it keeps the state of its strategy and sessions
                made[name].strategy, made[name].sessions = self.aliases[name].strategy, self.aliases[name].sessions
                made[name].broken = self.aliases[name].broken
        self._configs, self._aliases = configs, made
        if self._front.get("hedging") is None and any(config.hedge is not None for config in configs.values()):
            self.enable_hedging(None)
        await self._targets.close_unused(
            {target for alias in made.values() for target in (*alias.targets, *alias.shadows)}
        )

    def renew(self) -> None:
        """Start with fresh state: in a forked child, what the parent had in flight is not ours to wait for."""
        usage = self._usage
        self._targets.renew()
        self._shadows.reset()
        if self._health is not None:
            self._health.forget()
        self._build(self._front.makers)
        self._usage.observers, self._usage.pricer = usage.observers, usage.pricer
        self._aliases = self._opened(self._configs)

    async def aclose(self) -> None:
        """End health checks and shadow traffic, and close the connections. The router may be used again."""
        await self.close_caches()
        if self._health is not None:
            await self._health.aclose()
        await self._shadows.aclose()
        await self._targets.aclose()
        await self.flush_ledger()

    async def __aenter__(self) -> AsyncRouter:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.aliases)})"
