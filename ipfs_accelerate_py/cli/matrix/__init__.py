"""``ipfs-accelerate matrix``: what runs where, found by running it; and what is made of the results."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from ipfs_accelerate_py.cli.helping import Group, Rows, common_options, option
from ipfs_accelerate_py.cli.terminal import Terminal, counted

__all__ = ["COMMANDS", "STORE", "command"]

#: The file of runs where nobody names another.
STORE = "matrix.sqlite"

EXAMPLES = (
    ("ipfs-accelerate matrix", "Every model type on PyTorch and OpenVINO; an hour or two on two cores"),
    ("ipfs-accelerate matrix --type bert --type whisper --runtime torch,openvino,llvm", "Two types, everywhere"),
    ("ipfs-accelerate matrix --model ./my-checkpoint --precision float32,int8-weights,int4", "A model of one's own"),
    ("ipfs-accelerate matrix --shard 1/4 --label nightly", "A quarter of it, as one of four machines"),
    ("ipfs-accelerate matrix report --out matrix.html", "One page to read, filter and sort"),
    ("ipfs-accelerate matrix gate --against nightly", "Fail where something broke or slowed"),
)
#: The commands of the group, and what each does.
COMMANDS: dict[str, str] = {
    "runs": "List the runs of a file, and where each stands.",
    "report": "Write a run as a page: HTML, Markdown or CSV.",
    "export": "Write runs as DuckDB, Parquet, CSV or JSON lines.",
    "diff": "Show what broke, healed, slowed or quickened between two runs.",
    "gate": "Exit with 1 where a run is worse than another.",
    "recommend": "Say how a model type is best run on this machine, from measurements.",
    "merge": "Put the shards of a run together, or take over another file's runs.",
}


class _Matrix(Group):
    """Its commands are modules, imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"ipfs_accelerate_py.cli.matrix.{cmd_name}").command
        return found

    def command_rows(self, ctx: click.Context) -> Rows:
        return list(COMMANDS.items())


def _names(ctx: click.Context, parameter: click.Parameter, given: Any) -> tuple[str, ...]:
    texts = given if isinstance(given, tuple) else (given or "",)
    return tuple(name for text in texts for name in text.replace(",", " ").split())


