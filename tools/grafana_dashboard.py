"""Writes the Grafana dashboard that the package ships: ``python tools/grafana_dashboard.py``.

A panel is a line here; the JSON has forty lines of it. The rest of Grafana's model is left to its defaults.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

PATH = Path(__file__).resolve().parent.parent / "ipfs_accelerate_py/telemetry/assets/grafana.json"
P = "ipfs_accelerate_"
#: What panels are narrowed by.
JOB = 'job=~"$job"'
MODELS = f'{JOB}, model=~"$model"'
ROUTES = f'{MODELS}, route=~"/v1.*|/api.*"'
FAILED = f'{ROUTES}, status=~"5..|429"'
BACKENDS = f'{JOB}, backend=~"$backend"'
OPEN = f'{BACKENDS}, state="OPEN"'
HALF_OPEN = f'{BACKENDS}, state="HALF_OPEN"'
SPENT = f'{MODELS}, tenant=~"$tenant", key=~"$key"'
RATE = "[$__rate_interval]"

#: A query, and how its lines are called.
Query = tuple[str, str]


class Panel(NamedTuple):
    title: str
    queries: list[Query]
    unit: str = "short"
    kind: str = "timeseries"
    text: str = ""
    stack: bool = False
    red_from: float | None = None


def per_second(metric: str, narrowed: str) -> str:
    """A counter's rate."""
    return f"rate({P}{metric}{{{narrowed}}}{RATE})"


def rate(metric: str, narrowed: str, by: str, times: int = 1) -> list[Query]:
    """A counter's rate by labels."""
    return [(f"sum by ({by}) ({per_second(metric, narrowed)}){f' * {times}' if times != 1 else ''}", legend(by))]


def gauge(metric: str, narrowed: str, by: str) -> list[Query]:
    """A gauge by labels."""
    return [(f"sum by ({by}) ({P}{metric}{{{narrowed}}})", legend(by))]


def quantiles(metric: str, narrowed: str, by: str = "") -> list[Query]:
    """p50, p95 and p99 of a histogram."""
    summed = f"sum by ({f'le, {by}' if by else 'le'}) ({per_second(metric + '_bucket', narrowed)})"
    named = f"{legend(by)} " if by else ""
    return [
        (f"histogram_quantile({share}, {summed})", f"{named}{name}")
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    ]


def legend(by: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in by.split(", "))


HITS = per_second("cache_hits_total", JOB)
MISSES = per_second("cache_misses_total", JOB)

