"""Loops: aliases that are their own fallback, and gateways that are each other's targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ipfs_accelerate_py.errors import ConfigurationError, LoopDetected

__all__ = ["HOPS_HEADER", "MOST_HOPS", "check_fallbacks", "check_hops", "hops"]

#: Counts the routers that a call has been through; sent to targets at addresses of one's own, which may be gateways.
HOPS_HEADER = "X-Ipfs-Accelerate-Hops"
#: A call that has been through so many is going in a circle.
MOST_HOPS = 5


def hops(headers: Mapping[str, str] | None) -> int:
    """How many routers a call has been through, by its headers (names in any case); 0 where they do not say."""
    if not headers:
        return 0
    value = headers.get(HOPS_HEADER) or headers.get(HOPS_HEADER.lower())
    if value is None:
        return 0
    return int(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0


def check_hops(headers: Mapping[str, str] | None) -> int:
    """The same for a call that comes in. Raises `LoopDetected` (508) where it has been through too many."""
    count = hops(headers)
    if count >= MOST_HOPS:
        raise LoopDetected(
            f"the call has been through {count} routers ({HOPS_HEADER}), the limit is {MOST_HOPS}: "
            "a target of one of them leads back here; look for a base_url that is a gateway's own"
        )
    return count


def check_fallbacks(kind: str, graph: Mapping[str, Sequence[str]]) -> None:
    """Raise `ConfigurationError` where a fallback is no alias, or an alias its own.

    Two aliases may be each other's fallback: a call asks each target once, whichever way it came to it.
    """
    for name, others in graph.items():
        for other in others:
            if other not in graph:
                raise ConfigurationError(
                    f"{kind} of {name!r}: there is no alias {other!r}; the aliases are: {', '.join(graph)}"
                )
            if other == name:
                raise ConfigurationError(f"{kind} of {name!r}: it cannot be its own; leave it out")
