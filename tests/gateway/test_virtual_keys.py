"""Virtual keys: who may ask for what, how much, and in whose format it is refused; and that tenants are kept apart."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anthropic
import openai
import pytest

from ipfs_accelerate_py.dialects.serving import is_final
from ipfs_accelerate_py.errors import AccelerateError, BudgetExceeded, LimitExceeded
from ipfs_accelerate_py.gateway.entries import KeyEntry
from ipfs_accelerate_py.gateway.keyring import Keyring, digest
from ipfs_accelerate_py.simulator import Fault
from ipfs_accelerate_py.types import Priority

from .aliased import CHAT, STREAM, Aliased, aliased
from .support import error_of

pytestmark = pytest.mark.virtual_time

KEYS = """
model_list:
  - {name: smart, model: openai/gpt-4o, base_url: "{0}", api_key: k, price: 10, settings: {{quick}}}
  - {name: cheap, model: openai/gpt-4o-mini, base_url: "{0}", api_key: k, settings: {{quick}}}
gateway: {api_key: sk-master}
"""


def keys(*entries: str, more: str = "") -> str:
    return KEYS + "keys:\n" + "".join(f"  - {entry}\n" for entry in entries) + more


async def test_a_key_says_who_asks_and_who_pays() -> None:
    seen: list[Any] = []
    text = keys("{name: alice, key: sk-a, tenant: acme}", "{name: bob, key: sk-b}")
    async with aliased(text, "openai") as setup:
        setup.app.front.usage_policy.observers.append(seen.append)
        for key in ("sk-a", "sk-b", "sk-master"):
            assert (await setup.ask(key=key)).status == 200
        assert (await setup.ask(x_api_key="sk-a")).status == 200
        assert [(record.tenant, record.caller) for record in seen] == [
            ("acme", "alice"), ("bob", "bob"), ("", "config"), ("acme", "alice"),
        ]  # fmt: skip
        assert seen[0].alias == "smart"
        assert seen[0].model == "gpt-4o"


@pytest.mark.parametrize("key", [None, "sk-other", "sk-", "sk-ab"])
async def test_other_keys_are_refused(key: str | None) -> None:
    async with aliased(keys("{name: alice, key: sk-a}"), "openai") as setup:
        got = await setup.ask(key=key)
        assert (got.status, error_of(got)["code"]) == (401, "invalid_api_key")
        assert setup.counts() == [0]


async def test_models_that_a_key_may_not_ask_for() -> None:
    text = keys("{name: alice, key: sk-a, models: [cheap, openai/*]}") + (
        'backends: {openai: {base_url: "{0}", api_key: k, settings: {{quick}}}}\n'
    )
    async with aliased(text, "openai", models=["gpt-4o", "gpt-4o-mini"]) as setup:
        assert (await setup.ask({**CHAT, "model": "cheap"}, key="sk-a")).status == 200
        assert (await setup.ask({**CHAT, "model": "openai/gpt-4o"}, key="sk-a")).status == 200
        for name in ("smart", "gpt-4o", "nowhere"):
            got = await setup.ask({**CHAT, "model": name}, key="sk-a")
            assert (got.status, error_of(got)["code"]) == (403, "model_not_allowed")
        shown = [model["id"] for model in (await setup.get("/v1/models", key="sk-a")).json["data"]]
        assert shown == ["cheap"]
        assert (await setup.get("/v1/models/smart", key="sk-a")).status == 403
        assert len((await setup.get("/v1/models", key="sk-master")).json["data"]) > 1
        assert setup.counts() == [2]


async def test_each_vendor_s_client_understands_the_refusals() -> None:
    text = keys("{name: alice, key: sk-a, models: [smart], requests_per_minute: 1}")
    async with aliased(text, "openai") as setup:
        base = setup.gateway.url.removesuffix("/v1")
        hello: Any = [{"role": "user", "content": "Hi"}]
        async with (
            openai.AsyncOpenAI(base_url=setup.gateway.url, api_key="sk-a", max_retries=0) as ours,
            anthropic.AsyncAnthropic(base_url=base, api_key="sk-a", max_retries=0) as theirs,
        ):
            with pytest.raises(openai.PermissionDeniedError):
                await ours.chat.completions.create(model="cheap", messages=hello)
            with pytest.raises(anthropic.PermissionDeniedError):
                await theirs.messages.create(model="cheap", max_tokens=9, messages=hello)
            await ours.chat.completions.create(model="smart", messages=hello)
            with pytest.raises(openai.RateLimitError) as limited:
                await ours.chat.completions.create(model="smart", messages=hello)
            assert 1 <= int(limited.value.response.headers["retry-after"]) <= 60
            with pytest.raises(anthropic.RateLimitError) as also:
                await theirs.messages.create(model="smart", max_tokens=9, messages=hello)
            assert int(also.value.response.headers["retry-after"]) >= 1
        for path, body in (
            ("/v1beta/models/smart:generateContent", {"contents": [{"parts": [{"text": "Hi"}]}]}),
            ("/api/chat", {"model": "smart", "messages": hello, "stream": False}),
        ):
            got = await setup.ask(body, path, key="sk-a")
            assert got.status == 429
            assert int(got.headers["retry-after"]) >= 1
            error = got.json["error"]
            assert error["status"] == "RESOURCE_EXHAUSTED" if "contents" in body else isinstance(error, str)
        assert setup.counts() == [1]
        assert setup.app.metrics.limited == {("key", "requests"): 4}


async def test_tokens_and_calls_at_once() -> None:
    text = keys("{name: alice, key: sk-a, max_concurrent: 1}", "{name: bob, key: sk-b, tokens_per_minute: 200}")
    async with aliased(text, "openai") as setup:
        setup.sims[0].script(Fault.latency(seconds=0.2))
        first = asyncio.create_task(setup.ask(key="sk-a"))
        await asyncio.sleep(0.05)
        second = await setup.ask(key="sk-a")
        assert (second.status, error_of(second)["code"]) == (429, "rate_limit_exceeded")
        assert (await first).status == 200
        assert (await setup.ask(key="sk-a")).status == 200
        assert (await setup.ask({**CHAT, "max_tokens": 150}, key="sk-b")).status == 200
        over = await setup.ask({**CHAT, "max_tokens": 190}, key="sk-b")
        assert over.status == 429
        await setup.at_rest()


async def test_no_vendor_s_client_asks_again_where_a_budget_stays_spent() -> None:
    """They would do so at once: they do not wait for as long as they are told, when that is long."""
    text = keys("{name: alice, key: sk-a, budget: {tokens: 1, per: total}}")
    async with aliased(text, "openai") as setup:
        base = setup.gateway.url.removesuffix("/v1")
        hello: Any = [{"role": "user", "content": "Hi"}]
        async with (
            openai.AsyncOpenAI(base_url=setup.gateway.url, api_key="sk-a", max_retries=3) as ours,
            anthropic.AsyncAnthropic(base_url=base, api_key="sk-a", max_retries=3) as theirs,
        ):
            with pytest.raises(openai.RateLimitError) as spent:
                await ours.chat.completions.create(model="smart", messages=hello)
            assert spent.value.response.headers["x-should-retry"] == "false"
            assert "retry-after" not in spent.value.response.headers
            with pytest.raises(anthropic.RateLimitError):
                await theirs.messages.create(model="smart", max_tokens=9, messages=hello)
        for path, body in (
            ("/v1beta/models/smart:generateContent", {"contents": [{"parts": [{"text": "Hi"}]}]}),
            ("/api/chat", {"model": "smart", "messages": hello, "stream": False}),
        ):
            got = await setup.ask(body, path, key="sk-a")
            assert (got.status, got.headers["x-should-retry"]) == (429, "false")
        assert sum(setup.app.metrics.limited.values()) == 4  # each has asked once
        assert setup.counts() == [0]


@pytest.mark.parametrize(
    ("error", "status", "final"),
    [
        (BudgetExceeded("spent until the month ends", retry_after=3600.0), 429, True),
        (BudgetExceeded("spent for good"), 429, True),
        (BudgetExceeded("reserved for calls under way", retry_after=1.0), 429, False),
        (LimitExceeded("so many a minute", retry_after=3600.0), 429, False),
        (LimitExceeded("a fault of ours"), 500, True),
    ],
)
def test_which_refusals_are_final(error: AccelerateError, status: int, final: bool) -> None:
    assert is_final(error, status) is final


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])
async def test_a_budget_is_spent_and_not_more(body: dict[str, Any]) -> None:
    """An answer here costs less than what is reserved for it, and what was not used is there for the next one."""
    text = keys("{name: alice, key: sk-a, budget: {usd: 0.003, per: day}}", "{name: bob, key: sk-b}")
    async with aliased(text, "openai") as setup:
        statuses = []
        for _ in range(12):
            got = await setup.ask({**body, "max_tokens": 50}, key="sk-a")
            statuses.append(got.status)
        assert statuses[0] == 200
        assert statuses[-1] == 429
        assert error_of(got)["code"] == "budget_exceeded"
        again = int(got.headers["retry-after"])
        assert again <= 86_400
        assert (got.headers.get("x-should-retry") == "false") is (again > 60)
        [budget] = setup.app.front.budgets()
        assert 0 < budget["spent_usd"] <= 0.003
        assert budget["reserved_usd"] == 0
        assert (await setup.ask(body, key="sk-b")).status == 200
        assert setup.counts() == [statuses.count(200) + 1]


async def test_a_tenant_s_keys_share_its_limit() -> None:
    text = keys(
        "{name: alice, key: sk-a, tenant: acme}", "{name: anna, key: sk-n, tenant: acme}", "{name: bob, key: sk-b}",
        more='limits:\n  - {tenant: acme, requests_per_minute: 1}\n',
    )  # fmt: skip
    async with aliased(text, "openai") as setup:
        assert [(await setup.ask(key=key)).status for key in ("sk-a", "sk-n", "sk-b", "sk-b")] == [200, 429, 200, 200]


async def test_priority_has_a_ceiling() -> None:
    text = keys("{name: batch, key: sk-low, priority: LOW}", "{name: alice, key: sk-a}")
    seen: list[Any] = []
    async with aliased(text, "openai") as setup:
        setup.app.front.usage_policy.observers.append(seen.append)
        await setup.ask(key="sk-low")
        await setup.ask(key="sk-low", x_priority="HIGH")
        await setup.ask(key="sk-a", x_priority="HIGH")
        assert [record.priority for record in seen] == [Priority.LOW, Priority.LOW, Priority.HIGH]


def test_a_key_that_has_expired() -> None:
    class Form:
        name = "openai"

    now = [100.0]
    ring = Keyring((), [KeyEntry("old", digest(b"sk-old"), expires=200.0)], clock=lambda: now[0])
    headers = {b"authorization": b"Bearer sk-old"}
    assert ring.holder(headers, Form()).name == "old"  # type: ignore[arg-type]
    now[0] = 200.0
    with pytest.raises(ValueError, match="has expired") as refused:
        ring.holder(headers, Form())  # type: ignore[arg-type]
    assert refused.value.status == 401  # type: ignore[attr-defined]


def test_finding_a_key_does_not_take_longer_for_more_keys() -> None:
    class Form:
        name = "openai"

    def seconds(count: int) -> float:
        ring = Keyring((), [KeyEntry(str(n), digest(b"sk-%d" % n), f"t{n}") for n in range(count)])
        headers = {b"authorization": b"Bearer sk-%d" % (count // 2)}
        best = 1.0
        for _ in range(5):
            began = time.thread_time()  # what others do on this machine is no part of it
            for _ in range(200):
                ring.holder(headers, Form())  # type: ignore[arg-type]
            best = min(best, time.thread_time() - began)
        return best

    assert seconds(20_000) < 5 * seconds(10)


# --- tenants and caches ------------------------------------------------------------------------------------------

CACHE = "cache: {exact: true}\n"


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])
async def test_two_tenants_never_share_an_answer(body: dict[str, Any]) -> None:
    text = keys(
        "{name: alice, key: sk-a, tenant: acme}", "{name: anna, key: sk-n, tenant: acme}", "{name: bob, key: sk-b}",
        more=CACHE,
    )  # fmt: skip
    async with aliased(text, "openai") as setup:
        told = [
            (await setup.ask(body, key=key)).headers["x-ipfs-accelerate-cache"]
            for key in ("sk-a", "sk-n", "sk-b", "sk-b")
        ]
        assert told == ["miss", "exact", "miss", "exact"]
        assert (await setup.ask(body, key="sk-master")).headers["x-ipfs-accelerate-cache"] == "miss"
        assert setup.counts() == [3]


async def same(setup: Aliased, body: Any, path: str, **headers: str) -> tuple[bytes, str]:
    got = await setup.ask(body, path, **headers)
    assert got.status == 200, got.body
    return got.body, got.headers["x-ipfs-accelerate-cache"]


async def test_what_is_kept_is_kept_by_format_and_all_that_was_asked() -> None:
    async with aliased(KEYS.replace("gateway: {api_key: sk-master}", "") + CACHE, "openai") as setup:
        chat, messages = "/v1/chat/completions", {"model": "smart", "max_tokens": 20, "messages": CHAT["messages"]}
        first = await same(setup, CHAT, chat)
        assert await same(setup, {**CHAT}, chat) == (first[0], "exact")
        # The same in another order is the same; another option, name or format is not.
        assert (await same(setup, {"temperature": 0.5, **CHAT}, chat))[1] == "miss"
        assert (await same(setup, {**CHAT, "model": "cheap"}, chat))[1] == "miss"
        whole = await same(setup, messages, "/v1/messages")
        assert whole[1] == "miss"
        again = await same(setup, dict(reversed(messages.items())), "/v1/messages")
        assert again[1] == "exact"
        assert b'"type":"message"' in again[0]
        count = setup.counts()
        assert (await same(setup, CHAT, chat, cache_control="no-cache"))[1] == "miss"
        assert (await same(setup, CHAT, chat, cache_control="no-store"))[1] == "miss"
        assert (await same(setup, CHAT, chat))[1] == "exact"
        assert setup.counts() == [count[0] + 2]


async def test_identical_calls_in_flight_share_one() -> None:
    from ipfs_accelerate_py.simulator import Fault

    text = keys("{name: alice, key: sk-a}", "{name: bob, key: sk-b}", more="single_flight: {nondeterministic: true}\n")
    async with aliased(text, "openai") as setup:
        setup.sims[0].always(Fault.latency(seconds=0.1))
        got = await asyncio.gather(*(setup.ask(STREAM, key=key) for key in ("sk-a", "sk-a", "sk-b", "sk-b")))
        assert {each.status for each in got} == {200}
        assert sorted(each.headers["x-ipfs-accelerate-cache"] for each in got) == ["miss", "miss", "shared", "shared"]
        assert len({b"".join(part.encode() for part in each.tokens) for each in got}) == 1
        assert setup.counts() == [2]
        await setup.at_rest()


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])
async def test_a_budget_in_dollars_reserves_for_the_dearest_target_of_an_alias(body: dict[str, Any]) -> None:
    """The first one asked is cheap, the one that may have to stand in is not; what is charged is who has answered."""
    text = """
    model_list:
      - name: smart
        targets:
          - {model: openai/gpt-4o-mini, base_url: "{0}", api_key: k, price: 1, settings: {{quick}}}
          - {model: openai/gpt-4o, base_url: "{1}", api_key: k, price: 1000, settings: {{quick}}}
    keys:
      - {name: alice, key: sk-a, budget: {usd: 0.5, per: day}}
    """
    async with aliased(text) as setup:
        over = await setup.ask({**body, "max_tokens": 600}, key="sk-a")  # half a dollar at the second one, and more
        assert (over.status, error_of(over)["code"]) == (429, "budget_exceeded")
        assert setup.counts() == [0, 0]
        got = await setup.ask({**body, "max_tokens": 50}, key="sk-a")
        assert got.status == 200
        await setup.at_rest()
        [budget] = setup.app.front.budgets()
        assert 0 < budget["spent_usd"] < 0.001
        assert budget["reserved_usd"] == 0
        setup.sims[0].always(Fault.status(503))
        got = await setup.ask({**body, "max_tokens": 50}, key="sk-a")
        assert (got.status, got.headers["x-ipfs-accelerate-model"]) == (200, "gpt-4o")
        await setup.at_rest()
        [budget] = setup.app.front.budgets()
        assert 0.001 < budget["spent_usd"] <= 0.5
        assert setup.counts() == [2, 1]
