"""The table of families as a page: what runs, what does not and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from .gone import GONE
from .rows import OK, SKIPPED, UNTESTED, Row

__all__ = ["summary", "write_table"]

_MARKS = {OK: "yes", SKIPPED: "skipped", UNTESTED: "-", "failed": "**no**"}
COMMAND = "ipfs-accelerate families --runtime torch,openvino --out bench/results/families.jsonl --page docs/families.md"
#: Checks of each runtime, in the order of columns.
CHECKS: Mapping[str, Sequence[str]] = {
    "torch": ("built", "ran", "finite", "reacts", "batched"),
    "openvino": ("agrees",),
}


def summary(rows: Iterable[Row], types: Collection[str]) -> dict[str, Counter[str]]:
    """By runtime, how many of ``types`` have which outcome; those without a row are untested."""
    counts: dict[str, Counter[str]] = {runtime: Counter() for runtime in CHECKS}
    seen: dict[str, set[str]] = {runtime: set() for runtime in CHECKS}
    for row in rows:
        if row.runtime in counts and row.type in types:
            counts[row.runtime][row.outcome] += 1
            seen[row.runtime].add(row.type)
    for runtime, found in seen.items():
        counts[runtime][UNTESTED] += len(set(types) - found)
    return counts


def write_table(
    rows: Sequence[Row],
    types: Sequence[str],
    *,
    listed: Collection[str] = (),
    version: str = "",
    command: str = COMMAND,
) -> str:
    """The page, in Markdown.

    Args:
        rows: all that were found.
        types: every type that the table is about.
        listed: those of the list of 300 types.
        version: of Transformers.
        command: what made it.
    """
    by_key = {(row.type, row.runtime): row for row in rows}
    counts = summary(rows, set(types))
    lines = [
        "# Model families",
        "",
        f"Every model type that has an Auto class in Transformers {version}: {len(types)}. Made by",
        "",
        "```console",
        f"$ {command}",
        "```",
        "",
        "which builds a small random model of each type from its own configuration class, and asks it. *Ran*: a",
        "forward pass of its own task's class. *Reacts*: two different inputs give different answers. *Batched*: each",
        "of two inputs in a batch gets what it gets alone. *OpenVINO*: its graph gives what PyTorch in float32 gives,",
        "on inputs that it was not exported with. `yes`, `no`, `skipped` (not possible here, see the reason) and `-`",
        "(not tried) are four different things. A star marks the types of the list of 300 that the older releases had.",
        "The command goes on where it was, so rows may be of several runs; a time limit that struck is a failure.",
        "",
        "| Runtime | ok | failed | skipped | untested |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {runtime} | {count['ok']} | {count['failed']} | {count['skipped']} | {count['untested']} |"
        for runtime, count in counts.items()
    ]
    alive = sum(_alive(by_key.get((name, "torch"))) for name in types)
    share = f"{100 * alive / len(types):.1f} %" if types else "none"
    lines += ["", f"On PyTorch {alive} of the {len(types)} ({share}) ran with outputs that are finite and react."]
    lines += ["", "| Type | Class | Built | Ran | Finite | Reacts | Batched | OpenVINO | Reason |", "| --- " * 9 + "|"]
    for name in types:
        torch, graph = by_key.get((name, "torch")), by_key.get((name, "openvino"))
        auto = (torch.auto if torch else "").replace("AutoModelFor", "").replace("AutoModel", "Model")
        cells = [_mark(torch, check) for check in CHECKS["torch"]]
        cells.append(_MARKS[graph.outcome] if graph is not None else "-")
        reasons = [f"{row.runtime}: {row.reason}" for row in (torch, graph) if row is not None and row.reason]
        reason = "; ".join(dict.fromkeys(reasons)).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
        star = "\\*" if name in listed else ""
        lines.append(f"| {name}{star} | {auto} | {' | '.join(cells)} | {reason} |")
    lines += ["", "## Types that are gone", ""]
    lines += [f"- `{name}`: {what}." for name, what in sorted(GONE.items())]
    return "\n".join(lines) + "\n"


def _alive(row: Row | None) -> bool:
    return row is not None and all(row.checks.get(each) == OK for each in ("built", "ran", "finite", "reacts"))


def _mark(row: Row | None, check: str) -> str:
    if row is None:
        return "-"
    if row.outcome == SKIPPED and check not in row.checks:
        return "skipped"
    return _MARKS[row.checks.get(check, UNTESTED)]
