"""`hf_tei`: its verbs against a simulated server and a simulated router, and the client beneath it."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, errors
from ipfs_accelerate_py.api_backends import hf_tei
from ipfs_accelerate_py.simulator import Simulator, SimulatorThread
from ipfs_accelerate_py.types import Usage

EXAMPLE = """
from ipfs_accelerate_py.api_backends import hf_tei

# Initialize the API with credentials
metadata = {"hf_api_token": "your-token-here"}
tei_api = hf_tei(resources={}, metadata=metadata)

# Generate embedding
embedding = tei_api.generate_embedding(
    "sentence-transformers/all-MiniLM-L6-v2",
    "This is a text to create an embedding from."
)
print(f"Embedding dimensionality: {len(embedding)}")

# Batch embeddings
texts = ["First sentence to embed.", "Second sentence to embed."]
embeddings = tei_api.batch_embed("sentence-transformers/all-MiniLM-L6-v2", texts)
print(f"Generated {len(embeddings)} embeddings")

# Calculate similarity
similarity = tei_api.calculate_similarity(embeddings[0], embeddings[1])
print(f"Similarity between texts: {similarity}")
"""


@pytest.fixture
def server() -> Iterator[SimulatorThread]:
    with SimulatorThread("tei", dimensions=8) as simulator:
        yield simulator


@pytest.fixture
def api(server: SimulatorThread) -> Iterator[hf_tei]:
    with hf_tei(metadata={"tei_url": server.url}, initial_retry_delay=0.001) as made:
        yield made


# --- the older API -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hosted", ["", ", hosted=True"], ids=["own", "router"])
def test_the_quickstart(server: SimulatorThread, capsys: pytest.CaptureFixture[str], hosted: str) -> None:
    names: dict[str, Any] = {}
    changed = EXAMPLE.replace('"your-token-here"', f'"your-token-here", "tei_url": "{server.url}"')
    exec(changed.replace("metadata=metadata", "metadata=metadata" + hosted), names)
    names["tei_api"].close()
    length, count, similarity = capsys.readouterr().out.splitlines()
    assert (length, count) == ("Embedding dimensionality: 8", "Generated 2 embeddings")
    assert -1 <= float(similarity.rpartition(" ")[2]) < 1
    model = "sentence-transformers/all-MiniLM-L6-v2"
    path = f"/hf-inference/models/{model}/pipeline/feature-extraction" if hosted else "/embed"
    assert {request.path for request in server.requests} == {path}


def test_vectors_are_lists_of_floats(api: hf_tei, server: SimulatorThread) -> None:
    vector = api.generate_embedding("m", "Hello", normalize=False)
    assert isinstance(vector, list)
    assert all(type(number) is float for number in vector)
    assert math.isclose(math.hypot(*vector), 2, rel_tol=1e-5)
    assert api.generate_embedding("m", "Hello", dimensions=3, truncate=True) != vector[:3]
    assert server.requests[-1].body == {"inputs": ["Hello"], "dimensions": 3, "truncate": True}
    with pytest.raises(errors.ConfigurationError, match="batch_embed"):
        api.generate_embedding("m", ["Hello"])  # type: ignore[arg-type]
    with pytest.raises(errors.ConfigurationError, match="generate_embedding"):
        api.batch_embed("m", "Hello")


def test_many_texts_go_in_as_many_requests_as_the_server_needs(api: hf_tei, server: SimulatorThread) -> None:
    texts = [f"text {number}" for number in range(70)]
    vectors = api.batch_embed("m", texts)
    assert sorted(len(request.body["inputs"]) for request in server.requests) == [6, 32, 32]
    assert vectors[69] == api.generate_embedding("m", "text 69")
    assert vectors == api.batch_embed("m", texts, batch_size=7)
    assert api.batch_embed("m", []) == []
    for wrong in (0, True, "7"):
        with pytest.raises(errors.ConfigurationError, match="batch_size"):
            api.batch_embed("m", texts, batch_size=wrong)  # type: ignore[arg-type]
    server.always("402")
    with pytest.raises(errors.QuotaExhausted):
        api.batch_embed("m", texts)


def test_arithmetic(api: hf_tei) -> None:
    assert api.calculate_similarity([1, 0], [2, 0]) == 1.0
    assert api.calculate_similarity([1, 0], [0, 3]) == 0.0
    assert api.calculate_similarity([1, 1], [-1, -1]) == pytest.approx(-1)
    assert api.calculate_similarity([0, 0], [1, 1]) == 0.0
    assert api.normalize_embedding((3, 4)) == [0.6, 0.8]
    assert api.normalize_embedding([0.0, 0.0]) == [0.0, 0.0]
    with pytest.raises(errors.ConfigurationError, match="different models"):
        api.calculate_similarity([1], [1, 2])
    with pytest.raises(errors.ConfigurationError, match="list of numbers"):
        api.normalize_embedding("ab")  # type: ignore[arg-type]


def test_rerank(api: hf_tei) -> None:
    ranked = api.rerank("m", "deep learning", ["cheese", {"text": "learning deep", "id": 7}, "deep"], top_n=2)
    assert [each["index"] for each in ranked["results"]] == [1, 2]
    assert ranked["results"][0]["document"] == {"text": "learning deep", "id": 7}
    assert ranked["results"][0]["score"] > ranked["results"][1]["score"]
    assert ranked["usage"]["prompt_tokens"] > 0


def test_handlers_have_vectors_and_no_text(api: hf_tei) -> None:
    handler = api.create_remote_text_embedding_endpoint_handler(normalize=True)
    result = handler("Hello")
    assert result["embedding"] == api.generate_embedding("m", "Hello")
    assert "text" not in result
    assert len(handler(["a", "b"])["embeddings"]) == 2

    async def ask() -> Any:
        return (await handler("Hello"))["embedding"]

    assert asyncio.run(ask()) == result["embedding"]


def test_awaitable_twins(api: hf_tei) -> None:
    async def run() -> None:
        assert await api.agenerate_embedding("m", "a") == (await api.abatch_embed("m", ["a", "b"]))[0]
        assert (await api.arerank("m", "q", ["a"]))["results"][0]["index"] == 0

    asyncio.run(run())


def test_numpy_is_not_imported_on_the_way(server: SimulatorThread) -> None:
    program = f"""
