"""Every example of the quickstart, run as it is written, and those of the final report.

What changes is where the services are, the keys, and the files that an example reads: it makes no difference to a block
whether `OPENAI_BASE_URL` is set.
"""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py import api_backends
from ipfs_accelerate_py.api_backends import ApiKeyMultiplexer, ollama, openai_api
from ipfs_accelerate_py.api_backends.base import ApiBackend
from ipfs_accelerate_py.errors import UnsupportedOperation
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.documents import examples, original

Run = Callable[..., dict[str, Any]]
Services = Callable[..., SimulatorThread]

FOLDER = Path(__file__).parent
QUICKSTART = (FOLDER / "quickstart.md").read_text(encoding="utf-8")
FINAL_REPORT = (FOLDER / "final_report.md").read_text(encoding="utf-8")
EXAMPLES = {example.section: example for example in [*examples(QUICKSTART), *examples(FINAL_REPORT)]}
#: By class: the simulator that stands for its service, and the variable that says where the service is.
CLASSES = {
    "openai_api": ("openai", "OPENAI_BASE_URL"),
    "ApiKeyMultiplexer": ("openai", "OPENAI_BASE_URL"),
    "groq": ("openai", "GROQ_BASE_URL"),
    "claude": ("anthropic", "ANTHROPIC_BASE_URL"),
    "gemini": ("gemini", "GOOGLE_BASE_URL"),
    "ollama": ("ollama", "OLLAMA_API_URL"),
    "hf_tgi": ("tgi", "TGI_URL"),
    "hf_tei": ("tei", "TEI_URL"),
}
#: Addresses that stand in the examples themselves.
ADDRESSES = {
    "https://api.openai.com/v1": "openai",
    "https://api.anthropic.com": "anthropic",
    "http://localhost:11434/api": "ollama",
}
#: Examples that are no Python.
COMMANDS = {"Testing API Implementations", "Testing Queue and Backoff Functionality"}
MODELS = [
    "gpt-4o",
    "llama3-8b-8192",
    "mistral-saba-24b",
    "meta-llama/llama-4-scout-17b-16e-instruct",
    "whisper-large-v3",
]
MESSAGES = [{"role": "user", "content": "Hello, how are you?"}]
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9"


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """Starts the simulator of a service, once, and says where it is."""
    started: dict[str, SimulatorThread] = {}

    def service(name: str, **options: Any) -> SimulatorThread:
        if name not in started:
            started[name] = SimulatorThread(name, **options).start()
            for kind, variable in CLASSES.values():
                if kind == name:
                    monkeypatch.setenv(variable, started[name].url)
        return started[name]

    yield service
    for simulator in started.values():
        simulator.stop()


