"""Servables of the kind that the settings ask for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ipfs_accelerate_py.runtimes.engines.base import LoadPlan

from .crashes import Crashes
from .entries import Key, key_of
from .jobs import Servable
from .nursery import Nursery
from .opening import Model
from .remote import RemoteServable
from .servable import LocalServable
from .settings import ServingSettings

__all__ = ["Maker"]


class Maker:
    """See `loader.Make`. The nursery is begun with the first model that wants it, and closed where it is our own."""

    def __init__(self, settings: ServingSettings, nursery: Nursery | None, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._own = nursery is None
        self._nursery = nursery
        self._clock = clock
        self._lock = threading.Lock()
        # By model, because one that crashes while it loads is made anew by the next call.
        self._crashes: dict[Key, Crashes] = {}

    def __call__(self, name: str, path: Path, plan: LoadPlan, told: Callable[[str, int, int], None]) -> Servable:
        if self._settings.isolation == "thread":
            return LocalServable(Model(name, path, plan))
        with self._lock:
            if self._nursery is None:
                self._nursery = Nursery()
            nursery = self._nursery
            crashes = self._crashes.setdefault(key_of(name, plan), Crashes(self._clock))
        return RemoteServable(
            name,
            path,
            plan,
            nursery,
            memory=self._settings.worker_memory or 0,
            frame_limit=self._settings.frame_limit,
            told=told,
            crashes=crashes,
        )

    def close(self) -> None:
        """End the processes that models come from."""
        if self._own and self._nursery is not None:
            self._nursery.close()
