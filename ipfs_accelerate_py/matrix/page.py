"""A run as one page for a browser: everything is in it, and it asks no network for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from ipfs_accelerate_py.matrix.recommend import choose
from ipfs_accelerate_py.matrix.store import Run, Store
from ipfs_accelerate_py.matrix.summaries import (
    Column,
    alive,
    columns,
    counts,
    describe,
    is_tiny,
    origin,
    reference,
    speedup,
)
from ipfs_accelerate_py.runtimes.families.catalog import listed_types
from ipfs_accelerate_py.runtimes.families.gone import GONE
from ipfs_accelerate_py.runtimes.probes.results import CHECKS, FIGURES, UNTESTED, Cell, Result

__all__ = ["page", "page_data"]

#: Runs that the trend looks back on.
TREND = 12


def page(store: Store, run: Run) -> str:
    """The page, in HTML.

    Its content security policy lets nothing run or load but what is written here: the style and the script by their
    hashes, and no address at all.
    """
    names = ("page.css", "page_detail.js", "page.js", "page.html")
    style, detail, script, frame = (_asset(name) for name in names)
    parts = {
        "%TITLE%": _escape(f"Compatibility matrix{run.label and f': {run.label}'}"),
        "%STYLE_HASH%": _hash(style),
        "%DETAIL_HASH%": _hash(detail),
        "%SCRIPT_HASH%": _hash(script),
        "%STYLE%": style,
        "%DETAIL%": detail,
        "%SCRIPT%": script,
        "%DATA%": _json(page_data(store, run)),
    }
    html = frame
    for mark, text in parts.items():  # the data last: what it holds is not looked through
        html = html.replace(mark, text)
    return html


def page_data(store: Store, run: Run) -> dict[str, Any]:
    """What the page shows, as plain data; what is not known is missing in it."""
    results = store.results(run.id)
    shown = columns(results)
    counted = counts(results)
    runs = [each for each in store.runs() if each.started <= run.started][-TREND:]
    trend = _trend(store, runs) if len(runs) > 1 else {}
    subjects: dict[str, dict[Column, Result]] = defaultdict(dict)
    for each in results:
        subjects[each.cell.subject][Column(*each.cell[1:])] = each
    listed = set(listed_types())
    return {
        "run": {
            "id": run.id,
            "label": run.label,
            "started": _time(run.started),
            "ended": _time(run.ended) if run.ended is not None else "",
            "command": run.command,
            "machine": describe(run.machine),
            "versions": dict(run.versions),
        },
        "columns": [
            {
                "title": column.title,
                "runtime": column.runtime,
                "counts": dict(counted[column]),
                "alive": sum(alive(each) for each in results if each.cell[1:] == column),
            }
            for column in shown
        ],
        "absent": dict(run.plan.get("absent") or {}),
        "checks": CHECKS,
        "figures": FIGURES,
        "runs": [
            {"name": each.label or each.id, "day": _time(each.started)[:10], "same": each.machine == run.machine}
            for each in runs
        ],
        "subjects": [
            _subject(name, [cells.get(column) for column in shown], name in listed, trend)
            for name, cells in sorted(subjects.items())
        ],
        "gone": dict(sorted(GONE.items())),
    }


def _subject(
    name: str, cells: Sequence[Result | None], listed: bool, trend: Mapping[Cell, list[list[Any]]]
) -> dict[str, Any]:
    there = [each for each in cells if each is not None]
    against = next((each for each in there if each.cell == reference(name)), None)
    best, _ = choose(there)
    known = next((each for each in there if each.model_type), there[0])
    return _filled(
        {
            "name": name,
            "kind": "" if known.model_type == name else known.model_type,
            "auto": next((each.auto for each in there if each.auto), ""),
            "listed": listed,
            "tiny": is_tiny(known),
            "advice": best[0].words if best else "",
            "best": cells.index(best[0].result) if best else None,
            "cells": [None if each is None else _cell(each, against, trend.get(each.cell)) for each in cells],
        }
    )


def _cell(result: Result, against: Result | None, trend: list[list[Any]] | None) -> dict[str, Any]:
    figures = [_short(value) if (value := result.figures.get(name)) is not None else None for name in FIGURES]
    faster = speedup(result, against)
    return _filled(
        {
            "outcome": result.outcome,
            # A letter a check, a place a figure: a page has thousands of cells.
            "checks": "".join(result.checks.get(name, ".")[0] for name in CHECKS) if result.checks else "",
            "figures": figures if result.figures else None,
            "speedup": None if faster is None else _short(faster),
            "failure": result.failure,
            "reason": result.reason,
            "cause": origin(result.reason, result.cause),
            "seconds": _short(result.seconds) if result.outcome != UNTESTED else None,
            "trend": trend,
        }
    )


def _trend(store: Store, runs: Sequence[Run]) -> dict[Cell, list[list[Any]]]:
    """By cell, for each run that has it: which run, outcome, latency in milliseconds or None."""
    found: dict[Cell, list[list[Any]]] = defaultdict(list)
    place = {run.id: at for at, run in enumerate(runs)}
    for run, cell, row in store.series([each.id for each in runs]):
        latency = row.get("latency_ms")
        found[cell].append([place[run], row["outcome"], None if latency is None else _short(latency)])
    return found


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    """What says something: a page has thousands of cells."""
    return {name: value for name, value in values.items() if value or (value == 0 and value is not False)}


def _short(value: float) -> float | int | None:
    """Four digits, but for a cosine: of that the distance from 1 counts. JSON has no word for what is not finite."""
    if not math.isfinite(value):
        return None
    if value == int(value):
        return int(value)
    if 0.9 < value < 1.0:
        return round(1.0 - float(f"{1.0 - value:.3g}"), 12)
    return float(f"{value:.4g}")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _asset(name: str) -> str:
    return resources.files("ipfs_accelerate_py.matrix").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _json(value: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end that, or begin a comment of HTML."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
