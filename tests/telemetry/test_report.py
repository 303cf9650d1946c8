"""Reports: what happened, as data and as text for people; what is not enabled says so."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.api_backends import openai_api
from ipfs_accelerate_py.errors import ConfigurationError, InvalidRequest, ServerError
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.telemetry.support import SECRET_WORD
from tests.upstreams import client_of

KEY = "sk-never-to-be-seen"


async def test_the_report_has_the_figures(sim: SimulatorThread) -> None:
    async with client_of(sim.url, api_key={"blue": KEY}, max_retries=1) as client:
        client.circuit_failure_threshold = 2
        reply = await client.chat("gpt-4o", SECRET_WORD)
        streamed = await client.stream("gpt-4o", "x").collect()
        sim.script(Fault.status(400))
        with pytest.raises(InvalidRequest):
            await client.chat("other", "x")
        sim.script(Fault.status(503), Fault.status(503))
        with pytest.raises(ServerError):
            await client.chat("gpt-4o", "x")
        client.add_alert("error_rate", above=0.9)
        data = client.report()
    assert data["calls"] == {
        "total": 4, "successful": 2, "failed": 2, "cancelled": 0, "in_flight": 0, "failure_rate": 0.5, "retries": 1,
    }  # fmt: skip
    assert data["failures"] == {"InvalidRequest": 1, "ServerError": 1}
    assert data["tokens"]["total"] == reply.usage.total_tokens + streamed.usage.total_tokens
    assert data["latency"]["complete"]["count"] == 2
    assert data["latency"]["first_content"]["count"] == 1
    assert 0 < data["latency"]["complete"]["p50"] <= data["latency"]["complete"]["p99"]
    assert list(data["models"]) == ["gpt-4o", "other"]
    assert data["models"]["gpt-4o"]["requests"] == 3
    assert set(data["queue"]) == {"HIGH", "NORMAL", "LOW"}
    target = data["targets"]["openai"]
    assert target["breaker"]["state"] == "OPEN"
    assert [change["state"] for change in target["breaker"]["history"]] == ["OPEN"]
    assert target["keys"]["blue"]["requests"] == 5
    assert data["costs"] is None
    assert data["enabled"]["exact_cache"]["enabled"] is False
    assert data["alerts"]["error_rate"]["state"] == "ok"
    whole = json.dumps(data)
    assert KEY not in whole
    assert SECRET_WORD not in whole


async def test_markdown_and_html_are_whole(sim: SimulatorThread) -> None:
    hostile = "m|</td><script>alert(1)</script>\n# x"
    async with client_of(sim.url, max_retries=0) as client:
        sim.script(Fault.status(404))
        with pytest.raises(InvalidRequest):
            await client.chat(hostile, "x")
        markdown, page = client.report("markdown"), client.report("html")
        with pytest.raises(ConfigurationError):
            client.report("pdf")
    assert "| InvalidRequest | 1 |" in markdown or "| ModelNotFound | 1 |" in markdown
    for table in markdown.split("\n\n"):
        if table.startswith("|"):
            widths = {line.replace("\\|", "").count("|") for line in table.splitlines()}
            assert len(widths) == 1, table
    assert "\n# x" not in markdown
    assert "<script" not in page
    assert "Not known: no prices are enabled." in markdown
    for part in ("exact cache", "single flight", "batching", "hedging"):
        assert f"| {part} | " in markdown

    class Reader(HTMLParser):
        open: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta",):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    reader = Reader()
    reader.feed(page)
    assert reader.open == []


def test_the_synchronous_client_and_the_older_api_report_too(sim: SimulatorThread) -> None:
    with Client("openai", base_url=sim.url, api_key=KEY) as client:
        client.chat("gpt-4o", "x")
        assert client.report()["calls"]["successful"] == 1
        assert client.report("markdown").startswith("# Report of")
    with openai_api(base_url=sim.url, api_key=KEY) as api:
        api.chat("gpt-4o", [{"role": "user", "content": "x"}])
        endpoint = api.create_endpoint(api_key=KEY)
        report = api.generate_report()
        assert (report["calls"]["total"], report["targets"]["openai"]["breaker"]["state"]) == (1, "CLOSED")
        assert api.generate_report(endpoint_id=endpoint)["calls"]["total"] == 0
        assert "# Report of" in api.generate_report("markdown")
        assert "<h1>Report of" in api.generate_report(format="html")
        assert KEY not in api.generate_report("html")


async def test_waits_in_the_queue_are_told_by_priority(sim: SimulatorThread) -> None:
    import asyncio

    async with client_of(sim.url, max_concurrent_requests=1) as client:
        sim.script(Fault.latency(0.02))
        await asyncio.gather(*(client.chat("gpt-4o", "x", priority=each) for each in ("NORMAL", "HIGH", "LOW")))
        queue = client.report()["queue"]
    assert [queue[name]["waited"]["count"] for name in ("HIGH", "NORMAL", "LOW")] == [1, 0, 1]
