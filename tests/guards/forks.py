"""Forked children tell coverage what they ran themselves, and not once more what their parent had run before.

Each would write all of that down when it ends: seconds for each of hundreds of children late in a run.
"""

from __future__ import annotations

import os
import sys


def install() -> None:
    """For good: what is registered for a fork stays."""
    os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    coverage = sys.modules.get("coverage")
    current = coverage.Coverage.current() if coverage is not None else None
    collector = getattr(current, "_collector", None)
    if current is None or collector is None:
        return
    # That little was run is no reason for a warning, which is an error here.
    current._warn_no_data = current._warn_unimported_source = False
    # In place, for the tracers hold these sets; without their lock, which a thread may have held that is not here.
    for lines in list(collector.data.values()):
        lines.clear()
    for tracer in collector.tracers:
        tracer.reset_activity()
