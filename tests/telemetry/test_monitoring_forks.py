"""Monitoring in a forked child: it goes on there, and what the parent has seen stays the parent's."""

from __future__ import annotations

import os
import subprocess
import sys

from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.conftest import ROOT

PROGRAM = """
import os, sys, logging
from ipfs_accelerate_py import Client
from ipfs_accelerate_py.errors import ServerError
from tests.telemetry.support import Spans

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s %(message)s")
spans = Spans()
client = Client("openai", base_url=sys.argv[1], api_key="sk-1", max_retries=0)
client.enable_tracing(provider=spans.provider)
client.log_calls()
client.add_alert("error_rate", above=0.5, for_seconds=0, min_samples=2, cooldown=0)
for _ in range(2):
    try:
        client.chat("m", "x")
    except ServerError:
        pass
client.flush_alerts()
sys.stdout.flush()
child = os.fork()
if child == 0:
    spans.exporter.clear()
    client.chat("m", "x", request_id="of-the-child")
    client.flush_alerts()
    print("child", client.alert_states()["error_rate"]["state"], len(spans.all()), client.report()["calls"]["total"])
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
print("parent", client.alert_states()["error_rate"]["state"], len(spans.all()), client.report()["calls"]["total"])
client.close()
"""


def test_a_forked_child_begins_anew() -> None:
    with SimulatorThread("openai") as sim:
        sim.script(Fault.status(503), Fault.status(503))
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, sim.url], cwd=ROOT, capture_output=True, text=True, timeout=300,
            check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "child ok 1 1" in lines
    assert "parent firing 2 2" in lines
    assert len([line for line in lines if line.startswith("ipfs_accelerate_py.alerts WARNING")]) == 1
    assert len([line for line in lines if "request_id=of-the-child" in line]) == 1
