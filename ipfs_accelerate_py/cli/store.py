"""``ipfs-accelerate store``: objects and models in an S3-compatible store."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import click

from ipfs_accelerate_py.cli.helping import Command, Group, common_options, option
from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["command"]

F = TypeVar("F", bound=Callable[..., Any])

EXAMPLES = (
    ("ipfs-accelerate store upload-model ./my-model my-model --bucket models", "A folder, as a version of a model"),
    ("ipfs-accelerate store download-model my-model ./my-model --bucket models", "Its newest version, all checked"),
    ("ipfs-accelerate store models --bucket models", "Which models are there, in which versions"),
    ("ipfs-accelerate store list --bucket data --prefix 2026/", "Objects: key, size and time, separated by tabs"),
    ("ipfs-accelerate store url report.pdf --bucket data --expires 600", "A URL that anybody may fetch, for a while"),
)


def _arguments(function: F) -> F:
    """Where the store is, and how long a call may take; keys come from the environment or a file alone."""
    for decorate in (
        option("--bucket", metavar="NAME", section="Store", help="Bucket.  [default: S3_BUCKET]"),
        option("--endpoint", metavar="URL", section="Store", help="Its address.  [default: S3_ENDPOINT, or AWS]"),
        option("--region", metavar="NAME", section="Store", help="Region.  [default: S3_REGION, or the store's own]"),
        option("--timeout", type=click.FloatRange(0, min_open=True), default=3600.0, metavar="SECONDS", section="Store",
               help="Limit for each call, waiting and retries included."),
        option("--retries", type=click.IntRange(0), default=5, metavar="N", section="Store",
               help="How often a failed call is made again."),
    ):  # fmt: skip
        function = decorate(function)
    return function


@click.group(cls=Group, name="store", examples=EXAMPLES)
@common_options
def command() -> None:
    """Keep files and models in an S3-compatible store.

    Keys are S3_ACCESS_KEY and S3_SECRET_KEY, or AWS's own variables. What is fetched is checked, and a transfer that
    broke off goes on where it was.
    """


@command.command(cls=Command)
@click.argument("file", type=click.Path())
@click.argument("key", required=False)
@_arguments
@common_options
@click.pass_obj
def upload(terminal: Terminal, /, file: str, key: str | None, **place: Any) -> None:
    """Store FILE as the object KEY (by default its name)."""
    with _progress(terminal, "upload") as progress:
        found = _ask(place, "upload_file", file_path=file, key=key, progress=progress)
    _tell(terminal, found, found["key"])


@command.command(cls=Command)
@click.argument("key")
@click.argument("file", required=False, type=click.Path())
@_arguments
@common_options
@click.pass_obj
def download(terminal: Terminal, /, key: str, file: str | None, **place: Any) -> None:
    """Fetch the object KEY into FILE, which appears when it is whole and checked."""
    with _progress(terminal, "download") as progress:
        found = _ask(place, "download_file", key=key, file_path=file, progress=progress)
    _tell(terminal, found, found["file_path"])


@command.command(cls=Command, name="list")
@option("--prefix", default="", metavar="TEXT", section="What", help="What keys begin with.")
@option("--limit", type=click.IntRange(1), metavar="N", section="What", help="At most so many.")
@_arguments
@common_options
@click.pass_obj
def listing(terminal: Terminal, /, prefix: str, limit: int | None, **place: Any) -> None:
    """List objects: key, size in bytes, time of the last change."""
    found = _ask(place, "list_objects", prefix=prefix, max_keys=limit)
    rows = [(each["key"], str(each["size"]), str(each["last_modified"])) for each in found["objects"]]
    _table(terminal, found, ("key", "bytes", "changed"), rows)


@command.command(cls=Command)
@click.argument("key")
@_arguments
@common_options
@click.pass_obj
def head(terminal: Terminal, /, key: str, **place: Any) -> None:
    """Show what the object KEY is, without fetching it."""
    found = _ask(place, "head_object", key=key)
    rows = [(name, str(value)) for name, value in found.items() if value not in (None, {})]
    _table(terminal, found, ("", ""), rows)


@command.command(cls=Command)
@click.argument("key")
@_arguments
@common_options
@click.pass_obj
def delete(terminal: Terminal, /, key: str, **place: Any) -> None:
    """Take the object KEY away; one that is not there is no error."""
    _tell(terminal, _ask(place, "delete_object", key=key), None)


@command.command(cls=Command)
@click.argument("key")
@option("--expires", type=click.FloatRange(1), default=3600.0, metavar="SECONDS", section="What", help="For how long.")
@option("--put", is_flag=True, section="What", help="For storing the object, not for fetching it.")
@_arguments
@common_options
@click.pass_obj
def url(terminal: Terminal, /, key: str, expires: float, put: bool, **place: Any) -> None:
    """Make a URL by which anybody may fetch the object KEY for a while. Whoever has it needs no key: mind your logs."""
    method = "PUT" if put else "GET"
    found = _ask(place, "create_presigned_url", key=key, expiration=expires, method=method)
    _tell(terminal, found, found["url"])


@command.command(cls=Command)
@click.argument("folder", type=click.Path())
@click.argument("name")
@option("--version", metavar="TEXT", section="What", help="Version.  [default: called by what it holds]")
@_arguments
@common_options
@click.pass_obj
def upload_model(terminal: Terminal, /, folder: str, name: str, version: str | None, **place: Any) -> None:
    """Store FOLDER as a version of the model NAME. A version never changes; what is there already is not sent again."""
    with _progress(terminal, name) as progress:
        found = _ask(place, "upload_model", path=folder, name=name, version=version, progress=progress)
    _tell(terminal, found, f"{found['name']}\t{found['version']}")


@command.command(cls=Command)
@click.argument("name")
@click.argument("folder", type=click.Path())
@option("--version", metavar="TEXT", section="What", help="Version.  [default: the newest]")
@_arguments
@common_options
@click.pass_obj
def download_model(terminal: Terminal, /, name: str, folder: str, version: str | None, **place: Any) -> None:
    """Fetch the model NAME into FOLDER, and check every file of it."""
    with _progress(terminal, name) as progress:
        found = _ask(place, "download_model", name=name, version=version, destination=folder, progress=progress)
    _tell(terminal, found, f"{found['name']}\t{found['version']}")


@command.command(cls=Command)
@click.argument("name", required=False)
@_arguments
@common_options
@click.pass_obj
def models(terminal: Terminal, /, name: str | None, **place: Any) -> None:
    """List the models that are whole, or the versions of one: name, version, time."""
    found = _ask(place, "list_models", name=name)
    rows = [(each["name"], each["version"], str(each["last_modified"])) for each in found["models"]]
    _table(terminal, found, ("model", "version", "stored"), rows)


def _ask(place: dict[str, Any], verb: str, **arguments: Any) -> dict[str, Any]:
    from ipfs_accelerate_py.sync import Client

    given = {name: value for name, value in arguments.items() if value is not None}
    if place["bucket"] is not None:
        given["bucket"] = place["bucket"]
    options = {} if place["region"] is None else {"region": place["region"]}
    with Client("s3_kit", base_url=place["endpoint"], max_retries=place["retries"], **options) as client:
        raw: dict[str, Any] = client.store(verb, timeout=place["timeout"], **given).raw
    return raw


def _tell(terminal: Terminal, found: dict[str, Any], line: str | None) -> None:
    if terminal.json:
        terminal.data(found)
    elif line is not None:
        terminal.write(line + "\n")


def _table(
    terminal: Terminal, found: dict[str, Any], columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]
) -> None:
    if terminal.json:
        terminal.data(found)
        return
    terminal.table(columns, rows)


@contextlib.contextmanager
def _progress(terminal: Terminal, what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the terminal, and nothing elsewhere."""
    if terminal.quiet or terminal.json or not terminal.colourful(sys.stderr):
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal.console()) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
