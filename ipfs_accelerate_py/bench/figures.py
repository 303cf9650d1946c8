"""What was measured, of what, where and how: the format that every figure of a benchmark is kept in, as JSON.

A `Session` is one run of one command on one machine. It holds measurements; each is one figure of one case, with a
value for every round. What could not be measured is in it too, with the reason.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError

from .measurement import HIGHER, LOWER, Case, Left, Measurement, quantile

__all__ = ["HIGHER", "LOWER", "Case", "Left", "Measurement", "Session", "quantile"]

#: Of the format; a file with another number is refused.
FORMAT = 1


@dataclass(eq=False, slots=True)
class Session:
    """One run of a command.

    Attributes:
        command: as it was typed.
        threads: that each contestant was held to; 0 where it was not (a service's are its own affair).
        machine: as `describe_machine` says it: what makes two machines the same is equal.
        versions: of what else had a part, by name.
        id: unlike any other session's.
        started: seconds since 1970, UTC.
        load: the machine's load average (one minute) at the start and the end, where it has one.
        method: a sentence on how it was measured.
        notes: what whoever reads the figures should know beside them, a sentence each.
    """

    command: str
    threads: int = 0
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: float = field(default_factory=time.time)
    load: list[float] = field(default_factory=list)
    method: str = ""
    measurements: list[Measurement] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, command: str, threads: int = 0, method: str = "", packages: Sequence[str] = ()) -> Session:
        """A session on this machine, now. ``packages`` are named with their versions beside those that compute."""
        from ipfs_accelerate_py.runtimes.engines.machine import describe_machine

        named = {name: found for name in ("ipfs-accelerate-py", *packages) if (found := _version(name))}
        return cls(command, threads, describe_machine(), named, load=_load(), method=method)

    def end(self) -> None:
        """Note the load average once more."""
        self.load = [*self.load[:1], *_load()]

    def measurement(self, case: Case, figure: str, unit: str, better: str = "", turns: str = "") -> Measurement:
        """That figure of that case: the one that is there, or a new one."""
        for each in self.measurements:
            if each.figure == figure and each.case == case and each.turns == turns:
                return each
        return self.add(Measurement(case, figure, unit, better, turns=turns))

    def add(self, measurement: Measurement) -> Measurement:
        measurement.session = self
        self.measurements.append(measurement)
        return measurement

    def find(self, figure: str = "", **wanted: Any) -> list[Measurement]:
        """Measurements of a figure (all without it) whose cases have these values: ``find("tokens/s", batch=8)``."""
        return [
            each
            for each in self.measurements
            if figure in ("", each.figure) and all(getattr(each.case, name) == value for name, value in wanted.items())
        ]

    def plain(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "id": self.id,
            "started": self.started,
            "command": self.command,
            "method": self.method,
            "threads": self.threads,
            "machine": self.machine,
            "versions": self.versions,
            "load": self.load,
            "notes": self.notes,
            "measurements": [each.plain() for each in self.measurements],
            "left": [{"case": each.case.plain(), "outcome": each.outcome, "reason": each.reason} for each in self.left],
        }

    def write(self, path: str | Path) -> Path:
        """As JSON; folders that are not there are made."""
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(self.plain(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return place

    @classmethod
    def read(cls, path: str | Path) -> Session:
        """What `write` wrote.

        Raises:
            ConfigurationError: it cannot be read, or is no such file.
        """
        try:
            row = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from None
        if not isinstance(row, dict) or row.get("format") != FORMAT:
            raise ConfigurationError(f"{path} is no file of a benchmark's figures, or one of another format")
        try:
            return cls.of(row)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"{path} is no file of a benchmark's figures: {error!r}") from None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Session:
        """The session that `plain` made a row of."""
        session = cls(
            row["command"],
            row["threads"],
            dict(row["machine"]),
            dict(row["versions"]),
            row["id"],
            row["started"],
            list(row["load"]),
            row["method"],
        )
        for each in row["measurements"]:
            found = session.add(
                Measurement(Case(**each["case"]), each["figure"], each["unit"], each["better"], turns=each["turns"])
            )
            raw = each["raw"] or [[]] * len(each["values"])
            for number, value, samples in zip(each["rounds"], each["values"], raw, strict=True):
                found.add(number, value, samples)
        session.notes = list(row.get("notes", ()))
        session.left = [Left(Case(**each["case"]), each["outcome"], each["reason"]) for each in row["left"]]
        return session


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _load() -> list[float]:
    try:
        return [round(os.getloadavg()[0], 2)]
    except (AttributeError, OSError):  # a system without it
        return []
