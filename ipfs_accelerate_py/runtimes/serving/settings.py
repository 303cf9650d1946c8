"""What there is to choose about serving models."""

from __future__ import annotations

from dataclasses import dataclass

from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["ServingSettings"]


@dataclass(slots=True)
class ServingSettings:
    """Read live, but for ``isolation``, which holds for models that are loaded after a change.

    Attributes:
        isolation: ``thread`` runs models in this process, ``process`` each in a worker of its own, whose end fails its
            calls and nothing else.
        budget: bytes of memory for all models together; None is four fifths of what this machine or container has.
        idle_timeout: seconds after its last call until a model is unloaded; None is never.
        wait: seconds that a call waits at most for memory which other calls hold, where it has no deadline.
        worker_memory: bytes of private memory of one worker, above which it gets no more; None is no limit.
        frame_limit: bytes of the largest call or answer of a worker.
        preload: models that are loaded by `ModelManager.preload`.
        pinned: models that are never unloaded to make room, nor when idle.
    """

    isolation: str = "thread"
    budget: int | None = None
    idle_timeout: float | None = None
    wait: float = 60.0
    worker_memory: int | None = None
    frame_limit: int = 512 << 20
    preload: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises `ConfigurationError` for what makes no sense."""
        if self.isolation not in ("thread", "process"):
            raise ConfigurationError(f'isolation is "thread" or "process", not {self.isolation!r}')
        for name in ("budget", "idle_timeout", "wait", "worker_memory", "frame_limit"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigurationError(f"{name} must be more than 0, not {value!r}")
