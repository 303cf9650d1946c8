"""llama.cpp beside Transformers: the same tokens, OpenAI's options, and no slot that stays taken."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

from ipfs_accelerate_py.errors import ContextLengthExceeded, InvalidRequest, RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Source
from ipfs_accelerate_py.runtimes.engines.llama_conversation import LlamaConversation
from ipfs_accelerate_py.runtimes.engines.llama_engine import LlamaEngine
from ipfs_accelerate_py.types import Chunk

from .conftest import PLAN, TASK
from .models import POSITIONS, TOOLS_TEMPLATE, Answer, Make, byte_pieces, chat, complete, source, tokenizer, user

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def talk(checkpoint: Make) -> Iterator[LlamaConversation]:
    network = LlamaEngine().load(source(checkpoint("llama")), TASK, PLAN)
    yield network.conversation()
    network.close()


@pytest.fixture(scope="module")
def alone(checkpoint: Make) -> Iterator[LlamaConversation]:
    """One that writes one answer at a time."""
    plan = LoadPlan(runtime="llvm", precision="float32", threads=1, options={"parallel": 1})
    network = LlamaEngine().load(source(checkpoint("llama")), TASK, plan)
    yield network.conversation()
    network.close()


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral", "qwen2", "qwen3"])
def test_writes_what_transformers_writes(checkpoint: Make, kind: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = checkpoint(kind)
    words = tokenizer()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    network = LlamaEngine().load(source(folder), TASK, PLAN)
    pieces = byte_pieces()
    never = {str(each): -1000 for each in pieces}
    try:
        assert (network.engine, network.precision, network.facts.architecture) == (
            "llvm", "float32", "llama" if kind == "mistral" else kind
        )  # fmt: skip
        for prompt in ("hello world this is", "how", "tokens, and how they are made. this is a"):
            ids = words(prompt)["input_ids"]
            whole = model.generate(
                torch.tensor([ids]), max_new_tokens=32, do_sample=False, pad_token_id=1, suppress_tokens=pieces
            )
            expected = words.decode(whole[0, len(ids) :], skip_special_tokens=True)
            for asked in (prompt, ids):
                answer = complete(network.conversation(), asked, temperature=0, max_tokens=32, logit_bias=never)
                assert answer.text == expected
                assert answer.last.usage is not None
                assert answer.last.usage.input_tokens == len(ids)
    finally:
        network.close()


def test_answers_written_together_are_those_written_alone(talk: LlamaConversation) -> None:
    prompts = [f"hello {'this is a test ' * at}" for at in range(6)]
    options = {"temperature": 0, "max_tokens": 24, "ignore_eos": True}
    alone = [complete(talk, prompt, **options).text for prompt in prompts]
    together = [Answer() for _ in prompts]
    for prompt, answer in zip(prompts, together, strict=True):
        talk.complete(prompt, options, answer)
    assert [answer.end().text for answer in together] == alone
    assert len(set(alone)) > 1


def test_chat_uses_the_models_own_template(talk: LlamaConversation) -> None:
    words = tokenizer()
    messages = [{"role": "system", "content": "this is a test"}, *user("hello world")]
    prompt = words.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    answer = chat(talk, messages, temperature=0, max_tokens=12, ignore_eos=True)
    assert len(answer.chunks) > 2  # it was told bit by bit
    assert answer.text == complete(talk, prompt, temperature=0, max_tokens=12, ignore_eos=True).text
    assert answer.last.finish_reason == "length"
    assert answer.last.usage is not None
    assert answer.last.usage.output_tokens == 12
    count = len(words(prompt)["input_ids"])
    assert answer.last.usage.input_tokens == count == talk.count(messages, {})


def test_a_stop_ends_the_answer(talk: LlamaConversation) -> None:
    options: dict[str, Any] = {"temperature": 0, "max_tokens": 24, "ignore_eos": True}
    options["logit_bias"] = {str(each): -1000 for each in byte_pieces()}
    whole = complete(talk, "hello world", **options).text
    stop = whole[len(whole) // 2 :][:3]
    answer = complete(talk, "hello world", stop=[stop], **options)
    assert answer.text == whole[: whole.index(stop)]
    assert answer.last.finish_reason == "stop"


def test_a_schema_is_kept_to(talk: LlamaConversation) -> None:
    properties = {"name": {"enum": ["a", "b"]}, "city": {"type": "string", "maxLength": 3}, "good": {"type": "boolean"}}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    for seed in range(3):
        answer = chat(
            talk,
            user("hello"),
            seed=seed,
            max_tokens=200,
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        )
        said = json.loads(answer.text)
        assert said["name"] in ("a", "b")
        assert isinstance(said["good"], bool)
        assert sorted(said) == sorted(properties)


def test_several_choices_of_one_prompt(talk: LlamaConversation) -> None:
    answer = chat(talk, user("hello world"), n=2, max_tokens=10, ignore_eos=True, temperature=1.5, seed=3)
    texts = {at: "".join(chunk.text for chunk in answer.chunks if chunk.index == at) for at in (0, 1)}
    assert texts[0]
    assert texts[1]
    ended = [chunk.index for chunk in answer.chunks if chunk.finish_reason]
    assert sorted(ended) == [0, 1]
    assert sum(chunk.usage is not None for chunk in answer.chunks) == 1


def test_tools_are_in_the_prompt(checkpoint: Make) -> None:
    network = LlamaEngine().load(source(checkpoint("llama", template=TOOLS_TEMPLATE)), TASK, PLAN)
    try:
        talk = network.conversation()
        assert talk.count(user("hello"), {"tools": [TOOL]}) > talk.count(user("hello"), {})
    finally:
        network.close()


def test_tools_that_a_template_would_not_show_are_refused(talk: LlamaConversation) -> None:
    with pytest.raises(InvalidRequest, match="no place for tools") as caught:
        chat(talk, user("hello"), tools=[TOOL], tool_choice="required", max_tokens=2)
    assert (caught.value.status, caught.value.param) == (400, "tools")
    assert chat(talk, user("hello"), tools=[TOOL], tool_choice="none", max_tokens=1, ignore_eos=True).last.usage


def test_who_gives_up_frees_the_slot(alone: LlamaConversation) -> None:
    before = alone.snapshot()["cancelled"]
    given_up = Answer()
    ticket = alone.complete("hello", {"max_tokens": 200, "ignore_eos": True}, given_up)
    given_up.next()
    ticket.cancel()
    assert complete(alone, "hello world", max_tokens=4, ignore_eos=True).last.finish_reason == "length"
    assert alone.snapshot()["cancelled"] == before + 1
    assert not any(chunk.finish_reason for chunk in given_up.chunks)
    waiting = Answer()
    alone.complete("hello", {"max_tokens": 4}, waiting).cancel()  # most likely before it began
    assert complete(alone, "this", max_tokens=2, ignore_eos=True).last.usage is not None


def test_what_waits_is_ordered_by_priority(alone: LlamaConversation) -> None:
    gate, order = threading.Event(), []
    all_ended = threading.Semaphore(0)

    def listener(name: str) -> Any:
        def told(chunk: Chunk | Exception) -> None:
            gate.wait(60)
            if isinstance(chunk, Exception) or chunk.usage is not None:
                order.append(name)
                all_ended.release()

        return told

    options = {"max_tokens": 3, "ignore_eos": True}
    begun = threading.Event()

    def first(chunk: Chunk | Exception) -> None:
        begun.set()
        listener("first")(chunk)

    alone.complete("hello", options, first)
    assert begun.wait(60)
    for name, priority in (("low", 2), ("middle", 1), ("later", 1), ("high", 0)):
        alone.complete(name, options, listener(name), priority=priority)
    gate.set()
    for _ in range(5):
        assert all_ended.acquire(timeout=60)
    assert order == ["first", "high", "middle", "later", "low"]


def test_a_prompt_too_long_is_refused_with_figures(talk: LlamaConversation) -> None:
    with pytest.raises(ContextLengthExceeded, match=rf"400 tokens.*{POSITIONS}") as caught:
        complete(talk, [5] * 400, max_tokens=4)
    assert caught.value.status == 400
    # One that leaves no place for the whole answer is answered for as long as there is place.
    answer = complete(talk, [5] * (POSITIONS - 10), max_tokens=100, ignore_eos=True)
    assert answer.last.finish_reason == "length"


def test_without_a_template_there_is_no_chat(checkpoint: Make) -> None:
    network = LlamaEngine().load(source(checkpoint("llama", template=None)), TASK, PLAN)
    try:
        talk = network.conversation()
        with pytest.raises(InvalidRequest, match=r"no chat template.*completions") as caught:
            talk.chat(user("hello"), {}, Answer())
        assert caught.value.status == 400
        with pytest.raises(InvalidRequest, match="no chat template"):
            talk.count(user("hello"), {})
        assert complete(talk, "hello", max_tokens=2, ignore_eos=True).last.usage is not None
        with pytest.raises(UnsupportedOperation, match="no single forward pass"):
            network.launch({})
    finally:
        network.close()


def test_what_is_asked_wrongly_is_the_askers_fault(talk: LlamaConversation) -> None:
    for options in ({"response_format": {"type": "no such"}}, {"temperature": "warm"}, {"grammar": "root ::= ("}):
        with pytest.raises(InvalidRequest, match=r"llama\.cpp") as caught:
            chat(talk, user("hello"), max_tokens=2, **options)
        assert caught.value.status == 400
    assert complete(talk, "hello", max_tokens=1, ignore_eos=True).last.usage is not None


def test_an_answer_has_an_end_by_each_name_of_its_limit(talk: LlamaConversation) -> None:
    for name in ("max_tokens", "max_completion_tokens", "max_new_tokens"):
        said = complete(talk, "hello", ignore_eos=True, **{name: 3}).last.usage
        assert said is not None
        assert said.output_tokens == 3
    said = complete(talk, "hello", ignore_eos=True).last.usage  # OpenAI's default, not the whole context
    assert said is not None
    assert said.output_tokens == 16


def test_quantising_is_measured_refused_and_forced(checkpoint: Make) -> None:
    folder = checkpoint("llama", spread=0.05)
    whole = LlamaEngine().load(source(folder), TASK, PLAN)
    whole.close()
    sizes = {}
    for precision in ("int8", "int4"):
        plan = LoadPlan(precision=precision, threads=1, force=True)
        network = LlamaEngine().load(source(folder), TASK, plan)
        assert network.loss is not None
        assert network.loss.perplexity is not None
        assert network.loss.perplexity > 1.0
        assert complete(network.conversation(), "hello", max_tokens=4, ignore_eos=True).last.usage is not None
        sizes[precision] = (network.memory, network.loss.perplexity)
        network.close()
    assert sizes["int4"][0] < sizes["int8"][0] < whole.memory
    assert sizes["int8"][1] < sizes["int4"][1]
    # Large weights are what four bits lose most of.
    wild = source(checkpoint("llama", spread=0.4))
    with pytest.raises(RuntimeUnavailable, match=r"int4: its perplexity is \d+\.\d+ times .*force=True"):
        LlamaEngine().load(wild, TASK, LoadPlan(precision="int4", threads=1))


def test_a_checkpoint_is_written_as_gguf_once(checkpoint: Make, cache: Path) -> None:
    found = source(checkpoint("qwen2"))
    for _ in range(2):
        LlamaEngine().load(found, TASK, LoadPlan(precision="float16", threads=1)).close()
    before = {path: path.stat().st_mtime_ns for path in (cache / "gguf").glob("*/model.gguf")}
    LlamaEngine().load(found, TASK, LoadPlan(precision="float16", threads=1)).close()
    assert {path: path.stat().st_mtime_ns for path in (cache / "gguf").glob("*/model.gguf")} == before


def test_what_cannot_be_is_said(checkpoint: Make, gguf_file: Path) -> None:
    from ipfs_accelerate_py.runtimes.families.tasks import TASKS

    engine, found = LlamaEngine(), source(checkpoint("llama"))
    assert "does no fill-mask" in str(engine.refuses(found, TASKS["fill-mask"], PLAN))
    assert "not on cuda" in str(engine.refuses(found, TASK, LoadPlan(device="cuda")))
    assert "no int3" in str(engine.refuses(found, TASK, LoadPlan(precision="int3")))
    assert "has its precision in it" in str(engine.refuses(Source("x", gguf_file), TASK, LoadPlan(precision="int8")))
    scaled = source(checkpoint("llama"))
    scaled.config.rope_parameters = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}
    assert "scaled (yarn)" in str(engine.refuses(scaled, TASK, PLAN))
    scaled.config.model_type = "bloom"
    assert "'bloom' are not written as GGUF" in str(engine.refuses(scaled, TASK, PLAN))
    with pytest.raises(RuntimeUnavailable, match="not on cuda"):
        engine.load(found, TASK, LoadPlan(device="cuda"))


def test_closing_fails_who_waits_and_ends_its_threads(checkpoint: Make) -> None:
    plan = LoadPlan(precision="float32", threads=1, options={"parallel": 1})
    network = LlamaEngine().load(source(checkpoint("llama")), TASK, plan)
    talk = network.conversation()
    first, second = Answer(), Answer()
    before = set(threading.enumerate())
    talk.complete("hello", {"max_tokens": 200, "ignore_eos": True}, first)
    talk.complete("world", {"max_tokens": 200, "ignore_eos": True}, second)
    first.next()
    during = set(threading.enumerate())
    network.close()
    assert {thread.name for thread in during - before} == {"llama_0"}
    assert not set(threading.enumerate()) - before
    with pytest.raises(RuntimeUnavailable, match="unloaded"):
        second.end()
    with pytest.raises(RuntimeUnavailable, match="unloaded"):
        talk.complete("hello", {}, Answer())
