"""Runs of several files in one; and shards of one matrix, each made by a job of its own, as the one run they are."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.matrix.store import Run, Store
from ipfs_accelerate_py.runtimes.probes.results import Cell, Result

__all__ = ["Merged", "merge"]


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of the runs.

    Attributes:
        changed: ids of those that came, or got more results.
        shards: by id of a run made of shards, which it has: ``{"1/4": id of the shard's run}``.
        missing: by the same id, those that are still to come.
    """

    changed: tuple[str, ...]
    shards: Mapping[str, Mapping[str, str]]
    missing: Mapping[str, tuple[str, ...]]


@dataclass(slots=True)
class _Piece:
    """A run as the files have it, with all results that any of them has."""

    run: Run
    cells: list[Cell]
    results: dict[Cell, Result]

    def add(self, run: Run, results: Sequence[Result]) -> None:
        self.run = max(self.run, run, key=lambda each: each.ended or 0.0)
        for each in results:
            if each.cell not in self.results or self.results[each.cell].measured_at < each.measured_at:
                self.results[each.cell] = each


@dataclass(slots=True)
class _Union:
    """The run that shards make: as it is here already, if it is, and the shards that were brought."""

    id: str
    here: Run | None = None
    pieces: dict[str, _Piece] = field(default_factory=dict)


def merge(into: Store, others: Sequence[Store], *, force: bool = False) -> Merged:
    """Take over all runs of other files. Doing it again changes nothing, or brings what was measured since.

    Runs whose plan has ``"shard": "2/4"`` and that agree in label and in the rest of their plan become one run, whose
    plan has ``"shards"`` instead, with the id of each. Those that ``into`` itself has are taken in as well.

    Args:
        into: keeps them.
        others: are only read.
        force: shards of different machines or versions too; no time of that run is comparable with another run's.

    Raises:
        ConfigurationError: shards do not belong together, and why; nothing was changed then.
    """
    found: dict[str, _Piece] = {}
    for store in (into, *others):
        for run in store.runs():
            results = store.results(run.id, untested=False)
            if run.id in found:
                found[run.id].add(run, results)
            else:
                found[run.id] = _Piece(run, store.planned(run.id), {each.cell: each for each in results})
    shards = [piece for piece in found.values() if _is_shard(piece.run)]
    own = {run.id for run in into.runs()}
    unions = _unions(shards, [found[name].run for name in own if "shards" in found[name].run.plan])
    made = [_whole(union, found, force) for union in unions]

    whole = [
        piece for piece in found.values() if not _is_shard(piece.run) and piece.run.id not in {m.run.id for m in made}
    ]
    changed = [
        piece.run.id for piece in (*whole, *made) if into.keep(piece.run, piece.cells, list(piece.results.values()))
    ]
    for piece in shards:
        if piece.run.id in own:
            into.forget(piece.run.id)
    plans = {piece.run.id: piece.run.plan["shards"] for piece in made}
    missing = {name: absent for name, has in plans.items() if (absent := _missing(has))}
    return Merged(tuple(changed), plans, missing)


def _is_shard(run: Run) -> bool:
    return str(run.plan.get("shard", "1/1")) != "1/1"


def _unions(shards: Sequence[_Piece], known: Sequence[Run]) -> list[_Union]:
    """Which shards make which run, where ``known`` are runs that shards have made before."""
    unions = {run.id: _Union(run.id, run) for run in known}
    of_shard = {shard: run.id for run in known for shard in run.plan["shards"].values()}
    new: dict[str, list[_Piece]] = defaultdict(list)
    for piece in sorted(shards, key=lambda each: (each.run.started, each.run.id)):
        if (name := of_shard.get(piece.run.id)) is not None:
            unions[name].pieces[piece.run.plan["shard"]] = piece
        else:
            new[_matrix(piece.run)].append(piece)
    for matrix, pieces in new.items():
        names = [piece.run.plan["shard"] for piece in pieces]
        for name in names:
            if names.count(name) > 1:
                runs = " and ".join(piece.run.id for piece in pieces if piece.run.plan["shard"] == name)
                raise ConfigurationError(f"{runs} are both shard {name}: give each matrix a label of its own")
        # Those that came late belong to the run that the others have made already, if it lacks them.
        fellows = [run for run in known if _matrix(run) == matrix and not set(names) & set(run.plan["shards"])]
        name = fellows[-1].id if fellows else _name(pieces[0].run, matrix)
        union = unions.setdefault(name, _Union(name))
        union.pieces.update(zip(names, pieces, strict=True))
    return [union for union in unions.values() if union.pieces]


