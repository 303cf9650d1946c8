"""What a worker does is what the model does: chat and its stream, recordings, OpenVINO, llama.cpp."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.results import Fills, Text
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.serving.jobs import Done, Job
from ipfs_accelerate_py.runtimes.serving.nursery import Nursery
from ipfs_accelerate_py.runtimes.serving.remote import RemoteServable
from ipfs_accelerate_py.runtimes.serving.warming import silence

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are watched by means of Linux here")

ASKED: list[Any] = [{"role": "user", "content": "hello"}]


async def ask(servable: RemoteServable, job: Job) -> Done:
    try:
        await servable.open(job.task)
        assert servable.facts.isolated
        return await servable.run(job)
    finally:
        await servable.aclose()


def tiny(kind: str, folder: Path, **more: Any) -> Path:
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    return write_tiny(kind, folder, **more)


async def test_chat(nursery: Nursery, tmp_path: Path) -> None:
    servable = RemoteServable("chat", tiny("qwen2", tmp_path), LoadPlan(threads=1), nursery)
    options = {"max_tokens": 6, "temperature": 0, "ignore_eos": True}
    try:
        await servable.open("chat")
        whole = (await servable.run(Job(task="chat", inputs=ASKED, options=options))).chunk
        assert whole is not None
        chunks = [chunk async for chunk in servable.stream(Job(task="chat", inputs=ASKED, options=options))]
        assert "".join(each.text for each in chunks) == whole.text
        usage = chunks[-1].usage
        assert usage is not None
        assert usage.output_tokens == 6
    finally:
        await servable.aclose()


async def test_a_recording(nursery: Nursery, tmp_path: Path) -> None:
    servable = RemoteServable(
        "whisper", tiny("whisper", tmp_path, auto="AutoModelForSpeechSeq2Seq"), LoadPlan(threads=1), nursery
    )
    job = Job(task="automatic-speech-recognition", inputs=[silence()], options={"max_new_tokens": 4})
    assert len((await ask(servable, job)).results) == 1


async def test_openvino(nursery: Nursery, masked: Path) -> None:
    if find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    plan = LoadPlan(runtime="openvino", threads=1)
    servable = RemoteServable("masked", masked, plan, nursery)
    done = await ask(servable, Job(task="fill-mask", inputs=["one [MASK] three"], options={"top_k": 2}))
    assert servable.facts.runtime == "openvino"
    assert isinstance(done.results[0], Fills)


async def test_llama_cpp(nursery: Nursery, tmp_path: Path) -> None:
    if find_spec("xllamacpp") is None or find_spec("gguf") is None:
        pytest.skip("llama.cpp is not installed")
    from tests.runtimes.llvm.models import write

    plan = LoadPlan(runtime="llvm", precision="float32", threads=1)
    servable = RemoteServable("llama", write("llama", tmp_path), plan, nursery)
    done = await ask(servable, Job(task="text-generation", inputs=["hello"], options={"max_new_tokens": 4}))
    assert servable.facts.runtime == "llvm"
    assert isinstance(done.results[0], Text)
