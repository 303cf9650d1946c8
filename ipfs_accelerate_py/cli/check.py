"""``ipfs-accelerate check``: true round trips, against simulators or the real services, and a table of what works."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import click

from ipfs_accelerate_py.cli.failures import ExitCode
from ipfs_accelerate_py.cli.helping import Command, Group, common_options, option
from ipfs_accelerate_py.cli.terminal import Terminal, counted

if TYPE_CHECKING:
    from ipfs_accelerate_py.cli.checks.backends import Result

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate check", "Every operation of every backend, against simulators: no key is needed"),
    ("ipfs-accelerate check --live", "The same with every real service that has a key or an address"),
    ("ipfs-accelerate check --apis claude,gemini --live --json", "Two of them, as JSON"),
    ("ipfs-accelerate check --skip-apis opea,ovms", "All but two"),
    ("ipfs-accelerate check queue --api ollama --queue-size 10 --max-concurrent 2", "The queue of one backend"),
)
QUEUE_EXAMPLES = (
    ("ipfs-accelerate check queue", "Limits, priorities, back-off and breaker, against a simulated OpenAI"),
    (
        "ipfs-accelerate check queue --api ollama --model llama3 --host http://localhost:11434",
        "What can be checked of them with a real server",
    ),
)
_MARKS = {"ok": "32", "failed": "1;31", "unsupported": "2", "skipped": "33"}


class Check(Group):
    """The group; a stray word after ``--apis a b`` is told what to do instead."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from ipfs_accelerate_py.backends import backend_names

        if args and args[0] not in self.commands and args[0] in backend_names():
            ctx.fail(f"several backends are written with commas, and no spaces: --apis openai,{args[0]}")
        return super().resolve_command(ctx, args)


def _names(ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for text in given for name in text.replace(",", " ").split() if name != "all")


@click.group(cls=Check, name="check", invoke_without_command=True, examples=EXAMPLES)
@option(
    "--apis",
    "--api",
    "only",
    multiple=True,
    callback=_names,
    metavar="NAMES",
    section="What",
    help="Backends to check, separated by commas; `all` is every one of them.  [default: all]",
)
@option("--skip-apis", "skip", multiple=True, callback=_names, metavar="NAMES", section="What", help="Backends not to.")
@option("-m", "--model", metavar="NAME", section="What", help="Model to ask, for every operation.")
@option("--live", is_flag=True, section="What", help="Ask the real services that are configured; that may cost money.")
@option("--list", "listed", is_flag=True, section="What", help="List the backends, and check nothing.")
@common_options
@click.pass_context
def command(
    ctx: click.Context, only: tuple[str, ...], skip: tuple[str, ...], model: str | None, live: bool, listed: bool
) -> None:
    """Make true round trips with every backend, and show what works.

    There is one for every operation that the service has. Each is judged by what it brought back, not by its status:
    text that is there, vectors that differ, a slot that is free again. Without --live a simulator of the service
    answers, on this machine. In a pipe a line is: backend, operation, status, seconds, detail; separated by tabs. The
    exit code is 0 where nothing failed.
    """
    if ctx.invoked_subcommand is not None:
        return
    terminal = ctx.ensure_object(Terminal)
    from ipfs_accelerate_py.backends import find_backend
    from ipfs_accelerate_py.cli.checks.backends import check_backends, checked_names

    names = checked_names(only, skip)
    if listed:
        rows = [(spec.name, ", ".join(spec.aliases), spec.base_url) for spec in map(find_backend, names)]
        if terminal.json:
            terminal.data({"backends": [{"name": a, "aliases": b.split(", ") if b else []} for a, b, _ in rows]})
        else:
            terminal.table(("backend", "other names", "default address"), rows)
        return
    _run(ctx, terminal, lambda told: check_backends(names, model=model, live=live, told=told))


