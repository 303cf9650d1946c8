"""The ledger: a row for every call that is over, in SQLite or PostgreSQL, written off the hot path."""

from __future__ import annotations

from ipfs_accelerate_py.ledger.ledger import Ledger
from ipfs_accelerate_py.ledger.queries import DIMENSIONS, Filters, UsageRow
from ipfs_accelerate_py.ledger.stores import default_path, open_store

__all__ = ["DIMENSIONS", "Filters", "Ledger", "UsageRow", "default_path", "open_store"]
