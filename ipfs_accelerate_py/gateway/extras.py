"""What the ``[gateway]`` extra brings, and what is said where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from ipfs_accelerate_py.errors import MissingExtra

__all__ = ["missing", "require_metrics"]


def missing(module: str | None) -> MissingExtra:
    """The error that names the extra."""
    return MissingExtra(
        f'the gateway needs {module!r}, which is not installed: pip install "ipfs-accelerate-py[gateway]"'
    )


def require_metrics() -> None:
    """Raise `MissingExtra` at the start rather than at the first scrape; importing it can wait until then."""
    if find_spec("prometheus_client") is None:
        raise missing("prometheus_client")