@command.command(cls=Command, examples=QUEUE_EXAMPLES)
@option("--api", "backend", default="openai", metavar="NAME", section="What", help="Backend to check.")
@option("-m", "--model", default="chat-model", metavar="NAME", section="What", help="Model to ask.")
@option("--host", metavar="URL", section="What", help="A real server; what needs faults is skipped.")
@option("--queue-size", type=click.IntRange(4), default=10, metavar="N", section="What", help="Calls that may wait.")
@option("--max-concurrent", type=click.IntRange(1), default=2, metavar="N", section="What", help="Calls at once.")
@common_options
@click.pass_context
def queue(ctx: click.Context, backend: str, model: str, host: str | None, queue_size: int, max_concurrent: int) -> None:
    """Check the queue: calls at once, refusal when full, priorities, back-off, circuit breaker."""
    from ipfs_accelerate_py.backends import find_backend
    from ipfs_accelerate_py.cli.checks.queueing import Wanted, check_queue

    wanted = Wanted(find_backend(backend).name, model, queue_size, max_concurrent, host)
    _run(ctx, ctx.ensure_object(Terminal), lambda told: check_queue(wanted, told))


@command.command(cls=Command)
@option("--apis", "--api", "only", multiple=True, callback=_names, metavar="NAMES", section="What", help="Backends.")
@common_options
@click.pass_context
def multiplexing(ctx: click.Context, only: tuple[str, ...]) -> None:
    """Check how several keys are used: in turn, least loaded, one by name, and past a refused one."""
    from ipfs_accelerate_py.backends import find_backend
    from ipfs_accelerate_py.cli.checks.multiplexing import KEYED, check_multiplexing

    names = [find_backend(name).name for name in only] or list(KEYED)
    for name in names:
        if name not in KEYED:
            raise click.UsageError(f"{name} has no pool of keys, or no simulator; those with both: {', '.join(KEYED)}")
    _run(ctx, ctx.ensure_object(Terminal), lambda told: check_multiplexing(names, told))


@command.command(cls=Command)
@common_options
@click.pass_context
def endpoints(ctx: click.Context) -> None:
    """Load every model on this machine, and ask it."""
    from ipfs_accelerate_py.cli.checks.here import check_endpoints

    _run(ctx, ctx.ensure_object(Terminal), check_endpoints)


@command.command(cls=Command)
@option("--backend", "device", default="auto", metavar="DEVICE", section="What", help="auto, cpu, cuda, cuda:1.")
@option("-m", "--model", default="all-MiniLM-L6-v2", metavar="NAME", section="What", help="Model to load there.")
@common_options
@click.pass_context
def hardware(ctx: click.Context, device: str, model: str) -> None:
    """Load one model on one device, and ask it."""
    from ipfs_accelerate_py.cli.checks.here import check_hardware

    _run(ctx, ctx.ensure_object(Terminal), lambda told: check_hardware(device, model, told))


def _run(
    ctx: click.Context,
    terminal: Terminal,
    checks: Callable[[Callable[[Result], None]], Coroutine[Any, Any, Sequence[Result]]],
) -> None:
    import asyncio

    def told(result: Result) -> None:
        if not terminal.json:
            _line(terminal, result)

    # A loop of its own: simulators live on it beside the clients.
    results = asyncio.run(checks(told))
    failed = sum(result.status == "failed" for result in results)
    counts = {status: sum(result.status == status for result in results) for status in _MARKS}
    if terminal.json:
        terminal.data({"results": [result.as_dict() for result in results], "counts": counts})
    else:
        said = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
        terminal.note(f"{counted(len(results), 'check', 'checks')}: {said or 'none'}")
    if failed:
        ctx.exit(ExitCode.UPSTREAM)


def _line(terminal: Terminal, result: Result) -> None:
    import sys

    from ipfs_accelerate_py.cli.terminal import printable

    if not sys.stdout.isatty():
        cells = (result.backend, result.operation, result.status, f"{result.seconds:.3f}", result.detail)
        terminal.table((), [cells])
        return
    mark = result.status
    if terminal.colourful(sys.stdout):
        mark = f"\x1b[{_MARKS[result.status]}m{mark}\x1b[0m" + " " * (11 - len(mark))
    sys.stdout.write(
        printable(f"{result.backend:<8} {result.operation:<16} ") + f"{mark:<11} " + printable(result.detail) + "\n"
    )
    sys.stdout.flush()
