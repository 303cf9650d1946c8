"""What is asked: lengths, made-up texts, and requests of a file."""

from __future__ import annotations

import json
import random
import statistics
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.bench.load.mix import Dataset, Length, Synthetic
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.types import ChatRequest, CompletionRequest, EmbedRequest


def test_lengths() -> None:
    chance = random.Random(1)
    assert {Length.parse("7").draw(chance) for _ in range(5)} == {7}
    evenly = [Length.parse("10-12").draw(chance) for _ in range(300)]
    assert set(evenly) == {10, 11, 12}
    normal = [Length.parse("100~10").draw(chance) for _ in range(2000)]
    assert statistics.mean(normal) == pytest.approx(100, abs=1)
    assert statistics.stdev(normal) == pytest.approx(10, rel=0.1)
    assert min(Length.parse("2~50").draw(chance) for _ in range(200)) == 1
    assert [str(Length.parse(text)) for text in ("7", "10-12", "100~10")] == ["7", "10-12", "100~10"]
    for wrong in ("", "0", "-3", "5-2", "many", "1.5"):
        with pytest.raises(ConfigurationError):
            Length.parse(wrong)


def test_a_number_is_always_the_same_request_and_no_two_begin_alike() -> None:
    mix = Synthetic(tokens=Length.parse("50"), output=Length.parse("8-9"), seed=3, options={"temperature": 0})
    one = mix.request("m", 5)
    assert isinstance(one, ChatRequest)
    assert one.options["temperature"] == 0
    assert one.options["max_tokens"] in (8, 9)
    assert len(str(one.messages[0]["content"]).split()) == 50
    assert one == Synthetic(
        tokens=Length.parse("50"), output=Length.parse("8-9"), seed=3, options={"temperature": 0}
    ).request("m", 5)
    begins = {" ".join(text(mix.request("m", number)).split()[:4]) for number in range(300)}
    assert len(begins) == 300
    assert mix.label == "50 in, 8-9 out"


def text(request: Any) -> str:
    return str(request.messages[0]["content"])


def test_what_texts_share_for_a_cache_of_prompts() -> None:
    mix = Synthetic(tokens=Length.parse("10"), shared=20)
    words = [text(mix.request("m", number)).split() for number in range(5)]
    assert len({tuple(each[:20]) for each in words}) == 1
    assert len({tuple(each[20:]) for each in words}) == 5


def test_embeddings_in_batches() -> None:
    request = Synthetic("embedding", tokens=Length.parse("6"), output=Length.parse("5"), batch=3).request("m", 0)
    assert isinstance(request, EmbedRequest)
    assert len(request.input) == 3
    assert "max_tokens" not in request.options
    with pytest.raises(ConfigurationError):
        Synthetic("chat", batch=2)


def written(folder: Path, *lines: Any) -> Path:
    path = folder / "asked.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_requests_of_a_file_come_in_order_and_again(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    path = written(
        tmp_path,
        {"messages": messages, "max_tokens": 5, "model": "not this one", "stream": True},
        "",
        {"prompt": "p"},
        '"a text"',
    )
    mix = Dataset(path, options={"temperature": 0})
    requests = [mix.request("m", number) for number in range(4)]
    assert requests[0] == ChatRequest("m", messages, {"temperature": 0, "max_tokens": 5})
    assert [text(each) for each in requests[1:3]] == ["p", "a text"]
    assert requests[3] == requests[0]
    assert mix.label == "3 requests of asked.jsonl"
    assert Dataset(written(tmp_path, {"prompt": "p"}), "completion").request("m", 0) == CompletionRequest("m", "p", {})
    embeddings = Dataset(written(tmp_path, {"input": ["a", "b"]}, {"input": "c"}), "embedding")
    assert [embeddings.request("m", n) for n in (0, 1)] == [
        EmbedRequest("m", ["a", "b"], {}),
        EmbedRequest("m", ["c"], {}),
    ]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("chat", "not JSON"),
        ("chat", "{}"),
        ("chat", '{"messages": ["text"]}'),
        ("chat", "3"),
        ("completion", '{"messages": [{"role": "user", "content": "x"}]}'),
        ("embedding", '{"input": []}'),
        ("embedding", '{"input": [1]}'),
    ],
)
def test_a_line_that_is_no_request_is_named(kind: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="line 1"):
        Dataset(written(tmp_path, line), kind)


def test_a_file_that_is_not_there_or_empty(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path, written(tmp_path, "")):
        with pytest.raises(ConfigurationError):
            Dataset(path)
    with pytest.raises(ConfigurationError, match="chat, completion"):
        Synthetic("poem")
