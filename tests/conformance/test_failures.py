"""Failures are the same failures, whoever's they are; and nothing is held after any of them."""

from __future__ import annotations

import asyncio
import random

import pytest

from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from ipfs_accelerate_py.simulator import Fault
from tests.upstreams import nothing_held

from .support import CHAT, EMBED, MODEL, opened

EVERYBODY = {**CHAT, **EMBED}


async def ask(client: object, backend: str, stream: bool) -> object:
    given: object = client
    if backend not in CHAT:
        return await given.embed(MODEL, "Hello")  # type: ignore[attr-defined]
    if stream:
        return await given.stream(MODEL, "Hello", max_tokens=20).collect()  # type: ignore[attr-defined]
    return await given.chat(MODEL, "Hello", max_tokens=20)  # type: ignore[attr-defined]


@pytest.mark.parametrize("backend", EVERYBODY)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.status(400), InvalidRequest),
        (Fault.status(401), AuthenticationError),
        (Fault.status(403), AuthenticationError),
        (Fault.status(413), InvalidRequest),
        (Fault.status(429, retry_after_ms=20), RateLimited),
        (Fault.status(500), ServerError),
        (Fault.status(503), ServerError),
        (Fault.html(), ProtocolError),
        (Fault.html(code=502), ServerError),
        (Fault.not_object(), ProtocolError),
        (Fault.malformed(), BackendError),
        (Fault.redirect(), ProtocolError),
        (Fault.reset(), BackendError),
    ],
    ids=str,
)
async def test_each_fault_is_its_own_error(backend: str, stream: bool, fault: Fault, kind: type[BackendError]) -> None:
    async with opened(backend) as (sim, client):
        sim.script(fault)
        with pytest.raises(kind) as caught:
            await ask(client, backend, stream)
        assert caught.value.backend == backend
        assert "sk-conformance" not in f"{caught.value} {caught.value!r} {caught.value.body}"
        if kind is RateLimited:
            assert caught.value.retry_after == pytest.approx(0.02)
            assert str(caught.value).startswith("Rate limit")
        if kind is AuthenticationError:
            assert str(caught.value).startswith("Authentication error")
        await nothing_held(client)
        assert await ask(client, backend, stream)


@pytest.mark.parametrize("backend", CHAT)
async def test_a_context_that_is_too_long_is_known_for_that(backend: str) -> None:
    async with opened(backend) as (sim, client):
        sim.always(Fault.context_length_exceeded())
        with pytest.raises(ContextLengthExceeded):
            await client.chat(MODEL, "Hello", max_tokens=20)


@pytest.mark.parametrize("backend", [name for name in EVERYBODY if name not in ("opea", "hf_tgi", "hf_tei")])
async def test_a_model_that_is_none(backend: str) -> None:
    async with opened(backend, sim={"models": ["another"]}) as (_, client):
        with pytest.raises(ModelNotFound):
            await ask(client, backend, False)


@pytest.mark.parametrize("backend", ["openai", "gemini", "claude"])
async def test_an_account_without_money_is_not_asked_again(backend: str) -> None:
    async with opened(backend, max_retries=3) as (sim, client):
        sim.always(Fault.insufficient_quota())
        with pytest.raises(QuotaExhausted):
            await client.chat(MODEL, "Hello", max_tokens=20)
        assert len(sim.requests) == 1


@pytest.mark.parametrize("backend", CHAT)
async def test_an_error_in_the_middle_of_a_stream(backend: str) -> None:
    async with opened(backend) as (sim, client):
        sim.script(Fault.error_event(at=3))
        text = ""
        with pytest.raises(BackendError):
            async for chunk in client.stream(MODEL, "Hello", max_tokens=20):
                text += chunk.text
        assert text
        await nothing_held(client)


@pytest.mark.parametrize("backend", EVERYBODY)
async def test_a_retry_brings_the_answer(backend: str) -> None:
    async with opened(backend, max_retries=3) as (sim, client):
        sim.script(Fault.status(500), Fault.reset(), Fault.status(429, retry_after_ms=5))
        assert await ask(client, backend, False)
        assert len(sim.requests) >= 3


@pytest.mark.parametrize("backend", EVERYBODY)
async def test_cancelled_anywhere_nothing_is_held(backend: str) -> None:
    chance = random.Random(backend)
    async with opened(backend, sim={"latency": 0.002, "chunk_interval": 0.0005}) as (_, client):
        tasks = [asyncio.create_task(ask(client, backend, bool(number % 2))) for number in range(40)]
        for task in tasks:
            await asyncio.sleep(chance.random() * 0.004)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await nothing_held(client)
        assert await ask(client, backend, True)
