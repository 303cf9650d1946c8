"""`ApiKeyMultiplexer`: several keys of each service behind objects of its class, over one pool."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ipfs_accelerate_py.api_backends import ApiKeyMultiplexer, openai_api
from ipfs_accelerate_py.errors import AuthenticationError, ConfigurationError, RateLimited
from ipfs_accelerate_py.simulator import Fault, SimulatorThread

from .conftest import Gate, eventually, question

PROVIDERS = ("openai", "groq", "claude", "gemini", "hf_tgi", "hf_tei", "opea")


@pytest.fixture
def multiplexers(simulators: object) -> Iterator[Callable[..., ApiKeyMultiplexer]]:
    """Makes multiplexers, and closes them before the simulators stop."""
    made: list[ApiKeyMultiplexer] = []

    def make(simulator: SimulatorThread, **settings: Any) -> ApiKeyMultiplexer:
        made.append(ApiKeyMultiplexer(base_url=simulator.url, initial_retry_delay=0.001, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def keys_of(simulator: SimulatorThread) -> list[str | None]:
    """The keys of the requests so far, by name."""
    return [request.key for request in simulator.requests]


def ask(client: openai_api, text: str = "Hello") -> str:
    answer: str = client.chat("gpt-4o", text)["text"]
    return answer


def three(multiplexer: ApiKeyMultiplexer, **options: Any) -> ApiKeyMultiplexer:
    for number in (1, 2, 3):
        multiplexer.add_openai_key(f"key{number}", f"sk-{number}", **options)
    return multiplexer


NAMES = {f"key{number}": f"sk-{number}" for number in (1, 2, 3)}


def test_as_the_documents_show_it(simulators: Any, multiplexers: Any) -> None:
    simulator = simulators(api_keys=NAMES)
    multiplexer = three(multiplexers(simulator))
    client = multiplexer.get_openai_client(strategy="least-loaded")
    response = client.make_post_request(
        endpoint_url=f"{simulator.url}/chat/completions",
        data={"model": "gpt-3.5-turbo", "messages": [{"role": "user", "content": "Hello world"}]},
    )
    assert response["choices"][0]["message"]["content"]
    assert isinstance(client, openai_api)


def test_round_robin_takes_the_key_that_was_used_longest_ago(simulators: Any, multiplexers: Any) -> None:
    simulator = simulators(api_keys=NAMES)
    multiplexer = three(multiplexers(simulator))
    for _ in range(6):
        ask(multiplexer.get_openai_client())
    assert keys_of(simulator) == ["key1", "key2", "key3"] * 2


def test_a_key_by_name_is_used_alone(simulators: Any, multiplexers: Any) -> None:
    simulator = simulators(api_keys=NAMES)
    multiplexer = three(multiplexers(simulator))
    for client in (multiplexer.get_openai_client("key2"), multiplexer.get_openai_client("key2", strategy="specific")):
        ask(client)
        assert list(client.stream_chat("gpt-4o", "Hello"))[-1]["done"]
        client.embedding("text-embedding-3-small", "Hello")
        client.queue_with_priority({"endpoint_url": "/chat/completions", "data": question("Hello")}).result()
    assert set(keys_of(simulator)) == {"key2"}
    simulator.script(Fault.status(401), Fault.status(401))
    with pytest.raises(AuthenticationError):
        ask(client)
    assert set(keys_of(simulator)) == {"key2"}, "a specific key is never replaced"


def test_a_call_that_names_a_key_has_its_way(simulators: Any, multiplexers: Any) -> None:
    simulator = simulators(api_keys=NAMES)
    client = three(multiplexers(simulator)).get_openai_client("key1")
    assert client.chat("gpt-4o", "Hello", api_key_name="key3")["api_key_name"] == "key3"


def test_least_loaded_goes_where_least_is_under_way(simulators: Any, multiplexers: Any) -> None:
    gate = Gate()
    simulator = simulators(api_keys=NAMES, latency=1.0, sleep=gate.sleep)
    multiplexer = three(multiplexers(simulator))
    least, first = multiplexer.get_openai_client(strategy="least-loaded"), multiplexer.get_openai_client("key1")
    with ThreadPoolExecutor(8) as pool, gate:
        futures = [pool.submit(ask, first) for _ in range(3)]
        eventually(lambda: len(simulator.requests) == 3)
        for wanted in range(4, 8):
            futures.append(pool.submit(ask, least))
            eventually(lambda wanted=wanted: len(simulator.requests) == wanted)  # type: ignore[misc]
        assert Counter(keys_of(simulator)) == {"key1": 3, "key2": 2, "key3": 2}
        stats = multiplexer.get_usage_stats()["openai"]
        assert {name: key["current_requests"] for name, key in stats.items()} == {"key1": 3, "key2": 2, "key3": 2}
    for future in futures:
        assert future.result()


@pytest.mark.parametrize(
    "fault", [Fault.status(401), Fault.parse("insufficient_quota"), Fault.status(429, retry_after=60)], ids=str
)
def test_a_call_goes_on_with_another_key(simulators: Any, multiplexers: Any, fault: Fault) -> None:
    simulator = simulators(api_keys=NAMES)
    multiplexer = three(multiplexers(simulator))
    simulator.always(fault, when=lambda request: request.key == "key1")
    for _ in range(4):
        assert ask(multiplexer.get_openai_client())
    assert keys_of(simulator)[:2] == ["key1", "key2"]
    assert keys_of(simulator).count("key1") == 1, "a key that was refused is left alone"
    assert multiplexer.get_usage_stats()["openai"]["key1"]["failures"] == 1


def test_when_every_key_is_refused_the_service_s_own_words_surface(simulators: Any, multiplexers: Any) -> None:
    simulator = simulators(api_keys=["another"])
    client = three(multiplexers(simulator)).get_openai_client()
    with pytest.raises(ValueError, match=r"^Authentication error"):
        ask(client)
    assert sorted(map(str, keys_of(simulator))) == sorted({*map(str, keys_of(simulator))}), "each key once"


def test_limits_hold_across_all_objects(simulators: Any, multiplexers: Any) -> None:
    gate = Gate()
    simulator = simulators(api_keys=NAMES, latency=1.0, sleep=gate.sleep)
    multiplexer = three(multiplexers(simulator), max_concurrent=2)
    with ThreadPoolExecutor(20) as pool, gate:
        futures = [pool.submit(ask, multiplexer.get_openai_client()) for _ in range(20)]
        eventually(lambda: multiplexer.get_usage_stats()["openai"]["key1"]["queue_size"] == 14)
        assert Counter(keys_of(simulator)) == {"key1": 2, "key2": 2, "key3": 2}
    for future in futures:
        assert future.result()


def test_sixty_four_threads(simulators: Any, multiplexers: Any) -> None:
    simulator = simulators(api_keys=NAMES, concurrency_per_key=4)
    multiplexer = multiplexers(simulator)
    start = threading.Barrier(64)

    def work(number: int) -> str:
        start.wait()
        multiplexer.add_openai_key(f"key{number % 3 + 1}", f"sk-{number % 3 + 1}", max_concurrent=4)
        start.wait()
        if number % 4 == 0:
            multiplexer.get_usage_stats()
        strategy = ("round-robin", "least-loaded")[number % 2]
        return ask(multiplexer.get_openai_client(strategy=strategy), f"{number}")

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(work, range(64)))
    assert {request.status for request in simulator.requests} == {200}
    assert sum(key["usage"] for key in multiplexer.get_usage_stats()["openai"].values()) == 64


def test_statistics_name_every_provider_and_no_value(simulators: Any, multiplexers: Any) -> None:
    multiplexer = three(multiplexers(simulators(api_keys=NAMES)))
    ask(multiplexer.get_openai_client("key2"))
    stats = multiplexer.get_usage_stats()
    assert set(stats) == set(PROVIDERS)
    assert {provider for provider in stats if stats[provider]} == {"openai"}
    assert (stats["openai"]["key2"]["usage"], stats["openai"]["key1"]["usage"]) == (1, 0)
    assert stats["openai"]["key2"]["tokens"] > 0
    assert {"usage", "queue_size", "current_requests"} <= stats["openai"]["key1"].keys()
    assert "sk-" not in f"{stats}"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_has_its_class(provider: str) -> None:
    with ApiKeyMultiplexer() as multiplexer:
        get = getattr(multiplexer, f"get_{provider}_client")
        with pytest.raises(ValueError, match=f"no {provider} API keys have been added"):
            get()
        getattr(multiplexer, f"add_{provider}_key")("first", "secret-1")
        client = get()
        assert type(client).__name__ == {"openai": "openai_api"}.get(provider, provider)
        assert client.get_key_usage_stats().keys() == {"first"}
        assert client.max_concurrent_requests == 5
        assert list(multiplexer.get_usage_stats()[provider]) == ["first"]


def test_a_setting_is_the_pools(simulators: Any, multiplexers: Any) -> None:
    multiplexer = three(multiplexers(simulators(), max_retries=1))
    first, second = multiplexer.get_openai_client(), multiplexer.get_openai_client("key1")
    assert (first.max_retries, first.max_concurrent_requests) == (1, 15)
    first.max_retries = 4
    assert second.max_retries == 4
    ask(first)
    first.max_retries = 2
    assert second.max_retries == 2


def test_keys_of_the_environment_fill_the_pool_where_none_was_added(
    simulators: Any, multiplexers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY_1", "sk-1")
    monkeypatch.setenv("OPENAI_API_KEY_2", "sk-2")
    simulator = simulators(api_keys=NAMES)
    multiplexer = multiplexers(simulator)
    for _ in range(2):
        ask(multiplexer.get_openai_client())
    assert keys_of(simulator) == ["key1", "key2"]
    multiplexer.add_openai_key("mine", "sk-3")
    ask(multiplexer.get_openai_client())
    assert keys_of(simulator)[2:] == ["key3"]
    assert list(multiplexer.get_usage_stats()["openai"]) == ["mine"]


def test_wrong_use_is_said_at_once() -> None:
    with ApiKeyMultiplexer() as multiplexer:
        multiplexer.add_openai_key("first", "sk-1")
        with pytest.raises(ConfigurationError, match="no key named 'second'; the keys are: first"):
            multiplexer.get_openai_client("second")
        with pytest.raises(ConfigurationError, match="needs a key_name"):
            multiplexer.get_openai_client(strategy="specific")
        with pytest.raises(ConfigurationError, match="least-loaded, not 'random'"):
            multiplexer.get_openai_client(strategy="random")
        with pytest.raises(ConfigurationError, match="max_concurrent"):
            multiplexer.add_openai_key("other", "sk-2", max_concurrent=0)
        for value in ("", "gsk-1\nX-Header: 1"):
            with pytest.raises(ConfigurationError, match="the key 'bad'"):
                multiplexer.add_groq_key("bad", value)
        assert multiplexer.get_usage_stats()["groq"] == {}


def test_a_limit_of_the_service_is_waited_out_where_no_key_is_left(simulators: Any, multiplexers: Any) -> None:
    simulator = simulators(api_keys=NAMES)
    client = three(multiplexers(simulator)).get_openai_client()
    simulator.always(Fault.status(429))
    client.max_retries = 3
    with pytest.raises(RateLimited, match=r"^Rate limit"):
        ask(client)
    assert len(simulator.requests) <= 4
