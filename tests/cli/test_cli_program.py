"""The program around the commands: start, help, usage errors, output that cannot be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ipfs_accelerate_py import __version__
from ipfs_accelerate_py.cli import app as program
from ipfs_accelerate_py.cli import main
from ipfs_accelerate_py.cli.failures import EXIT_CODES
from ipfs_accelerate_py.cli.terminal import Terminal, printable
from tests.cli.conftest import KEY, Invoke
from tests.cli.program import COMMAND, on_terminal, run

HEAVY = ("rich", "aiohttp", "msgspec", "asyncio", "torch", "starlette", "yaml", "dotenv")


def _loaded(code: str) -> set[str]:
    """The top-level modules that are there after this code."""
    script = f"{code}\nimport sys; sys.stderr.write(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("module", ["ipfs_accelerate_py", "ipfs_accelerate_py.cli", "ipfs_accelerate_py.sync"])
def test_importing_the_library_loads_nothing_of_the_command_line(module: str) -> None:
    assert not _loaded(f"import {module}") & {"click", "rich"}


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_version_and_help_load_only_click(argument: str) -> None:
    loaded = _loaded(f"from ipfs_accelerate_py.cli import main; main([{argument!r}])")
    assert "click" in loaded
    assert not loaded & set(HEAVY)


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ipfs-accelerate {__version__}\n", "")


def test_the_script_and_the_module_are_the_same_program() -> None:
    script = Path(sys.executable).with_name("ipfs-accelerate")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout == run("--help").stdout


def test_help_lists_the_commands_as_they_describe_themselves(invoke: Invoke) -> None:
    shown = invoke("--help").stdout
    for name, line in program.COMMANDS.items():
        command = program.app.get_command(click.Context(program.app), name)
        assert command is not None
        assert command.get_short_help_str(200) == line
        assert line in shown


def test_help_lists_every_exit_code(invoke: Invoke) -> None:
    shown = invoke("--help").stdout
    for code, meaning in EXIT_CODES.items():
        assert f"  {int(code):<5}{meaning}\n" in shown


@pytest.mark.parametrize("name", program.COMMANDS)
def test_every_command_explains_itself_with_examples(invoke: Invoke, name: str) -> None:
    shown = invoke(name, "--help").stdout
    assert shown.startswith(f"Usage: ipfs-accelerate {name} ")
    examples = shown.partition("\nExamples:\n")[2]
    assert f"ipfs-accelerate {name}" in examples


def test_without_a_command_the_help_is_shown(invoke: Invoke) -> None:
    assert invoke().stdout == invoke("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "said", "helps"),
    [
        (["chatt"], "No such command 'chatt'", "ipfs-accelerate --help"),
        (["chat", "--temprature", "1", "x"], "--temprature", "ipfs-accelerate chat --help"),
        (["embed", "--batch-size", "0", "x"], "--batch-size", "ipfs-accelerate embed --help"),
        (["config", "chek"], "chek", "ipfs-accelerate config --help"),
    ],
)
def test_wrong_usage_is_one_line_and_a_hint(invoke: Invoke, arguments: list[str], said: str, helps: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    error, hint = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert hint == f"hint: `{helps}` explains the usage"


def test_wrong_usage_as_json(invoke: Invoke) -> None:
    result = invoke("chat", "--bogus", "--json", "x")
    said = json.loads(result.stderr)["error"]
    assert (result.exit_code, said["exit_code"], said["type"]) == (2, 2, "UsageError")
    assert "--bogus" in said["message"]


def test_main_returns_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert main(["nothing-like-it"]) == 2
    assert "error: " in capsys.readouterr().err


def test_an_unexpected_error_is_one_line_and_a_traceback_only_on_request(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("ipfs_accelerate_py.cli.configured.configuration", fail)
    result = invoke("config")
    assert result.exit_code == 1
    assert result.stderr == "error: unexpected: RuntimeError: boom\nhint: -vv shows where it happened\n"
    assert "Traceback" in invoke("-vv", "config").stderr
    assert "Traceback" in invoke("config", "show", "-v", "-v").stderr
    assert "Traceback" in invoke("config", env={"IPFS_ACCELERATE_DEBUG": "1"}).stderr
    assert "Traceback" not in invoke("config", env={"IPFS_ACCELERATE_DEBUG": "0"}).stderr


def test_a_closed_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run([*COMMAND, "--help"], stdout=closed, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_stderr_changes_no_exit_code() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run([*COMMAND, "bogus"], stdout=subprocess.PIPE, stderr=closed, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, "--help"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == b"error: OSError: [Errno 28] No space left on device"


def test_output_that_the_encoding_lacks_is_no_error(configured: object) -> None:
    done = run("chat", "-m", "x", "--retries", "0", "hello", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert done.stdout.isascii()


@pytest.mark.parametrize(
    ("arguments", "env", "colourful"),
    [([], {}, True), (["--no-color"], {}, False), ([], {"NO_COLOR": "1"}, False), ([], {"TERM": "dumb"}, False)],
)
def test_colours_on_a_terminal_unless_unwanted(arguments: list[str], env: dict[str, str], colourful: bool) -> None:
    with on_terminal(*arguments, "bogus", env=env) as shown:
        assert shown.end() == 2
        assert "error: No such command 'bogus'" in shown.text
        assert ("\x1b[" in shown.raw) is colourful


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert printable("a\x1b[2Jb\tc\nd\r\x9b1m\x07") == "a\\x1b[2Jb\tc\nd\\x9b1m\\x07"


def test_json_is_json_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a\x1b\x9b\x7f\r日本 \ud800"
    dumped = Terminal().dumps(text)
    assert json.loads(dumped) == text
    assert not set(dumped) & set("\x1b\x9b\r")


def test_shell_completion_knows_the_commands() -> None:
    env = {
        "_IPFS_ACCELERATE_COMPLETE": "bash_complete",
        "COMP_WORDS": "ipfs-accelerate c",
        "COMP_CWORD": "1",
    }
    assert run(env=env).stdout.split() == ["plain,chat", "plain,count", "plain,check", "plain,config"]


def test_an_interrupt_at_the_start_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ipfs_accelerate_py.cli.running.run", interrupted)
    assert main([]) == 130


def test_no_option_takes_a_real_key() -> None:
    """What stands in a command line can be read by every user of the machine."""
    for name in set(program.COMMANDS) - {"simulate"}:
        command = program.app.get_command(click.Context(program.app), name)
        assert command is not None
        options = {each for parameter in command.params for each in parameter.opts}
        assert "--api-key" not in options
        assert "--key" not in options


def test_a_key_is_not_in_a_traceback(configured: object) -> None:
    done = run("chat", "-m", "x", "-vv", "--retries", "0", "--base-url", "http://127.0.0.1:9/v1", "hello")
    assert done.returncode == 5
    assert "Traceback" in done.stderr
    assert KEY not in done.stdout + done.stderr
