"""Ledgers for these tests."""

from __future__ import annotations

from tests.servers import postgres_process, postgres_server, postgres_url

__all__ = ["postgres_process", "postgres_server", "postgres_url"]
