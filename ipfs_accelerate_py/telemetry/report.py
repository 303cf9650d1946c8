"""A report as text for people: Markdown, or one page of HTML that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

__all__ = ["REPORT_FORMATS", "render"]

REPORT_FORMATS = ("dict", "markdown", "html")

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24;"
    "background:#fff}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}th,td{padding:.25rem .75rem;border-bottom:1px solid #d0d7de;"
    "text-align:left;vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}"
    "@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#30363d}}"
)
_LATENCIES = ("count", "mean", "p50", "p95", "p99")


class _Section(msgspec.Struct):
    title: str
    text: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()


def render(data: Mapping[str, Any], format: str) -> str:
    """The report ``data`` (see `features.reporting.gather`) as "markdown" or "html"."""
    return _html(data, _sections(data)) if format == "html" else _markdown(data, _sections(data))


def _sections(data: Mapping[str, Any]) -> list[_Section]:
    calls, latency = data["calls"], data["latency"]
    sections = [
        _Section("Calls", columns=("", "calls"), rows=[(name.replace("_", " "), calls[name]) for name in calls]),
        _Section("Tokens", columns=("", "tokens"), rows=list(data["tokens"].items())),
        _table("Failures by kind", "There were none.", ("kind", "calls"), data["failures"].items()),
        _Section(
            "Latency",
            "In seconds; a quantile is the upper bound of its histogram's bucket.",
            ("until", *_LATENCIES),
            [(name.replace("_", " "), *(latency[name][each] for each in _LATENCIES)) for name in latency],
        ),
        _table(
            "Models",
            "None was asked.",
            ("model", "calls", "failed", "input tokens", "output tokens", "p50", "p95", "p99"),
            (
                (name, of["requests"], of["failures"], of["input_tokens"], of["output_tokens"], *_of(of, "_latency"))
                for name, of in data["models"].items()
            ),
        ),
        _Section(
            "Waits in the queue, by priority",
            "In seconds, of the calls that had to wait.",
            ("priority", "waiting now", *_LATENCIES),
            [(name, of["waiting"], *(of["waited"][each] for each in _LATENCIES)) for name, of in data["queue"].items()],
        ),
    ]
    for name, target in data["targets"].items():
        sections += _target(name, target)
    return [
        *sections,
        _costs(data["costs"]),
        _budgets(data["budgets"]),
        *_enabled(data["enabled"]),
        _alerts(data["alerts"]),
    ]


def _of(figures: Mapping[str, Any], end: str) -> list[Any]:
    return [figures[f"{name}{end}"] for name in ("p50", "p95", "p99")]


def _target(name: str, target: Mapping[str, Any]) -> list[_Section]:
    breaker = target["breaker"]
    history = breaker["history"]
    found = [
        _Section(
            f"Breaker of {name}",
            f"{breaker['state']}; {breaker['consecutive_failures']} failures in a row, "
            f"{breaker['recent_failures']} of {breaker['recent_requests']} in the last minute; "
            f"opened {breaker['opened_count']} times." + ("" if history else " It has never changed."),
            ("when", "became") if history else (),
            [(change["at"], change["state"]) for change in history],
        )
    ]
    if target["keys"]:
        columns = ("requests", "failures", "tokens", "active")
        rows = [
            (key, *(of.get(column, 0) for column in columns), of.get("quarantine_reason") or "in service")
            for key, of in target["keys"].items()
        ]
        found.append(_Section(f"Keys of {name}", "By name.", ("key", *columns, "state"), rows))
    return found


def _costs(costs: Mapping[str, Any] | None) -> _Section:
    if costs is None:
        return _Section("Costs", "Not known: no prices are enabled.")
    rows = [(name.replace("_", " "), value) for name, value in _flat(costs)]
    return _table("Costs", "Prices are enabled; nothing was spent yet.", ("", ""), rows)


def _budgets(budgets: Sequence[Mapping[str, Any]]) -> _Section:
    if not budgets:
        return _Section("Budgets", "Not enabled: set_budget() sets one.")
    columns = ("budget", "tenant", "caller", "model", "usd", "spent_usd", "tokens", "spent_tokens", "used")
    rows = [["" if (value := of.get(name)) is None else value for name in columns] for of in budgets]
    return _Section("Budgets", columns=[name.replace("_", " ") for name in columns], rows=rows)


def _enabled(policies: Mapping[str, Mapping[str, Any]]) -> Iterable[_Section]:
    off = []
    for name, policy in policies.items():
        words = name.replace("_", " ")
        if not policy["enabled"]:
            off.append((words, policy["enable_with"]))
            continue
        if rows := _flat(policy["figures"]):
            yield _Section(words.capitalize(), columns=("", ""), rows=[(key.replace("_", " "), v) for key, v in rows])
        else:
            yield _Section(words.capitalize(), "Enabled.")
    if off:
        yield _Section("Not enabled", columns=("what", "enabled by"), rows=off)


def _alerts(alerts: Mapping[str, Any] | None) -> _Section:
    if not alerts:
        return _Section("Alerts", "Not enabled: add_alert() adds one.")
    rows = [
        (name, of["state"], of["metric"], of["value"], of["above"], of["resolve_below"]) for name, of in alerts.items()
    ]
    return _Section("Alerts", columns=("alert", "state", "of", "value", "from", "well below"), rows=rows)


def _table(title: str, empty: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> _Section:
    found = list(rows)
    return _Section(title, columns=columns, rows=found) if found else _Section(title, empty)


def _flat(data: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in data.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{name} ")
        elif isinstance(value, str | int | float | bool) and value != "":
            found.append((f"{before}{name}", value))
        elif isinstance(value, list):
            for number, each in enumerate(value, 1):
                found += _flat(each if isinstance(each, Mapping) else {"": str(each)}, f"{before}{name} {number} ")
    return found


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _markdown(data: Mapping[str, Any], sections: Iterable[_Section]) -> str:
    lines = [f"# Report of {_escaped(data['of'])}", "", f"Made at {data['made']}.", ""]
    for section in sections:
        lines += [f"## {_escaped(section.title)}", ""]
        if section.text:
            lines += [_escaped(section.text), ""]
        if section.columns:
            lines.append(f"| {' | '.join(section.columns)} |")
            lines.append("|" + "---|" * len(section.columns))
            lines += [f"| {' | '.join(_escaped(_cell(value)) for value in row)} |" for row in section.rows]
            lines.append("")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    # Names of models come from callers: none may end its cell, or begin a line, a link or a tag.
    for sign in "\\|<[`*":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _html(data: Mapping[str, Any], sections: Iterable[_Section]) -> str:
    title = html.escape(f"Report of {data['of']}")
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1><p>Made at {html.escape(data['made'])}.</p>"
    ]
    for section in sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        if section.text:
            parts.append(f"<p>{html.escape(section.text)}</p>")
        if section.columns:
            head = "".join(f"<th>{html.escape(column)}</th>" for column in section.columns)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>")
            parts += ["<tr>" + "".join(_html_cell(value) for value in row) + "</tr>" for row in section.rows]
            parts.append("</tbody></table>")
    return "\n".join([*parts, "</body></html>\n"])


def _html_cell(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"<td{' class=n' * number}>{html.escape(_cell(value))}</td>"
