"""The page for users says what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from ipfs_accelerate_py.simulator import FAULTS, Fault, Simulator

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


def test_the_table_of_faults_is_that_of_the_code() -> None:
    table = PAGE.partition("<!-- faults:")[2].partition("<!-- end of faults -->")[0].split("\n")[3:-1]
    wanted = [
        f"| `{name}` | {f'`{fault.options}`' if fault.options else ''} | {fault.summary} |"
        for name, fault in FAULTS.items()
    ]
    assert table == wanted, "put this into docs/simulator.md:\n" + "\n".join(wanted)


def test_every_fault_that_is_shown_can_be_parsed() -> None:
    after = PAGE.partition("<!-- end of faults -->")[2].partition("A client that goes away")[0]
    shown = re.findall(r"`((?:[a-z_]+|\d{3})(?::[^`]*)?)`|sim\.\w+\(\"([^\"]+)\"\)", after)
    faults = [one or two for one, two in shown]
    assert len(faults) > 6
    for text in faults:
        Fault.parse(text)


def test_every_setting_is_shown() -> None:
    settings = PAGE.partition("## Settings")[2].partition("## What")[0]
    names = set(inspect.signature(Simulator).parameters) - {
        "service",
        "host",
        "port",
        "keep",
        "concurrency_retry_after",
    }
    assert {name for name in names if f"`{name}" not in settings} == set()