@click.group(cls=_Matrix, name="matrix", invoke_without_command=True, examples=EXAMPLES)
@option("-t", "--type", "types", metavar="TYPE", multiple=True, callback=_names, section="What", help="A model type.")
@option("-m", "--model", "models", metavar="NAME", multiple=True, section="What", help="A checkpoint, by name or path.")
@option(
    "--runtime",
    "runtimes",
    metavar="NAMES",
    default="torch,openvino",
    callback=_names,
    section="What",
    help="torch, openvino, llvm; with commas.",
)
@option(
    "--precision",
    "precisions",
    metavar="NAMES",
    callback=_names,
    section="What",
    help="float32, bfloat16, float16, int8, int8-weights, int4; of each runtime its usual ones without.",
)
@option(
    "--device",
    "devices",
    metavar="NAMES",
    callback=_names,
    section="What",
    help="Of PyTorch; all that are here without.",
)
@option(
    "--sample", type=click.IntRange(0), default=0, metavar="N", section="What", help="Only N types, drawn by --seed."
)
@option("--seed", type=int, default=0, section="What", help="Of the sample.")
@option("--shard", metavar="I/N", default="1/1", section="What", help="The I-th of N parts; `matrix merge` joins them.")
@option("-j", "--jobs", type=click.IntRange(1), default=1, section="How", help="Processes at a time.")
@option("--timeout", type=click.FloatRange(1), default=300.0, metavar="SECONDS", section="How", help="For one cell.")
@option(
    "--budget", type=click.FloatRange(0), metavar="SECONDS", section="How", help="For all; what is left stays untested."
)
@option("--memory", type=click.FloatRange(0.1), default=8.0, metavar="GB", section="How", help="For one cell.")
@option(
    "--seconds", type=click.FloatRange(0), default=0.3, section="How", help="For timing a batch size; 0 times nothing."
)
@option("--new", is_flag=True, section="How", help="Begin anew where an interrupted run would be gone on with.")
@option(
    "--extend", metavar="RUN", section="How", help="Add these cells to a run that is there: an id, label, or latest."
)
@option(
    "--again",
    metavar="OUTCOMES",
    callback=_names,
    section="How",
    help="Of the cells asked for, try those with these outcomes once more: failed, skipped.",
)
@option("--label", default="", section="Output", help="A name for the run.")
@option("--store", type=click.Path(path_type=Path), default=STORE, section="Output", help="SQLite file of all runs.")
@option("--list", "listing", is_flag=True, section="Output", help="Run nothing: print the types and their tasks.")
@common_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Show what runs where, how fast and how well, by running it.

    Each model type is made small and random from its own configuration class, or a checkpoint of yours is taken. Each
    runtime and precision is tried in a process of its own: whether it loads, runs, answers with finite numbers that
    depend on the input, agrees with PyTorch in float32 on fresh inputs, and answers in a batch as alone; then it is
    timed. Nothing is downloaded. A run that was interrupted is gone on with by the same command.
    """
    if ctx.invoked_subcommand is None:
        terminal: Terminal = ctx.obj
        if options.pop("listing"):
            _list(options["types"])
        else:
            _run(terminal, **options)


def _list(types: Sequence[str]) -> None:
    from ipfs_accelerate_py.runtimes.families.catalog import family_of, known_types

    for name in types or known_types():
        click.echo(f"{name}\t{', '.join(family_of(name).tasks)}")


def _run(
    terminal: Terminal,
    *,
    store: Path,
    label: str,
    new: bool,
    extend: str | None,
    jobs: int,
    timeout: float,
    budget: float | None,
    memory: float,
    seconds: float,
    again: tuple[str, ...],
    shard: str,
    **what: Any,
) -> None:
    from ipfs_accelerate_py.cli.matrix.watching import watching
    from ipfs_accelerate_py.matrix.plan import known, make_plan, read_shard
    from ipfs_accelerate_py.matrix.running import begin, found_as, run_cells, to_try
    from ipfs_accelerate_py.matrix.store import Store
    from ipfs_accelerate_py.runtimes.probes.isolation import Limits
    from ipfs_accelerate_py.runtimes.probes.results import OUTCOMES

    known("outcome", again, OUTCOMES)
    plan = make_plan(shard=read_shard(shard), **what)
    limits = Limits(jobs=jobs, timeout=timeout, memory=int(memory * 1e9), budget=budget)
    with Store(store) as file:
        if extend:
            run, resumed = file.run(extend), True
            file.extend(run.id, plan.cells)
        else:
            run, resumed = begin(file, plan, label=label, command=_said(shard, label, what), new=new)
        once_more = found_as(file, run, plan.cells, again)
        left = to_try(file, run, once_more)
        there = len(file.results(run.id, untested=False))
        terminal.note(
            f"run {run.id} in {store}: {counted(len(left), 'cell', 'cells')} to try" + f", {there} known" * resumed
        )
        for name in what["runtimes"]:
            if why := plan.said["absent"].get(name):
                terminal.warn(f"{name} is {why}; its cells stay untested")
        with watching(terminal, left) as tell:
            for result in run_cells(file, run, limits, seconds=seconds, again=once_more):
                tell(result)
        waiting = len(file.left(run.id))
        if waiting:
            terminal.note(
                f"{counted(waiting, 'cell is', 'cells are')} untested; the same command goes on with what can be"
            )
        _tell(terminal, file, run.id)


def _said(shard: str, label: str, what: dict[str, Any]) -> str:
    """The command that makes this run, without names of files of this machine."""
    words = ["ipfs-accelerate", "matrix"]
    for name, values in (("--type", what["types"]), ("--model", [Path(each).name for each in what["models"]])):
        words += [word for value in values for word in (name, value)]
    words += ["--runtime", ",".join(what["runtimes"])]
    for name in ("precisions", "devices"):
        words += [f"--{name.removesuffix('s')}", ",".join(what[name])] * bool(what[name])
    words += ["--sample", str(what["sample"]), "--seed", str(what["seed"])] * bool(what["sample"])
    words += ["--shard", shard] * (shard != "1/1") + ["--label", label] * bool(label)
    return shlex.join(words)


def _tell(terminal: Terminal, store: Any, run: str) -> None:
    """By runtime, precision and device, how many cells have which outcome."""
    from ipfs_accelerate_py.runtimes.probes.results import OUTCOMES

    counts: dict[tuple[str, str, str], dict[str, int]] = {}
    for result in store.results(run):
        found = counts.setdefault(result.cell[1:], dict.fromkeys(OUTCOMES, 0))
        found[result.outcome] += 1
    if terminal.json:
        keys = ("runtime", "precision", "device")
        terminal.data({"run": run, "counts": [dict(zip(keys, cell, strict=True)) | n for cell, n in counts.items()]})
        return
    rows = [(*cell, *(str(each[name]) for name in OUTCOMES)) for cell, each in counts.items()]
    terminal.table(("runtime", "precision", "device", *OUTCOMES), rows)
