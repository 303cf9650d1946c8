"""The dashboard and the rules: that Prometheus takes them, that they fire when they should, that every name exists."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ipfs_accelerate_py.gateway.metrics_page import MetricsPage
from tests.conftest import ROOT
from tests.gateway.support import Setup, ask, running

ASSETS = ROOT / "ipfs_accelerate_py/telemetry/assets"
DASHBOARD: dict[str, Any] = json.loads((ASSETS / "grafana.json").read_text(encoding="utf-8"))
RULES = {name: yaml.safe_load((ASSETS / name).read_text(encoding="utf-8")) for name in ("recording.yml", "alerts.yml")}
NAME = re.compile(r"\b(?:ipfs_accelerate|process)_[a-z0-9_]+")
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (`make` has it)")


def queries() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def rules() -> list[dict[str, Any]]:
    return [rule for file in RULES.values() for group in file["groups"] for rule in group["rules"]]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


@promtool
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    for name in RULES:
        shutil.copy(ASSETS / name, tmp_path)
    done = run(tmp_path, "check", "rules", *RULES)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_the_rules_do_what_they_say(tmp_path: Path) -> None:
    for name in RULES:
        shutil.copy(ASSETS / name, tmp_path)
    shutil.copy(Path(__file__).parent / "rules_test.yml", tmp_path)
    done = run(tmp_path, "test", "rules", "rules_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    played = yaml.safe_load((Path(__file__).parent / "rules_test.yml").read_text(encoding="utf-8"))
    fired = {
        case["alertname"] for test in played["tests"] for case in test.get("alert_rule_test", ()) if case["exp_alerts"]
    }
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert alerts - fired == {"IpfsAccelerateFirstContent"}  # which is latency's twin, and is tested not to fire


@promtool
def test_prometheus_can_read_every_query_of_the_dashboard(tmp_path: Path) -> None:
    made = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(queries())
    ]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))
    done = run(tmp_path, "check", "rules", "queries.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(made) > 50


async def test_every_metric_is_on_the_gateways_page() -> None:
    async with running() as setup:
        await setup.ask()
        families = await names(setup)
    wanted = {name for text in [*queries(), *(rule["expr"] for rule in rules())] for name in NAME.findall(text)}
    assert len(wanted) > 40
    missing = {name for name in wanted if re.sub(r"_(bucket|sum|count)$", "", name) not in families}
    assert sorted(missing) == []


#: A metric with what it is narrowed by, and the labels that a query groups by.
SELECTOR = re.compile(r"((?:ipfs_accelerate|process)_[a-z0-9_]+)(?:\{([^}]*)\})?")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
#: Prometheus adds these itself; ``le`` is a histogram's.
ADDED = {"job", "instance", "le"}


async def test_every_label_is_on_its_metric() -> None:
    """A query that groups by a label that is not there shows one line for all, and one that narrows by it nothing."""
    async with running() as setup:
        page = MetricsPage(setup.gateway.app.metrics, setup.gateway.app.front, lambda: False)
        on = {family.name: set(getattr(family, "_labelnames", ())) for family in page.collect()}
    asked = [*queries(), *(rule["expr"] for rule in rules())]
    asked += [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"] if "datasource" in variable]
    wrong = []
    for query in asked:
        found = SELECTOR.findall(query)
        grouped = {label.strip() for labels in GROUPED.findall(query) for label in labels.split(",")}
        grouped |= set(re.findall(r"label_values\(.*, (\w+)\)", query))
        for name, narrowed in found:
            if name.startswith("process_"):
                has = set()
            else:
                has = on[name if name in on else re.sub(r"_(bucket|total|info)$", "", name)]
            wanted = grouped | set(re.findall(r"(\w+)\s*[=!]~?\"", narrowed))
            wrong += [f"{name} has no {label}: {query}" for label in wanted - has - ADDED]
    assert wrong == []
    named = [panel for panel in DASHBOARD["panels"] if "targets" in panel]
    for panel in named:  # what lines are called by must be grouped by
        for target in panel["targets"]:
            groups = {label.strip() for labels in GROUPED.findall(target["expr"]) for label in labels.split(",")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= groups, panel["title"]


async def names(setup: Setup) -> set[str]:
    page = (await ask(setup.gateway, None, "/metrics", method="GET")).body.decode()
    return set(re.findall(r"^# TYPE (\S+) ", page, re.M))


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    assert {"title", "uid", "panels", "templating", "schemaVersion", "time"} <= DASHBOARD.keys()
    panels = DASHBOARD["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$([a-z]+)", json.dumps(panels))) | {"datasource"}
    assert {"backend", "model", "key", "tenant", "job", "datasource"} <= variables
    assert used <= variables


def test_the_dashboard_is_what_its_program_writes() -> None:
    spec = importlib.util.spec_from_file_location("grafana_dashboard", ROOT / "tools/grafana_dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.dashboard() == DASHBOARD, "run python tools/grafana_dashboard.py"
