"""Settings: plain data, read live at each call, checked when it is set."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["MID_STREAM", "TIME_LIMITS", "Settings", "Timeouts", "check_limit", "check_strategy"]


class Timeouts(msgspec.Struct, frozen=True):
    """Limits of time of one attempt, in seconds; None is no limit of its own.

    ``connect`` covers DNS, TCP and TLS; ``first_byte`` the wait from the request sent to the answer's headers;
    ``first_content`` the wait from the headers to the first piece of content (of an answer in one piece, to the first
    byte of its body); ``idle`` each silence after that. The limit of the whole call is its deadline.
    """

    connect: float | None = 10.0
    first_byte: float | None = 300.0
    first_content: float | None = None
    idle: float | None = 120.0

    def with_limits(self, limits: Mapping[str, float | None]) -> Timeouts:
        """These limits, but for those that ``limits`` names as settings do (``first_byte_timeout``, ...)."""
        return Timeouts(
            limits.get("connect_timeout", self.connect),
            limits.get("first_byte_timeout", self.first_byte),
            limits.get("first_content_timeout", self.first_content),
            limits.get("idle_timeout", self.idle),
        )


#: The settings that limit time; each call, target and alias may have its own.
TIME_LIMITS = (
    "connect_timeout", "first_byte_timeout", "first_content_timeout", "idle_timeout", "queue_timeout", "total_timeout",
)  # fmt: skip


#: What may become of a stream that breaks after its first content, where a router has another target for it.
MID_STREAM = ("continue", "restart", "error")


def check_limit(name: str, value: Any) -> float | None:
    """A limit of time in seconds, or None for none; anything else is a `ConfigurationError`."""
    checked: float | None = _CHECKS[name](name, value)
    return checked


@dataclasses.dataclass
class Settings:
    """What a target's pipeline does, read live: a change takes effect at the next call.

    Durations are seconds. Every assignment is checked and a wrong value is refused with a `ConfigurationError`, so a
    typing error never waits for the night to show itself.
    """

    # admission
    max_concurrent_requests: int = 5
    queue_size: int = 100
    queue_enabled: bool = True
    queue_timeout: float | None = None
    #: Learn from an upstream's 429s how many calls it takes at once with a key (see `pipeline.concurrency`).
    adaptive_concurrency: bool = True
    #: A queued call gains one priority for each of these seconds it has waited, so LOW is never starved.
    ageing_interval: float = 10.0

    # retry
    max_retries: int = 5
    initial_retry_delay: float = 1.0
    backoff_factor: float = 2.0
    max_retry_delay: float = 60.0

    # breaker
    circuit_failure_threshold: int = 5
    circuit_reset_timeout: float = 30.0
    circuit_success_threshold: int = 1
    circuit_half_open_probes: int = 1

    # keys and rates
    key_selection_strategy: str = "round-robin"
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None

    # limits of time
    connect_timeout: float | None = 10.0
    first_byte_timeout: float | None = 300.0
    first_content_timeout: float | None = None
    idle_timeout: float | None = 120.0
    total_timeout: float | None = 600.0

    # limits of size
    max_body_bytes: int = 256 * 1024 * 1024
    max_header_bytes: int = 32 * 1024

    def __post_init__(self) -> None:
        object.__setattr__(self, "_watchers", [])

    def __setattr__(self, name: str, value: Any) -> None:
        check = _CHECKS.get(name)
        if check is None:
            raise ConfigurationError(f"there is no setting {name!r}; the settings are: {', '.join(sorted(_CHECKS))}")
        object.__setattr__(self, name, check(name, value))
        self.__dict__.pop("_timeouts", None)
        for watcher in self.__dict__.get("_watchers", ()):
            watcher()

    def on_change(self, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` after each change (admission wakes its queue when a limit is raised)."""
        self.__dict__["_watchers"].append(watcher)

    def forget_watchers(self) -> None:
        """Call nobody any more: in a forked child the watchers are the parent's."""
        self.__dict__["_watchers"].clear()

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several at once; nothing is set when one of them is wrong."""
        checked = {}
        for name, value in values.items():
            check = _CHECKS.get(name)
            if check is None:
                raise ConfigurationError(
                    f"there is no setting {name!r}; the settings are: {', '.join(sorted(_CHECKS))}"
                )
            checked[name] = check(name, value)
        for name, value in checked.items():
            setattr(self, name, value)

    @property
    def timeouts(self) -> Timeouts:
        """The limits of time of an attempt, as one value; made once per change."""
        cached = self.__dict__.get("_timeouts")
        if cached is None:
            cached = Timeouts(
                connect=self.connect_timeout,
                first_byte=self.first_byte_timeout,
                first_content=self.first_content_timeout,
                idle=self.idle_timeout,
            )
            self.__dict__["_timeouts"] = cached
        result: Timeouts = cached
        return result

    def as_dict(self) -> dict[str, Any]:
        """Every setting by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


# --- checks: one per kind of value, found by the name of the setting ---------------------------------------------


def _integer(least: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigurationError(f"{name} must be a whole number of at least {least}, not {value!r}")
        return value

    return check


def _seconds(*, optional: bool = False, zero: bool = True) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> float | None:
        if value is None and optional:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value) or value < 0:
            raise ConfigurationError(f"{name} must be a number of at least 0{' or None' * optional}, not {value!r}")
        if value == 0 and not zero:
            raise ConfigurationError(f"{name} must be more than 0{' (None is no limit)' * optional}, not {value!r}")
        return float(value)

    return check


def _factor(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf:
        raise ConfigurationError(f"{name} must be a number of at least 1, not {value!r}")
    return float(value)


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, not {value!r}")
    return value


STRATEGIES = ("round-robin", "least-loaded")


def check_strategy(name: str, value: Any) -> str:
    """How keys are chosen."""
    if value not in STRATEGIES:
        raise ConfigurationError(f"{name} must be one of {', '.join(STRATEGIES)}, not {value!r}")
    return str(value)


_limit = _seconds(optional=True, zero=False)
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "max_concurrent_requests": _integer(1),
    "queue_size": _integer(0),
    "queue_enabled": _boolean,
    "queue_timeout": _limit,
    "adaptive_concurrency": _boolean,
    "ageing_interval": _seconds(zero=False),
    "max_retries": _integer(0),
    "initial_retry_delay": _seconds(),
    "backoff_factor": _factor,
    "max_retry_delay": _seconds(),
    "circuit_failure_threshold": _integer(1),
    "circuit_reset_timeout": _seconds(),
    "circuit_success_threshold": _integer(1),
    "circuit_half_open_probes": _integer(1),
    "key_selection_strategy": check_strategy,
    "requests_per_minute": _limit,
    "tokens_per_minute": _limit,
    "connect_timeout": _limit,
    "first_byte_timeout": _limit,
    "first_content_timeout": _limit,
    "idle_timeout": _limit,
    "total_timeout": _limit,
    "max_body_bytes": _integer(1),
    "max_header_bytes": _integer(1024),
}
