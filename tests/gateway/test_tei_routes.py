"""TEI's own routes on the gateway: asked by Hugging Face's client, by our client of TEI servers, and plainly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import InferenceClient

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.errors import BackendError
from ipfs_accelerate_py.gateway import GatewayConfig, GatewayServer
from tests.simulator.hf_client import online as online  # a fixture, by its name

pytest.importorskip("torch", reason="the [local] extra is not installed")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One model of each kind, so that none needs to be named; in the gateway's process, since that starts sooner."""
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    root: Path = tmp_path_factory.mktemp("models")
    classes = "AutoModelForSequenceClassification"
    write_tiny("dpr", root / "acme/vectors")
    write_tiny("bert", root / "masked")
    write_tiny("bert", root / "judge", auto=classes, labels=("bad", "good"))
    write_tiny("bert", root / "ranker", auto=classes, labels=("fits",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPFS_ACCELERATE_MODELS", str(root))
        patch.setenv("IPFS_ACCELERATE_LOCAL_ISOLATION", "thread")
        patch.setattr("ipfs_accelerate_py.runtimes.models._PACKAGED", ())
        with GatewayServer(GatewayConfig(environment=False, port=0, preload=())) as running:
            yield running.url.removesuffix("/v1")


def post(url: str, path: str, **body: Any) -> Any:
    got = httpx.post(url + path, json=body, timeout=60)
    assert got.status_code == 200, got.text
    return got.json()


def length(vector: list[float]) -> float:
    return math.sqrt(sum(each * each for each in vector))


def test_embed(url: str) -> None:
    [one] = post(url, "/embed", inputs="a b c")
    assert length(one) == pytest.approx(1, abs=1e-5)
    two = post(url, "/tei/acme/vectors/embed", inputs=["a b c", "d"], truncate=True, truncation_direction="Right")
    assert two[0] == pytest.approx(one, abs=1e-5)
    [raw] = post(url, "/embed", inputs="a b c", normalize=False)
    assert [each / length(raw) for each in raw] == pytest.approx(one, abs=1e-4)
    [short] = post(url, "/embed", inputs="a b c", dimensions=4)
    assert len(short) == 4


def test_the_answer_counts_tokens_in_a_header(url: str) -> None:
    got = httpx.post(url + "/embed", json={"inputs": ["a b c", "d"]}, timeout=60)
    assert int(got.headers["x-compute-tokens"]) >= 4


def test_embed_all_has_a_vector_for_each_token(url: str) -> None:
    tokens = post(url, "/tokenize", inputs="a b c", model="masked")
    [vectors] = post(url, "/embed_all", inputs="a b c", model="masked")
    assert len(vectors) == len(tokens[0])
    assert len({len(each) for each in vectors}) == 1


def test_embed_sparse_is_the_masked_model_s_highest_logits(url: str) -> None:
    [found] = post(url, "/embed_sparse", inputs="a b c", model="masked")
    assert found
    assert all(each["value"] > 0 for each in found)
    assert [each["index"] for each in found] == sorted({each["index"] for each in found})
    [_, again] = post(url, "/embed_sparse", inputs=["d e", "a b c"], model="masked")
    assert [each["index"] for each in again] == [each["index"] for each in found]
    assert [each["value"] for each in again] == pytest.approx([each["value"] for each in found], abs=1e-4)


def test_rerank(url: str) -> None:
    asked = {"query": "q", "texts": ["a", "b c", "d"]}
    found = post(url, "/rerank", **asked)
    assert sorted(each["index"] for each in found) == [0, 1, 2]
    assert [each["score"] for each in found] == sorted((each["score"] for each in found), reverse=True)
    assert all(0 <= each["score"] <= 1 and "text" not in each for each in found)
    full = post(url, "/rerank", **asked, raw_scores=True, return_text=True)
    assert [each["text"] for each in full] == [asked["texts"][each["index"]] for each in full]
    for plain, raw in zip(found, full, strict=True):
        assert plain["score"] == pytest.approx(1 / (1 + math.exp(-raw["score"])), abs=1e-4)


def test_predict_one_a_pair_and_a_batch(url: str) -> None:
    one = post(url, "/predict", inputs="fine")
    assert {each["label"] for each in one} == {"bad", "good"}
    pair = post(url, "/predict", inputs=["fine", "indeed"])
    batch = post(url, "/predict", inputs=[["fine"], ["fine", "indeed"]])
    for alone, found in zip((one, pair), batch, strict=True):
        assert [each["score"] for each in found] == pytest.approx([each["score"] for each in alone], abs=1e-5)


def test_similarity(url: str) -> None:
    same, other = post(url, "/similarity", inputs={"source_sentence": "a b", "sentences": ["a b", "c d e"]})
    assert same == pytest.approx(1, abs=1e-4)
    assert other < same


def test_tokens_there_and_back(url: str) -> None:
    [tokens] = post(url, "/tokenize", inputs="The cat", model="masked")
    assert tokens[0]["special"]
    assert tokens[0]["start"] is None
    words = [each for each in tokens if not each["special"]]
    assert all("The cat"[each["start"] : each["stop"]] == each["text"] for each in words)
    [bare] = post(url, "/tokenize", inputs=["The cat"], add_special_tokens=False, model="masked")
    assert bare == words
    [text] = post(url, "/decode", ids=[each["id"] for each in tokens], model="masked")
    assert text.replace(" ", "").lower() == "thecat"
    assert len(post(url, "/decode", ids=[[words[0]["id"]], [words[1]["id"]]], model="masked")) == 2


def test_info_and_health(url: str) -> None:
    info = httpx.get(url + "/info").json()
    assert info["model_id"] == "acme/vectors"
    assert "embedding" in info["model_type"]
    assert httpx.get(url + "/tei/judge/info").json()["model_type"]["classifier"]["label2id"] == {"bad": 0, "good": 1}
    assert "reranker" in httpx.get(url + "/tei/ranker/info").json()["model_type"]
    assert httpx.get(url + "/health").status_code == httpx.get(url + "/tei/judge/health").status_code == 200


@pytest.mark.usefixtures("online")
def test_hugging_face_s_client(url: str) -> None:
    with InferenceClient(model=f"{url}/tei/acme/vectors/embed", token="any", timeout=60) as client:
        found = client.feature_extraction("a b c", normalize=True)
    assert found.shape[0] == 1
    assert found[0].tolist() == pytest.approx(post(url, "/embed", inputs="a b c")[0], abs=1e-5)


def test_our_client_of_tei_servers(url: str) -> None:
    with Client("hf_tei", base_url=f"{url}/tei/acme/vectors", max_retries=0) as client:
        reply = client.embed("any", ["a b c", "d"])
        assert len(reply.vectors) == 2
        assert reply.usage.input_tokens >= 4
        assert client.models()[0].id == "acme/vectors"
        assert client.count_tokens("any", "a b c").usage.input_tokens >= 3
    with Client("hf_tei", base_url=f"{url}/tei/ranker", max_retries=0) as client:
        assert len(client.rerank("any", "q", ["a", "b"]).ranking) == 2
    with Client("hf_tei", base_url=f"{url}/tei/judge", max_retries=0) as client:
        assert {each.label for each in client.classify("any", "fine").labels[0]} == {"bad", "good"}
        with pytest.raises(BackendError, match="not made for this"):
            client.request("/embed_sparse", {"inputs": "a"})


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/embed", {}, "inputs"),
        ("/embed", {"inputs": []}, "inputs"),
        ("/embed", {"inputs": ["a", 1]}, "inputs[1]"),
        ("/embed", {"inputs": "a", "truncation_direction": "Left"}, "truncation_direction"),
        ("/rerank", {"texts": ["a"]}, "query"),
        ("/predict", {"inputs": [["a", "b", "c"]]}, "inputs[0]"),
        ("/similarity", {"inputs": {"source_sentence": "a"}}, "sentences"),
        ("/tokenize", {"inputs": "a", "model": "masked", "prompt_name": "query"}, "prompt_name"),
        ("/decode", {"ids": [10**9], "model": "masked"}, "none of them"),
        ("/embed_sparse", {"inputs": "a", "model": "ranker"}, "not made for this"),
    ],
)
def test_what_is_wrong_is_named_in_tei_s_words(url: str, path: str, body: dict[str, Any], word: str) -> None:
    got = httpx.post(url + path, json=body, timeout=60)
    assert got.status_code == 400, got.text
    assert got.json()["error_type"] == "Validation"
    assert word in got.json()["error"]


def test_a_model_that_is_not_there(url: str) -> None:
    got = httpx.post(url + "/tei/nowhere/embed", json={"inputs": "a"})
    assert (got.status_code, got.json()["error_type"]) == (404, "Validation")
    assert httpx.get(url + "/tei/nowhere/embed").status_code == 405
