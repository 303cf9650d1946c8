"""What decoders write, in any company, is what `model.generate` writes alone."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("torch")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.runtimes.generation.base import Prompt, Sampling

from . import models

TOGETHER = [
    *("gpt2", "llama", "qwen2", "opt", "bloom", "gpt_neo", "gptj", "codegen", "mistral", "gemma2", "gpt_neox", "mpt"),
    *("falcon", "mixtral", "mamba", "mamba2"),
]
ALONE = ["rwkv", "xlnet", "openai-gpt", "recurrent_gemma"]


@pytest.mark.parametrize("kind", [*TOGETHER, *ALONE])
def test_rows_that_join_and_leave_at_any_step_get_what_they_get_alone(kind: str) -> None:
    rng = random.Random(3)
    writer = models.batcher(kind, piece=5)
    prompts = [[rng.randrange(100, 400) for _ in range(rng.choice([1, 2, 3, 7, 13]))] for _ in range(6)]
    counts = [rng.choice([1, 2, 5, 9]) for _ in prompts]
    heard: list[models.Heard] = []
    while len(heard) < len(prompts) or writer.turn():
        if len(heard) < len(prompts) and rng.random() < 0.5:
            heard.append(models.ask(writer, prompts[len(heard)], models.greedy(kind, counts[len(heard)])))
        if rng.random() < 0.7:
            writer.turn()
    for prompt, count, each in zip(prompts, counts, heard, strict=True):
        assert each.ids == models.expected(kind, count, prompt)
        assert each.reason == "length"
    assert models.steps(kind).together is (kind in TOGETHER), models.steps(kind).manner
    found = writer.snapshot()
    assert found["rows"] == 0
    assert found["running"] == 0
    if kind in TOGETHER:
        assert found["batched"] > 0
    else:
        assert "turns" in str(found["manner"])


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plan=st.lists(
        st.tuples(st.integers(1, 12), st.integers(1, 8), st.integers(0, 3), st.booleans()), min_size=2, max_size=7
    )
)
def test_any_order_of_joining_and_cancelling(plan: list[tuple[int, int, int, bool]]) -> None:
    writer = models.batcher("llama", piece=4, rows=3)
    kept: list[tuple[list[int], int, models.Heard]] = []
    tickets: list[Any] = []
    for at, (length, count, turns, cancelled) in enumerate(plan):
        ids = [100 + (7 * at + 3 * place) % 300 for place in range(length)]
        heard = models.Heard()
        ticket = writer.submit(Prompt(ids=ids), models.greedy("llama", count), heard)
        if cancelled:
            tickets.append(ticket)
        else:
            kept.append((ids, count, heard))
        for _ in range(turns):
            writer.turn()
        if tickets:
            tickets.pop().cancel()
    models.finish(writer)
    for ids, count, heard in kept:
        assert heard.ids == models.expected("llama", count, ids)
    assert writer.snapshot()["rows"] == 0


def test_a_long_answer_outgrows_its_first_buffers() -> None:
    writer = models.batcher("llama", piece=16)
    first = models.ask(writer, [100, 101], models.greedy("llama", 90))
    for _ in range(30):
        writer.turn()
    second = models.ask(writer, list(range(100, 145)), models.greedy("llama", 40))
    models.finish(writer)
    assert first.ids == models.expected("llama", 90, [100, 101])
    assert second.ids == models.expected("llama", 40, list(range(100, 145)))


def test_rows_left_out_of_a_step_stay_as_they_are() -> None:
    steps = models.steps("gpt2")
    rows = [steps.open(Prompt(ids=ids)) for ids in ([100, 101, 102], [110], [120, 121])]
    first = [int(each.argmax()) for each in steps.prefill(rows, 100) if each is not None]
    one = steps.step(rows[1:2], first[1:2])[0]
    again = steps.step([rows[2], rows[0]], [first[2], first[0]])
    for row in rows:
        steps.release(row)
    assert int(one.argmax()) == models.expected("gpt2", 2, [110])[1]
    assert int(again[0].argmax()) == models.expected("gpt2", 2, [120, 121])[1]
    assert int(again[1].argmax()) == models.expected("gpt2", 2, [100, 101, 102])[1]


@pytest.mark.parametrize("ids", [[], [10**6], [-1]])
def test_prompts_that_cannot_be(ids: list[int]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        models.ask(models.batcher("gpt2"), ids, Sampling())
    assert caught.value.param == "prompt"


def test_beams_find_what_generate_finds() -> None:
    import torch

    made = models.model("gpt2")
    writer = models.batcher("gpt2", stop_ids=models.ends("gpt2"))
    found = models.ask(writer, [100, 120, 140], Sampling(temperature=0.0, max_tokens=6, beams=3))
    models.finish(writer)
    ids = torch.tensor([[100, 120, 140]])
    wanted = made.generate(
        ids, attention_mask=torch.ones_like(ids), num_beams=3, do_sample=False, max_new_tokens=6, pad_token_id=0
    )[0].tolist()[3:]
    assert found.ids == [each for each in wanted if each not in models.ends("gpt2")]
