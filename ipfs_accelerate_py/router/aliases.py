"""Aliases as a router has them: their targets opened, and whom to turn to when these fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.router.loops import check_fallbacks
from ipfs_accelerate_py.router.routed import Routed
from ipfs_accelerate_py.router.sticky import Sessions
from ipfs_accelerate_py.router.strategies import Strategy
from ipfs_accelerate_py.router.targets import Alias, Target

__all__ = ["AliasState", "Fallbacks", "as_alias"]


class AliasState:
    """One alias, opened.

    Attributes:
        config: as it was configured.
        targets: opened, in the order of preference; ``shadows`` are those that get copies.
        path: this alias and those it falls back on, in the order in which they are turned to; ``chain`` are all their
            targets, each once.
        larger, policy: aliases for what does not fit into the context, and for what a content policy refuses.
        broken: streams that broke after their first content, by what became of them: "continued" (nobody saw it),
            "restarted" or "failed".
        mid_stream: what becomes of a stream that breaks. total_timeout: the alias's own, None for no limit, `...` where
            the router's holds.
    """

    __slots__ = (
        "broken", "chain", "config", "larger", "mid_stream", "name", "path", "policy", "sessions", "shadows",
        "strategy", "targets", "total_timeout",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        config: Alias,
        targets: Sequence[Routed],
        shadows: Sequence[Routed],
        strategy: Strategy,
        mid_stream: str,
    ) -> None:
        self.name = name
        self.config = config
        self.targets = list(targets)
        self.shadows = list(shadows)
        self.strategy = strategy
        self.mid_stream = mid_stream
        self.broken: dict[str, int] = {}
        self.sessions = Sessions() if config.sticky else None
        self.total_timeout: Any = config.settings.get("total_timeout", ...)
        self.path: tuple[AliasState, ...] = (self,)
        self.chain: tuple[Routed, ...] = tuple(self.targets)
        self.larger: tuple[AliasState, ...] = ()
        self.policy: tuple[AliasState, ...] = ()

    def snapshot(self) -> dict[str, Any]:
        """Its targets and those it turns to, by name."""
        strategy = self.config.strategy
        return {
            "targets": [target.name for target in self.targets],
            "strategy": strategy if isinstance(strategy, str) else type(self.strategy).__name__.lower(),
            "fallbacks": [other.name for other in self.path[1:]],
            "context_fallbacks": [other.name for other in self.larger],
            "content_policy_fallbacks": [other.name for other in self.policy],
            "broken_streams": dict(self.broken),
            "sessions_moved": 0 if self.sessions is None else len(self.sessions),
        }


class Fallbacks:
    """Who is turned to, by alias and by kind of failure, as the router was told beside what aliases say themselves."""

    def __init__(
        self,
        general: Mapping[str, Sequence[str]] | None,
        default: Sequence[str],
        context: Mapping[str, Sequence[str]] | None,
        policy: Mapping[str, Sequence[str]] | None,
    ) -> None:
        self._told = {
            "fallbacks": _lists("fallbacks", general),
            "context_fallbacks": _lists("context_fallbacks", context),
            "content_policy_fallbacks": _lists("content_policy_fallbacks", policy),
        }
        self._default = _list("default_fallbacks", default)

    def link(self, aliases: Mapping[str, AliasState]) -> None:
        """Give each alias its path.

        Raises `ConfigurationError` for names that are none, and for an alias that is its own fallback.
        """
        for kind, told in self._told.items():
            for name in told:
                if name not in aliases:
                    raise ConfigurationError(
                        f"{kind}: there is no alias {name!r}; the aliases are: {', '.join(aliases) or '(none)'}"
                    )
        general = self._graph("fallbacks", aliases)
        for name, others in general.items():
            if not others and name not in self._default:
                others.extend(self._default)
        context = self._graph("context_fallbacks", aliases)
        policy = self._graph("content_policy_fallbacks", aliases)
        for kind, graph in (
            ("fallbacks", general),
            ("context_fallbacks", context),
            ("content_policy_fallbacks", policy),
        ):
            check_fallbacks(kind, graph)
        for name, alias in aliases.items():
            alias.path = tuple(aliases[each] for each in _reached(general, name))
            alias.chain = tuple(dict.fromkeys(target for each in alias.path for target in each.targets))
            alias.larger = tuple(aliases[each] for each in _reached(context, name) if each != name)
            alias.policy = tuple(aliases[each] for each in _reached(policy, name) if each != name)

    def _graph(self, kind: str, aliases: Mapping[str, AliasState]) -> dict[str, list[str]]:
        told = self._told[kind]
        return {
            name: list(dict.fromkeys([*_list(kind, getattr(alias.config, kind)), *told.get(name, ())]))
            for name, alias in aliases.items()
        }


def as_alias(name: str, given: Alias | Sequence[Target]) -> Alias:
    """An `Alias` of what a router was given for one. Raises `ConfigurationError` where that is neither."""
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"the name of an alias must be a text, not {name!r}")
    if isinstance(given, Alias):
        return given
    if isinstance(given, Target):
        given = [given]
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigurationError(f"the alias {name!r} must be a list of Target or an Alias, not {type(given).__name__}")
    for each in given:
        if not isinstance(each, Target):
            raise ConfigurationError(f"the alias {name!r} must be a list of Target, not of {type(each).__name__}")
    return Alias(given)


def _reached(graph: Mapping[str, Sequence[str]], name: str, seen: dict[str, None] | None = None) -> dict[str, None]:
    """The names that are turned to, each once, in their order: two aliases may well be each other's fallback."""
    seen = {} if seen is None else seen
    if name not in seen:
        seen[name] = None
        for other in graph[name]:
            _reached(graph, other, seen)
    return seen


def _lists(kind: str, given: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(f'{kind} must be a mapping of lists, as {{"smart": ["spare"]}}')
    return {name: _list(kind, others) for name, others in given.items()}


def _list(kind: str, given: Sequence[str]) -> list[str]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not all(isinstance(each, str) for each in given):
        raise ConfigurationError(f"{kind} must be a list of names of aliases, not {given!r}")
    return list(given)