@pytest.fixture
def run(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run an example as a script of its own in an empty directory; what it made is closed afterwards."""
    for name in ("OPENAI", "GROQ", "ANTHROPIC", "GOOGLE"):
        monkeypatch.setenv(f"{name}_API_KEY", f"{name.lower()}-environment")
    monkeypatch.setenv("HF_API_TOKEN", "hf-environment")
    made: list[Any] = []

    def execute(section: str, **given: Any) -> dict[str, Any]:
        code = EXAMPLES[section].code
        for name, (service, _) in CLASSES.items():
            if re.search(rf"\b{name}\b", code):
                services(service)
        for address, service in ADDRESSES.items():
            if address in code:
                code = code.replace(address, services(service).url)
        script = tmp_path / "example.py"
        script.write_text(code)
        namespace = dict(given)
        try:
            exec(compile(code, script, "exec"), namespace)
        finally:
            made.extend(value for value in namespace.values() if isinstance(value, ApiBackend | ApiKeyMultiplexer))
        return namespace

    yield execute
    for face in made:
        face.close()


def all_kept(simulator: SimulatorThread) -> bool:
    return all(request.status == 200 for request in simulator.requests)


# --- setting up credentials --------------------------------------------------------------------------------------

KEYED: dict[str, tuple[str, Callable[[Any], object]]] = {
    "openai_api": ("openai", lambda api: api.chat("gpt-4o", MESSAGES)),
    "claude": ("anthropic", lambda api: api.chat(MESSAGES)),
    "groq": ("openai", lambda api: api.chat("llama3-8b-8192", MESSAGES)),
    "gemini": ("gemini", lambda api: api.chat(MESSAGES)),
    "hf_tgi": ("tgi", lambda api: api.generate_text("m", "Hello")),
    "hf_tei": ("tei", lambda api: api.generate_embedding("m", "Hello")),
}


def every_class_uses_its_key(services: Services, metadata: dict[str, Any] | None, model: str = "llama3") -> None:
    for name, (service, ask) in KEYED.items():
        simulator = services(service)
        with getattr(api_backends, name)(resources={}, metadata=metadata) as api:
            ask(api)
        request = simulator.requests[-1]
        wanted = "your-token-here" if name.startswith("hf") else "your-key-here"
        assert (request.status, request.key) == (200, simulator.key_name(wanted)), name
    # No key, but a model for calls that name none.
    with ollama(resources={}, metadata=metadata) as api:
        assert api.chat("", MESSAGES)["text"]
    assert services("ollama").requests[-1].body["model"] == model


def test_credentials_in_the_environment(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = dict(re.findall(r'^export (\w+)="(.*)"$', EXAMPLES["Method 1: Environment Variables"].code, re.M))
    assert len(variables) == 7
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for service, _ in CLASSES.values():
        services(service)  # where each of them is comes last, for the example names Ollama's usual address
    every_class_uses_its_key(services, None)


def test_credentials_in_a_dotenv_file(services: Services, tmp_path: Path) -> None:
    lines = EXAMPLES["Method 2: .env File"].code
    (tmp_path / ".env").write_text(lines.replace("http://localhost:11434/api", services("ollama").url))
    every_class_uses_its_key(services, None)


def test_credentials_in_a_metadata_dictionary(run: Run, services: Services) -> None:
    every_class_uses_its_key(services, run("Method 3: Metadata Dictionary")["metadata"])


# --- a service each ----------------------------------------------------------------------------------------------


def test_openai(run: Run, services: Services) -> None:
    made = run("Using OpenAI API")
    chat, embedding, image = services("openai").requests
    assert [message["role"] for message in chat.body["messages"]] == ["system", "user"]
    assert (chat.body["temperature"], chat.body["max_tokens"]) == (0.7, 100)
    assert made["response"]["text"]
    assert embedding.body["encoding_format"] == "float"
    assert len(made["embedding_response"]["embedding"]) == 1536
    assert (image.body["model"], image.body["size"], image.body["n"]) == ("dall-e-3", "1024x1024", 1)
    [url] = made["image_response"]["urls"]
    with urllib.request.urlopen(url) as picture:
        assert picture.headers["content-type"] == "image/png"


def test_claude(run: Run, services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    made = run("Using Claude API")
    whole, streamed = services("anthropic").requests
    assert whole.key == services("anthropic").key_name("your-key-here")
    assert (whole.status, streamed.status, streamed.body["stream"]) == (200, 200, True)
    assert capsys.readouterr().out == f"{made['response']['text']}\n" * 2


def test_ollama(run: Run, services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    made = run("Using Ollama API")
    assert [request.path for request in services("ollama").requests] == ["/api/tags", "/api/chat", "/api/chat"]
    count = len(made["models"])
    assert count > 0
    text = made["response"]["text"]
    assert capsys.readouterr().out == f"Available models: {count} found\n{text}\n{text}\n"


def test_text_generation_inference(run: Run, services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    made = run("Using Hugging Face TGI")
    generate, chat = services("tgi").requests
    assert generate.body["parameters"]["max_new_tokens"] == 100
    assert chat.key == services("tgi").key_name("your-token-here")
    printed = capsys.readouterr().out
    assert made["response"]["text"] != ""
    assert printed.endswith(made["response"]["text"] + "\n")
    assert len(printed.splitlines()) >= 2


def test_text_embeddings_inference(run: Run, services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("numpy")  # the example imports it
    made = run("Using Hugging Face TEI")
    assert all_kept(services("tei"))
    assert [len(vector) for vector in made["embeddings"]] == [len(made["embedding"])] * 2
    assert -1 <= made["similarity"] < 1
    assert capsys.readouterr().out.splitlines() == [
        f"Embedding dimensionality: {len(made['embedding'])}",
        "Generated 2 embeddings",
        f"Similarity between texts: {made['similarity']}",
    ]


def test_groq(run: Run, services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    made = run("Using Groq API")
    requests = services("openai").requests
    assert [request.status for request in requests] == [200] * 4
    assert requests[1].body["top_k"] == 40
    assert requests[2].body["response_format"] == {"type": "json_object"}
    assert made["accumulated"]
    printed = capsys.readouterr().out
    assert "'total_tokens'" in printed
    assert printed.endswith("\nDone!\n")


def test_gemini(run: Run, services: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test.jpg").write_bytes(JPEG)
    made = run("Using Gemini API")
    chat, image, stream = services("gemini").requests
    assert [request.status for request in (chat, image, stream)] == [200] * 3
    assert chat.path.endswith("/models/gemini-1.0-pro:generateContent")
    assert "gemini-1.5-pro-vision" in image.path
    [mime_type] = [
        part["inlineData"]["mimeType"] for part in image.body["contents"][0]["parts"] if "inlineData" in part
    ]
    assert mime_type == "image/jpeg"
    printed = capsys.readouterr().out
    assert made["response"]["text"] in printed
    assert made["chunk"]["done"]
    assert printed.endswith("\nResponse complete\n")


def test_groq_models(run: Run, services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    services("openai", models=MODELS)
    run("Groq API Models and Capabilities")
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


# --- what all of them share --------------------------------------------------------------------------------------


def test_usage_statistics(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    made = run("Usage Tracking and Statistics", messages=MESSAGES)
    used = made["response"]["usage"]
    printed = capsys.readouterr().out
    # Groq's prices of llama3-8b-8192: 5 and 8 cents for a million tokens.
    cost = round((used["prompt_tokens"] * 0.05 + used["completion_tokens"] * 0.08) / 1e6, 10)
    assert f"Total tokens used: {used['total_tokens']}\nEstimated cost: ${cost}\nTotal requests: 1" in printed
    assert made["groq_api"].get_usage_stats()["total_requests"] == 0


def test_queueing_and_an_endpoint_of_its_own(run: Run, services: Services) -> None:
    made = run("Request Queueing and Concurrency Control")
    client = made["client"]
    assert (client.max_concurrent_requests, client.queue_size) == (3, 50)
    endpoint = client.get_endpoint(made["endpoint_id"])
    assert (endpoint["max_concurrent_requests"], endpoint["queue_size"]) == (10, 100)
    assert services("openai").requests[-1].key == services("openai").key_name("different-api-key")
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
    run: Run, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: bool
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")  # set by the fixture, so what load_dotenv sets is undone too
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-dotenv\n")
    simulator = services("openai")
    # The example says of load_dotenv: "this happens automatically".
    client = run("Environment Variables and .env Support")["client"] if load else openai_api()
    with client:
        assert client.chat("gpt-4o", MESSAGES)["text"]
    assert simulator.requests[-1].key == simulator.key_name("sk-dotenv")


async def test_endpoint_handlers(run: Run, services: Services) -> None:
    made = run("Creating Endpoint Handlers")
    process_prompt = made["process_prompt"]
    for name in ("openai", "claude", "groq", "ollama", "hf_tgi", "gemini"):
        handler = made[f"{name}_handler"]
        text = await process_prompt("Hello", handler)
        assert text
        assert handler("Hello")["text"] == text  # for callers without a loop, too
    embedded = await made["hf_tei_handler"]("Hello")
    assert embedded["embedding"]
    assert "text" not in embedded  # nothing is written there
    assert services("openai").requests[0].body["model"] == "gpt-3.5-turbo"


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "API key is invalid or expired"),
        (429, "Rate limit exceeded, please try again later"),
        (400, "API error: Bad news"),
    ],
)
def test_error_handling(
    run: Run, services: Services, capsys: pytest.CaptureFixture[str], status: int, told: str
) -> None:
    # A wait that is longer than max_retry_delay is not waited for.
    services("openai").always(Fault.status(status, message="Bad news", retry_after=3600))
    run("Error Handling")
    assert capsys.readouterr().out == f"{told}\n"


def test_error_handling_without_a_key(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GROQ_API_KEY")
    example = EXAMPLES["Error Handling"]
    monkeypatch.setitem(EXAMPLES, "Error Handling", example._replace(code=example.code.replace("your-key-here", "")))
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


def test_several_keys(run: Run, services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    client = run("API Key Multiplexing")["client"]
    assert client.key_selection_strategy == "least-loaded"
    assert services("openai").requests[-1].key == services("openai").key_name("sk-def456...")
    printed = capsys.readouterr().out
    assert "Key: key2\n  Requests: 1\n  Tokens: 2" in printed
    assert "Key: key3\n  Requests: 0\n  Tokens: 0" in printed


# --- the final report --------------------------------------------------------------------------------------------


def test_a_raw_request(run: Run) -> None:
    assert run("Basic Request with Queue and Backoff")["response"]["choices"][0]["message"]["content"]


def test_a_multiplexer(run: Run, services: Services) -> None:
    made = run("Advanced API Key Multiplexing")
    assert made["response"]["choices"][0]["message"]["content"]
    keys = [services("openai").key_name(f"sk-api-key-{number}") for number in (1, 2, 3)]
    assert services("openai").requests[-1].key in keys


def test_a_request_of_high_priority(run: Run, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    # As it is written it lacks what Anthropic's API insists on; requests of one's own are sent as they are.
    made = run("Using Priority Queue for Important Requests", time=time)
    assert made["result"] is None
    assert "max_tokens" in str(made["future"]["error"])
    example = EXAMPLES["Using Priority Queue for Important Requests"]
    completed = example.code.replace('"data": {', '"data": {"max_tokens": 100,')
    monkeypatch.setitem(EXAMPLES, example.section, example._replace(code=completed))
    made = run("Using Priority Queue for Important Requests", time=time)
    assert made["result"]["content"][0]["text"]
    assert [request.status for request in services("anthropic").requests] == [400, 200]


def test_batched_embeddings(run: Run, services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    services("openai").always(Fault.latency(0.05))  # a service that takes a moment, as they do
    made = run("Request Batching")
    assert len(made["results"]) == 10
    requests = services("openai").requests
    assert sum(len(request.body["input"]) for request in requests) == 10
    assert len(requests) < 10
    stats = made["client"].get_batching_stats()
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == [f"Batches processed: {stats['batches']}", f"Requests batched: {stats['batched_requests']}"]
    assert printed[2] == f"Average batch size: {stats['avg_batch_size']:.1f}"
    assert printed[3] == "Estimated savings: $0.0000"
    assert stats["batched_requests"] + stats["alone"] == 10


def test_a_semantic_cache(run: Run, services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    made = run("Semantic Caching")
    # Both questions ask the same, but are less alike than the example's threshold wants.
    assert len(services("anthropic").requests) == 2
    lines = ["Cache hits: 0", "Cache misses: 2", "Hit rate: 0.00%", "Estimated savings: $0.0000"]
    assert capsys.readouterr().out.splitlines() == lines
    client = made["client"]
    client.enable_semantic_cache(similarity_threshold=0.85)
    first = client.chat([{"role": "user", "content": "Explain quantum computing"}])
    second = client.chat([{"role": "user", "content": "What is quantum computing?"}])
    third = client.chat([{"role": "user", "content": "What is classical computing?"}])
    assert second["text"] == first["text"]
    assert third["text"]
    assert len(services("anthropic").requests) == 4
    stats = client.get_cache_stats()
    assert (stats["hits"], stats["misses"], round(stats["hit_rate"], 2)) == (1, 2, 33.33)
    assert stats["tokens_saved"] == second["usage"]["total_tokens"]
    client.disable_semantic_cache()
    assert client.get_cache_stats()["hits"] == 0


@pytest.mark.parametrize("name", ["s3_kit", "hf_tei"])
def test_a_semantic_cache_where_there_are_no_questions(services: Services, name: str) -> None:
    services("tei")
    with getattr(api_backends, name)() as api, pytest.raises(UnsupportedOperation, match="answers no questions"):
        api.enable_semantic_cache()


def test_without_prices_there_are_no_figures_of_cost(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipfs_accelerate_py.api_backends.books.prices_installed", lambda: False)
    services("openai")
    with openai_api(api_key="sk-1") as client:
        client.chat("gpt-4o", MESSAGES)
        figures = {*client.get_usage_stats(), *client.get_key_usage_stats()["explicit"]}
    assert figures.isdisjoint({"estimated_cost_usd", "cost"})


# --- the documents -----------------------------------------------------------------------------------------------


def test_the_copies_are_faithful() -> None:
    assert original("quickstart") == QUICKSTART
    assert FINAL_REPORT.rstrip() in original("final_report")
    assert [example.code for example in examples(original("final_report")) if "import" in example.code] == [
        example.code for example in examples(FINAL_REPORT)
    ]


def test_every_example_is_tested() -> None:
    """Those that are command lines are in docs/promises.md: see tests/test_promises.py."""
    source = Path(__file__).read_text(encoding="utf-8")
    assert len(EXAMPLES) == len(examples(QUICKSTART)) + len(examples(FINAL_REPORT)) == 28
    assert [section for section in EXAMPLES if section not in COMMANDS and f'"{section}"' not in source] == []
    for section in COMMANDS:
        assert re.fullmatch(r"(?:(?:#.*|python \w+\.py.*|)\n)+", EXAMPLES[section].code)
