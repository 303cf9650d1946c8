"""Prices and the ledger, switched on in clients and routers, over real sockets."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.errors import ConfigurationError, LedgerError, ServerError
from ipfs_accelerate_py.ledger import Ledger, default_path
from ipfs_accelerate_py.prices import PriceBook
from ipfs_accelerate_py.router.core import AsyncRouter
from ipfs_accelerate_py.router.targets import Target
from ipfs_accelerate_py.simulator import Fault, Simulator, SimulatorThread

SECRET = "sk-very-secret-0123456789"
PROMPT = "a prompt that is nobody's business"


async def test_replies_have_their_cost() -> None:
    async with Simulator("openai", tokens=10) as sim, AsyncClient("openai", base_url=sim.url, api_key="sk-1") as client:
        assert (await client.chat("gpt-4o", "Hello")).cost is None
        client.track_costs()
        reply = await client.chat("gpt-4o", "Hello")
        stream = client.stream("gpt-4o", "Hello")
        streamed = await stream.collect()
        for one in (reply, streamed):
            assert one.cost is not None
            assert one.cost.total == pytest.approx(one.usage.input_tokens * 2.5e-6 + one.usage.output_tokens * 1e-5)
            assert one.cost.source.startswith("genai-prices ")
        assert (await client.chat("of-nobody", "Hello")).cost is None
        totals = client.usage_policy.totals
        assert (totals.priced, totals.unpriced) == (2, 1)
        assert totals.cost == pytest.approx(2 * reply.cost.total if reply.cost else 0)
        client.stop_tracking_costs()
        assert (await client.chat("gpt-4o", "Hello")).cost is None


async def test_sound_and_pictures_are_billed_by_what_they_are() -> None:
    async with Simulator("openai") as sim, AsyncClient("openai", base_url=sim.url, api_key="sk-1") as client:
        client.track_costs({"dall-e-3": {"image": 0.04}})
        speech = await client.speak("tts-1", "Hello there", voice="alloy")
        assert speech.cost is not None
        assert speech.cost.parts == pytest.approx({"character": 11 * 15e-6})
        heard = await client.transcribe("whisper-1", b"RIFF" + bytes(32_000))
        assert heard.cost is not None
        assert heard.usage.seconds > 0
        assert heard.cost.total == pytest.approx(heard.usage.seconds * 0.006 / 60)
        drawn = await client.generate_images("dall-e-3", "a cat", n=1)
        assert drawn.cost is not None
        assert drawn.cost.parts == {"image": 0.04}


async def test_the_ledger_is_the_simulators_own_log(tmp_path: Path) -> None:
    async with (
        Simulator("openai", tokens=12) as sim,
        AsyncClient(
            "openai",
            base_url=sim.url,
            api_key={"first": "k1", "second": "k2"},
            max_retries=2,
            queue_size=1000,
            circuit_failure_threshold=1000,
        ) as client,
    ):
        await client.open_ledger(tmp_path / "usage.sqlite3")
        client.initial_retry_delay = 0.001
        sim.random(0.2, [Fault.status(500), Fault.reset()], seed=3)

        async def one(number: int) -> None:
            model = ("gpt-4o", "o3-mini", "of-nobody")[number % 3]
            try:
                if number % 2:
                    await client.chat(model, f"Hello {number}", tenant=f"t{number % 4}")
                else:
                    await client.stream(model, f"Hello {number}", tenant=f"t{number % 4}").collect()
            except ValueError:
                pass

        await asyncio.gather(*(one(number) for number in range(300)))
        served = sim.served()
        rows = {row.group["model"]: row for row in await client.usage(by="model", outcome="success")}
        assert rows.keys() == served.keys()
        for model, row in rows.items():
            log = served[model]
            assert (row.calls, row.input_tokens, row.output_tokens, row.reasoning_tokens) == (
                log.complete,
                log.input_tokens,
                log.output_tokens,
                log.reasoning_tokens,
            )
        [everything] = await client.usage()
        assert everything.calls == 300
        by_tenant = await client.usage(by="tenant")
        assert [row.calls for row in by_tenant] == [75] * 4
        keys = {row.group["key"] for row in await client.usage(by="key")}
        assert keys >= {"first", "second"}
        assert rows["of-nobody"].unpriced == rows["of-nobody"].calls
        assert rows["gpt-4o"].cost == pytest.approx(
            served["gpt-4o"].input_tokens * 2.5e-6 + served["gpt-4o"].output_tokens * 1e-5
        )


async def test_neither_prompts_nor_keys_are_in_the_database(tmp_path: Path) -> None:
    where = tmp_path / "usage.sqlite3"
    async with (
        Simulator("openai", reply="an answer that is nobody's business") as sim,
        AsyncClient("openai", base_url=sim.url, api_key=SECRET, max_retries=0) as client,
    ):
        await client.open_ledger(where)
        await client.chat("gpt-4o", PROMPT, headers={"X-Secret": SECRET})
        await client.stream("gpt-4o", PROMPT).collect()
        await client.embed("text-embedding-3-small", [PROMPT])
        sim.script(Fault.status(500, message=f"no good: {PROMPT} {SECRET}"))
        with pytest.raises(ServerError):
            await client.chat("gpt-4o", PROMPT)
        await client.close_ledger()
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())  # noqa: ASYNC240
    assert b"gpt-4o" in written
    for hidden in (SECRET, PROMPT, "nobody's business"):
        assert hidden.encode() not in written
    assert where.stat().st_mode & 0o077 == 0


async def test_every_way_to_end_is_written_down(tmp_path: Path) -> None:
    async with (
        Simulator("openai", tokens=50, chunk_interval=0.01) as sim,
        AsyncClient("openai", base_url=sim.url, api_key="sk-1", max_retries=0) as client,
    ):
        ledger = await client.open_ledger(tmp_path / "usage.sqlite3")
        sim.script(Fault.status(503), Fault.ok(), Fault.cut(after=5))
        with pytest.raises(ServerError):
            await client.chat("gpt-4o", "x")
        stream = client.stream("gpt-4o", "x")
        async for _ in stream:
            break
        await stream.aclose()
        with pytest.raises(ValueError, match="broke off"):
            await client.stream("gpt-4o", "x").collect()
        rows = await client.usage(by=["outcome", "error"])
        assert {(*row.group.values(), row.calls) for row in rows} == {
            ("cancelled", "", 1),
            ("failure", "ServerError", 1),
            ("failure", "StreamCut", 1),
        }
        assert sum(row.cost for row in rows) == 0.0  # nobody counted what was answered
        assert ledger.snapshot()["lost"] == 0


async def test_a_router_is_written_down_once(tmp_path: Path) -> None:
    async with Simulator("openai") as broken, Simulator("anthropic") as sim:
        broken.always(Fault.status(503))
        router = AsyncRouter(
            {
                "smart": [
                    Target("openai", "gpt-4o", base_url=broken.url, api_key="sk-1", max_retries=0),
                    Target("claude", "claude-haiku-4-5", base_url=sim.url, api_key="sk-1"),
                ]
            }
        )
        async with router:
            await router.open_ledger(tmp_path / "usage.sqlite3")
            reply = await router.chat("smart", "Hello", tags={"team": "red"})
            assert reply.cost is not None
            assert reply.cost.total == pytest.approx(reply.usage.input_tokens * 1e-6 + reply.usage.output_tokens * 5e-6)
            [row] = await router.usage(by=["alias", "backend", "model", "tag:team"])
            assert row.group == {"alias": "smart", "backend": "claude", "model": "claude-haiku-4-5", "tag:team": "red"}
            assert (row.calls, row.failures) == (1, 0)
            assert row.cost == pytest.approx(reply.cost.total)
            assert await router.ledger.spent(since=0.0, model="smart") == (  # type: ignore[union-attr]
                pytest.approx(reply.cost.total),
                reply.usage.total_tokens,
            )


def test_the_same_for_ordinary_code(tmp_path: Path) -> None:
    with SimulatorThread("openai") as sim, Client("openai", base_url=sim.url, api_key="sk-1") as client:
        ledger = client.open_ledger(tmp_path / "usage.sqlite3")
        assert client.ledger is ledger
        threads = [threading.Thread(target=client.chat, args=("gpt-4o", f"Hello {number}")) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        [row] = client.usage()
        assert row.calls == 20
        assert row.cost > 0
        assert ledger.totals()[0].calls == 20
        client.close_ledger()
        with pytest.raises(ConfigurationError, match="no ledger is open"):
            client.usage()


async def test_one_ledger_for_several_clients(tmp_path: Path) -> None:
    shared = Ledger(tmp_path / "usage.sqlite3")
    book = PriceBook({"gpt-4o": 1})
    async with Simulator("openai") as sim:
        for _ in range(3):
            async with AsyncClient("openai", base_url=sim.url, api_key="sk-1") as client:
                client.track_costs(book)
                await client.open_ledger(shared)
                assert (await client.chat("gpt-4o", "Hello")).cost is not None
    left = [thread for thread in threading.enumerate() if "ledger" in thread.name]
    for thread in left:
        thread.join(5)  # one that has just answered is about to end
    assert [thread.name for thread in left if thread.is_alive()] == []  # closing a client ends it
    assert shared.totals()[0].calls == 3


async def test_nothing_is_written_unasked_and_the_default_place_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    async with Simulator("openai") as sim, AsyncClient("openai", base_url=sim.url, api_key="sk-1") as client:
        client.track_costs()
        await client.chat("gpt-4o", "Hello")
        assert not (tmp_path / "state").exists()
        ledger = await client.open_ledger()
        assert ledger.name == str(tmp_path / "state" / "ipfs-accelerate" / "usage.sqlite3") == str(default_path())
        assert default_path().exists()
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # which the specification says to ignore
    assert default_path() == Path.home() / ".local" / "state" / "ipfs-accelerate" / "usage.sqlite3"


async def test_wrong_places_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "text.sqlite3").write_text("this is no database, and nobody should write into it\n" * 50)
    async with AsyncClient("openai", api_key="sk-1") as client:
        for where, kind, said in (
            ("mysql://host/db", ConfigurationError, "not in mysql://"),
            (":memory:", ConfigurationError, "a ledger needs a file"),
            ("sqlite://relative.sqlite3", ConfigurationError, "sqlite:///path"),
            ("", ConfigurationError, "a path or an address"),
            (str(tmp_path / "file" / "usage.sqlite3"), LedgerError, "cannot be had"),
            (str(tmp_path / "text.sqlite3"), LedgerError, "file is not a database"),
            ("postgresql://nobody:hunter2@127.0.0.1:1/nothing", LedgerError, "postgresql://127.0.0.1:1/nothing cannot"),
        ):
            with pytest.raises(kind, match=said) as caught:
                await client.open_ledger(where)
            assert "hunter2" not in str(caught.value)
            assert client.ledger is None
        with pytest.raises(ConfigurationError, match="durability"):
            await client.open_ledger(tmp_path / "x.sqlite3", durability="none")
        with pytest.raises(ConfigurationError, match="window"):
            await client.open_ledger(tmp_path / "x.sqlite3", window=-1)
        with pytest.raises(ConfigurationError, match="no ledger is open"):
            await client.usage()


def test_what_is_left_is_written_when_a_program_ends(tmp_path: Path) -> None:
    script = f"""
from ipfs_accelerate_py import Client
from ipfs_accelerate_py.simulator import SimulatorThread
with SimulatorThread("openai") as sim:
    client = Client("openai", base_url=sim.url, api_key="sk-1")
    client.open_ledger({str(tmp_path / "usage.sqlite3")!r}, window=5)
    client.chat("gpt-4o", "Hello")
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=300, env=dict(os.environ))
    assert Ledger(tmp_path / "usage.sqlite3").totals()[0].calls == 1
