"""The simulated batch APIs, asked by the vendors' own clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import groq
import openai
import pytest

from ipfs_accelerate_py.simulator import SimulatorThread


def lines(count: int, **changes: Any) -> bytes:
    made = []
    for number in range(count):
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"question {number}"}]}
        made.append(
            {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body, **changes}
        )
    return b"\n".join(json.dumps(line).encode() for line in made)


@pytest.fixture(scope="module")
def service() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai") as sim:
        yield sim


@pytest.fixture
def client(service: SimulatorThread) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=service.url, api_key="sk", max_retries=0) as made:
        yield made


def handed_in(client: openai.OpenAI, data: bytes, endpoint: Any = "/v1/chat/completions") -> Any:
    file = client.files.create(file=("requests.jsonl", data), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"night": "1"}
    )


def test_openai(client: openai.OpenAI) -> None:
    bad = {"custom_id": "bad", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o"}}
    job = handed_in(client, lines(9) + b"\n" + json.dumps(bad).encode())
    assert (job.status, job.request_counts.total, job.metadata) == ("validating", 10, {"night": "1"})
    assert client.batches.retrieve(job.id).status == "in_progress"
    job = client.batches.retrieve(job.id)
    assert job.request_counts is not None
    assert (job.status, job.request_counts.completed, job.request_counts.failed) == ("completed", 9, 1)
    assert job.output_file_id
    assert job.error_file_id
    found = [json.loads(line) for line in client.files.content(job.output_file_id).text.splitlines()]
    assert sorted(each["custom_id"] for each in found) == [f"r{number}" for number in range(9)]
    assert [each["custom_id"] for each in found] != [f"r{number}" for number in range(9)]
    answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "question 3"}])
    [same] = [each["response"]["body"] for each in found if each["custom_id"] == "r3"]
    assert same["choices"][0]["message"]["content"] == answer.choices[0].message.content
    assert same["usage"]["total_tokens"] == answer.usage.total_tokens  # type: ignore[union-attr]
    [wrong] = [json.loads(line) for line in client.files.content(job.error_file_id).text.splitlines()]
    assert wrong["response"]["status_code"] == 400
    assert "messages" in wrong["response"]["body"]["error"]["message"]


def test_openai_embeddings_and_files(client: openai.OpenAI) -> None:
    body = {"model": "e", "input": ["a", "b"]}
    data = json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/embeddings", "body": body}).encode()
    job = handed_in(client, data, "/v1/embeddings")
    client.batches.retrieve(job.id)
    job = client.batches.retrieve(job.id)
    [line] = client.files.content(job.output_file_id or "").text.splitlines()
    assert len(json.loads(line)["response"]["body"]["data"]) == 2
    assert client.files.retrieve(job.input_file_id).bytes == len(data)
    assert job.input_file_id in {file.id for file in client.files.list(purpose="batch")}
    assert client.files.delete(job.input_file_id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(job.input_file_id)


def test_openai_lists_in_pages_and_cancels(client: openai.OpenAI) -> None:
    made = [handed_in(client, lines(4)).id for _ in range(5)]
    listed = [job.id for job in client.batches.list(limit=2)]
    assert listed[:5] == made[::-1]
    client.batches.retrieve(made[0])
    assert client.batches.cancel(made[0]).status == "cancelling"
    job = client.batches.retrieve(made[0])
    assert job.status == "cancelled"
    assert len(client.files.content(job.output_file_id).text.splitlines()) == 2  # type: ignore[arg-type]
    left = [json.loads(line) for line in client.files.content(job.error_file_id).text.splitlines()]  # type: ignore[arg-type]
    assert {each["error"]["code"] for each in left} == {"batch_cancelled"}
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(made[0])
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_nothing")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{", "invalid_json_line"),
        (lines(2, custom_id="same"), "duplicate_custom_id"),
        (lines(1, url="/v1/embeddings"), "invalid_url"),
        (lines(1, body=None), "missing_required_parameter"),
        (lines(1) + b"\n" + lines(1, custom_id="x", body={"model": "other"}), "mismatched_model"),
        (b"", "empty_file"),
    ],
)
def test_openai_refuses_wrong_files(client: openai.OpenAI, data: bytes, code: str) -> None:
    job = handed_in(client, data)
    assert job.status == "failed"
    assert code in [problem.code for problem in job.errors.data]


def test_openai_refuses_wrong_jobs(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="jsonl"):
        client.files.create(file=("requests.txt", b"{}"), purpose="batch")
    with pytest.raises(openai.BadRequestError, match="file id"):
        client.batches.create(input_file_id="file-no", endpoint="/v1/responses", completion_window="24h")


def test_groq(service: SimulatorThread) -> None:
    with groq.Groq(base_url=service.url.removesuffix("/v1"), api_key="k", max_retries=0) as client:
        file = client.files.create(file=("requests.jsonl", lines(3)), purpose="batch")
        assert file.id
        job = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        client.batches.retrieve(job.id)
        ended = client.batches.retrieve(job.id)
        assert ended.status == "completed"
        assert len(client.files.content(ended.output_file_id or "").text().splitlines()) == 3


@pytest.fixture
def claude() -> Iterator[anthropic.Anthropic]:
    with SimulatorThread("anthropic") as sim, anthropic.Anthropic(base_url=sim.url, api_key="k", max_retries=0) as made:
        yield made


def question(number: int, **changes: Any) -> Any:
    messages = [{"role": "user", "content": f"question {number}"}]
    return {
        "custom_id": f"r{number}",
        "params": {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": messages, **changes},
    }


def test_anthropic(claude: anthropic.Anthropic) -> None:
    batch = claude.messages.batches.create(requests=[*(question(n) for n in range(5)), question(5, max_tokens=0)])
    assert (batch.processing_status, batch.request_counts.processing) == ("in_progress", 6)
    assert batch.results_url is None
    assert claude.messages.batches.retrieve(batch.id).processing_status == "in_progress"
    batch = claude.messages.batches.retrieve(batch.id)
    assert batch.processing_status == "ended"
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (5, 1)
    results = {each.custom_id: each.result for each in claude.messages.batches.results(batch.id)}
    assert sorted(results) == [f"r{number}" for number in range(6)]
    answer = claude.messages.create(**question(2)["params"])
    found: Any = results["r2"]
    assert found.message.content[0].text == answer.content[0].text
    wrong: Any = results["r5"]
    assert (wrong.type, wrong.error.error.type) == ("errored", "invalid_request_error")
    assert [each.id for each in claude.messages.batches.list(limit=1)] == [batch.id]
    assert claude.messages.batches.delete(batch.id).id == batch.id
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.batches.retrieve(batch.id)


def test_anthropic_cancels(claude: anthropic.Anthropic) -> None:
    batch = claude.messages.batches.create(requests=[question(n) for n in range(4)])
    claude.messages.batches.retrieve(batch.id)
    assert claude.messages.batches.cancel(batch.id).processing_status == "canceling"
    batch = claude.messages.batches.retrieve(batch.id)
    assert (batch.request_counts.succeeded, batch.request_counts.canceled) == (2, 2)
    assert {each.result.type for each in claude.messages.batches.results(batch.id)} == {"succeeded", "canceled"}


def test_anthropic_refuses_wrong_batches(claude: anthropic.Anthropic) -> None:
    wrongs: list[Any] = [[], [question(1), question(1)], [{**question(1), "custom_id": "with space"}]]
    for wrong in wrongs:
        with pytest.raises(anthropic.BadRequestError):
            claude.messages.batches.create(requests=wrong)
