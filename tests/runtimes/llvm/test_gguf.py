"""Headers of GGUF files, whole and broken, and such files served end to end."""

from __future__ import annotations

import asyncio
import random
import struct
from pathlib import Path

import pytest

pytest.importorskip("gguf")

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.gguf import read_gguf
from ipfs_accelerate_py.runtimes.serving.jobs import Job
from ipfs_accelerate_py.runtimes.serving.manager import ModelManager
from ipfs_accelerate_py.runtimes.serving.servable import open_servable
from ipfs_accelerate_py.runtimes.serving.settings import ServingSettings

from .models import POSITIONS, tokenizer, user


def test_the_header_says_what_the_model_is(gguf_file: Path) -> None:
    facts = read_gguf(gguf_file)
    assert (facts.architecture, facts.context, facts.blocks) == ("llama", POSITIONS, 2)
    assert facts.vocabulary == len(tokenizer())
    assert facts.template
    assert not facts.pooled
    assert facts.size == gguf_file.stat().st_size


def test_what_is_cut_off_or_broken_is_refused_whatever_it_claims(gguf_file: Path, tmp_path: Path) -> None:
    whole = gguf_file.read_bytes()
    header = whole.index(b"<|im_start|>{{")  # the template is written last: behind it only tensors follow
    path = tmp_path / "broken.gguf"
    for length in (0, 3, 10, 24, 30, 100, header // 2, header - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(RuntimeUnavailable, match=r"broken\.gguf"):
            read_gguf(path)
    cases = {
        "does not begin with GGUF": b"GGML" + whole[4:],
        "version 9": whole[:4] + struct.pack("<I", 9) + whole[8:],
        "claims .* entries": whole[:16] + struct.pack("<Q", 1 << 60) + whole[24:],
        "a text of": whole[:24] + struct.pack("<Q", 1 << 62) + whole[32:],
        "does not say which architecture": whole[:16] + struct.pack("<Q", 0) + whole[24:],
    }
    for said, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(RuntimeUnavailable, match=said):
            read_gguf(path)
    with pytest.raises(RuntimeUnavailable, match="no readable GGUF file"):
        read_gguf(tmp_path)


def test_damaged_headers_are_read_or_refused_but_never_more(gguf_file: Path, tmp_path: Path) -> None:
    whole = gguf_file.read_bytes()[:20_000]
    drawn = random.Random(5)
    path = tmp_path / "damaged.gguf"
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[drawn.randrange(8, 400)] = drawn.randrange(256)
        path.write_bytes(damaged)
        try:
            facts = read_gguf(path)
        except RuntimeUnavailable:
            continue
        assert facts.architecture


def test_a_file_whose_tensors_are_cut_off_is_refused_by_the_runtime(gguf_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    path = tmp_path / "short.gguf"
    path.write_bytes(gguf_file.read_bytes()[:-50_000])
    with pytest.raises(RuntimeUnavailable, match=r"cannot be loaded: llama\.cpp"):
        open_servable("short", path, plan=LoadPlan(threads=1))


async def test_a_file_is_served(gguf_file: Path) -> None:
    pytest.importorskip("xllamacpp")
    servable = await asyncio.to_thread(open_servable, "tiny", gguf_file, plan=LoadPlan(threads=1))
    try:
        facts = servable.facts
        assert (facts.runtime, facts.tasks, facts.memory) == ("llvm", ["text-generation"], read_gguf(gguf_file).size)
        options = {"max_tokens": 6, "temperature": 0, "ignore_eos": True}
        told = [chunk async for chunk in servable.stream(Job(task="chat", inputs=user("hello"), options=options))]
        done = await servable.run(Job(task="chat", inputs=user("hello"), options=options))
        assert done.chunk is not None
        assert done.chunk.text == "".join(chunk.text for chunk in told) != ""
        assert told[-1].usage is not None
        assert told[-1].usage.output_tokens == 6
        counted = await servable.run(Job(task="count", inputs=user("hello")))
        assert counted.input_tokens == [told[-1].usage.input_tokens]
        typed = await servable.run(Job(task="text-generation", inputs=["hello", "this is"], options=options))
        completed = await servable.run(Job(task="completion", inputs=["this is"], options=options))
        assert completed.chunk is not None
        assert typed.results[1].text == completed.chunk.text  # type: ignore[union-attr]
        assert typed.output_tokens == 12
    finally:
        servable.close()


async def test_the_manager_finds_loads_and_unloads_a_file(gguf_file: Path) -> None:
    pytest.importorskip("xllamacpp")
    from ipfs_accelerate_py.runtimes.models import find_model

    manager = ModelManager(ServingSettings(budget=50_000_000), find=find_model)
    try:
        plan = LoadPlan(threads=1)
        options = {"max_tokens": 3, "ignore_eos": True}
        async with manager.lease(str(gguf_file), plan=plan) as servable:
            done = await servable.run(Job(task="completion", inputs=["hello"], options=options))
            assert done.chunk is not None
            assert done.chunk.usage is not None
            assert done.chunk.usage.output_tokens == 3
        assert [each.runtime for each in manager.loaded()] == ["llvm"]
        assert await manager.unload(str(gguf_file)) == 1
        assert manager.loaded() == []
    finally:
        await manager.aclose()
