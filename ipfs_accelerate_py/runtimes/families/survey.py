"""What of all model types runs here: each is built small, in a process of its own, and asked.

A process that has everything imported forks one child for a type, so that a crash, a hang or a flood of memory in one
is one row of the table. Rows are kept as JSON lines, so that an interrupted survey goes on where it was.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .rows import FAILED, Row, one_line

__all__ = ["survey"]


def survey(
    types: Iterable[str],
    *,
    runtimes: Sequence[str] = ("torch",),
    jobs: int = 1,
    timeout: float = 120.0,
    memory: int = 8 << 30,
    done: Mapping[tuple[str, str, str], Row] | None = None,
    check: Callable[[str, str], Row] | None = None,
) -> Iterator[Row]:
    """Rows as they come, of every type on every runtime that is not in ``done``.

    Args:
        jobs: how many at a time.
        timeout: seconds for one row, over which it has failed.
        memory: bytes of address space that one may take beyond what is taken before.
        check: what makes a row of a type's and a runtime's name; the real checks without.
    """
    from .checks import check_type, warm

    made = check or check_type
    if check is None:
        warm(runtimes)
    wanted = [(t, r) for t in types for r in runtimes if (t, r, "float32") not in (done or {})]
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        yield from pool.map(lambda each: _isolated(made, each[0], each[1], timeout, memory), wanted)


def _isolated(check: Callable[[str, str], Row], model_type: str, runtime: str, timeout: float, memory: int) -> Row:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(check, model_type, runtime, memory, theirs), daemon=True)
    began = time.monotonic()
    child.start()
    theirs.close()
    row: Row | None = None
    reason = ""
    try:
        if ours.poll(timeout):
            row = ours.recv()
        else:
            reason = f"Timeout: no answer in {timeout:.0f} s"
    except EOFError:
        child.join(5)
        reason = f"Crash: its process ended with status {child.exitcode}"
    finally:
        if child.is_alive():
            child.kill()
        child.join()
        ours.close()
    if row is None:
        row = Row(model_type, runtime, outcome=FAILED, reason=reason)
    row.seconds = round(time.monotonic() - began, 2)
    return row


def _child(check: Callable[[str, str], Row], model_type: str, runtime: str, memory: int, answers: Any) -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if _LINUX else 0
    if taken:
        resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))
    try:
        row = check(model_type, runtime)
    except BaseException as exc:
        row = Row(model_type, runtime, outcome=FAILED, reason=one_line(exc))
    answers.send(row)
    answers.close()


_LINUX = Path("/proc/self/statm").exists()
