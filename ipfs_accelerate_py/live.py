"""Settings as live attributes of a client: ``client.max_retries = 5`` takes effect at the next call."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, overload

from ipfs_accelerate_py.settings import Settings

__all__ = ["Live", "LiveSettings"]

T = TypeVar("T")


class Live(Generic[T]):
    """One setting as a live attribute; its name is the attribute's, or another one's for an alias."""

    def __init__(self, name: str = "") -> None:
        self._name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = self._name or name

    @overload
    def __get__(self, instance: None, owner: type) -> Live[T]: ...
    @overload
    def __get__(self, instance: LiveSettings, owner: type) -> T: ...
    def __get__(self, instance: LiveSettings | None, owner: type) -> T | Live[T]:
        if instance is None:
            return self
        value: T = getattr(instance.settings, self._name)
        return value

    def __set__(self, instance: LiveSettings, value: T) -> None:
        instance._set(self._name, value)


class LiveSettings:
    """The attributes of `Settings`, on an object that has a ``settings``. An unknown public name is refused."""

    settings: Settings

    max_concurrent_requests: Live[int] = Live()
    queue_size: Live[int] = Live()
    queue_enabled: Live[bool] = Live()
    queue_timeout: Live[float | None] = Live()
    adaptive_concurrency: Live[bool] = Live()
    ageing_interval: Live[float] = Live()
    max_retries: Live[int] = Live()
    initial_retry_delay: Live[float] = Live()
    backoff_factor: Live[float] = Live()
    max_retry_delay: Live[float] = Live()
    circuit_failure_threshold: Live[int] = Live()
    circuit_reset_timeout: Live[float] = Live()
    circuit_success_threshold: Live[int] = Live()
    circuit_half_open_probes: Live[int] = Live()
    key_selection_strategy: Live[str] = Live()
    requests_per_minute: Live[float | None] = Live()
    tokens_per_minute: Live[float | None] = Live()
    connect_timeout: Live[float | None] = Live()
    first_byte_timeout: Live[float | None] = Live()
    first_content_timeout: Live[float | None] = Live()
    idle_timeout: Live[float | None] = Live()
    total_timeout: Live[float | None] = Live()
    max_body_bytes: Live[int] = Live()
    max_header_bytes: Live[int] = Live()

    def _set(self, name: str, value: Any) -> None:
        setattr(self.settings, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or name == "settings" or hasattr(type(self), name):
            object.__setattr__(self, name, value)
            return
        import difflib  # for this message alone

        near = difflib.get_close_matches(name, dir(type(self)), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"{type(self).__name__} has no setting {name!r}{hint}")
