"""``ipfs-accelerate tests``: pytest modules for checkpoints of one's own, made, listed and verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ipfs_accelerate_py.cli.failures import ExitCode
from ipfs_accelerate_py.cli.helping import Command, Group, common_options, option
from ipfs_accelerate_py.cli.terminal import Terminal, counted

if TYPE_CHECKING:
    from ipfs_accelerate_py.checkpoint_tests.generating import Written
    from ipfs_accelerate_py.checkpoint_tests.results import Verdict

__all__ = ["command"]

#: Where modules are, if nobody says.
FOLDER = Path("checkpoint_tests")

EXAMPLES = (
    ("ipfs-accelerate tests generate bert --checkpoint ~/models/my-bert", "A module for a BERT of your own"),
    ("ipfs-accelerate tests verify --run --type bert", "Run it: by this library and by Transformers"),
    ("ipfs-accelerate tests list-missing", "Model types that have no module yet"),
    ("ipfs-accelerate tests generate-all", "All of these"),
    ("ipfs-accelerate tests verify --type bert --tiny", "Does BERT's module pass with a small random checkpoint?"),
)
_folder = option(
    "--dir", "--out", "folder", type=click.Path(path_type=Path, file_okay=False), default=FOLDER, metavar="DIR",
    section="Where", help="Folder of the modules.",
)  # fmt: skip
_force = option("--force", is_flag=True, section="How", help="Overwrite modules that were changed by hand.")


@click.group(cls=Group, name="tests", examples=EXAMPLES)
@common_options
def command() -> None:
    """Make pytest modules for checkpoints of your own; verify them.

    A module is made for a model type from one template: it asks the checkpoint its own task by this library and by
    Transformers, alone and in a batch, on each device, and compares. It is yours to change.
    """


@command.command(
    cls=Command,
    examples=(
        EXAMPLES[0],
        ("ipfs-accelerate tests generate whisper clip gpt2 --out tests/models", "Several types, into another folder"),
    ),
)
@click.argument("types", nargs=-1, required=True, metavar="TYPE...")
@option(
    "--checkpoint", metavar="NAME", default="", show_default=False, section="What",
    help="Folder or name that the module tests; the environment's IPFS_ACCELERATE_CHECKPOINT_<TYPE> goes before it.",
)  # fmt: skip
@_folder
@_force
@common_options
@click.pass_obj
def generate(terminal: Terminal, types: tuple[str, ...], checkpoint: str, folder: Path, force: bool) -> None:
    """Write the module of each model type.

    A type that Transformers has no more is refused, with what became of it. A module that was changed since it was
    made is kept.
    """
    from ipfs_accelerate_py.checkpoint_tests.generating import generate as write

    _wrote(terminal, write(types, folder, checkpoint=_absolute(checkpoint), force=force))


def _absolute(checkpoint: str) -> str:
    """A folder's whole path, for the module is run from anywhere; a name stays one."""
    path = Path(checkpoint).expanduser()
    return str(path.absolute()) if checkpoint and path.is_dir() else checkpoint


@command.command(cls=Command, name="list-missing", examples=(EXAMPLES[2],))
@_folder
@common_options
@click.pass_obj
def list_missing(terminal: Terminal, folder: Path) -> None:
    """List model types without a module, and those whose module is of an older template."""
    from ipfs_accelerate_py.checkpoint_tests.missing import MISSING
    from ipfs_accelerate_py.checkpoint_tests.missing import list_missing as look

    found = look(folder)
    if terminal.json:
        terminal.data({"dir": str(folder), "types": [asdict(each) for each in found]})
        return
    terminal.table(("type", "state"), [(each.type, each.state) for each in found])
    missing = sum(each.state == MISSING for each in found)
    terminal.note(
        f"{counted(missing, 'type has', 'types have')} no module in {folder}, {len(found) - missing} an old one"
    )


@command.command(cls=Command, name="generate-all", examples=(EXAMPLES[3],))
@_folder
@_force
@common_options
@click.pass_obj
def generate_all(terminal: Terminal, folder: Path, force: bool) -> None:
    """Write the modules of all model types that have none, or one of an older template."""
    from ipfs_accelerate_py.checkpoint_tests.generating import generate as write
    from ipfs_accelerate_py.checkpoint_tests.missing import list_missing as look

    _wrote(terminal, write([each.type for each in look(folder)], folder, force=force))


