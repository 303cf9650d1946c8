"""Both stores, held to the same conformance."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger.conformance import LedgerConformance


class TestSqlite(LedgerConformance):
    @pytest.fixture
    def where(self, tmp_path: Path) -> str:
        return str(tmp_path / "some" / "folder" / "usage.sqlite3")


class TestPostgres(LedgerConformance):
    @pytest.fixture
    def where(self, postgres_url: str) -> str:
        return postgres_url
