"""Which name is answered by whom: listed names, whole backends, bare names that one of them has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.errors import ModelNotFound
from ipfs_accelerate_py.gateway import GatewayConfig, RunningGateway
from ipfs_accelerate_py.gateway.config import BackendEntry, ModelEntry
from ipfs_accelerate_py.gateway.table import ModelTable
from ipfs_accelerate_py.runtimes.models import LocalModel
from ipfs_accelerate_py.simulator import Fault, Simulator

from .support import CHAT, ask, error_of

pytestmark = pytest.mark.virtual_time

KEY = {"k": Secret("sk-x")}


def names(got: Any) -> list[str]:
    return [model["id"] for model in got.json["data"]]


@pytest.fixture
async def two() -> AsyncIterator[tuple[RunningGateway, Simulator, Simulator]]:
    """Two whole backends with one model in common, and a listed name."""
    async with (
        Simulator("openai", models=["gpt-a", "both"]) as first,
        Simulator("openai", models=["llama-b", "both"]) as second,
    ):
        quick = {"max_retries": 0}
        config = GatewayConfig(
            models=(ModelEntry("house", "gpt-a", BackendEntry("openai", first.url, KEY, {}, quick)),),
            backends=(
                BackendEntry("openai", first.url, KEY, {}, quick),
                BackendEntry("groq", second.url, KEY, {}, quick),
            ),
            environment=False,
            local=False,
            port=0,
        )
        async with RunningGateway(config) as gateway:
            yield gateway, first, second


Two = tuple[RunningGateway, Simulator, Simulator]


@pytest.mark.parametrize(
    ("name", "index", "model"),
    [
        ("house", 0, "gpt-a"),
        ("openai/gpt-a", 0, "gpt-a"),
        ("groq/llama-b", 1, "llama-b"),
        ("groq/both", 1, "both"),
        ("gpt-a", 0, "gpt-a"),
        ("llama-b", 1, "llama-b"),
    ],
)
async def test_names_and_who_answers_them(two: Two, name: str, index: int, model: str) -> None:
    gateway, *sims = two
    assert (await ask(gateway, {**CHAT, "model": name})).status == 200
    asked = [[each.body["model"] for each in sim.requests if each.method == "POST"] for sim in sims]
    assert asked == [[model], []] if index == 0 else asked == [[], [model]]


async def test_a_name_that_several_have_must_be_told_apart(two: Two) -> None:
    gateway, *_ = two
    got = await ask(gateway, {**CHAT, "model": "both"})
    assert got.status == 400
    assert error_of(got)["code"] == "ambiguous_model"
    assert "'openai/both' or 'groq/both'" in error_of(got)["message"]


@pytest.mark.parametrize("name", ["unknown", "azure/gpt-4", "openai/", "/gpt-a", "x" * 5000, "openai/" + "x" * 5000])
async def test_names_that_nobody_has(two: Two, name: str) -> None:
    gateway, *sims = two
    got = await ask(gateway, {**CHAT, "model": name})
    assert got.status == 404
    assert error_of(got)["param"] == "model"
    assert len(got.body) < 1000
    assert all(each.method == "GET" for sim in sims for each in sim.requests)


async def test_a_model_that_only_the_backend_does_not_have(two: Two) -> None:
    """Below ``backend/`` it is for the backend to say."""
    gateway, first, _ = two
    got = await ask(gateway, {**CHAT, "model": "openai/gone"})
    assert (got.status, error_of(got)["code"]) == (404, "model_not_found")
    assert first.requests[0].body["model"] == "gone"


async def test_the_list_shows_names_that_work(two: Two) -> None:
    gateway, *_ = two
    shown = names(await ask(gateway, None, "/v1/models", method="GET"))
    assert sorted(shown) == ["gpt-a", "groq/both", "house", "llama-b", "openai/both"]
    for name in shown:
        assert (await ask(gateway, {**CHAT, "model": name})).status == 200
        assert (await ask(gateway, None, f"/v1/models/{name}", method="GET")).json["id"] == name
    quoted = await ask(gateway, None, "/v1/models/groq%2Fboth", method="GET")
    assert quoted.json["id"] == "groq/both"


async def test_lists_are_fetched_once_for_all_who_ask(two: Two) -> None:
    gateway, first, second = two
    first.script(Fault.latency(seconds=0.05))
    await asyncio.gather(*(ask(gateway, None, "/v1/models", method="GET") for _ in range(5)))
    await ask(gateway, {**CHAT, "model": "gpt-a"})
    assert [sum(each.method == "GET" for each in sim.requests) for sim in (first, second)] == [1, 1]


async def test_one_who_leaves_does_not_take_the_list_from_the_others(two: Two) -> None:
    gateway, first, _ = two
    first.script(Fault.latency(seconds=0.05))
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=0.02) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.models.list()
    assert "gpt-a" in names(await ask(gateway, None, "/v1/models", method="GET"))


async def test_a_backend_that_does_not_list_its_models_spoils_nothing(
    two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    gateway, first, second = two
    second.always(Fault.status(404))
    assert sorted(names(await ask(gateway, None, "/v1/models", method="GET"))) == ["both", "gpt-a", "house"]
    assert "the backend groq does not list its models" in caplog.text
    second.clear()
    assert (await ask(gateway, {**CHAT, "model": "groq/llama-b"})).status == 200
    assert first.requests


async def test_lists_grow_old() -> None:
    async with Simulator("openai", models=["a"]) as sim:
        now = [100.0]
        entry = BackendEntry("openai", sim.url, KEY, {}, {"max_retries": 0})
        config = GatewayConfig(backends=(entry,), environment=False, local=False)
        table = ModelTable(config, clock=lambda: now[0])
        assert [model.id for model in await table.models()] == ["a"]
        sim.configure(models=["a", "b"])
        with pytest.raises(ModelNotFound):
            await table.discover("b")
        now[0] += 301
        assert (await table.discover("b")).model == "b"
        await table.aclose()


async def test_what_the_environment_has_keys_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Simulator("openai", models=["gpt-a"]) as sim:
        monkeypatch.setenv("OPENAI_BASE_URL", sim.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-env-1")
        monkeypatch.setenv("OPENAI_API_KEY_2", "sk-env-2")
        async with RunningGateway(GatewayConfig(local=False, port=0)) as gateway:
            assert sim.requests == []  # reading a configuration asks nobody
            for _ in range(2):
                assert (await ask(gateway, {**CHAT, "model": "openai/gpt-a"})).status == 200
            assert {each.key for each in sim.requests} == {sim.key_name("sk-env-1"), sim.key_name("sk-env-2")}
            assert names(await ask(gateway, None, "/v1/models", method="GET")) == ["gpt-a"]


async def test_equal_targets_share_one_backend_and_others_do_not() -> None:
    target = BackendEntry("openai", "http://127.0.0.1:9/v1", KEY)
    other = BackendEntry("openai", "http://127.0.0.1:9/v1", {"k": Secret("sk-y")})
    limited = BackendEntry("openai", "http://127.0.0.1:9/v1", KEY, {}, {"requests_per_minute": 5})
    entries = [("a", target), ("b", BackendEntry("openai", "http://127.0.0.1:9/v1", {"k": Secret("sk-x")}))]
    entries += [("c", other), ("d", limited)]
    config = GatewayConfig(
        models=tuple(ModelEntry(name, name, entry) for name, entry in entries), environment=False, local=False
    )
    table = ModelTable(config)
    found = [table.find(name) for name in "abcd"]
    assert all(target is not None for target in found)
    backends = [target.backend for target in found if target is not None]
    assert backends[0] is backends[1]
    assert len(set(map(id, backends))) == 3
    assert list(table.backends) == ["openai", "openai@127.0.0.1:9", "openai@127.0.0.1:9#2"]
    await table.aclose()


@pytest.mark.virtual_time(False)  # models are looked for in a thread of their own
async def test_what_cannot_be_loaded_ahead_is_only_worth_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    entry = BackendEntry("local")
    missing = ModelEntry("gone", "not-on-this-machine", entry)
    config = GatewayConfig(models=(missing,), preload=("gone", "unknown"), environment=False, local=False, port=0)
    async with RunningGateway(config) as gateway:
        async with asyncio.timeout(10):
            while caplog.text.count("preload") < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        got = await ask(gateway, {"model": "gone", "input": "a"}, "/v1/embeddings")
        assert got.status in (501, 503)  # without the extra, or without the model
        assert error_of(got)["message"]


async def test_without_the_extra_local_models_are_named_and_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from ipfs_accelerate_py.gateway.app import GatewayApp
    from ipfs_accelerate_py.gateway.banner import banner

    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    monkeypatch.setattr(
        "ipfs_accelerate_py.runtimes.models.list_models",
        lambda folders=(): [LocalModel("mini", Path("/nowhere"), "folder")],
    )
    app = GatewayApp(GatewayConfig(environment=False))
    assert app.table.local == ["mini"]
    assert app.table.preloaded == ()
    assert 'pip install "ipfs-accelerate-py[local]"' in "\n".join(banner(app, "127.0.0.1", 8000))
    await app.aclose()


async def test_a_gateways_limits_are_not_a_librarys() -> None:
    entry = BackendEntry("openai", "http://127.0.0.1:9/v1", KEY)
    own = BackendEntry("groq", "http://127.0.0.1:9/v1", KEY, {}, {"queue_size": 7})
    config = GatewayConfig(
        models=(ModelEntry("a", "a", entry), ModelEntry("b", "b", own)),
        settings={"max_retries": 1},
        environment=False,
        local=False,
    )
    table = ModelTable(config)
    settings = table.backends["openai"].settings
    assert (settings.max_concurrent_requests, settings.queue_size, settings.max_retries) == (1000, 1000, 1)
    assert table.backends["groq"].settings.queue_size == 7
    await table.aclose()


async def test_a_backend_of_another_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are decoded and answers encoded, where the formats differ."""
    from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect

    monkeypatch.setattr(OpenAIDialect, "name", "another")
    async with Simulator("openai") as sim:
        target = BackendEntry("openai", sim.url, KEY, {}, {"max_retries": 0})
        config = GatewayConfig(models=(ModelEntry("house", "theirs", target),), environment=False, local=False, port=0)
        async with (
            RunningGateway(config) as gateway,
            openai.AsyncOpenAI(base_url=gateway.url, api_key="any", max_retries=0) as client,
        ):
            hello: Any = CHAT["messages"]
            reply = await client.chat.completions.create(model="house", messages=hello, temperature=0)
            assert sim.requests[0].body == {"model": "theirs", "messages": hello, "temperature": 0}
            stream = await client.chat.completions.create(
                model="house", messages=hello, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert text == reply.choices[0].message.content
            assert [chunk.usage for chunk in chunks if chunk.usage] == [reply.usage]
            assert (await client.completions.create(model="house", prompt="a")).choices[0].text
            vectors = await client.embeddings.create(model="house", input=["a", "b"], dimensions=4)
            assert [len(item.embedding) for item in vectors.data] == [4, 4]
            assert (await client.responses.create(model="house", input="a")).output_text
            assert sim.requests[-1].path == "/v1/chat/completions"
            sim.script(Fault.cut(after=2))
            got = await ask(gateway, {**CHAT, "model": "house", "stream": True})
            assert got.events[-1]["error"]["code"] == "stream_cut"
            assert "[DONE]" not in got.events
            assert json.dumps(None) == "null"
