"""Every example of the quickstart for OpenAI, Groq and the shared features, run as it is written: see quickstart.md."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.api_backends import groq, openai_api
from ipfs_accelerate_py.api_backends.base import ApiBackend
from ipfs_accelerate_py.simulator import Fault, SimulatorThread

Run = Callable[..., dict[str, Any]]

_TEXT = Path(__file__).with_name("quickstart.md").read_text()
BLOCKS: dict[str, str] = dict(re.findall(r"^## (.+?)\n\n```python\n(.+?)^```$", _TEXT, re.MULTILINE | re.DOTALL))
MODELS = [
    "gpt-4o",
    "llama3-8b-8192",
    "mistral-saba-24b",
    "meta-llama/llama-4-scout-17b-16e-instruct",
    "whisper-large-v3",
]
MESSAGES = [{"role": "user", "content": "Hello, how are you?"}]


@pytest.fixture
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai") as simulator:
        yield simulator


@pytest.fixture
def run(simulator: SimulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a block as a script of its own in an empty directory; what it made is closed afterwards."""
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.url)
    monkeypatch.setenv("GROQ_BASE_URL", simulator.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("GROQ_API_KEY", "gsk-environment")
    made: list[ApiBackend] = []

    def execute(title: str, **given: Any) -> dict[str, Any]:
        script = tmp_path / "example.py"
        script.write_text(BLOCKS[title].replace("https://api.openai.com/v1", simulator.url))
        namespace = dict(given)
        try:
            exec(compile(script.read_text(), script, "exec"), namespace)
        finally:
            made.extend(value for value in namespace.values() if isinstance(value, ApiBackend))
        return namespace

    yield execute
    for face in made:
        face.close()


def test_openai(run: Run, simulator: SimulatorThread) -> None:
    made = run("Using OpenAI API")
    chat, embedding = simulator.requests
    assert [message["role"] for message in chat.body["messages"]] == ["system", "user"]
    assert (chat.body["temperature"], chat.body["max_tokens"]) == (0.7, 100)
    assert made["response"]["text"]
    assert embedding.body["encoding_format"] == "float"
    assert len(made["embedding_response"]["embedding"]) == 1536


def test_groq(run: Run, simulator: SimulatorThread, capsys: pytest.CaptureFixture[str]) -> None:
    made = run("Using Groq API")
    assert [request.status for request in simulator.requests] == [200] * 4
    assert simulator.requests[1].body["top_k"] == 40
    assert simulator.requests[2].body["response_format"] == {"type": "json_object"}
    assert made["accumulated"]
    printed = capsys.readouterr().out
    assert "'total_tokens'" in printed
    assert printed.endswith("\nDone!\n")


def test_groq_models(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with SimulatorThread("openai", models=MODELS) as listing:
        monkeypatch.setenv("GROQ_BASE_URL", listing.url)
        run("Groq API Models and Capabilities")["groq_api"].close()
    printed = capsys.readouterr().out
    for line in (
        "Total models available: 5",
        "Chat models available: 4",
        "Vision models available: 1",
        "Audio models available: 1",
        "Is mistral-saba-24b compatible with chat: True",
        "Model: gpt-4o\n  Description: chat model by simulator\n  Context window: None\n  Category: chat",
    ):
        assert line in printed


def test_usage_statistics(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    made = run("Usage Tracking and Statistics", messages=MESSAGES)
    total = made["response"]["usage"]["total_tokens"]
    printed = capsys.readouterr().out
    assert f"Total tokens used: {total}\nEstimated cost: $N/A\nTotal requests: 1" in printed
    assert made["groq_api"].get_usage_stats()["total_requests"] == 0


def test_queueing_and_an_endpoint_of_its_own(run: Run, simulator: SimulatorThread) -> None:
    made = run("Request Queueing and Concurrency Control")
    client = made["client"]
    assert (client.max_concurrent_requests, client.queue_size) == (3, 50)
    endpoint = client.get_endpoint(made["endpoint_id"])
    assert (endpoint["max_concurrent_requests"], endpoint["queue_size"]) == (10, 100)
    assert simulator.requests[-1].key == simulator.key_name("different-api-key")
    assert made["response"]["text"]


def test_backoff_and_breaker(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    client = run("Exponential Backoff with Circuit Breaker", client=openai_api())["client"]
    assert (client.max_retries, client.initial_retry_delay, client.backoff_factor, client.max_retry_delay) == (
        5,
        1,
        2,
        30,
    )
    assert (client.circuit_failure_threshold, client.circuit_reset_timeout) == (5, 30)
    assert capsys.readouterr().out == "Current circuit state: CLOSED\n"


@pytest.mark.parametrize("load", [True, False])
def test_credentials_of_a_dotenv_file(
    run: Run, simulator: SimulatorThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: bool
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")  # set by the fixture, so what load_dotenv sets is undone too
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-dotenv\n")
    # The example says of load_dotenv: "this happens automatically".
    client = run("Environment Variables and .env Support")["client"] if load else openai_api()
    with client:
        assert client.chat("gpt-4o", MESSAGES)["text"]
    assert simulator.requests[-1].key == simulator.key_name("sk-dotenv")


def test_credentials_of_the_environment(run: Run, simulator: SimulatorThread) -> None:
    with openai_api() as client, groq() as groq_api:
        client.chat("gpt-4o", MESSAGES)
        groq_api.chat("llama3-8b-8192", MESSAGES)
    names = [simulator.key_name("sk-environment"), simulator.key_name("gsk-environment")]
    assert [request.key for request in simulator.requests] == names


async def test_endpoint_handlers(run: Run, simulator: SimulatorThread) -> None:
    made = run("Creating Endpoint Handlers")
    for handler in (made["openai_handler"], made["groq_handler"]):
        assert await made["process_prompt"]("Hello", handler)
    assert simulator.requests[0].body["model"] == "gpt-3.5-turbo"


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "API key is invalid or expired"),
        (429, "Rate limit exceeded, please try again later"),
        (400, "API error: Bad news"),
    ],
)
def test_error_handling(
    run: Run, simulator: SimulatorThread, capsys: pytest.CaptureFixture[str], status: int, told: str
) -> None:
    # A wait that is longer than max_retry_delay is not waited for.
    simulator.always(Fault.status(status, message="Bad news", retry_after=3600))
    run("Error Handling")
    assert capsys.readouterr().out == f"{told}\n"


def test_error_handling_without_a_key(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GROQ_API_KEY")
    monkeypatch.setitem(BLOCKS, "Error Handling", BLOCKS["Error Handling"].replace("your-key-here", ""))
    run("Error Handling")
    assert capsys.readouterr().out == "API key is invalid or expired\n"


def test_queue_information(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    made = run("Queue and Backoff System")
    assert made["response"]["request_id"] == "req_12345"
    assert capsys.readouterr().out == "Queue size: 0 requests\nActive requests: 0\nQueue capacity: 100\n"


def test_priorities(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("Priority Queue System")["response"]["text"]
    assert capsys.readouterr().out.splitlines() == [
        "High priority queue: 0 requests",
        "Normal priority queue: 0 requests",
        "Low priority queue: 0 requests",
    ]


def test_breaker_metrics(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    client = run("Circuit Breaker Pattern", client=openai_api())["client"]
    assert client.circuit_success_threshold == 3
    assert capsys.readouterr().out == "Circuit state: CLOSED\nRecent failures: 0\nFailure rate: 0.00%\n"


def test_several_keys(run: Run, simulator: SimulatorThread, capsys: pytest.CaptureFixture[str]) -> None:
    client = run("API Key Multiplexing")["client"]
    assert client.key_selection_strategy == "least-loaded"
    assert simulator.requests[-1].key == simulator.key_name("sk-def456...")
    printed = capsys.readouterr().out
    assert "Key: key2\n  Requests: 1\n  Tokens: 2" in printed
    assert "Key: key3\n  Requests: 0\n  Tokens: 0" in printed


def test_a_raw_request(run: Run) -> None:
    assert run("Basic Request with Queue and Backoff")["response"]["choices"][0]["message"]["content"]


def test_a_request_of_high_priority(run: Run) -> None:
    made = run("Using Priority Queue for Important Requests", time=time)
    assert made["result"]["choices"][0]["message"]["content"]


def test_every_example_is_tested() -> None:
    source = Path(__file__).read_text()
    assert len(BLOCKS) == 15
    assert [title for title in BLOCKS if f'run("{title}"' not in source] == []