# fmt: off
ROWS: dict[str, list[Panel]] = {
    "At a glance": [
        Panel("Requests", [(f"sum({per_second('gateway_requests_total', ROUTES)})", "")], "reqps", "stat"),
        Panel("Errors", [(
            f"sum({per_second('gateway_requests_total', FAILED)})"
            f" / sum({per_second('gateway_requests_total', ROUTES)})", ""
        )], "percentunit", "stat", "Answers with 429 or 5xx.", red_from=0.05),
        Panel("Latency, p95", quantiles("gateway_request_duration_seconds", ROUTES)[1:2], "s", "stat"),
        Panel("In flight", [(f"sum({P}gateway_requests_in_flight{{{JOB}}})", "")], "short", "stat"),
        Panel("Breakers open", [(f"sum({P}backend_circuit_state{{{OPEN}}})", "")], "short", "stat", red_from=1),
        Panel("Spent in the last hour", [(f"sum(increase({P}cost_usd_total{{{SPENT}}}[1h]))", "")], "currencyUSD",
              "stat"),
    ],
    "Requests": [
        Panel("Requests by model", rate("gateway_requests_total", ROUTES, "model"), "reqps", stack=True),
        Panel("Answers by status", rate("gateway_requests_total", ROUTES, "status"), "reqps", stack=True,
              text="499: the client left before its answer was complete."),
        Panel("In flight", [(f"sum({P}gateway_requests_in_flight{{{JOB}}})", "requests"),
                            (f"sum({P}gateway_streams_in_flight{{{JOB}}})", "streams being written")]),
        Panel("Latency", quantiles("gateway_request_duration_seconds", ROUTES), "s"),
        Panel("Time to the first content of streams", quantiles("gateway_first_content_seconds", MODELS), "s"),
        Panel("The gateway's own time", quantiles("overhead_seconds", JOB), "s",
              text="Of a request, without the time that the upstream and the queue took."),
        Panel("Streams that broke", [(f"sum({per_second('gateway_stream_errors_total', JOB)})", "ended in an error"),
                                     *rate("mid_stream_total", MODELS, "outcome")]),
        Panel("Clients that left", [(f"sum({per_second('gateway_client_disconnects_total', JOB)})", "left")]),
        Panel("Refused before they were requests", rate("gateway_refused_requests_total", JOB, "status")),
    ],
    "Backends": [
        Panel("Calls by outcome", rate("backend_calls_total", BACKENDS, "backend, outcome"), "reqps"),
        Panel("Failures by kind", rate("backend_errors_total", BACKENDS, "backend, error"), "reqps"),
        Panel("Breakers", [(f"max by (backend) ({P}backend_circuit_state{{{OPEN}}})", "{{backend}} open"),
                           (f"max by (backend) ({P}backend_circuit_state{{{HALF_OPEN}}})", "{{backend}} half open")],
              text="1 for the state that it is in."),
        Panel("Retries", rate("backend_retries_total", BACKENDS, "backend"), "reqps"),
        Panel("Fallbacks", rate("fallbacks_total", MODELS, "model, reason"), "reqps",
              text="Calls that went on to another target, by what made them."),
        Panel("Hedges", rate("hedges_total", MODELS, "outcome"), "reqps",
              text="Second attempts, and which of the two was the first to answer."),
        Panel("Rate limits of the upstream", rate("upstream_rate_limits_total", BACKENDS, "backend"), "reqps"),
        Panel("Adaptive limit", gauge("backend_concurrency_limit", BACKENDS, "backend, key")),
        Panel("Events that could not be read", rate("backend_skipped_events_total", BACKENDS, "backend")),
    ],
    "Queue": [
        Panel("Wait, p95 by priority", quantiles("backend_queue_wait_seconds", BACKENDS, "priority")[1:2], "s"),
        Panel("Waiting", gauge("backend_queue_depth", BACKENDS, "backend, priority"), stack=True),
        Panel("Slots", [(f"sum by (backend) ({P}backend_slots_in_use{{{BACKENDS}}})", "{{backend}} in use"),
                        (f"sum by (backend) ({P}backend_slots{{{BACKENDS}}})", "{{backend}}")]),
    ],
    "Keys of the services": [
        Panel("In service", [(f"min by (backend, key) ({P}backend_key_usable{{{BACKENDS}}})", "{{backend}} {{key}}")],
              text="0 while a key rests after a refusal."),
        Panel("Attempts", rate("backend_key_requests_total", BACKENDS, "backend, key"), "reqps"),
        Panel("Failed attempts", rate("backend_key_failures_total", BACKENDS, "backend, key"), "reqps"),
    ],
    "Tokens and money": [
        Panel("Tokens a second, by type", rate("backend_tokens_total", f"{BACKENDS}, {MODELS}", "type")),
        Panel("Dollars an hour, by model", rate("cost_usd_total", SPENT, "model", 3600), "currencyUSD", stack=True),
        Panel("Dollars an hour, by tenant", rate("cost_usd_total", SPENT, "tenant", 3600), "currencyUSD", stack=True),
        Panel("Dollars an hour, by key", rate("cost_usd_total", SPENT, "key", 3600), "currencyUSD", stack=True),
        Panel("Budgets used", gauge("budget_used_ratio", JOB, "budget"), "percentunit", red_from=0.9),
        Panel("Until budgets begin anew", gauge("budget_reset_seconds", JOB, "budget"), "s"),
        Panel("Refused by limits of ours", rate("limit_refusals_total", JOB, "scope, limit"), "reqps"),
        Panel("Calls without a price", rate("unpriced_calls_total", MODELS, "model"), "reqps"),
        Panel("Ledger", [(f"sum({P}ledger_pending{{{JOB}}})", "not yet written"),
                         (f"sum({per_second('ledger_written_total', JOB)})", "written a second"),
                         (f"sum({per_second('ledger_lost_total', JOB)})", "lost a second")]),
    ],
    "Caches and merged calls": [
        Panel("Hits", [(
            f"sum by (kind) ({HITS}) / (sum by (kind) ({HITS}) + sum by (kind) ({MISSES}))", "{{kind}}"
        )], "percentunit"),
        Panel("Dollars saved an hour", rate("cache_saved_usd_total", JOB, "kind", 3600), "currencyUSD"),
        Panel("Entries", gauge("cache_entries", JOB, "kind")),
        Panel("Bytes", gauge("cache_bytes", JOB, "kind"), "bytes"),
        Panel("Calls that shared one", rate("shared_calls_total", MODELS, "model"), "reqps"),
        Panel("Calls in one batch", [(
            f"sum by (operation) ({per_second('batched_calls_total', JOB)})"
            f" / sum by (operation) ({per_second('batches_total', JOB)})", "{{operation}}"
        )]),
    ],
    "The gateway itself": [
        Panel("Alerts of its own", gauge("alerts_firing", JOB, "alert"), red_from=1),
        Panel("CPU", [(f"sum by (instance) (rate(process_cpu_seconds_total{{{JOB}}}{RATE}))", "{{instance}}")],
              "percentunit"),
        Panel("Memory", [(f"sum by (instance) (process_resident_memory_bytes{{{JOB}}})", "{{instance}}")], "bytes"),
    ],
}
# fmt: on
#: Name, and where its values come from.
VARIABLES = {
    "job": f"label_values({P}build_info, job)",
    "backend": f'label_values({P}backend_slots{{job=~"$job"}}, backend)',
    "model": f'label_values({P}gateway_requests_total{{job=~"$job"}}, model)',
    "tenant": f'label_values({P}cost_usd_total{{job=~"$job"}}, tenant)',
    "key": f'label_values({P}cost_usd_total{{job=~"$job"}}, key)',
}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel(made: Panel, number: int, x: int, y: int, width: int, height: int) -> dict[str, Any]:
    """One panel in Grafana's words."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if made.red_from is not None:
        steps.append({"color": "red", "value": made.red_from})
    defaults: dict[str, Any] = {"unit": made.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    options: dict[str, Any]
    if made.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    else:
        defaults["custom"] = {
            "fillOpacity": 25 if made.stack else 5,
            "stacking": {"mode": "normal" if made.stack else "none"},
            "showPoints": "never",
        }
        options = {
            "tooltip": {"mode": "multi", "sort": "desc"},
            "legend": {"displayMode": "list", "placement": "bottom"},
        }
    return {
        "id": number,
        "type": made.kind,
        "title": made.title,
        "description": made.text,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(65 + place), "expr": query, "legendFormat": legend, "datasource": SOURCE}
            for place, (query, legend) in enumerate(made.queries)
        ],
    }


def dashboard() -> dict[str, Any]:
    """The whole."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
             "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        )  # fmt: skip
        y += 1
        x = 0
        width, height = (4, 4) if row[0].kind == "stat" else (8, 8)
        for each in row:
            if x + width > 24:
                x, y = 0, y + height
            panels.append(panel(each, len(panels) + 1, x, y, width, height))
            x += width
        y += height
    variables: list[dict[str, Any]] = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}
    ]
    variables += [
        {"name": name, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name},
         "includeAll": True, "multi": True, "allValue": ".*", "refresh": 2, "sort": 1,
         "current": {"text": ["All"], "value": ["$__all"]}}
        for name, query in VARIABLES.items()
    ]  # fmt: skip
    return {
        "uid": "ipfs-accelerate",
        "title": "ipfs-accelerate gateway",
        "description": "Requests, backends, queue, keys, money and caches of ipfs-accelerate gateways.",
        "tags": ["inference", "gateway"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "templating": {"list": variables},
        "annotations": {"list": []},
        "links": [],
        "panels": panels,
    }


def main() -> int:
    """Write it; with ``--check``, only say whether it is current."""
    text = json.dumps(dashboard(), indent=1) + "\n"
    if "--check" in sys.argv[1:]:
        return int(PATH.read_text(encoding="utf-8") != text)
    PATH.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
