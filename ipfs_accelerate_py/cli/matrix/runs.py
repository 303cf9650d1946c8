"""``ipfs-accelerate matrix runs``: what is in a file of runs."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import click

from ipfs_accelerate_py.cli.helping import Command, common_options
from ipfs_accelerate_py.cli.matrix.options import open_store, store_option
from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate matrix runs", "Runs in matrix.sqlite, the oldest first"),
    ("ipfs-accelerate matrix runs --store nightly.sqlite --json", "Those of another file, with machine and versions"),
)


@click.command(cls=Command, name="runs", examples=EXAMPLES)
@store_option
@common_options
@click.pass_obj
def command(terminal: Terminal, /, store: Path) -> None:
    """List the runs of a file: id, time, label, whether it has ended, and how many cells have which outcome."""
    from ipfs_accelerate_py.matrix.summaries import describe
    from ipfs_accelerate_py.runtimes.probes.results import OUTCOMES

    rows, plain = [], []
    with open_store(store) as found:
        for run in found.runs():
            counts = Counter(each.outcome for each in found.results(run.id))
            shards = run.plan.get("shards") or run.plan.get("shard", "1/1")
            part = f"{len(shards)} shards" if isinstance(shards, dict) else "" if shards == "1/1" else f"shard {shards}"
            started = datetime.fromtimestamp(run.started, UTC).strftime("%Y-%m-%d %H:%M")
            state = "ended" if run.ended is not None else "not ended"
            rows.append([run.id, started, run.label, part, state, *(str(counts[name]) for name in OUTCOMES)])
            plain.append(
                {
                    "id": run.id,
                    "label": run.label,
                    "started": run.started,
                    "ended": run.ended,
                    "command": run.command,
                    "machine": dict(run.machine),
                    "versions": dict(run.versions),
                    "plan": dict(run.plan),
                    "counts": {name: counts[name] for name in OUTCOMES},
                }
            )
            terminal.detail(f"{run.id}: {describe(run.machine)}")
    if terminal.json:
        terminal.data({"store": str(store), "runs": plain})
    else:
        terminal.table(("run", "started (UTC)", "label", "part", "", *OUTCOMES), rows)
