"""The older API's names for batching."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from ipfs_accelerate_py.api_backends import claude, hf_tgi, openai_api
from ipfs_accelerate_py.errors import ConfigurationError, UnsupportedOperation
from ipfs_accelerate_py.simulator import Fault, SimulatorThread


def test_endpoints_have_batches_of_their_own() -> None:
    with SimulatorThread("openai") as sim, openai_api(api_key="sk", base_url=sim.url) as api:
        sim.always(Fault.latency(0.05))
        endpoint = api.create_endpoint()
        api.enable_embedding_batching(20, 0.1, endpoint_id=endpoint)
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(api.embedding, "m", f"text {n}", endpoint_id=endpoint) for n in range(8)]
            results = [each.result() for each in asked]
        assert all(len(result["embedding"]) == 1536 for result in results)
        stats = api.get_batching_stats(endpoint)
        assert stats["batched_requests"] + stats["alone"] == 8
        assert stats["cost_savings"] == 0.0
        assert api.get_batching_stats()["batches"] == 0
        api.enable_embedding_batching(auto_batching=False, endpoint_id=endpoint)
        before = len(sim.requests)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: api.embedding("m", f"text {n}", endpoint_id=endpoint), range(4)))
        assert len(sim.requests) == before + 4


@pytest.mark.parametrize("kind", [claude, hf_tgi])
def test_a_service_without_embeddings_says_so(kind: type[openai_api]) -> None:
    with kind(api_key="sk") as api, pytest.raises(UnsupportedOperation, match="no embeddings"):
        api.enable_embedding_batching()


def test_wrong_sizes() -> None:
    with openai_api(api_key="sk") as api, pytest.raises(ConfigurationError):
        api.enable_embedding_batching(max_batch_size=0)
