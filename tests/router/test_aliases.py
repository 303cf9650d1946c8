"""What a router is made of: aliases, their fallbacks, settings and who goes before whom."""

from __future__ import annotations

from typing import Any

import pytest

from ipfs_accelerate_py import Alias, AsyncRouter, Router, Target
from ipfs_accelerate_py.errors import ConfigurationError, LoopDetected, ModelNotFound, UnknownBackend
from ipfs_accelerate_py.router.loops import HOPS_HEADER, check_hops, hops
from ipfs_accelerate_py.simulator import Fault, SimulatorThread

from .support import nothing_held, quick, target

pytestmark = pytest.mark.virtual_time

URL = "http://127.0.0.1:9/v1"


def one(model: str = "m", **options: Any) -> Target:
    return target(URL, model, **options)


@pytest.mark.parametrize(
    ("aliases", "options", "words"),
    [
        ({}, {}, "needs aliases"),
        ({"a": []}, {}, "at least one target"),
        ({"a": ["gpt-4o"]}, {}, "list of Target"),
        ({"a": "gpt-4o"}, {}, "list of Target"),
        ({"": [one()]}, {}, "name of an alias"),
        ({"a": [one()]}, {"strategy": "fastest"}, "strategy must be one of"),
        ({"a": [one()]}, {"mid_stream": "repeat"}, "mid_stream must be one of"),
        ({"a": [one()]}, {"max_retry": 2}, "no setting 'max_retry'"),
        ({"a": [one(max_retry=2)]}, {}, "no setting 'max_retry'"),
        ({"a": [one()]}, {"fallbacks": {"a": ["b"]}}, "no alias 'b'; the aliases are: a"),
        ({"a": [one()]}, {"fallbacks": {"b": ["a"]}}, "no alias 'b'"),
        ({"a": [one()]}, {"fallbacks": {"a": "b"}}, "must be a list"),
        ({"a": [one()]}, {"fallbacks": ["b"]}, "must be a mapping"),
        ({"a": [one()]}, {"default_fallbacks": ["b"]}, "no alias 'b'"),
        ({"a": [one()]}, {"context_fallbacks": {"a": ["a"]}}, "context_fallbacks of 'a': it cannot be its own"),
        ({"a": [one()]}, {"health_check_interval": 0}, "above 0"),
        ({"a": [one()]}, {"health_check_interval": 5, "health_check": "ping"}, "health_check must be"),
    ],
)
def test_what_is_wrong_is_refused_when_it_is_made(aliases: Any, options: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        AsyncRouter(aliases, **options)


def test_aliases_may_be_each_others_fallback() -> None:
    router = AsyncRouter(
        {name: [one()] for name in "abc"}, fallbacks={"a": ["b"], "b": ["c", "a"], "c": ["a"]}, default_fallbacks=["c"]
    )
    paths = {name: state["fallbacks"] for name, state in router.snapshot()["aliases"].items()}
    assert paths == {"a": ["b", "c"], "b": ["c", "a"], "c": ["a", "b"]}


def test_a_wrong_backend_is_refused() -> None:
    with pytest.raises(UnknownBackend):
        Target("opanai", "gpt-4o")


async def test_call_before_target_before_alias_before_router() -> None:
    plain, own = one("plain"), one("own", first_content_timeout=3, max_retries=7)
    router = AsyncRouter(
        {"a": Alias([plain, own], first_content_timeout=4, idle_timeout=5), "b": [plain]}, first_content_timeout=6
    )
    named = {name: each.backend.settings for name, each in router.targets.items()}
    assert [named[name].first_content_timeout for name in ("openai/plain", "openai/own", "openai/plain#2")] == [4, 3, 6]
    assert [named[name].max_retries for name in ("openai/plain", "openai/own", "openai/plain#2")] == [2, 7, 2]
    assert named["openai/plain"].initial_retry_delay == 0.5
    router.max_retries = 4
    router.first_content_timeout = None
    assert [named[name].max_retries for name in ("openai/plain", "openai/own", "openai/plain#2")] == [4, 7, 4]
    assert [named[name].first_content_timeout for name in ("openai/plain", "openai/plain#2")] == [4, None]
    with pytest.raises(AttributeError, match="max_retries"):
        router.max_retrys = 1
    await router.aclose()


async def test_total_timeout_of_router_alias_and_call() -> None:
    import time

    router = AsyncRouter({"a": [one()], "b": Alias([one()], total_timeout=50), "c": Alias([one()], total_timeout=None)})

    def left(alias: str, **options: Any) -> float | None:
        deadline = router.stream(alias, "x", **options).deadline
        return None if deadline is None else round(deadline - time.monotonic())

    assert [left(alias) for alias in "abc"] == [600, 50, None]
    assert [left("b", timeout=7), left("c", total_timeout=8)] == [7, 8]
    assert [router.time_limit(alias) for alias in "abc"] == [600, 50, None]
    await router.aclose()


async def test_one_model_by_two_keys_is_two_targets() -> None:
    router = AsyncRouter({"a": [one("m", api_key="k1"), one("m", api_key="k2")]})
    assert list(router.targets) == ["openai/m", "openai/m#2"]
    assert len({id(each.backend.pipeline.breaker) for each in router.targets.values()}) == 2
    await router.aclose()


async def test_local_models_keep_their_rows_defaults() -> None:
    router = AsyncRouter({"a": [Target("local", "all-MiniLM-L6-v2")]}, queue_timeout=3)
    settings = router.targets["local/all-MiniLM-L6-v2"].backend.settings
    assert (settings.max_retries, settings.max_concurrent_requests, settings.queue_timeout) == (0, 256, 3)
    await router.aclose()


async def test_an_unknown_name_is_told_with_those_there_are(first: SimulatorThread) -> None:
    async with quick({"smart": [target(first)], "quick": [target(first)]}) as router:
        with pytest.raises(ModelNotFound, match=r"no alias 'smrt'; the aliases are: smart, quick"):
            await router.chat("smrt", "Hello")
        assert [model.id for model in await router.models()] == ["smart", "quick"]
        assert router.snapshot()["usage"]["errors"] == {"ModelNotFound": 1}


async def test_other_verbs_go_the_same_way(first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.status(503))
    async with quick({"e": [target(first, "m-1"), target(second, "m-2")]}) as router:
        for reply in (
            await router.embed("e", ["a", "b"]),
            await router.complete("e", "Once"),
            await router.respond("e", "Hello"),
            await router.request("/chat/completions", {"model": "e", "messages": [{"role": "user", "content": "x"}]}),
        ):
            assert reply.target_model == "m-2"
        assert {request.body["model"] for request in second.requests[-4:]} == {"m-2"}
        await nothing_held(router)


# --- fallbacks between aliases -----------------------------------------------------------------------------------


async def test_fallbacks_of_aliases_in_their_order(first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.status(503))
    aliases = {
        "smart": Alias([target(first, "s")], fallbacks=["dead"]),
        "dead": [target(first, "d")],
        "spare": [target(second, "z")],
    }
    async with quick(aliases, fallbacks={"dead": ["spare"]}, max_retries=0) as router:
        reply = await router.chat("smart", "Hello")
        assert (reply.target_model, reply.attempts) == ("z", 3)
        assert [request.body["model"] for request in first.requests[-2:]] == ["s", "d"]
        assert router.snapshot()["aliases"]["smart"]["fallbacks"] == ["dead", "spare"]
        usage = router.snapshot()["usage"]
        assert usage["models"]["smart"]["requests"] == 1, "counted once, under the name that was asked for"


async def test_default_fallbacks_are_for_those_without_their_own(first: SimulatorThread) -> None:
    router = AsyncRouter(
        {"a": [one()], "b": [one()], "spare": [one()], "last": [one()]},
        fallbacks={"b": ["last"]},
        default_fallbacks=["spare"],
    )
    shown = router.snapshot()["aliases"]
    assert [shown[name]["fallbacks"] for name in ("a", "b", "spare", "last")] == [
        ["spare"],
        ["last", "spare"],
        [],
        ["spare"],
    ]
    await router.aclose()


# --- changes at run time -----------------------------------------------------------------------------------------


async def test_targets_come_and_go(first: SimulatorThread, second: SimulatorThread) -> None:
    async with quick({"smart": [target(first, "m-1")]}) as router:
        first.always(Fault.status(503))
        await router.add_target("smart", target(second, "m-2"))
        assert (await router.chat("smart", "Hello")).target_model == "m-2"
        await router.set_alias("other", [target(second, "m-3")])
        assert (await router.chat("other", "Hello")).target_model == "m-3"
        await router.remove_target("smart", "openai/m-1")
        assert list(router.targets) == ["openai/m-2", "openai/m-3"]
        with pytest.raises(ConfigurationError, match="at least one target"):
            await router.remove_target("smart", "openai/m-2")
        with pytest.raises(ConfigurationError, match="no target 'x'"):
            await router.remove_target("smart", "x")
        with pytest.raises(ConfigurationError, match="no alias"):
            await router.set_alias("third", Alias([target(second)], fallbacks=["nobody"]))
        assert "third" not in router.aliases, "nothing is changed where the new one is wrong"
        await router.remove_alias("other")
        with pytest.raises(ModelNotFound):
            await router.chat("other", "Hello")


def test_the_same_for_ordinary_code(first: SimulatorThread, second: SimulatorThread) -> None:
    with Router({"smart": [target(first, "m-1")]}, max_retries=0) as router:
        first.always(Fault.status(503))
        router.add_target("smart", target(second, "m-2"))
        assert router.chat("smart", "Hello").target_model == "m-2"
        assert "m-2" in str(router.snapshot()["targets"])
        router.reset_usage()
        assert router.snapshot()["usage"]["total_requests"] == 0
        router.max_retries = 1
        assert router.asynchronous.targets["openai/m-1"].backend.settings.max_retries == 1
        assert repr(router) == "Router(smart)"


def test_the_ordinary_router_has_all_of_the_other() -> None:
    import inspect

    renamed: dict[str, str | None] = {"aclose": "close"}
    inside = {
        "send", "front", "usage_policy", "route", "renew", "aliases", "targets", "candidates", "services", "pipelines",
    }  # fmt: skip
    for name in sorted(name for name in dir(AsyncRouter) if not name.startswith("_") and name not in inside):
        mine, theirs = getattr(Router, renamed.get(name) or name), getattr(AsyncRouter, name)
        if inspect.isfunction(theirs):
            assert list(inspect.signature(mine).parameters) == list(inspect.signature(theirs).parameters), name
    assert inspect.signature(Router.__init__) == inspect.signature(AsyncRouter.__init__)


# --- loops of gateways -------------------------------------------------------------------------------------------


async def test_routed_calls_count_their_hops_where_the_address_is_ones_own(first: SimulatorThread) -> None:
    async with quick({"smart": [target(first)]}) as router:
        await router.chat("smart", "Hello")
        assert first.requests[-1].headers[HOPS_HEADER.lower()] == "1"
        await router.chat("smart", "Hello", headers={HOPS_HEADER: "3"})
        assert first.requests[-1].headers[HOPS_HEADER.lower()] == "4"
    vendor = AsyncRouter({"smart": [Target("openai", "gpt-4o", api_key="sk-1")]})
    assert not vendor.targets["openai/gpt-4o"].own_url, "a vendor's own address is told nothing"
    await vendor.aclose()


def test_a_call_that_goes_in_a_circle_is_refused() -> None:
    assert hops(None) == hops({"a": "b"}) == hops({HOPS_HEADER: "-1"}) == hops({HOPS_HEADER: "9" * 5000}) == 0
    assert check_hops({HOPS_HEADER.lower(): "4"}) == 4
    with pytest.raises(LoopDetected, match="base_url") as caught:
        check_hops({HOPS_HEADER: "5"})
    assert caught.value.http_status == 508
