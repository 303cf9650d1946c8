"""From arguments to an exit code: runs a command, and turns every way it can end into a code and a line on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from ipfs_accelerate_py.cli.failures import ExitCode, describe, exit_code, hint, summary
from ipfs_accelerate_py.cli.terminal import Terminal
from ipfs_accelerate_py.errors import AccelerateError

__all__ = ["PROGRAM", "run"]

PROGRAM = "ipfs-accelerate"
_COMPLETE_VARIABLE = "_IPFS_ACCELERATE_COMPLETE"


def run(app: click.Group, argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` names, and return its exit code. Nothing but a signal leaves this function else."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if instruction := os.environ.get(_COMPLETE_VARIABLE):
        from click.shell_completion import shell_complete

        return shell_complete(app, {}, PROGRAM, _COMPLETE_VARIABLE, instruction)
    terminal = Terminal()
    # Known before parsing, because parsing may be what fails.
    terminal.json = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    _tolerant_output()
    try:
        code = _run(app, arguments, terminal)
        sys.stdout.flush()
    except BrokenPipeError:
        # A socket's broken pipe is a TransportError by the time it gets here, so this one is our output's.
        _abandon_output()
        return ExitCode.CLOSED_PIPE
    except OSError as error:  # the last of the output did not fit
        _abandon_output()
        return _report(error, terminal)
    return code


def _run(app: click.Group, arguments: list[str], terminal: Terminal) -> int:
    try:
        with app.make_context(PROGRAM, arguments, obj=terminal) as context:
            app.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    except (KeyboardInterrupt, click.Abort):
        with contextlib.suppress(OSError):
            if sys.stderr.isatty():
                sys.stderr.write("\n")  # after the terminal's own ^C
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        return _report_usage(error, terminal)
    except BrokenPipeError:
        raise
    except Exception as error:
        return _report(error, terminal)
    return ExitCode.OK


def _report(error: BaseException, terminal: Terminal) -> int:
    code = exit_code(error)
    with contextlib.suppress(OSError):  # nobody may be left to read it
        if terminal.debug:
            traceback.print_exception(error)
        if terminal.json:
            _print_json(terminal, describe(error, code))
        else:
            unexpected = "" if isinstance(error, AccelerateError | OSError) else "unexpected: "
            terminal.error(unexpected + summary(error), None if terminal.debug else hint(error))
    return code


def _report_usage(error: click.ClickException, terminal: Terminal) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    advice = f"`{context.command_path if context is not None else PROGRAM} --help` explains the usage"
    message = error.format_message()
    with contextlib.suppress(OSError):
        if terminal.json:
            said = {"type": "UsageError", "message": message, "exit_code": int(ExitCode.USAGE), "hint": advice}
            _print_json(terminal, {"error": said})
        else:
            terminal.error(message, advice)
    return ExitCode.USAGE


def _print_json(terminal: Terminal, value: Any) -> None:
    sys.stderr.write(terminal.dumps(value) + "\n")
    sys.stderr.flush()


def _tolerant_output() -> None:
    """A character that the terminal's encoding lacks must not end a command in the middle of an answer."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _abandon_output() -> None:
    """Let the interpreter's last flush go nowhere, instead of failing on the closed pipe a second time."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
