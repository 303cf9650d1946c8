"""Help worth reading: options in sections, examples, and the options that every command has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["Command", "Group", "Option", "Rows", "common_options", "option", "write_sections"]

F = TypeVar("F", bound=Callable[..., Any])

GENERAL = "General options"
#: Wide enough for a sentence, on any terminal.
WIDTH = 100

Rows = Sequence[tuple[str, str]]


class Option(click.Option):
    """An option that stands in a section of the help."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        kwargs.setdefault("show_default", True)
        super().__init__(*args, **kwargs)
        self.section = section


class Command(click.Command):
    """A command whose help has its options in sections, then sections of its own, then examples.

    Args:
        examples: pairs of a command line and what it does.
        sections: makes further sections (title, and rows of a term and its text) when the help is asked for.
    """

    def __init__(
        self,
        *args: Any,
        examples: Rows = (),
        sections: Callable[[], Sequence[tuple[str, Rows]]] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("context_settings", {}).setdefault("max_content_width", WIDTH)
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_sections(self, ctx, formatter)
        for title, rows in self.sections() if self.sections is not None else ():
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


class Group(click.Group):
    """A group whose help is made like a command's; its commands come first."""

    def __init__(self, *args: Any, examples: Rows = (), **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {}).setdefault("max_content_width", WIDTH)
        kwargs.setdefault("subcommand_metavar", "[COMMAND]")
        super().__init__(*args, **kwargs)
        self.examples = examples

    def command_rows(self, ctx: click.Context) -> Rows:
        """Each command's name and the line that says what it does."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return [(name, command.get_short_help_str(WIDTH)) for name, command in found if command is not None]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self.command_rows(ctx))
        write_sections(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


def write_sections(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The options by section, in the order in which the sections first come; those of every command last."""
    found: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        # Arguments are explained by the text; some versions of click would list them here too.
        record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
        if record is not None:
            found.setdefault(getattr(parameter, "section", GENERAL), []).append(record)
    general = found.pop(GENERAL, [])
    for title, rows in [*found.items(), (GENERAL, general)]:
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


def write_examples(examples: Rows, formatter: click.HelpFormatter) -> None:
    """Examples, each under the line that says what it does; never wrapped, so that they can be copied."""
    if not examples:
        return
    with formatter.section("Examples"):
        for number, (line, meaning) in enumerate(examples):
            if number:
                formatter.write_paragraph()
            for each in (f"# {meaning}", line):
                formatter.write(f"{'':>{formatter.current_indent}}{each}\n")


def option(*names: str, section: str, **attributes: Any) -> Callable[[F], F]:
    """`click.option`, in a section of the help."""
    decorate: Callable[[F], F] = click.option(*names, cls=Option, section=section, **attributes)
    return decorate


def common_options(function: F) -> F:
    """``--json``, ``-q``, ``-v`` and ``--no-color``: understood before and after the name of a command."""
    for decorate in (
        _flag("--no-color", is_flag=True, help="No colours. NO_COLOR=1 in the environment does the same."),
        _flag("-v", "--verbose", count=True, help="Say more on stderr; -vv shows where an error happened."),
        _flag("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors."),
        _flag("--json", is_flag=True, help="Results as JSON on stdout, errors as JSON on stderr."),
    ):
        function = decorate(function)
    return function


def _flag(*names: str, **attributes: Any) -> Callable[[F], F]:
    return option(*names, section=GENERAL, expose_value=False, callback=_remember, show_default=False, **attributes)


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    terminal = ctx.ensure_object(Terminal)
    if not value:
        return
    if parameter.name == "verbose":
        terminal.verbosity = max(0, terminal.verbosity) + int(value)
    elif parameter.name == "quiet":
        terminal.verbosity = -1
    elif parameter.name == "json":
        terminal.json = True
    else:
        terminal.no_color = True
