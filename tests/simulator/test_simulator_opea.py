"""The simulated OPEA, read by clients that none of us wrote."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import Any

import httpx
import httpx_sse
import openai
import pytest

from ipfs_accelerate_py.simulator import SimulatorThread

MEGA = ["chatqna", "docsum", "faqgen", "codegen"]


@pytest.fixture
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread("opea") as made:
        yield made


@pytest.fixture
def client(simulator: SimulatorThread) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulator.url, trust_env=False) as made:
        yield made


def ask(client: httpx.Client, service: str, **body: Any) -> httpx.Response:
    return client.post(f"/v1/{service}", json={"messages": "Hello", "type": "text", **body})


def streamed(client: httpx.Client, service: str, **body: Any) -> list[str]:
    body = {"messages": "Hello", "type": "text", **body}
    with httpx_sse.connect_sse(client, "POST", f"/v1/{service}", json=body) as source:
        return [event.data for event in source.iter_sse()]


@pytest.mark.parametrize("service", MEGA)
def test_megaservices_answer_with_counts_of_zero_and_stream_unless_told_not_to(
    client: httpx.Client, service: str
) -> None:
    answer = ask(client, service, stream=False).json()
    assert answer["model"] == service
    assert answer["usage"] == {"prompt_tokens": 0, "total_tokens": 0, "completion_tokens": 0}
    *events, last = streamed(client, service)
    assert last == "[DONE]"
    if service == "codegen":
        text = "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in events)
    else:
        text = b"".join(ast.literal_eval(event) for event in events).decode()
    assert text == answer["choices"][0]["message"]["content"]


def test_messages_are_a_text_or_a_list_and_may_hold_images(client: httpx.Client) -> None:
    content = [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "aGk="}}]
    for messages in ("Hi", [{"role": "user", "content": "Hi"}], [{"role": "user", "content": content}]):
        assert ask(client, "chatqna", messages=messages, stream=False).status_code == 200
    refused = ask(client, "chatqna", messages=[{"role": "tool", "content": "Hi"}], stream=False)
    assert (refused.status_code, refused.text) == (500, "Internal Server Error")


def test_a_model_that_fails_behind_a_megaservice(simulator: SimulatorThread, client: httpx.Client) -> None:
    simulator.configure(models=["one"])
    assert streamed(client, "chatqna", model="other") == ["[DONE]"]
    answer = ask(client, "chatqna", model="other", stream=False)
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert answer.headers["content-type"].startswith("text/plain")
    simulator.configure(models=None)
    simulator.script("error_event:at=0", "error_event:at=5")
    assert streamed(client, "chatqna") == ["[DONE]"]
    assert "[DONE]" not in streamed(client, "chatqna")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": None}, "messages"),
        ({"messages": 7}, "messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"top_n": "2"}, "top_n"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_wrong_requests_are_told_the_field(client: httpx.Client, body: dict[str, Any], field: str) -> None:
    answer = ask(client, "chatqna", **body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]


def test_other_mistakes(client: httpx.Client) -> None:
    assert client.post("/v1/nothing", json={}).json() == {"detail": "Not Found"}
    assert client.get("/v1/chatqna").status_code == 405
    assert client.post("/v1/chatqna", content=b"{").status_code == 500
    assert client.post("/v1/docsum", json={"messages": "Hi"}).status_code == 500  # it looks for a type
    assert client.get("/v1/health_check").status_code == 200


def test_keys_are_asked_for_where_there_are_any() -> None:
    with SimulatorThread("opea", api_keys=["k"]) as simulator, httpx.Client(base_url=simulator.url) as client:
        assert ask(client, "chatqna").status_code == 403
        assert client.post("/v1/chatqna", json={}, headers={"Authorization": "Bearer x"}).status_code == 401
        good = client.post("/v1/chatqna", json={"messages": "Hi"}, headers={"Authorization": "Bearer k"})
        assert good.status_code == 200


def test_documents_are_ingested_found_and_forgotten(client: httpx.Client) -> None:
    files = [("files", ("a.txt", b"one")), ("files", ("b.txt", b"two"))]
    good = {"status": 200, "message": "Data preparation succeeded"}
    assert client.post("/v1/dataprep/ingest", files=files, data={"chunk_size": "100"}).json() == good
    assert client.post("/v1/dataprep/ingest", data={"link_list": '["https://x"]'}).json() == good
    assert [each["id"] for each in client.post("/v1/dataprep/get").json()] == ["a.txt", "b.txt", "https://x.txt"]
    body = {"text": "?", "embedding": [0.1], "k": 2}
    found = client.post("/v1/retrieval", json=body).json()
    assert (found["initial_query"], len(found["retrieved_docs"])) == ("?", 2)
    found = client.post("/v1/retrieval", json={"input": "?", "embedding": [0.1]}).json()
    assert {"one", "two"} <= {each["text"] for each in found["retrieved_docs"]}
    assert client.post("/v1/dataprep/delete", json={"file_path": "a.txt"}).json() == {"status": True}
    assert client.post("/v1/dataprep/delete", json={"file_path": "a.txt"}).status_code == 404
    client.post("/v1/dataprep/delete", json={"file_path": "all"})
    assert client.post("/v1/dataprep/get").json() == []
    assert client.post("/v1/dataprep/ingest", data={"link_list": "x"}).status_code == 400
    assert client.post("/v1/dataprep/ingest", data={"chunk_size": "1"}).status_code == 400


def test_reranking_answers_one_document_unless_told_how_many(client: httpx.Client) -> None:
    body = {"input": "?", "retrieved_docs": [{"text": "a"}, {"text": "b"}]}
    assert len(client.post("/v1/reranking", json=body).json()["reranked_docs"]) == 1
    scores = [each["score"] for each in client.post("/v1/reranking", json={**body, "top_n": 2}).json()["reranked_docs"]]
    assert scores == sorted(scores, reverse=True)


def test_openai_s_own_client_talks_to_the_microservices(simulator: SimulatorThread) -> None:
    with openai.OpenAI(base_url=simulator.url + "/v1", api_key="any") as client:
        messages: list[Any] = [{"role": "user", "content": "Hello"}]
        whole = client.chat.completions.create(model="m", messages=messages)
        pieces = client.chat.completions.create(model="m", messages=messages, stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole.choices[0].message.content
        assert len(client.embeddings.create(model="m", input=["a", "b"]).data) == 2