def _wrote(terminal: Terminal, found: Sequence[Written]) -> None:
    kept = [each for each in found if each.outcome == "kept"]
    if terminal.json:
        terminal.data({"modules": [{"type": e.type, "path": str(e.path), "outcome": e.outcome} for e in found]})
    else:
        terminal.table(("module", "outcome"), [(str(each.path), each.outcome) for each in found])
        terminal.note(f"{counted(len(found), 'module', 'modules')}, {len(found) - len(kept)} of them current")
    for each in kept:
        terminal.warn(f"{each.path} was changed or is not one of these: kept (--force overwrites it)")


@command.command(
    cls=Command,
    examples=(
        ("ipfs-accelerate tests verify", "Do all modules compile, and does pytest collect them?"),
        EXAMPLES[4],
        ("ipfs-accelerate tests verify --run --devices cpu,openvino --json", "Run them with the checkpoints here"),
    ),
)
@click.argument("places", nargs=-1, metavar="[DIR|FILE...]", type=click.Path(path_type=Path))
@option("-t", "--type", "types", multiple=True, metavar="TYPE", section="What",
        help="Only this model type; without a DIR or FILE its module is made for the purpose.")  # fmt: skip
@option("--run", is_flag=True, section="How", help="Run them, with the checkpoints that are on this machine.")
@option("--tiny", is_flag=True, section="How", help="Run them, with small random checkpoints made on the spot.")
@option(
    "--devices", default="cpu", metavar="NAMES", section="How", help="Where: cpu, cuda, mps, openvino; with commas."
)
@option("-j", "--jobs", type=click.IntRange(1), default=1, metavar="N", section="How", help="How many at a time.")
@option("--timeout", type=click.FloatRange(1), default=300.0, metavar="SECONDS", section="How", help="For one module.")
@common_options
@click.pass_context
def verify(
    ctx: click.Context,
    places: tuple[Path, ...],
    types: tuple[str, ...],
    run: bool,
    tiny: bool,
    devices: str,
    jobs: int,
    timeout: float,
) -> None:
    """Verify modules: that they compile, that pytest collects them and, with --run or --tiny, that they pass.

    A verdict is ok, failed or skipped (why). In a pipe a line is: module, outcome, how far it came, tests, seconds,
    reason; separated by tabs. The exit code is not 0 where one failed.
    """
    import tempfile

    from ipfs_accelerate_py.checkpoint_tests.generating import check_type
    from ipfs_accelerate_py.checkpoint_tests.generating import generate as write
    from ipfs_accelerate_py.checkpoint_tests.results import FAILED, counts
    from ipfs_accelerate_py.checkpoint_tests.verifying import find_modules
    from ipfs_accelerate_py.checkpoint_tests.verifying import verify as judge

    terminal = ctx.ensure_object(Terminal)
    for each in types:
        check_type(each)
    with tempfile.TemporaryDirectory(prefix="ipfs-accelerate-tests-") as place:
        if types and not places:
            modules = [each.path for each in write(types, place)]
        else:
            modules = find_modules(places or (FOLDER,), types)
        verdicts = []
        for verdict in judge(modules, run=run, tiny=tiny, devices=devices, jobs=jobs, timeout=timeout):
            verdicts.append(verdict)
            if not terminal.json:
                _told(terminal, verdict)
    found = counts(verdicts)
    if terminal.json:
        terminal.data({"modules": [each.plain() for each in verdicts], "counts": found})
    else:
        said = ", ".join(f"{number} {name}" for name, number in found.items() if number)
        terminal.note(f"{counted(len(verdicts), 'module', 'modules')}: {said or 'none'}")
    if found[FAILED]:
        ctx.exit(ExitCode.UPSTREAM)


def _told(terminal: Terminal, verdict: Verdict) -> None:
    cells = (verdict.module, verdict.outcome, verdict.stage, str(verdict.tests), f"{verdict.seconds:.1f}")
    terminal.write("\t".join([*cells, " ".join(verdict.reason.split())]) + "\n")
