"""``ipfs-accelerate bench``: how fast models on this machine are, and services anywhere."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ipfs_accelerate_py.cli.helping import Group, common_options, option
from ipfs_accelerate_py.cli.terminal import Terminal

if TYPE_CHECKING:
    from ipfs_accelerate_py.bench.figures import Session

__all__ = ["command", "keep"]

EXAMPLES = (
    ("ipfs-accelerate bench --batch-size 8 --models all", "All published shapes, on every runtime that is installed"),
    ("ipfs-accelerate bench --models gpt2,bert-tiny --runtime torch,openvino --rounds 5", "Two of them, side by side"),
    ("ipfs-accelerate bench --models ./my-model --precision float32,int8-weights --out figures", "One of your own"),
    ("ipfs-accelerate bench load -m openai/gpt-4o-mini --rate 2", "A service under load"),
)
#: Modules of subcommands, imported when they are used.
_COMMANDS = {"load": "bench_load", "show": "bench_show"}


class _Bench(Group):
    """A command by itself, with commands of its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, module in _COMMANDS.items() if find_spec(f"{__package__}.{module}") is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        found: click.Command = import_module(f"{__package__}.{_COMMANDS[cmd_name]}").command
        return found


class _List(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in newer versions of click
    """Several values with commas between them."""

    name = "list"

    def __init__(self, kind: type, choices: tuple[str, ...] = ()) -> None:
        self._kind, self._choices = kind, choices

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        found = []
        for part in (each.strip() for each in value.split(",")):
            try:
                made = self._kind(part)
            except ValueError:
                self.fail(f"{part!r} is no number", param, ctx)
            if self._kind is int and made < 1:
                self.fail(f"{part} is less than 1", param, ctx)
            if not part or (self._choices and part not in self._choices):
                self.fail(f"{part!r} is none of {', '.join(self._choices)}" if part else "an empty name", param, ctx)
            found.append(made)
        return tuple(dict.fromkeys(found))


_RUNTIMES = ("torch", "openvino", "llvm")
_PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8", "int8-weights", "int4")
_WHAT, _HOW, _ASKED = "What is measured", "How", "What is asked"


@click.group(cls=_Bench, name="bench", examples=EXAMPLES, invoke_without_command=True)
@option(
    "--models",
    type=_List(str),
    metavar="NAMES",
    section=_WHAT,
    help="all, names of shapes or of models on this machine, or folders, with commas between.",
)
@option(
    "--runtime",
    type=_List(str, _RUNTIMES),
    metavar="NAMES",
    section=_WHAT,
    help="Some of torch, openvino, llvm.  [default: those that are installed]",
)
@option(
    "--precision",
    type=_List(str, _PRECISIONS),
    metavar="NAMES",
    section=_WHAT,
    help=f"Of the weights, some of {', '.join(_PRECISIONS)}.  [default: float32, of OpenVINO int8-weights too, "
    "of llvm the usual and int8]",
)
@option(
    "--device",
    type=_List(str),
    metavar="NAMES",
    section=_WHAT,
    help="cpu, cuda, ...  [default: cpu, and cuda where there is one]",
)
@option("--task", default="", metavar="NAME", section=_WHAT, help="Hugging Face's name.  [default: each model's own]")
@option("--folder", multiple=True, metavar="FOLDER", section=_WHAT, help="Look for models here first.")
@option(
    "--force",
    is_flag=True,
    section=_WHAT,
    show_default=False,
    help="Measure quantised models that answer too differently.",
)
@option(
    "--batch-size",
    "--batch_size",
    type=_List(int),
    default="1,8",
    metavar="NUMBERS",
    section=_ASKED,
    help="Inputs at once.",
)
@option("--tokens", type=click.IntRange(2), default=64, metavar="N", section=_ASKED, help="Of an answer.")
@option("--prompt", type=click.IntRange(1), default=32, metavar="N", section=_ASKED, help="Tokens of a prompt.")
@option(
    "--lengths", type=_List(int), default="16,128", metavar="NUMBERS", section=_ASKED, help="Tokens of a text to embed."
)
@option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    metavar="N",
    section=_ASKED,
    help="Of a recording.",
)
@option("--side", type=click.IntRange(8), default=224, metavar="N", section=_ASKED, help="Pixels of a picture.")
@option("--rounds", type=click.IntRange(1), default=3, metavar="N", section=_HOW, help="Turns of each contestant.")
@option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    section=_HOW,
    help="Of each contestant.  [default: the processors there are]",
)
@option(
    "--limit",
    type=click.FloatRange(0, min_open=True),
    default=600.0,
    metavar="SECONDS",
    section=_HOW,
    help="That loading, or one turn, may take.",
)
@option("--out", metavar="PREFIX", section=_HOW, help="Write PREFIX.json and PREFIX.md, and plots and a page.")
@common_options
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Measure models on this machine, and services under load.

    Text generation, embeddings, speech recognition, vision and vision-language chat, on every runtime that is
    installed. Each contestant has a process and threads of its own; they take turns, so ratios between them hold on a
    busy machine too. A shape is a published model's sizes with random weights.
    """
    if ctx.invoked_subcommand is not None:
        return
    terminal: Terminal = ctx.obj
    if not given["models"]:
        from ipfs_accelerate_py.bench.models import ALL

        raise click.UsageError(f"name what to measure with --models: all, or some of {', '.join(ALL)}, or your own")
    session = _measure(terminal, **given)
    if given["out"]:
        keep(terminal, session, given["out"])
    show(terminal, session)


def _measure(terminal: Terminal, /, **given: Any) -> Session:
    from ipfs_accelerate_py.bench.here import devices, installed
    from ipfs_accelerate_py.bench.local.base import Sizes
    from ipfs_accelerate_py.bench.models import find_subjects
    from ipfs_accelerate_py.bench.running import Plan, measure
    from ipfs_accelerate_py.runtimes.devices import available_cpus

    subjects = find_subjects(given["models"], given["task"], given["folder"])
    present, absent = devices(given["device"] or ())
    sizes = Sizes(
        given["batch_size"], given["tokens"], given["prompt"], given["lengths"], given["seconds"], given["side"]
    )
    plan = Plan(
        given["runtime"] or installed(), given["precision"] or (), present, absent, given["rounds"],
        given["threads"] or available_cpus(), sizes, given["force"], given["limit"],
    )  # fmt: skip
    typed = "ipfs-accelerate " + " ".join(sys.argv[1:])
    return measure(subjects, plan, typed, told=terminal.note)


def keep(terminal: Terminal, session: Session, prefix: str) -> None:
    """Write the session beside ``prefix``: JSON and Markdown, and what else can be made of it here."""
    from ipfs_accelerate_py.bench.keeping import write_all

    for path in write_all(session, Path(prefix), terminal.warn):
        terminal.note(f"wrote {path}")


def show(terminal: Terminal, session: Session) -> None:
    """Tables on a terminal; else a line for each figure; with ``--json`` the whole session."""
    from ipfs_accelerate_py.bench.tables import described, lines, tables

    if terminal.json:
        terminal.data(session.plain())
        return
    if not sys.stdout.isatty():
        terminal.table((), lines(session))
        return
    for each in described(session):
        terminal.note(each)
    for table in tables(session):
        terminal.write(f"\n{table.title}\n")
        terminal.table(table.columns, table.rows)
    for left in dict.fromkeys((each.case.model, each.case.contestant, each.outcome, each.reason)
                              for each in session.left):  # fmt: skip
        terminal.note(": ".join(left))
