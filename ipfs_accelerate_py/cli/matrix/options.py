"""Options that the commands about runs have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ipfs_accelerate_py.cli.helping import option
from ipfs_accelerate_py.cli.matrix import STORE

if TYPE_CHECKING:
    from ipfs_accelerate_py.matrix.diff import Bounds
    from ipfs_accelerate_py.matrix.store import Store

__all__ = ["bounds_of", "bounds_options", "open_store", "run_option", "store_option"]

F = TypeVar("F", bound=Callable[..., Any])

RUN_HELP = "Its id or the beginning of it, its label, latest, or latest~1 for the one before."


def store_option(function: F) -> F:
    """``--store``: the file of runs."""
    return option(
        "--store", type=click.Path(path_type=Path), default=STORE, section="Input", help="SQLite file of all runs."
    )(function)


def run_option(function: F) -> F:
    """``--run``: which run."""
    return option("--run", "name", metavar="RUN", default="latest", section="Input", help=RUN_HELP)(function)


def open_store(path: Path) -> Store:
    """The file, which has to be there."""
    from ipfs_accelerate_py.matrix.store import Store

    return Store(path, read_only=True)


def bounds_options(function: F) -> F:
    """What counts as a difference between two figures."""
    for decorate in (
        option("--slower", type=click.FloatRange(1, min_open=True), default=1.5, metavar="RATIO", section="Bounds",
               help="Least ratio of two medians of time; their quartiles have to be apart as well."),
        option("--slower-ms", type=click.FloatRange(0), default=0.2, metavar="MS", section="Bounds",
               help="Least difference of the same."),
        option("--more-memory", type=click.FloatRange(1, min_open=True), default=1.5, metavar="RATIO", section="Bounds",
               help="Least ratio of two peaks of memory, of at least 4 MB."),
        option("--cosine", type=click.FloatRange(0, 2), default=0.005, metavar="DIFFERENCE", section="Bounds",
               help="Least difference of two cosines."),
        option("--other-machine", is_flag=True, section="Bounds",
               help="Compare times and memory even of different machines."),
    ):  # fmt: skip
        function = decorate(function)
    return function


def bounds_of(given: dict[str, Any]) -> Bounds:
    """What `bounds_options` say."""
    from ipfs_accelerate_py.matrix.diff import Bounds

    return Bounds(
        slower=given["slower"],
        slower_ms=given["slower_ms"],
        memory=given["more_memory"],
        cosine=given["cosine"],
        times=given["other_machine"],
    )
