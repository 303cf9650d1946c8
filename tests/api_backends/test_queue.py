"""The queue: priorities under load, live limits, refusals, and many threads at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ipfs_accelerate_py.api_backends import openai_api
from ipfs_accelerate_py.errors import ConfigurationError, QueueFull
from tests.api_backends.conftest import Gate, eventually, question

Make = Callable[..., Any]


def test_a_full_queue_is_worked_off_by_priority_and_in_order_within_one(simulators: Make, faces: Make) -> None:
    gate = Gate()
    simulator = simulators(latency=0.001, sleep=gate.sleep)
    face = faces(openai_api, simulator, max_concurrent_requests=1, queue_size=6)

    def queue(text: str, priority: object) -> Any:
        return face.queue_with_priority({"endpoint_url": "/chat/completions", "data": question(text)}, priority)

    first = queue("occupies the slot", face.PRIORITY_LOW)
    eventually(lambda: simulator.in_flight == 1)
    waiting = [
        queue("low 1", "LOW"),
        queue("normal 1", 1),
        queue("high 1", face.PRIORITY_HIGH),
        queue("low 2", 2),
        queue("normal 2", "NORMAL"),
        queue("high 2", "HIGH"),
    ]
    eventually(lambda: face.get_queue_info()["size"] == 6)
    assert face.get_queue_status() == {"high_priority": 2, "normal_priority": 2, "low_priority": 2}
    assert face.get_queue_info() == {
        "size": 6,
        "active_requests": 1,
        "capacity": 6,
        "max_concurrent_requests": 1,
    }
    assert face.active_requests == face.current_requests == 1

    refused = queue("one too many", "HIGH")
    assert isinstance(refused.exception(timeout=60), QueueFull)

    gate.open()
    for ticket in (first, *waiting):
        ticket.result(timeout=60)
    asked = [request.body["messages"][0]["content"] for request in simulator.requests]
    assert asked == ["occupies the slot", "high 1", "high 2", "normal 1", "normal 2", "low 1", "low 2"]
    assert face.get_queue_info()["size"] == face.active_requests == 0


def test_a_raised_limit_lets_waiting_calls_in_at_once(simulators: Make, faces: Make) -> None:
    gate = Gate()
    simulator = simulators(latency=0.001, sleep=gate.sleep)
    face = faces(openai_api, simulator, max_concurrent_requests=1)
    with ThreadPoolExecutor(3) as pool, gate:
        calls = [pool.submit(face.chat, "gpt-4o", "Hello") for _ in range(3)]
        eventually(lambda: face.get_queue_info()["size"] == 2)
        face.max_concurrent_requests = 3
        eventually(lambda: simulator.in_flight == 3)
        gate.open()
        assert all(call.result(timeout=60)["text"] for call in calls)


def test_a_switched_off_queue_refuses_what_finds_no_slot(simulators: Make, faces: Make) -> None:
    gate = Gate()
    simulator = simulators(latency=0.001, sleep=gate.sleep)
    face = faces(openai_api, simulator, max_concurrent_requests=1)
    face.queue_enabled = False
    with ThreadPoolExecutor(1) as pool, gate:
        call = pool.submit(face.chat, "gpt-4o", "Hello")
        eventually(lambda: simulator.in_flight == 1)
        with pytest.raises(QueueFull, match="queue_enabled"):
            face.chat("gpt-4o", "Hello")
        gate.open()
        call.result(timeout=60)


def test_a_wrong_priority_is_refused_before_anything_is_sent(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator)
    with pytest.raises(ConfigurationError, match="HIGH"):
        face.chat("gpt-4o", "Hello", priority="URGENT")
    with pytest.raises(ConfigurationError, match="HIGH"):
        face.queue_with_priority({"endpoint_url": "/chat/completions", "data": question("Hello")}, 3)
    assert simulator.requests == []


def test_sixty_four_threads_share_one_object(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator, max_concurrent_requests=8, queue_size=256)

    def work(number: int) -> str:
        if number % 8 == 0:
            face.get_queue_status()
            face.max_retries = number % 5
            endpoint = face.create_endpoint(max_concurrent_requests=2)
            face.add_api_key(f"key {number}", "sk-more")
            return str(face.chat("gpt-4o", f"{number}", endpoint_id=endpoint)["text"])
        return str(face.chat("gpt-4o", f"{number}")["text"])

    with ThreadPoolExecutor(64) as pool:
        texts = list(pool.map(work, range(192)))
    assert all(texts)
    assert sum(request.status == 200 for request in simulator.requests) == 192
    assert face.get_usage_stats()["total_requests"] == 168
    assert face.active_requests == 0