def _whole(union: _Union, found: Mapping[str, _Piece], force: bool) -> _Piece:
    """The run that the shards make."""
    had = dict(union.here.plan["shards"]) if union.here is not None else {}
    runs = [piece.run for name, piece in sorted(union.pieces.items())]
    new = [run for run in runs if run.plan["shard"] not in had]
    first = union.here or runs[0]
    machine: Mapping[str, Any] = first.machine
    for run in new:
        apart = [what for what in ("machine", "versions") if getattr(run, what) != getattr(first, what)]
        if apart and not force:
            raise ConfigurationError(
                f"shards {first.id} and {run.id} of {run.label or 'a matrix without a label'} differ in "
                f"{' and '.join(apart)}: {_difference(getattr(first, apart[0]), getattr(run, apart[0]))}; "
                "--force joins them, but then their times say nothing"
            )
        if "machine" in apart:
            machine = {"processor": "several machines", "of": [first.id, run.id]}
    shards = dict(sorted({**had, **{run.plan["shard"]: run.id for run in runs}}.items()))
    before = found[union.id] if union.here is not None else None
    cells = list(before.cells) if before is not None else []
    dealt = [each for name in sorted(union.pieces) for each in _in_turns(name, union.pieces[name].cells)]
    cells = list(dict.fromkeys([*cells, *(cell for *_, cell in sorted(dealt))]))
    results = dict(before.results) if before is not None else {}
    run = Run(
        id=union.id,
        started=min(each.started for each in (first, *runs)),
        label=first.label,
        command=first.command,
        machine=machine,
        versions=first.versions,
        plan={
            **{name: value for name, value in first.plan.items() if name not in ("shard", "shards")},
            "shards": shards,
        },
    )
    whole = _Piece(run, cells, results)
    for piece in union.pieces.values():
        whole.add(run, list(piece.results.values()))
    if not _missing(shards) and set(cells) <= set(whole.results):
        ended = max((each.measured_at for each in whole.results.values()), default=run.started)
        whole.run = replace(run, ended=max(ended, run.started))
    return whole


def _in_turns(name: str, cells: Sequence[Cell]) -> list[tuple[int, str, int, Cell]]:
    """Cells with what sorts them: subjects were dealt out to shards in turns, and the cells of each stay together."""
    subjects = {subject: at for at, subject in enumerate(dict.fromkeys(cell.subject for cell in cells))}
    return [(subjects[cell.subject], name, place, cell) for place, cell in enumerate(cells)]


def _missing(shards: Mapping[str, str]) -> tuple[str, ...]:
    count = int(next(iter(shards)).partition("/")[2])
    return tuple(name for at in range(1, count + 1) if (name := f"{at}/{count}") not in shards)


def _matrix(run: Run) -> str:
    """What shards of one matrix have in common: the label, the plan, and into how many it was dealt out."""
    plan = {name: value for name, value in run.plan.items() if name not in ("shard", "shards")}
    shard = run.plan.get("shard") or next(iter(run.plan["shards"]))
    return json.dumps([run.label, shard.partition("/")[2], plan], sort_keys=True)


def _name(first: Run, matrix: str) -> str:
    """An id that is the same whenever and wherever these are merged."""
    stamp = first.id.rpartition("-")[0] or first.id
    return f"{stamp}-{hashlib.sha256(f'{first.id} {matrix}'.encode()).hexdigest()[:6]}"


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    names = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    return ", ".join(f"{name} {one.get(name)!r} and {other.get(name)!r}" for name in names)
