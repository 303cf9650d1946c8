"""docs/promises.md says what there is: modules, tests and commands exist, and no section of a document is left out."""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache
from typing import NamedTuple

import click
import pytest

from ipfs_accelerate_py.cli import app as program
from tests.conftest import ROOT
from tests.documents import DOCUMENTS, original

PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
LETTERS = dict(zip(("Q", "G", "E", "F", "P"), DOCUMENTS, strict=True))
SUBJECTS = {"gpus"}
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
_CODE = re.compile(r"`([^`]+)`")


class Promise(NamedTuple):
    """A row of the tables."""

    promise: str
    said_in: str
    kept_in: str
    shown_by: str


def rows(columns: int, text: str) -> list[list[str]]:
    found = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row] for row in found]
    assert [row for row in cells if len(row) != columns] == []
    return [row for row in cells if row[0] not in ("promise", "script")]


_PROMISES, _, _SCRIPTS = PAGE.partition("## Scripts")
PROMISES = [Promise(*row) for row in rows(4, _PROMISES)]
SCRIPTS = rows(3, _SCRIPTS)


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_row_is_kept_to_come_or_history() -> None:
    assert len(PROMISES) > 60
    for row in PROMISES:
        modules, tests = _CODE.findall(row.kept_in), _TEST.findall(row.shown_by)
        if row.kept_in.startswith("to come: "):
            assert set(row.kept_in.removeprefix("to come: ").split(", ")) <= SUBJECTS, row
        elif row.kept_in == "history":
            assert row.shown_by, row
        else:
            assert modules, row
            assert tests, row
            for module in modules:
                assert (ROOT / "ipfs_accelerate_py" / module).exists(), row


def test_every_test_that_is_named_exists() -> None:
    named = _TEST.findall(PAGE)
    assert len(named) > 80
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []


def test_every_subject_that_is_to_come_is_explained() -> None:
    told = set(re.findall(r"\*\*([a-z ]+)\*\*", PAGE.partition("## ")[0]))
    assert told == SUBJECTS


# --- the documents -----------------------------------------------------------------------------------------------


def said() -> dict[str, set[str]]:
    """By document, the sections that are named in the tables."""
    found: dict[str, set[str]] = {letter: set() for letter in LETTERS}
    for cell in [row.said_in for row in PROMISES] + [row[1] for row in SCRIPTS]:
        for place in cell.split("; "):
            letter, _, section = place.partition(": ")
            found[letter].add(section)
    return found


def headings(text: str) -> list[tuple[str, bool]]:
    """A document's headings below its title, and whether there is something under each before the next one."""
    marks = list(re.finditer(r"^#{2,4} (.+?) *$", text, re.MULTILINE))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [(mark[1], bool(text[mark.end() : end].strip())) for mark, end in zip(marks, ends, strict=True)]


@pytest.mark.parametrize("letter", LETTERS)
def test_no_section_of_a_document_is_left_out(letter: str) -> None:
    known = headings(original(LETTERS[letter]))
    named = said()[letter]
    assert [section for section in named if not any(section in heading for heading, _ in known)] == []
    assert [heading for heading, full in known if full and not any(section in heading for section in named)] == []


@pytest.mark.parametrize("letter", LETTERS)
def test_every_script_of_a_document_has_its_place(letter: str) -> None:
    text = original(LETTERS[letter])
    scripts = set(re.findall(r"\b(\w+\.py)\b", "\n".join(re.findall(r"^python .*|`\w+\.py`", text, re.MULTILINE))))
    assert scripts - {name for row in SCRIPTS for name in re.findall(r"\w+\.py", row[0])} == set()


@pytest.mark.parametrize("row", SCRIPTS, ids=lambda row: row[0].strip("`")[:40])
def test_what_took_a_scripts_place_is_right_usage(row: list[str]) -> None:
    place = row[2]
    if not place.startswith("`"):
        assert place == "history" or place.removeprefix("to come: ") in SUBJECTS
        return
    words = shlex.split(place.strip("`"))
    command: click.Command = program.app
    context = click.Context(command, info_name=words.pop(0))
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        child = command.get_command(context, words.pop(0))
        assert child is not None
        command, context = child, click.Context(child, parent=context)
    command.parse_args(context, words)
