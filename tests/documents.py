"""The five documents that say what this project must do: their examples, and the originals where they are at hand.

They are no part of the project. `tests/api_backends/` has copies of what runs as a test, and docs/promises.md says what
became of everything else.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

__all__ = ["DOCUMENTS", "Example", "examples", "original"]

DOCUMENTS = ("quickstart", "guide", "guide_earlier", "final_report", "progress_summary")
_FOLDERS = [
    Path(os.environ["IPFS_ACCELERATE_SEEDS"]) if "IPFS_ACCELERATE_SEEDS" in os.environ else ROOT / ".no-such-folder",
    ROOT.parent / "shared" / "seeds",
]
_HEADING = re.compile(r"#{2,} (?:\d+\. )?(.+?)(?: \(COMPLETED\))? *$")


class Example(NamedTuple):
    """One block of code: the heading it stands under, its language, its text."""

    section: str
    language: str
    code: str


def original(name: str) -> str:
    """The text of a document; the test that asks is skipped where it is not at hand."""
    for folder in _FOLDERS:
        path = folder / f"{name}.md"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return pytest.skip(f"{name}.md not found: set IPFS_ACCELERATE_SEEDS to the folder that holds it")


def examples(text: str) -> list[Example]:
    """Every block of code in a document. One whose end was forgotten ends at the next heading."""
    found: list[Example] = []
    section, language, lines = "", None, list[str]()
    for line in [*text.splitlines(), "## end"]:
        heading = _HEADING.fullmatch(line)
        if language is not None and (heading or line == "```"):
            found.append(Example(section, language, "\n".join(lines).rstrip() + "\n"))
            language = None
        elif line.startswith("```") and language is None:
            language, lines = line[3:], []
        elif language is not None:
            lines.append(line)
        if heading:
            section = heading[1]
    return found
