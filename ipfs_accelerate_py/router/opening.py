"""How a router opens its targets: settings from router, alias and target, and one backend for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ipfs_accelerate_py.backends import Backend, find_backend, open_backend
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.router.routed import Routed
from ipfs_accelerate_py.router.targets import Alias, Target
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.transport import Transport

__all__ = ["ROUTER_DEFAULTS", "OpenTarget", "RouterSettings", "Targets"]

#: What differs from a client's settings: there are others to ask, so that one target is retried less.
ROUTER_DEFAULTS: dict[str, Any] = {"max_retries": 2, "initial_retry_delay": 0.5}

OpenTarget = Callable[[Target, dict[str, Any]], Backend]
"""Opens a target's backend: given the target, and its settings as router, alias and target have them."""


class RouterSettings(Settings):
    """The settings of all targets; a change goes on to those whose alias and target have no value of their own."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> RouterSettings:
        """With the router's defaults where ``told`` has none."""
        made = cls()
        made.update({**ROUTER_DEFAULTS, **told})
        made.__dict__["_told"] = dict(told)
        made.__dict__["_followers"] = []
        return made

    @property
    def told(self) -> dict[str, Any]:
        """Those that were set, at the beginning or since."""
        found: dict[str, Any] = self.__dict__["_told"]
        return found

    def follow(self, settings: Settings, own: frozenset[str]) -> None:
        """Pass changes on to ``settings``, but for those of the names in ``own``."""
        self.__dict__["_followers"].append((settings, own))

    def let_go(self, settings: Settings) -> None:
        followers = self.__dict__["_followers"]
        followers[:] = [each for each in followers if each[0] is not settings]

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        followers = self.__dict__.get("_followers")
        if followers is None:
            return  # it is being made
        self.told[name] = getattr(self, name)
        for settings, own in followers:
            if name not in own:
                setattr(settings, name, value)


class Targets:
    """The opened targets of a router. The same `Target` under the same settings is opened once."""

    def __init__(
        self,
        settings: RouterSettings,
        metadata: Mapping[str, Any] | None,
        transport: Transport | None,
        open_target: OpenTarget | None,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._metadata = metadata
        self._transport = transport
        self._open_target = open_target
        self._clock = clock
        self._opened: dict[Any, Routed] = {}

    def open(self, target: Target, alias: Alias) -> Routed:
        """The target as this alias has it. Raises `ConfigurationError` for settings that are wrong."""
        key = (id(target), _frozen(alias.settings))
        found = self._opened.get(key)
        if found is None:
            own = {**alias.settings, **target.settings}
            name, number = target.name, 2
            taken = {each.name for each in self._opened.values()}
            while name in taken:  # another key or address of the same model
                name, number = f"{target.name}#{number}", number + 1
            found = self._opened[key] = Routed(
                name,
                target,
                self._backend(target, own),
                own_settings=frozenset(own),
                closes=self._open_target is None,
                clock=self._clock,
            )
            self._settings.follow(found.backend.settings, found.own_settings)
        return found

    def _backend(self, target: Target, own: dict[str, Any]) -> Backend:
        defaults = find_backend(target.backend).defaults
        base = {name: value for name, value in ROUTER_DEFAULTS.items() if name not in defaults}
        settings = {**base, **self._settings.told, **own}
        if self._open_target is not None:
            return self._open_target(target, settings)
        return open_backend(
            target.backend,
            base_url=target.base_url,
            api_key=target.api_key,
            metadata=(target.metadata if target.metadata is not None else self._metadata) or {},
            headers=target.headers,
            transport=self._transport,
            settings=settings,
        )

    def all(self) -> list[Routed]:
        """Every opened target."""
        return list(self._opened.values())

    def renew(self) -> None:
        """Fresh state for each, in a forked child."""
        for backend in {target.backend for target in self.all()}:
            backend.renew()
        for target in self.all():
            target.reset()

    async def close_unused(self, used: Iterable[Routed]) -> None:
        """Close what is in no alias any more and answers nobody; the rest of it another time."""
        keep = set(used)
        for key, target in list(self._opened.items()):
            if target not in keep and not target.outstanding:
                del self._opened[key]
                self._settings.let_go(target.backend.settings)
                if target.closes:
                    await target.backend.aclose()

    async def aclose(self) -> None:
        """Close every backend that was opened here."""
        for target in self.all():
            if target.closes:
                await target.backend.aclose()


def _frozen(settings: Mapping[str, Any]) -> frozenset[Any]:
    try:
        return frozenset(settings.items())
    except TypeError:
        raise ConfigurationError(f"settings of an alias must be plain values: {', '.join(settings)}") from None
