"""A whole session of measurements of models on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .contestant import CannotRun, Contestant, Entrant
from .figures import Session
from .local.base import MEMORY, Figure, Sizes, Taken, Trial
from .measurement import HIGHER, Case, Left
from .models import Subject, kept
from .pairing import in_turns

__all__ = ["BANDWIDTH", "PRECISIONS", "Plan", "measure"]

#: By runtime, precisions that are measured where none is named. ``auto`` of llvm is what its file, or its engine, has.
PRECISIONS = {"torch": ("float32",), "openvino": ("float32", "int8-weights"), "llvm": ("auto", "int8")}

#: Of a session, how fast memory was read.
BANDWIDTH = "read bandwidth"

_METHOD = (
    "Each contestant has a process of its own, with the same threads. Rounds go A B C, C B A, ...; before the first, "
    "each has a turn that does not count. A value a round; medians are over rounds, ratios are taken within them."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how often.

    Attributes:
        runtimes: those that take part.
        precisions: of all runtimes; empty for `PRECISIONS`.
        devices: ``cpu``, ``cuda``, ...
        absent: devices that were asked for and are not here, with the reason.
        rounds: values of each figure.
        threads: of each contestant.
        sizes: how much is asked.
        force: load quantised models that answer too differently (shapes are loaded always: their weights are random).
        limit: seconds that loading, or one turn, may take.
    """

    runtimes: tuple[str, ...]
    precisions: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    absent: dict[str, str] = field(default_factory=dict)
    rounds: int = 3
    threads: int = 1
    sizes: Sizes = field(default_factory=Sizes)
    force: bool = False
    limit: float = 600.0


def measure(
    subjects: Sequence[Subject],
    plan: Plan,
    command: str,
    *,
    start: Callable[[Entrant], Any] = Contestant,
    told: Callable[[str], object] = lambda line: None,
) -> Session:
    """Measure every model by every runtime; what cannot be is in `Session.left`.

    Args:
        subjects: models.
        plan: how.
        command: that the user typed.
        start: makes a contestant (`Contestant`).
        told: hears what is done, a line each.
    """
    packages = ("nncf", "sentence-transformers", "tokenizers", "numpy")
    session = Session.begin(command, plan.threads, _METHOD, packages)
    for number, subject in enumerate(subjects):
        told(f"{subject.name} ({number + 1} of {len(subjects)})")
        with contextlib.ExitStack() as stack:
            path = stack.enter_context(kept(subject))
            _subject(session, subject, path, plan, start, told, stack)
    session.end()
    return session


def _subject(
    session: Session,
    subject: Subject,
    path: Path,
    plan: Plan,
    start: Callable[[Entrant], Any],
    told: Callable[[str], object],
    stack: contextlib.ExitStack,
) -> None:
    running: list[Any] = []
    kind, trials = subject.kind, subject.kind.trials(plan.sizes, subject.task)
    for entrant in _entrants(subject, path, plan):
        if (reason := plan.absent.get(entrant.device)) is not None:
            _leave(session, subject, entrant, trials, "untested", reason, told)
            continue
        try:
            each, facts = _opened(entrant, start, stack)
        except CannotRun as error:
            _leave(session, subject, entrant, trials, error.outcome, error.reason, told)
            continue
        told(f"  {facts['runtime']} {facts['precision']} {facts['device']}: loaded in {facts['load_s']:.1f} s")
        running.append(each)
    reader = None
    if running and "bandwidth bound" in kind.figures and subject.task == "text-generation":
        reader = start(Entrant(subject.name, "", "memory", "", "torch", "", "cpu", plan.threads, limit=plan.limit))
        stack.callback(reader.close)
        try:
            reader.open()
        except CannotRun as error:
            told(f"  no share of the memory's bandwidth: {error.reason}")
            reader = None
    for trial in trials:
        running = _trial(session, subject, trial, running, reader, plan, told)


