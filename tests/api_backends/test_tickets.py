"""Tickets of queued requests, the awaitable twins, and endpoint handlers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest

from ipfs_accelerate_py.api_backends import groq, llvm, openai_api
from ipfs_accelerate_py.errors import ConfigurationError, ServerError
from ipfs_accelerate_py.simulator import Fault
from tests.api_backends.conftest import Gate, eventually, question

Make = Callable[..., Any]


def request_info(text: str = "Hello") -> dict[str, Any]:
    return {"endpoint_url": "/chat/completions", "data": question(text), "queue_entry_time": time.time()}


# --- tickets -----------------------------------------------------------------------------------------------------


def test_a_ticket_is_a_mapping_and_a_future(simulators: Make, faces: Make) -> None:
    gate = Gate()
    simulator = simulators(latency=0.001, sleep=gate.sleep)
    face = faces(openai_api, simulator)
    ticket: Any = face.queue_with_priority({**request_info(), "request_id": "req_1"}, face.PRIORITY_HIGH)
    assert isinstance(ticket, concurrent.futures.Future) is True
    eventually(lambda: simulator.in_flight == 1)
    assert (ticket["completed"], ticket["result"], ticket["error"]) == (False, None, None)
    assert (ticket["request_id"], ticket["priority"]) == ("req_1", face.PRIORITY_HIGH)
    gate.open()
    while not ticket["completed"]:
        time.sleep(0.002)
    assert ticket["result"]["choices"][0]["message"]["content"]
    assert ticket["error"] is None
    assert ticket.result() == ticket["result"] == ticket.get("result")
    assert ticket.get("cost", "unknown") == "unknown"
    with pytest.raises(KeyError):
        ticket["cost"]


def test_a_failed_request_leaves_its_error_in_the_ticket(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator, max_retries=0)
    simulator.script(Fault.status(500))
    ticket = face.queue_with_priority(request_info())
    concurrent.futures.wait([ticket], timeout=60)
    assert ticket["completed"] is True
    assert ticket["result"] is None
    assert isinstance(ticket["error"], ServerError)
    with pytest.raises(ServerError):
        ticket.result()


def test_a_ticket_goes_to_its_endpoint(simulators: Make, faces: Make) -> None:
    simulator = simulators(api_keys={"ours": "sk-test", "theirs": "sk-other"})
    face = faces(openai_api, simulator)
    endpoint = face.create_endpoint(api_key="sk-other")
    face.queue_with_priority({**request_info(), "endpoint_id": endpoint}).result(timeout=60)
    assert simulator.requests[-1].key == "theirs"


def test_cancelling_a_ticket_gives_its_place_back(simulators: Make, faces: Make) -> None:
    gate = Gate()
    simulator = simulators(latency=0.001, sleep=gate.sleep)
    face = faces(openai_api, simulator, max_concurrent_requests=1)
    running, waiting = face.queue_with_priority(request_info()), face.queue_with_priority(request_info())
    eventually(lambda: face.get_queue_info()["size"] == 1 and simulator.in_flight == 1)
    assert waiting.cancel()
    eventually(lambda: face.get_queue_info()["size"] == 0)
    assert running.cancel()
    eventually(lambda: face.active_requests == 0)
    eventually(lambda: simulator.counts["aborted"] == 1)
    finished, unfinished = concurrent.futures.wait([running, waiting], timeout=60)
    assert finished == {running, waiting}
    assert not unfinished
    assert waiting["completed"] is True
    assert waiting["result"] is None
    assert isinstance(waiting["error"], asyncio.CancelledError)
    gate.open()
    assert face.chat("gpt-4o", "Hello")["text"]


def test_waiting_on_the_portals_own_thread_is_refused(simulators: Make, faces: Make) -> None:
    gate = Gate()
    face = faces(openai_api, simulators(latency=0.001, sleep=gate.sleep))
    ticket = face.queue_with_priority(request_info())
    told: list[BaseException] = []

    def wait_there() -> None:
        try:
            ticket.result()
        except ConfigurationError as error:
            told.append(error)

    face._client.portal().run(wait_there)
    assert len(told) == 1
    gate.open()
    ticket.result(timeout=60)


# --- twins -------------------------------------------------------------------------------------------------------


async def test_awaitable_twins_give_what_the_blocking_verbs_give(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    api = faces(openai_api, simulator)
    local = faces(llvm, simulator)
    hosted = faces(groq, simulator)

    def told(result: dict[str, Any]) -> dict[str, Any]:
        return {name: result.get(name) for name in ("text", "model", "usage", "finish_reason", "embedding")}

    pairs: list[tuple[Any, Any, tuple[Any, ...]]] = [
        (api.chat, api.achat, ("gpt-4o", "Hello")),
        (api.completions, api.acompletions, ("gpt-3.5-turbo-instruct", "Once")),
        (api.embedding, api.aembedding, ("text-embedding-3-small", "Hello", "float")),
        (api.responses, api.aresponses, ("gpt-4o", "Hello")),
        (hosted.chat, hosted.achat, ("llama3-8b-8192", "Hello")),
        (local.run_inference, local.arun_inference, ("any", "Once")),
    ]
    for blocking, awaitable, arguments in pairs:
        assert inspect.iscoroutinefunction(awaitable)
        assert told(await awaitable(*arguments)) == told(await asyncio.to_thread(blocking, *arguments))
        assert inspect.signature(awaitable) == inspect.signature(blocking)
        assert "client" not in inspect.signature(awaitable).parameters
        assert awaitable.__doc__ == blocking.__doc__
    assert await api.alist_models() == await asyncio.to_thread(api.list_models)
    assert await hosted.alist_models("audio") == []
    raw = await api.amake_post_request("/chat/completions", question("Hello"))
    assert raw["choices"]


async def test_both_twins_share_one_queue(simulators: Make, faces: Make) -> None:
    gate = Gate()
    simulator = simulators(latency=0.001, sleep=gate.sleep)
    face = faces(openai_api, simulator, max_concurrent_requests=1)
    calls = [asyncio.ensure_future(face.achat("gpt-4o", "Hello")) for _ in range(2)]
    calls.append(asyncio.ensure_future(asyncio.to_thread(face.chat, "gpt-4o", "Hello")))
    with gate:
        await asyncio.to_thread(eventually, lambda: face.get_queue_info()["size"] == 2 and simulator.in_flight == 1)
    answers = await asyncio.gather(*calls)
    assert all(answer["text"] for answer in answers)


async def test_a_cancelled_caller_cancels_the_call(simulators: Make, faces: Make) -> None:
    gate = Gate()
    simulator = simulators(latency=0.001, sleep=gate.sleep)
    face = faces(openai_api, simulator)
    call = asyncio.ensure_future(face.achat("gpt-4o", "Hello"))
    await asyncio.to_thread(eventually, lambda: simulator.in_flight == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(eventually, lambda: face.active_requests == 0 and simulator.counts["aborted"] == 1)
    assert face.get_usage_stats()["cancelled_requests"] == 1
    gate.open()


async def test_connections_are_closed_from_either_side(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator)
    for _ in range(2):
        await face.achat("gpt-4o", "Hello")
        await face.achat("gpt-4o", "Hello", endpoint_id=face.create_endpoint())
        assert simulator.open_connections == 2
        await face.aclose()
        await asyncio.to_thread(eventually, lambda: simulator.open_connections == 0)


async def test_errors_reach_the_awaiting_caller(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator, max_retries=0)
    simulator.script(Fault.status(401))
    with pytest.raises(ValueError, match=r"^Authentication error"):
        await face.achat("gpt-4o", "Hello")


# --- handlers ----------------------------------------------------------------------------------------------------


def handlers(faces: Make, simulator: Any) -> list[Callable[..., Any]]:
    return [
        faces(openai_api, simulator).create_chat_endpoint_handler("gpt-3.5-turbo"),
        faces(groq, simulator).create_groq_endpoint_handler(),
        faces(llvm, simulator).create_llvm_endpoint_handler(),
    ]


def test_a_handler_serves_ordinary_code(simulators: Make, faces: Make) -> None:
    simulator = simulators(models=["gpt-3.5-turbo", "openai/gpt-oss-20b"])
    for handler in handlers(faces, simulator):
        result = handler("Hello")
        assert result["text"]
        assert dict(result)["usage"]["total_tokens"] > 0
        assert result.get("nothing") is None
        assert "text" in result
        assert len(result) == len(list(result))
        assert repr(result) == "HandlerResult(done)"
    assert [request.body["model"] for request in simulator.requests if request.body] == [
        "gpt-3.5-turbo",
        "openai/gpt-oss-20b",
        "gpt-3.5-turbo",  # what the server listed first
    ]


async def test_a_handler_serves_asyncio_without_blocking_the_loop(simulators: Make, faces: Make) -> None:
    gate = Gate()
    simulator = simulators(models=["gpt-3.5-turbo", "openai/gpt-oss-20b"], latency=0.001, sleep=gate.sleep)
    results = [handler("Hello") for handler in handlers(faces, simulator)]
    gate.open()  # still reached: none of the calls above waits for its answer
    for result in await asyncio.gather(*results):
        assert isinstance(result, dict)
        assert result["text"]


def test_a_handlers_options_hold_unless_a_call_has_its_own(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator)
    handler = face.create_chat_endpoint_handler("gpt-4o", temperature=0.1, max_tokens=5)
    dict(handler([{"role": "user", "content": "Hello"}], max_tokens=7, system="Be brief", priority="HIGH"))
    body = simulator.requests[-1].body
    assert (body["temperature"], body["max_tokens"], body["messages"][0]["content"]) == (0.1, 7, "Be brief")


def test_a_handlers_error_is_raised_where_its_result_is_asked_for(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator, max_retries=0)
    simulator.script(Fault.status(500))
    result = face.create_chat_endpoint_handler("gpt-4o")("Hello")
    with pytest.raises(ServerError):
        result["text"]
