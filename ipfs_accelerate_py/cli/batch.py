"""``ipfs-accelerate batch``: many requests handed in at once, and their answers fetched later."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeVar

import click

from ipfs_accelerate_py.cli.batch_lines import read_requests, result_line
from ipfs_accelerate_py.cli.files import force_option, refuse_existing
from ipfs_accelerate_py.cli.helping import Command, Group, common_options, option
from ipfs_accelerate_py.cli.selection import Connection, choose_backend, choose_target, connection_options, named_model
from ipfs_accelerate_py.cli.terminal import Terminal, counted
from ipfs_accelerate_py.cli.texts import open_input

__all__ = ["command"]

F = TypeVar("F", bound=Callable[..., Any])

EXAMPLES = (
    (
        "ipfs-accelerate batch submit questions.jsonl -m openai/gpt-4o",
        "Hand in a file of requests; questions.jsonl.job.json is what to go on with",
    ),
    ("ipfs-accelerate batch status questions.jsonl.job.json", "How far it is"),
    (
        "ipfs-accelerate batch results questions.jsonl.job.json --output answers.jsonl",
        "Wait for the end with a progress bar, and write an answer a line, in the order of the requests",
    ),
    ("ipfs-accelerate batch cancel batch_abc123 --backend openai", "End a job, by the provider's own id"),
)


@click.group(cls=Group, name="batch", examples=EXAMPLES)
@common_options
def command() -> None:
    """Hand in many requests at once, and fetch the answers later.

    A request is a line of JSON: {"model": ..., "messages": ...}, or "input" for embeddings, "prompt", "query" with
    "documents", or a line of OpenAI's batch files; "custom_id" names it. OpenAI, Anthropic and Groq do it in their
    batch APIs within a day, at half the price; for other backends it is done by calls of low priority.
    """


@command.command(cls=Command)
@click.argument("requests", metavar="REQUESTS")
@option("-m", "--model", metavar="[BACKEND/]MODEL", section="Model", help="Model of requests that name none.")
@option("--manifest", metavar="FILE", section="Job", help="What the job is gone on with.  [default: REQUESTS.job.json]")
@option(
    "--via",
    type=click.Choice(("auto", "provider", "calls")),
    default="auto",
    section="Job",
    help="provider: its batch API. calls: calls of low priority, as long as this command runs. auto: the provider's, "
    "where it has one.",
)
@option("--window", default="24h", metavar="TIME", section="Job", help="How long the provider may take.")
@option("--concurrency", type=click.IntRange(1, 1024), default=8, metavar="N", section="Job", help="Calls at once.")
@option("--wait", is_flag=True, section="Job", show_default=False, help="Wait until it has ended.")
@connection_options()
@common_options
@click.pass_obj
def submit(
    terminal: Terminal,
    requests: str,
    model: str | None,
    manifest: str | None,
    via: str,
    window: str,
    concurrency: int,
    wait: bool,
    connection: Connection,
) -> None:
    """Hand in the requests of a file (- is stdin).

    All of them are checked first. The same command once more goes on with the job that is there, so nothing is handed
    in twice.
    """
    if manifest is None:
        if requests == "-":
            raise click.UsageError("requests from stdin need --manifest FILE")
        manifest = f"{requests}.job.json"
    named = named_model(model)
    backend, name = (choose_backend(connection), "") if named is None else choose_target(named, connection)
    from ipfs_accelerate_py.sync import Client

    with Client(backend, **connection.arguments()) as client, open_input(requests) as file:
        job = client.batch(
            read_requests(file, "stdin" if requests == "-" else requests),
            model=name,
            via=via,
            window=window,
            manifest=manifest,
            concurrency=concurrency,
            **connection.per_call(),
        )
        with job:
            if job.via == "calls" and not wait:
                terminal.note(f"{backend} has no batch API: its requests are done by calls now")
            if wait or job.via == "calls":
                _wait(terminal, job)
            _tell(terminal, job)


def _job_arguments(function: F) -> F:
    made: Any = connection_options()(common_options(click.pass_obj(function)))
    return click.argument("job", metavar="JOB")(made)  # type: ignore[no-any-return]


@command.command(cls=Command)
@_job_arguments
def status(terminal: Terminal, job: str, connection: Connection) -> None:
    """Show how far a JOB is: its manifest, or the provider's own id with --backend."""
    with _opened(job, connection, run=False) as found:
        found.refresh()
        _tell(terminal, found)


@command.command(cls=Command)
@option("--output", metavar="FILE", section="Output", help="Write here instead of to stdout.")
@force_option
@_job_arguments
def results(terminal: Terminal, job: str, output: str | None, force: bool, connection: Connection) -> None:
    """Wait for a JOB's end, and write its answers.

    An answer is a line of JSON, in the order of the requests: "index", "custom_id" where the request had one, and
    "text" (or "embeddings", "ranking", "labels", ...) with "usage"; or "error". A job that is done by calls is gone on
    with.
    """
    refuse_existing(output, force)
    with _opened(job, connection, run=True) as found:
        _wait(terminal, found)
        failed = 0
        with _output(output, force) as file:
            for result in found.results():
                failed += result.error is not None
                file.write(terminal.dumps(result_line(result)) + "\n")
        if output is not None:
            terminal.note(f"{counted(found.counts.total, 'result', 'results')} in {output}, {failed} of them errors")


@command.command(cls=Command)
@_job_arguments
def cancel(terminal: Terminal, job: str, connection: Connection) -> None:
    """End a JOB early. What was answered by then can be fetched, and is paid for."""
    with _opened(job, connection, run=False) as found:
        found.cancel()
        _tell(terminal, found)


# --- parts -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(job: str, connection: Connection, *, run: bool) -> Iterator[Any]:
    from ipfs_accelerate_py.sync import Client

    backend = _backend_of(job) if connection.backend is None else None
    with (
        Client(backend or choose_backend(connection), **connection.arguments()) as client,
        client.batch_job(job, run=run) as found,
    ):
        yield found


def _backend_of(job: str) -> str | None:
    """A manifest says whose job it is."""
    with contextlib.suppress(OSError, ValueError):
        with open(job, "rb") as file:
            found = json.loads(file.read()).get("backend")
        return found if isinstance(found, str) and found else None
    return None


@contextlib.contextmanager
def _output(path: str | None, force: bool) -> Iterator[IO[str]]:
    if path in (None, "-"):
        yield sys.stdout
        return
    try:
        file = open(str(path), "w" if force else "x", encoding="utf-8")  # noqa: SIM115  # closed below
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}") from None
    with file:
        yield file


def _wait(terminal: Terminal, job: Any) -> None:
    """Until the end, with a bar on the terminal."""
    if terminal.quiet or terminal.json or not terminal.colourful(sys.stderr):
        job.wait()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal.console(), transient=True) as bars:
        task = bars.add_task(job.status, total=job.counts.total or None)
        for counts in job.watch():
            bars.update(
                task, description=job.status, total=counts.total or None, completed=counts.completed + counts.failed
            )


def _tell(terminal: Terminal, job: Any) -> None:
    counts = job.counts
    found = {
        "status": job.status,
        "via": job.via,
        "total": counts.total,
        "completed": counts.completed,
        "failed": counts.failed,
        "manifest": job.manifest,
        "provider_ids": job.provider_ids,
        "problems": job.problems,
    }
    if terminal.json:
        terminal.data(found)
        return
    rows = [
        (name, ", ".join(value) if isinstance(value, list) else str(value)) for name, value in found.items() if value
    ]
    terminal.table(("", ""), rows)
