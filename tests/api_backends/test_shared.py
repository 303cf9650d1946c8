"""Constructing, requests, backoff, breaker, keys, endpoints, usage and request ids, as every class has them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.api_backends import groq, llvm, openai_api, vllm
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    CircuitOpen,
    ConfigurationError,
    MissingCredential,
    RateLimited,
)
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.api_backends.conftest import Gate, eventually, question

Make = Callable[..., Any]


# --- constructing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [openai_api, groq, llvm])
def test_constructing_needs_no_credentials_and_positional_resources_and_metadata_are_taken(kind: type) -> None:
    kind({}, {}).close()
    kind(resources=None, metadata=None).close()
    assert vllm is llvm


@pytest.mark.parametrize(("kind", "variable"), [(openai_api, "OPENAI_API_KEY"), (groq, "GROQ_API_KEY")])
def test_a_missing_key_is_told_by_the_first_call_and_names_the_variable(faces: Make, kind: type, variable: str) -> None:
    face = faces(kind, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(MissingCredential, match=f"^Authentication error.*{variable}") as caught:
        face.chat("any", "Hello")
    assert isinstance(caught.value, ValueError)  # what the older API's callers catch


def test_a_setting_that_does_not_exist_is_refused_with_the_nearest_name(faces: Make) -> None:
    face = faces(openai_api)
    with pytest.raises(AttributeError, match="max_retries"):
        face.max_retrys = 3
    with pytest.raises(ConfigurationError, match="max_retrys"):
        openai_api(max_retrys=3)


def test_live_attributes_have_the_documented_defaults_and_aliases() -> None:
    with openai_api() as face:
        assert (face.max_concurrent_requests, face.queue_size, face.queue_enabled) == (5, 100, True)
        assert (face.max_retries, face.initial_retry_delay, face.backoff_factor, face.max_retry_delay) == (5, 1, 2, 60)
        assert (face.failure_threshold, face.reset_timeout, face.circuit_success_threshold) == (5, 30, 1)
        face.failure_threshold = 7
        face.reset_timeout = 12
        assert (face.circuit_failure_threshold, face.circuit_reset_timeout) == (7, 12)
        face.circuit_failure_threshold = 3
        assert face.failure_threshold == 3
        assert (face.PRIORITY_HIGH, face.PRIORITY_NORMAL, face.PRIORITY_LOW) == (0, 1, 2)
        assert face.active_requests == face.current_requests == 0
    with openai_api(failure_threshold=9) as face:
        assert face.circuit_failure_threshold == 9


# --- requests ----------------------------------------------------------------------------------------------------


def test_make_post_request_gives_the_services_own_answer(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator)
    by_url = face.make_post_request(endpoint_url=f"{simulator.url}/chat/completions", data=question("Hello"))
    assert by_url["choices"][0]["message"]["content"]
    assert by_url["system_fingerprint"] == "fp_simulator"
    by_path = face.make_post_request("/chat/completions", question("Hello"), priority="HIGH", request_id="req_7")
    assert by_path["choices"] == by_url["choices"]
    assert face.get_usage_stats()["total_tokens"] == 2 * by_url["usage"]["total_tokens"]


def test_a_key_is_sent_to_its_own_service_only(simulators: Make, faces: Make) -> None:
    simulator, other = simulators(), simulators()
    face = faces(openai_api, simulator)
    with pytest.raises(ConfigurationError, match="own service"):
        face.make_post_request(f"{other.url}/chat/completions", question("Hello"))
    assert other.requests == []


def test_what_a_request_does_not_take_is_refused(faces: Make) -> None:
    face = faces(openai_api)
    with pytest.raises(ConfigurationError, match="api_key_name"):
        face.make_post_request("/chat/completions", question("Hello"), api_key="sk-secret-1")
    with pytest.raises(ConfigurationError, match="stream_chat"):
        face.make_post_request("/chat/completions", {**question("Hello"), "stream": True})
    with pytest.raises(ConfigurationError, match="endpoint_url"):
        face.queue_with_priority({"data": {}})
    with pytest.raises(ConfigurationError, match="callback"):
        face.queue_with_priority({"endpoint_url": "/x", "data": {}, "callback": print})


def test_request_ids_are_the_callers_or_new_ones(simulators: Make, faces: Make) -> None:
    face = faces(openai_api, simulators())
    assert face.chat("gpt-4o", "Hello", request_id="req_12345")["request_id"] == "req_12345"
    made = {face.chat("gpt-4o", "Hello")["request_id"] for _ in range(3)}
    assert len(made) == 3


# --- backoff and breaker -----------------------------------------------------------------------------------------


def test_a_failure_is_retried_as_often_as_max_retries_says(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator)
    simulator.script(Fault.status(500), Fault.status(503))
    answer = face.chat("gpt-4o", "Hello")
    assert answer["attempts"] == 3
    assert face.get_usage_stats()["retries"] == 2

    face.max_retries = 1
    simulator.script(*[Fault.status(503)] * 2)
    with pytest.raises(ValueError, match="503"):
        face.chat("gpt-4o", "Hello")
    assert len(simulator.requests) == 5


def test_the_circuit_opens_half_opens_and_closes(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator, max_retries=0)
    face.failure_threshold = 2
    face.circuit_success_threshold = 3
    assert face.circuit_state == face.get_circuit_state() == "CLOSED"

    simulator.script(Fault.ok(), Fault.status(503), Fault.status(503))
    face.chat("gpt-4o", "Hello")
    for _ in range(2):
        with pytest.raises(ValueError, match="503"):
            face.chat("gpt-4o", "Hello")
    assert face.circuit_state == "OPEN"
    metrics = face.get_circuit_metrics()
    assert metrics["recent_failures"] == 2
    assert metrics["failure_rate"] == pytest.approx(100 * 2 / 3)
    assert metrics["state"] == "OPEN"
    with pytest.raises(CircuitOpen):
        face.chat("gpt-4o", "Hello")
    assert len(simulator.requests) == 3

    face.reset_timeout = 0
    assert face.circuit_state == "HALF-OPEN"
    assert face.circuit_state == "HALF_OPEN"
    assert face.circuit_state != "OPEN"
    assert str.__eq__("HALF-OPEN", face.get_circuit_state())
    assert any(state == face.get_circuit_state() for state in ("CLOSED", "HALF_OPEN"))
    assert f"{face.circuit_state}" == "HALF-OPEN"
    assert face.get_circuit_state() in {"CLOSED", "HALF-OPEN"}

    for expected in ("HALF_OPEN", "HALF-OPEN", "CLOSED"):
        face.chat("gpt-4o", "Hello")
        assert face.circuit_state == expected


# --- keys --------------------------------------------------------------------------------------------------------

KEYS = {"first": "sk-one", "second": "sk-two", "third": "sk-three"}


def test_keys_take_turns_and_are_counted_by_name(simulators: Make, faces: Make) -> None:
    simulator = simulators(api_keys=KEYS)
    face = faces(openai_api, base_url=simulator.url)
    for name, key in KEYS.items():
        face.add_api_key(name, key)
    answers = [face.chat("gpt-4o", "Hello") for _ in range(6)]
    assert [request.key for request in simulator.requests] == [*KEYS] * 2
    assert [answer["api_key_name"] for answer in answers] == [*KEYS] * 2

    face.chat("gpt-4o", "Hello", api_key_name="second")
    assert simulator.requests[-1].key == "second"
    stats = face.get_key_usage_stats()
    assert {name: usage["requests"] for name, usage in stats.items()} == {"first": 2, "second": 3, "third": 2}
    assert stats["second"]["tokens"] == 3 * answers[0]["usage"]["total_tokens"]
    used = answers[0]["usage"]
    each = (used["prompt_tokens"] * 2.5 + used["completion_tokens"] * 10) / 1e6  # gpt-4o's dollars for a million
    assert [figures["cost"] for figures in stats.values()] == pytest.approx([2 * each, 3 * each, 2 * each])
    assert not any(key in repr(stats) + repr(face.get_usage_stats()) for key in KEYS.values())

    face.remove_api_key("third")
    assert {face.chat("gpt-4o", "Hello")["api_key_name"] for _ in range(4)} == {"first", "second"}


def test_the_least_loaded_key_is_taken_when_asked_for(simulators: Make, faces: Make) -> None:
    gate = Gate()
    simulator = simulators(api_keys=KEYS, latency=0.001, sleep=gate.sleep)
    face = faces(openai_api, base_url=simulator.url)
    face.add_api_key("first", KEYS["first"])
    face.key_selection_strategy = "least-loaded"
    with pytest.raises(ConfigurationError, match="round-robin"):
        face.key_selection_strategy = "random"
    with ThreadPoolExecutor(4) as pool, gate:
        calls = [pool.submit(face.chat, "gpt-4o", "Hello") for _ in range(2)]
        eventually(lambda: simulator.in_flight == 2)
        face.add_api_key("second", KEYS["second"])
        for expected in (3, 4):
            calls.append(pool.submit(face.chat, "gpt-4o", "Hello"))
            eventually(lambda expected=expected: simulator.in_flight == expected)  # type: ignore[misc]
        assert [request.key for request in simulator.requests] == ["first", "first", "second", "second"]
        gate.open()
        for call in calls:
            call.result(timeout=60)


def test_a_refused_key_is_left_for_another_one(simulators: Make, faces: Make) -> None:
    simulator = simulators(api_keys={"good": "sk-good"})
    face = faces(openai_api, base_url=simulator.url, api_key={"bad": "sk-bad", "good": "sk-good"})
    assert [face.chat("gpt-4o", "Hello")["api_key_name"] for _ in range(2)] == ["good", "good"]
    assert face.get_key_usage_stats()["bad"]["quarantined"] is True


def test_numbered_keys_of_the_environment_fill_the_pool(
    simulators: Make, faces: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = simulators()
    monkeypatch.setenv("GROQ_API_KEY_1", "gsk-1")
    monkeypatch.setenv("GROQ_API_KEY_2", "gsk-2")
    face = faces(groq, base_url=simulator.url)
    names = [face.chat("any", "Hello")["api_key_name"] for _ in range(2)]
    assert names == ["GROQ_API_KEY_1", "GROQ_API_KEY_2"]


# --- endpoints ---------------------------------------------------------------------------------------------------


def test_an_endpoint_has_its_own_key_queue_breaker_and_books(simulators: Make, faces: Make) -> None:
    simulator = simulators(api_keys={"ours": "sk-test", "theirs": "sk-other"})
    face = faces(openai_api, simulator, max_retries=0, queue_size=7)
    endpoint = face.create_endpoint(api_key="sk-other", max_concurrent_requests=10, failure_threshold=1)
    face.chat("gpt-4o", "Hello")
    face.chat("gpt-4o", "Hello", endpoint_id=endpoint)
    assert [request.key for request in simulator.requests] == ["ours", "theirs"]
    assert face.get_usage_stats()["total_requests"] == 1
    assert face.get_usage_stats(endpoint)["total_requests"] == 1

    simulator.script(Fault.status(503))
    with pytest.raises(ValueError, match="503"):
        face.chat("gpt-4o", "Hello", endpoint_id=endpoint)
    assert face.get_circuit_state(endpoint) == "OPEN"
    assert face.get_circuit_state() == "CLOSED"

    seen = face.get_endpoint(endpoint)
    assert (seen["max_concurrent_requests"], seen["queue_size"], seen["max_retries"]) == (10, 7, 0)
    assert (seen["id"], seen["circuit_failure_threshold"], seen["circuit_state"]) == (endpoint, 1, "OPEN")
    assert "sk-other" not in repr(seen)
    assert face.get_queue_info(endpoint)["max_concurrent_requests"] == 10


def test_an_endpoint_without_a_key_has_the_keys_of_the_object(simulators: Make, faces: Make) -> None:
    simulator = simulators(api_keys={"ours": "sk-test", "added": "sk-added"})
    face = faces(openai_api, simulator)
    face.add_api_key("added", "sk-added")
    endpoint = face.create_endpoint(max_concurrent_requests=1)
    assert face.get_endpoint(endpoint)["api_keys"] == ["explicit", "added"]
    for _ in range(2):
        face.chat("gpt-4o", "Hello", endpoint_id=endpoint)
    assert {request.key for request in simulator.requests} == {"ours", "added"}


def test_an_endpoint_elsewhere_keeps_the_headers(simulators: Make, faces: Make) -> None:
    here, there = simulators(), simulators()
    face = faces(llvm, base_url=here.url, headers={"X-Team": "ours"})
    same, other = face.create_endpoint(), face.create_endpoint(base_url=there.url)
    face.chat("any", "Hello", endpoint_id=same)
    face.chat("any", "Hello", endpoint_id=other)
    assert here.requests[-1].headers["x-team"] == "ours"
    assert there.requests[-1].headers["x-team"] == "ours"
    assert face.get_endpoint(same)["api_keys"] == []


def test_an_endpoint_is_updated_all_or_nothing(simulators: Make, faces: Make) -> None:
    simulator = simulators(api_keys={"ours": "sk-test", "new": "sk-new"})
    face = faces(openai_api, simulator)
    endpoint = face.create_endpoint()
    updated = face.update_endpoint(endpoint, api_key="sk-new", max_retries=2, reset_timeout=4)
    assert (updated["max_retries"], updated["circuit_reset_timeout"]) == (2, 4)
    face.chat("gpt-4o", "Hello", endpoint_id=endpoint)
    assert simulator.requests[-1].key == "new"
    with pytest.raises(ConfigurationError):
        face.update_endpoint(endpoint, max_retries=9, queue_size=-1)
    assert face.update_endpoint(endpoint, queue_size=3)["max_retries"] == 2
    assert (face.max_retries, face.base_url) == (5, simulator.url)


def test_an_unknown_endpoint_is_refused_with_those_there_are(faces: Make) -> None:
    face = faces(openai_api)
    endpoint = face.create_endpoint()
    uses: list[Any] = [
        lambda: face.chat("gpt-4o", "Hello", endpoint_id="nowhere"),
        lambda: face.stream_chat("gpt-4o", "Hello", endpoint_id="nowhere"),
        lambda: face.get_endpoint("nowhere"),
        lambda: face.update_endpoint("nowhere", max_retries=1),
    ]
    for use in uses:
        with pytest.raises(ConfigurationError, match=endpoint):
            use()


# --- usage and errors --------------------------------------------------------------------------------------------


def test_usage_is_counted_and_reset(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator, max_retries=0)
    used = face.chat("gpt-4o", "Hello")["usage"]["total_tokens"]
    *_, last = face.stream_chat("gpt-4o", "Hello")
    simulator.script(Fault.status(500))
    with pytest.raises(ValueError, match="500"):
        face.chat("gpt-4o", "Hello")
    stats = face.get_usage_stats()
    assert stats["total_tokens"] == used + last["usage"]["total_tokens"]
    assert (stats["total_requests"], stats["successful_requests"], stats["failed_requests"]) == (3, 2, 1)
    assert stats["errors"] == {"ServerError": 1}
    assert stats["models"]["gpt-4o"]["requests"] == 3
    given, made = stats["input_tokens"], stats["output_tokens"]
    assert stats["estimated_cost_usd"] == pytest.approx((given * 2.5 + made * 10) / 1e6)
    assert stats["models"]["gpt-4o"]["cost"] == pytest.approx(stats["estimated_cost_usd"])
    assert stats["unpriced_requests"] == 0
    face.reset_usage_stats()
    assert face.get_usage_stats()["total_requests"] == face.get_usage_stats()["total_tokens"] == 0


def test_errors_are_value_errors_that_begin_as_the_older_callers_expect(simulators: Make, faces: Make) -> None:
    simulator: SimulatorThread = simulators()
    face = faces(groq, simulator, max_retries=0)
    simulator.script(Fault.status(401), Fault.status(429, retry_after=1), Fault.status(400, message="No such thing"))
    with pytest.raises(ValueError, match=r"^Authentication error") as caught:
        face.chat("any", "Hello")
    assert isinstance(caught.value, AuthenticationError)
    with pytest.raises(ValueError, match=r"^Rate limit") as caught:
        face.chat("any", "Hello")
    assert isinstance(caught.value, RateLimited)
    face.add_api_key("fresh", "gsk-fresh")
    with pytest.raises(ValueError, match=r"^No such thing"):
        face.chat("any", "Hello")


def test_no_key_is_in_an_error_or_a_description(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, base_url=simulator.url, api_key="sk-very-secret", max_retries=0)
    simulator.script(Fault.status(401, message="Incorrect API key provided: sk-very-secret."))
    with pytest.raises(AuthenticationError) as caught:
        face.chat("gpt-4o", "Hello")
    told = repr(caught.value) + str(caught.value) + repr(vars(caught.value)) + repr(face) + repr(vars(face))
    assert "sk-very-secret" not in told


def test_a_model_without_a_price_has_no_cost(simulators: Make, faces: Make) -> None:
    face = faces(openai_api, simulators())
    assert face.get_usage_stats()["estimated_cost_usd"] == 0
    face.chat("a-model-of-nobody's", "Hello")
    stats = face.get_usage_stats()
    assert "estimated_cost_usd" not in stats
    assert stats["unpriced_requests"] == 1
    face.chat("gpt-4o", "Hello")
    assert face.get_usage_stats()["estimated_cost_usd"] > 0


def test_statistics_from_a_ledger(simulators: Make, faces: Make, tmp_path: Path) -> None:
    where = tmp_path / "usage.sqlite3"
    simulator = simulators()
    for _ in range(2):  # two programs, one after the other
        face = faces(openai_api, simulator)
        face.open_ledger(where)
        endpoint = face.create_endpoint()
        for endpoint_id in (None, endpoint):
            face.chat("gpt-4o", "Hello", endpoint_id=endpoint_id)
        own = face.get_usage_stats()
        assert own["total_requests"] == 1  # its own books, without the endpoint's
        face.close_ledger()
        assert "ledger" not in face.get_usage_stats()
    assert own["ledger"]["total_requests"] == 4
    assert own["ledger"]["estimated_cost_usd"] == pytest.approx(4 * own["estimated_cost_usd"])
    assert own["ledger"]["total_tokens"] == 4 * own["total_tokens"]
