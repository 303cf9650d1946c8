"""What the ``[otel]`` extra brings, and what is said where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from ipfs_accelerate_py.errors import MissingExtra

__all__ = ["require"]


def require(module: str) -> None:
    """Raise `MissingExtra` where OpenTelemetry's ``module`` cannot be imported."""
    try:
        found = find_spec(module)
    except ModuleNotFoundError:  # a package above it is missing
        found = None
    if found is None:
        raise MissingExtra(f'this needs {module!r}, which is not installed: pip install "ipfs-accelerate-py[otel]"')
