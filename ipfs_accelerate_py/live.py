"""Settings as live attributes of a client: ``client.max_retries = 5`` takes effect at the next call."""

from __future__ import annotations

import difflib
from typing import Any, Generic, TypeVar, overload

from ipfs_accelerate_py.settings import Settings

__all__ = ["LiveSettings"]

T = TypeVar("T")


class _Live(Generic[T]):
    """One setting; its name is the attribute's, or another one's for an alias."""

    def __init__(self, name: str = "") -> None:
        self._name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = self._name or name

    @overload
    def __get__(self, instance: None, owner: type) -> _Live[T]: ...
    @overload
    def __get__(self, instance: LiveSettings, owner: type) -> T: ...
    def __get__(self, instance: LiveSettings | None, owner: type) -> T | _Live[T]:
        if instance is None:
            return self
        value: T = getattr(instance.settings, self._name)
        return value

    def __set__(self, instance: LiveSettings, value: T) -> None:
        instance._set(self._name, value)


class LiveSettings:
    """The attributes of `Settings`, on an object that has a ``settings``. An unknown public name is refused."""

    settings: Settings

    max_concurrent_requests: _Live[int] = _Live()
    queue_size: _Live[int] = _Live()
    queue_enabled: _Live[bool] = _Live()
    queue_timeout: _Live[float | None] = _Live()
    ageing_interval: _Live[float] = _Live()
    max_retries: _Live[int] = _Live()
    initial_retry_delay: _Live[float] = _Live()
    backoff_factor: _Live[float] = _Live()
    max_retry_delay: _Live[float] = _Live()
    circuit_failure_threshold: _Live[int] = _Live()
    circuit_reset_timeout: _Live[float] = _Live()
    circuit_success_threshold: _Live[int] = _Live()
    circuit_half_open_probes: _Live[int] = _Live()
    key_selection_strategy: _Live[str] = _Live()
    requests_per_minute: _Live[float | None] = _Live()
    tokens_per_minute: _Live[float | None] = _Live()
    connect_timeout: _Live[float | None] = _Live()
    first_byte_timeout: _Live[float | None] = _Live()
    first_content_timeout: _Live[float | None] = _Live()
    idle_timeout: _Live[float | None] = _Live()
    total_timeout: _Live[float | None] = _Live()
    max_body_bytes: _Live[int] = _Live()
    max_header_bytes: _Live[int] = _Live()

    def _set(self, name: str, value: Any) -> None:
        setattr(self.settings, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or name == "settings" or hasattr(type(self), name):
            object.__setattr__(self, name, value)
            return
        near = difflib.get_close_matches(name, dir(type(self)), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"{type(self).__name__} has no setting {name!r}{hint}")
