"""The page in docs is what the program says of itself."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import click
import pytest

from ipfs_accelerate_py.cli import app as program
from ipfs_accelerate_py.cli.helping import Command, Group
from tests.conftest import ROOT

SCRIPT = ROOT / "docs/generate_cli.py"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_cli", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_current(generator: ModuleType) -> None:
    page = generator.PAGE.read_text(encoding="utf-8")
    assert page == generator.current(page), "run `make docs`"


def test_a_page_without_its_marker_is_left_alone(generator: ModuleType) -> None:
    with pytest.raises(SystemExit, match="marker"):
        generator.current("# A page\n")


def _examples() -> list[str]:
    """Every line in the help's examples and in the page that runs the program."""
    context = click.Context(program.app)
    lines = []
    for name in program.COMMANDS:
        command = program.app.get_command(context, name)
        assert isinstance(command, Command | Group)
        lines += [line.replace("\\\n", " ") for line, _ in command.examples]
    written = Path(SCRIPT.with_name("cli.md")).read_text(encoding="utf-8").partition("<!--")[0]
    lines += re.findall(r"^\$ (.*ipfs-accelerate .*)$", written, re.MULTILINE)
    return lines


@pytest.mark.parametrize("line", _examples())
def test_examples_are_right_usage(line: str, tmp_path: Path) -> None:
    """They are parsed and not run: options, values and commands exist."""
    asked = line[line.index("ipfs-accelerate ") :].replace("<(pass show openai)", "/dev/null")
    words = shlex.split(asked.partition(" | ")[0], comments=True)
    command: click.Command = program.app
    context = click.Context(command, info_name=words.pop(0))
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        child = command.get_command(context, words.pop(0))
        assert child is not None
        command, context = child, click.Context(child, parent=context)
    command.parse_args(context, words)