def _opened(entrant: Entrant, start: Callable[[Entrant], Any], stack: contextlib.ExitStack) -> tuple[Any, Any]:
    """A contestant with its model loaded. One that had to be exported first is loaded once more, in a new process:
    exporting takes memory that using it does not."""
    before = _exports()
    for again in (False, True):
        each = start(entrant)
        try:
            facts = each.open()
        except BaseException:
            each.close()
            raise
        if not again and _exports() != before:
            each.close()
            continue
        break
    stack.callback(each.close)
    return each, facts


def _exports() -> set[Path]:
    """What exports are kept here."""
    from ipfs_accelerate_py.runtimes.engines.artifacts import cache_root

    return {place for kind in ("openvino", "gguf", "iree") for place in (cache_root() / kind).glob("*")}


def _entrants(subject: Subject, path: Path, plan: Plan) -> list[Entrant]:
    whole = str(path)
    return [
        Entrant(
            subject.name, whole, subject.kind.name, subject.task, runtime, precision, device, plan.threads,
            plan.force or subject.shape, plan.limit,
        )
        for device in (*plan.devices, *plan.absent)
        for runtime in plan.runtimes
        for precision in plan.precisions or PRECISIONS[runtime]
    ]  # fmt: skip


def _trial(
    session: Session,
    subject: Subject,
    trial: Trial,
    running: list[Any],
    reader: Any,
    plan: Plan,
    told: Callable[[str], object],
) -> list[Any]:
    """One question to all; gives those that can still be asked."""
    turns = f"{subject.name}, {trial.length}, batch {trial.batch}"
    fallen: dict[int, CannotRun] = {}
    speeds: list[float] = []
    numbers = iter(range(1, 1 << 30))

    def turn(each: Any) -> Any:
        if id(each) in fallen:
            return None
        try:
            return each.ask(trial, next(numbers))
        except CannotRun as error:
            fallen[id(each)] = error
            return None

    def warm(each: Any) -> None:
        if turn(each) is not None:
            each.fresh()

    def between(number: int) -> None:
        if reader is not None:
            speeds.append(reader.read())
            bandwidth = Case("memory", "", "torch", "", "cpu", 0, "", {})
            session.measurement(bandwidth, BANDWIDTH, "bytes/s", HIGHER, turns).add(number, speeds[-1])

    for number, each, found in in_turns(running, plan.rounds, turn, warm=warm, between=between):
        if found is None:
            continue
        figures, memory = found
        figures |= {name: Taken(float(bytes_)) for name, bytes_ in memory.items()}
        figures["weights"] = Taken(float(each.facts["weights"]))
        if speeds and "decode" in figures and each.facts["device"].lower() == "cpu":
            steps = figures["decode"].value / trial.batch
            figures["bandwidth bound"] = Taken(each.facts["weights"] * steps / speeds[-1])
        case = _case(subject, trial, each.facts)
        for name, taken in figures.items():
            known = subject.kind.figures.get(name) or MEMORY.get(name) or Figure("", "")
            session.measurement(case, name, known.unit, known.better, turns).add(number, taken.value, taken.raw)
    for each in running:
        if (error := fallen.get(id(each))) is not None:
            _leave(session, subject, each.entrant, [trial], error.outcome, error.reason, told)
            session.measurements = [
                kept_ for kept_ in session.measurements if kept_.case != _case(subject, trial, each.facts)
            ]
    told(f"  {trial.length}, batch {trial.batch}: {len(running) - len(fallen)} measured")
    return [each for each in running if id(each) not in fallen]


def _case(subject: Subject, trial: Trial, facts: dict[str, Any]) -> Case:
    return Case(
        subject.kind.name, subject.name, facts["runtime"], facts["precision"], facts["device"], trial.batch,
        trial.length, {**trial.parameters, "weights": "random" if subject.shape else "its own"},
    )  # fmt: skip


def _leave(
    session: Session,
    subject: Subject,
    entrant: Entrant,
    trials: Sequence[Trial],
    outcome: str,
    reason: str,
    told: Callable[[str], object],
) -> None:
    told(f"  {entrant.runtime} {entrant.precision} {entrant.device}: {outcome}, {reason}")
    for trial in trials:
        facts = {"runtime": entrant.runtime, "precision": entrant.precision, "device": entrant.device}
        session.left.append(Left(_case(subject, trial, facts), outcome, reason))
