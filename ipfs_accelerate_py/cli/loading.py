"""What ``bench load`` does: reads its options, opens who is asked, shows how far it is, and writes what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator

import click

from ipfs_accelerate_py.bench.figures import Session
from ipfs_accelerate_py.bench.load.book import METHOD, write_down
from ipfs_accelerate_py.bench.load.calling import Calls
from ipfs_accelerate_py.bench.load.mix import Mix
from ipfs_accelerate_py.bench.load.session import LoadTest, Outcome, Plan, Progress
from ipfs_accelerate_py.bench.load.targets import LoadTarget
from ipfs_accelerate_py.cli.failures import ExitCode
from ipfs_accelerate_py.cli.load_options import Given, mix_of, plan_of, spoken, targets_of
from ipfs_accelerate_py.cli.selection import Connection
from ipfs_accelerate_py.cli.terminal import Terminal, counted
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import MissingExtra
from ipfs_accelerate_py.portal import new_event_loop

__all__ = ["run_load"]


def run_load(ctx: click.Context, terminal: Terminal, connection: Connection, given: Given) -> None:
    """The whole command."""
    plan, mix = plan_of(given), mix_of(given)
    who = targets_of(connection, given)
    if connection.settings and not given["through"]:
        raise click.UsageError("--retries is for --through-pipeline: without it every call is made once")
    outputs = _outputs(terminal, given["out"])
    session = Session.begin(spoken(ctx), method=METHOD)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        outcome = runner.run(_run(terminal, session, who, mix, plan, connection, given))
    session.end()
    _show(terminal, session)
    for each in outputs if session.measurements else outputs[:2]:
        terminal.note(f"wrote {each(session)}")
    if outcome.stopped:
        ctx.exit(ExitCode.INTERRUPTED)
    if outcome.steps and not any(step.summary.good for step in outcome.steps):
        ctx.exit(ExitCode.UPSTREAM)


async def _run(
    terminal: Terminal,
    session: Session,
    who: list[tuple[str, str, Connection]],
    mix: Mix,
    plan: Plan,
    connection: Connection,
    given: Given,
) -> Outcome:
    async with contextlib.AsyncExitStack() as stack:
        calls = []
        for (backend, model, where), name in zip(who, (given["name"], given["beside_name"]), strict=False):
            client = AsyncClient(backend, **where.arguments())
            stack.push_async_callback(client.aclose)
            if given["through"]:
                client.max_concurrent_requests = plan.bounds.in_flight
            target = LoadTarget(client, model, through=given["through"], name=name or "")
            terminal.detail(f"asking {model} of {backend} at {target.url or 'this process'}")
            calls.append(Calls(target, mix, stream=given["stream"], timeout=connection.timeout))
        with _shown(terminal, plan, len(calls)) as told:
            test = LoadTest(calls, plan, told=told)
            with _interrupts(test):
                outcome = await test.run()
        write_down(test, outcome, session)
        return outcome


# --- while it runs -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _interrupts(test: LoadTest) -> Iterator[None]:
    """The first Ctrl-C ends the load; the next one the program."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        test.stop.set()

    try:
        loop.add_signal_handler(signal.SIGINT, stop)
    except (NotImplementedError, RuntimeError, ValueError):  # no such signals here, or not the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@contextlib.contextmanager
def _shown(terminal: Terminal, plan: Plan, targets: int) -> Iterator[Callable[[Progress], None] | None]:
    """How far it is, on stderr: a line that changes on a terminal, and else a line a step."""
    if terminal.quiet:
        yield None
        return
    takes = [plan.seconds(level) for level in plan.levels]
    if takes and all(each is not None for each in takes):
        whole = sum(each or 0.0 for each in takes) * plan.rounds * targets
        terminal.note(f"{counted(len(takes) * plan.rounds * targets, 'step', 'steps')}, about {_spell(whole)}")
    if terminal.colourful(sys.stderr):
        with terminal.console().status("warming up", spinner="dots") as status:
            yield lambda progress: status.update(_line(progress))
        return
    last = 0

    def told(progress: Progress) -> None:
        nonlocal last
        if progress.step != last:
            last = progress.step
            terminal.note(_line(progress))

    yield told


def _line(progress: Progress) -> str:
    of = f" of {progress.steps}" if progress.steps is not None else ""
    left = f", about {_spell(progress.left)} left" if progress.left is not None else ""
    calls = f", {counted(progress.calls, 'call', 'calls')}" if progress.calls else ""
    failed = f", {progress.failed} failed" if progress.failed else ""
    return f"step {progress.step}{of}: {progress.target} at {progress.load}{calls}{failed}{left}"


def _spell(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


# --- what came of it ---------------------------------------------------------------------------------------------


def _outputs(terminal: Terminal, prefix: str | None) -> list[Callable[[Session], object]]:
    """What writes the files, and gives their names. Says at once which of them there will not be."""
    if prefix is None:
        return []
    from ipfs_accelerate_py.bench.page import write_page
    from ipfs_accelerate_py.bench.plots import require_matplotlib, save

    figures: list[Callable[[Session], object]] = [
        lambda session: session.write(f"{prefix}.json"),
        lambda session: _markdown(session, f"{prefix}.md"),
    ]
    try:
        require_matplotlib()
    except MissingExtra as error:
        terminal.warn(f"no plots, and no page: {error.message}")
        return figures
    return [
        *figures,
        lambda session: save(session, f"{prefix}.png"),
        lambda session: save(session, f"{prefix}.svg"),
        lambda session: write_page(session, f"{prefix}.html"),
    ]


def _markdown(session: Session, path: str) -> str:
    from ipfs_accelerate_py.bench.load.tables import markdown

    with open(path, "w", encoding="utf-8") as file:
        file.write(markdown(session))
    return path


def _show(terminal: Terminal, session: Session) -> None:
    from ipfs_accelerate_py.bench.load.tables import COLUMNS, comparisons, limits, rows

    if terminal.json:
        terminal.data(session.plain())
    else:
        terminal.table(COLUMNS, rows(session))
    for each in (*limits(session), *(" ".join(each) for each in comparisons(session)), *session.notes):
        terminal.note(each)
