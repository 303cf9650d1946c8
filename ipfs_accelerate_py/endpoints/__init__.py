"""The main class of the older API: models, where each is served, and a handler for each such pair."""

from ipfs_accelerate_py.endpoints.main import ipfs_accelerate_py

__all__ = ["ipfs_accelerate_py"]
