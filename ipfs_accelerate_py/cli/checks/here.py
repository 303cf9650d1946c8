"""What this machine has, and whether its local endpoints answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ipfs_accelerate_py.cli.checks.backends import Result
from ipfs_accelerate_py.cli.failures import summary
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import AccelerateError

__all__ = ["check_endpoints", "check_hardware"]

#: The first two are alike, and the third is not.
_TEXTS = ("a cat", "a kitten", "a treaty")


async def check_endpoints(told: Callable[[Result], None]) -> list[Result]:
    """Every model on this machine that is served here: loaded and asked."""
    from ipfs_accelerate_py.runtimes.models import list_models

    names = [model.name for model in await asyncio.to_thread(list_models)]
    results = []
    async with AsyncClient("local") as client:
        for name in names:
            results.append(await _embedded(client, name, name))
            told(results[-1])
    if not names:
        results.append(Result("local", "-", "skipped", 0.0, "there is no model on this machine"))
        told(results[-1])
    return results


async def check_hardware(device: str, model: str, told: Callable[[Result], None]) -> list[Result]:
    """One model on one device: loaded there and asked."""
    began = time.monotonic()
    label = f"{model} on {device}"
    try:
        result = _judged(label, began, await _vectors(device, model))
    except AccelerateError as error:
        result = _failed(label, began, error)
    told(result)
    return [result]


async def _vectors(device: str, model: str) -> list[list[float]]:
    from ipfs_accelerate_py.runtimes.embeddings import EmbeddingRuntime
    from ipfs_accelerate_py.runtimes.extras import require
    from ipfs_accelerate_py.runtimes.models import find_model

    require("torch")
    runtime = await asyncio.to_thread(lambda: EmbeddingRuntime.load(find_model(model), name=model, device=device))
    try:
        found: list[list[float]] = (await runtime.embed(list(_TEXTS))).vectors.tolist()
    finally:
        await runtime.aclose()
    return found


async def _embedded(client: AsyncClient, model: str, label: str) -> Result:
    began = time.monotonic()
    try:
        return _judged(label, began, (await client.embed(model, _TEXTS)).vectors)
    except AccelerateError as error:
        return _failed(label, began, error)


def _judged(label: str, began: float, vectors: list[list[float]]) -> Result:
    near, far = _dot(vectors[0], vectors[1]), _dot(vectors[0], vectors[2])
    detail = f"{len(vectors[0])} dimensions; cat and kitten {near:.2f}, cat and treaty {far:.2f}"
    return Result("local", label, "ok" if near > far else "failed", time.monotonic() - began, detail)


def _failed(label: str, began: float, error: AccelerateError) -> Result:
    return Result("local", label, "failed", time.monotonic() - began, f"{type(error).__name__}: {summary(error)}")


def _dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