import sys
from ipfs_accelerate_py.api_backends import hf_tei
with hf_tei(base_url={server.url!r}) as api:
    a, b = api.batch_embed("m", ["a", "b"])
    api.calculate_similarity(a, b)
assert not [name for name in sys.modules if name.partition(".")[0] in ("numpy", "torch", "huggingface_hub")]
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


# --- the client --------------------------------------------------------------------------------------------------


async def test_everything_tei_has_goes_through_the_client() -> None:
    async with Simulator("tei", dimensions=4) as sim, AsyncClient("tei", base_url=sim.url + "/embed") as client:
        reply = await client.embed("m", ["Hello", "you"], encoding_format="base64")
        assert (len(reply.vectors), reply.usage) == (2, Usage(7, reported=True))
        assert list(reply.ignored) == ["encoding_format"]
        assert len((await client.embed("m", [1, 2, 3])).vectors) == 1
        labels = (await client.classify("m", ["Hello", ["a", "b"]])).labels
        assert [len(each) for each in labels] == [3, 3]
        assert labels[0][0].score > labels[0][1].score
        ranking = (await client.rerank("m", "a b", ["c", "b a"], return_documents=True)).ranking
        assert [(each.index, each.document) for each in ranking] == [(1, "b a"), (0, "c")]
        assert (await client.count_tokens("m", "Hello")).usage.input_tokens == 4
        assert [model.id for model in await client.models()] == ["simulator/tei"]
        sparse = (await client.request("/embed_sparse", {"inputs": "a b"})).raw
        assert [set(value) for value in sparse[0]] == [{"index", "value"}] * 2
        assert len((await client.request("/embed_all", {"inputs": "Hello"})).raw[0]) == 4
        similar = {"inputs": {"source_sentence": "a", "sentences": ["a", "b"]}}
        assert (await client.request("/similarity", similar)).raw[0] == pytest.approx(1)
        packed = await client.request("/v1/embeddings", {"input": "Hello", "model": "m"})
        assert packed.raw["data"][0]["embedding"] == pytest.approx((await client.embed("m", "Hello")).vectors[0])
        ids = [token["id"] for token in (await client.request("/tokenize", {"inputs": "Hello"})).raw[0]]
        assert (await client.request("/decode", {"ids": ids})).raw == ["Hello"]
        assert b"te_request_count" in (await client.request("/metrics", method="GET")).body


async def test_the_router() -> None:
    async with Simulator("tei", dimensions=4, models=["o/m"]) as sim:
        async with AsyncClient("hf_tei", base_url=sim.url, hosted=True) as client:
            with pytest.raises(errors.MissingCredential, match="HF_API_TOKEN or HF_TOKEN"):
                await client.embed("o/m", "x")
        async with AsyncClient("hf_tei", base_url=sim.url, hosted=True, metadata={"hf_api_key": "hf_1"}) as client:
            assert len((await client.embed("o/m", ["a", "b"])).vectors) == 2
            assert [len(each) for each in (await client.classify("o/m", ["a", "b"], top_k=2)).labels] == [2, 2]
            with pytest.raises(errors.ModelNotFound):
                await client.embed("o/other", "a")
            with pytest.raises(errors.UnsupportedOperation, match="router"):
                await client.rerank("o/m", "q", ["a"])


async def test_faults() -> None:
    async with (
        Simulator("tei", dimensions=4) as sim,
        AsyncClient("tei", base_url=sim.url, initial_retry_delay=0.001) as client,
    ):
        for fault in ("429:retry_after=0", "500", "503", "424"):
            sim.script(fault)
            assert (await client.embed("m", "a")).attempts == 2
        for fault, expected in (
            ("context_length_exceeded", errors.ContextLengthExceeded),
            ("not_object", errors.ProtocolError),
            ("html", errors.ProtocolError),
            ("insufficient_quota", errors.QuotaExhausted),
        ):
            sim.script(fault)
            with pytest.raises(expected):
                await client.embed("m", "a")
        sim.script("unknown_fields")
        assert (await client.rerank("m", "q", ["a"])).ranking
        with pytest.raises(errors.ContextLengthExceeded):
            await client.embed("m", "x" * 4000)
        with pytest.raises(errors.InvalidRequest, match="batch size 33"):
            await client.embed("m", ["a"] * 33)
        with pytest.raises(errors.InvalidRequest, match="prompt"):
            await client.embed("m", "x", prompt_name="query")
