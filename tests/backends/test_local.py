"""Models on this machine behind the client: every operation, through the pipeline, on tiny models."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py import Client, Router, Target
from ipfs_accelerate_py.errors import ConfigurationError, ReadTimeout, RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.results import Fills, Labels
from ipfs_accelerate_py.simulator import Fault, SimulatorThread

pytest.importorskip("torch", reason="the [local] extra is not installed")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    root = tmp_path_factory.mktemp("models")
    classes = "AutoModelForSequenceClassification"
    write_tiny("bert", root / "bert")
    write_tiny("gpt2", root / "gpt2")
    write_tiny("bert", root / "nli", auto=classes, labels=("contradiction", "neutral", "entailment"))
    write_tiny("bert", root / "reranker", auto=classes, labels=("fits",))
    write_tiny("whisper", root / "whisper")
    write_tiny("mpnet", root / "acme/mpnet")
    return root


@pytest.fixture(scope="session")
def client(models: Path) -> Iterator[Client]:
    with Client("local", models=str(models)) as made:
        yield made


def silence(seconds: float = 0.5) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(b"\1\0" * int(16000 * seconds))
    return out.getvalue()


def test_models_are_listed_with_what_they_are_for(client: Client) -> None:
    found = {model.id: model.raw["tasks"] for model in client.models()}
    assert found["bert"] == ["fill-mask"]
    assert found["gpt2"] == ["text-generation"]
    assert found["reranker"] == ["text-ranking"]
    assert found["whisper"] == ["automatic-speech-recognition"]


def test_chat_whole_and_as_it_is_written_are_the_same(client: Client) -> None:
    asked: dict[str, Any] = {"max_tokens": 6, "temperature": 0}
    whole = client.chat("gpt2", "Hello", **asked)
    with client.stream("gpt2", "Hello", **asked) as stream:
        text = "".join(chunk.text for chunk in stream)
        assert stream.usage.output_tokens == whole.usage.output_tokens == 6
    assert (text, stream.finish_reason) == (whole.text, "length")
    assert whole.usage.input_tokens == client.count_tokens("gpt2", "Hello").usage.input_tokens
    assert (whole.backend, whole.model, whole.finish_reason) == ("local", "gpt2", "length")


def test_a_stream_that_is_left_stops_the_writing(client: Client) -> None:
    with client.stream("gpt2", "Hello", max_tokens=30, ignore_eos=True) as stream:
        next(iter(stream))
    assert client.chat("gpt2", "Hello", max_tokens=1).text is not None
    assert client.active_requests == 0


def test_completion_and_responses(client: Client) -> None:
    assert client.complete("gpt2", "Hello", max_tokens=3).usage.output_tokens == 3
    assert client.complete("gpt2", [5, 100, 200], max_tokens=2, temperature=0).usage.input_tokens == 3
    assert client.respond("gpt2", "Hello", max_output_tokens=3).finish_reason == "length"


def test_vectors_labels_and_rankings(client: Client) -> None:
    vectors = client.embed("acme/mpnet", ["a b", "c"]).vectors
    assert len(vectors) == 2
    assert vectors[0] == pytest.approx(client.embed("mpnet", "a b").vectors[0], abs=1e-4)
    [labels] = client.classify("nli", "fine").labels
    assert {each.label for each in labels} == {"contradiction", "neutral", "entailment"}
    [shown] = client.classify("nli", "fine", candidate_labels=["one", "two"]).labels
    assert {each.label for each in shown} == {"one", "two"}
    ranking = client.rerank("reranker", "question", ["a", {"text": "b c"}, "d"], top_n=2).ranking
    assert len(ranking) == 2
    assert ranking[0].score >= ranking[1].score


def test_transcripts_have_the_times_that_were_asked_for(client: Client) -> None:
    said = client.transcribe("whisper", silence(), response_format="verbose_json")
    assert said.raw["text"] == said.text
    assert said.raw["duration"] == pytest.approx(0.5, abs=0.01)
    assert all(0 <= each.start <= each.end for each in said.segments)
    assert client.transcribe("whisper", silence()).segments == []


def test_any_task_with_typed_results(client: Client) -> None:
    reply = client.run("bert", ["a [MASK]", "b [MASK] c"], top_k=2)
    assert [type(each) for each in reply.results] == [Fills, Fills]
    assert reply.usage.input_tokens > 6
    [found] = client.run("nli", "fine", task="sentiment-analysis").results
    assert isinstance(found, Labels)


def test_what_there_is_not_says_what_there_is(client: Client) -> None:
    with pytest.raises(UnsupportedOperation, match="Transformers has none"):
        client.generate_images("bert", "a cat")
    with pytest.raises(UnsupportedOperation, match="fill-mask"):
        client.run("bert", "a", task="object-detection")
    with pytest.raises(RuntimeUnavailable, match="looked at"):
        client.embed("nowhere", "a")


@pytest.mark.parametrize(
    ("name", "value"),
    [("runtime", "tf"), ("precision", "int3"), ("memory", "much"), ("threads", 0), ("isolation", "vm"), ("force", "x")],
)
def test_wrong_options_are_said_at_once(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Client("local", **{name: value})


def test_a_model_larger_than_the_memory_is_refused_with_the_sizes(models: Path) -> None:
    with (
        Client("local", models=str(models), memory="10KB") as small,
        pytest.raises(RuntimeUnavailable, match=r"10 kB|10000"),
    ):
        small.run("bert", "a [MASK]")


def test_the_deadline_holds(client: Client) -> None:
    client.run("bert", "a [MASK]")
    with pytest.raises(ReadTimeout):
        client.chat("gpt2", "Hello", max_tokens=50, ignore_eos=True, timeout=0.001)


@pytest.mark.parametrize("stream", [False, True])
def test_the_cloud_is_down_and_this_machine_answers(models: Path, stream: bool) -> None:
    with SimulatorThread("openai") as cloud:
        cloud.always(Fault.status(503))
        router = Router(
            {
                "smart": [
                    Target("openai", "gpt-4o", api_key="sk-1", base_url=cloud.url, max_retries=0),
                    Target("local", "gpt2", models=str(models)),
                ]
            }
        )
        with router:
            if stream:
                reply = router.stream("smart", "Hello", max_tokens=3).collect()
            else:
                reply = router.chat("smart", "Hello", max_tokens=3)
            assert (reply.backend, reply.target_model) == ("local", "gpt2")
            assert reply.usage.output_tokens == 3
        assert cloud.requests


def test_vectors_come_from_this_machine_while_the_cloud_is_down(models: Path, client: Client) -> None:
    with SimulatorThread("openai") as cloud:
        cloud.always(Fault.status(503))
        targets = [
            Target("openai", "text-embedding-3-small", api_key="sk-1", base_url=cloud.url, max_retries=0),
            Target("local", "acme/mpnet", models=str(models)),
        ]
        with Router({"vectors": targets}) as router:
            reply = router.embed("vectors", ["a b", "c"])
        assert (reply.backend, len(reply.vectors)) == ("local", 2)
        assert reply.vectors[1] == pytest.approx(client.embed("acme/mpnet", "c").vectors[0], abs=1e-4)
        assert cloud.requests
