"""The example of the older API runs as it is."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart_openai.py"


def test_it_shows_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLE))["main"]()
    printed = capsys.readouterr().out
    for line in ("chat:", "stream:", "embedding: 1536 numbers", "ticket:", "handler:", "awaited:", "circuit:   CLOSED"):
        assert line in printed
    assert "in all:    8 requests" in printed
    assert "your-key-here" not in printed


def test_the_service_itself_is_asked_only_with_a_key() -> None:
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        runpy.run_path(str(EXAMPLE))["main"](live=True)
