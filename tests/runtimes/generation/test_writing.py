"""Typed tasks that write: what they ask of a generator; options of generators; ids that have no text; other formats."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from ipfs_accelerate_py.errors import ConfigurationError, InvalidRequest, RuntimeUnavailable
from ipfs_accelerate_py.results import Text
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Source
from ipfs_accelerate_py.runtimes.generation.base import Answer, Prompt
from ipfs_accelerate_py.runtimes.generation.batcher import Batcher
from ipfs_accelerate_py.runtimes.generation.making import decoder, load_tokenizer, make_generator
from ipfs_accelerate_py.runtimes.generation.options import as_completion
from ipfs_accelerate_py.runtimes.generation.sampling import check_sampling
from ipfs_accelerate_py.runtimes.generation.writing import Continuation, Rewriting, Translation
from ipfs_accelerate_py.runtimes.processing.base import Context

from . import models


def context(kind: str, folder: Path, auto: str, params: dict[str, Any] | None = None) -> Context:
    from transformers import AutoConfig

    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    write_tiny(kind, folder, auto=auto)
    config = AutoConfig.from_pretrained(folder)
    if params is not None:
        config.task_specific_params = params
    return Context(path=folder, config=config, auto=auto)


def test_a_continuation_is_told_with_its_beginning_where_asked(tmp_path: Path) -> None:
    work = Continuation(context("gpt2", tmp_path, "AutoModelForCausalLM"))
    asked = work.prompts("this is", {"max_new_tokens": 3, "do_sample": True, "top_k": 5})
    ((prompt, sampling),) = asked
    assert (sampling.max_tokens, sampling.temperature, sampling.top_k) == (3, 1.0, 5)
    answers = [Answer([1], " it", "stop")]
    assert work.join(answers, asked, {}) == Text(" it", "stop")
    whole = work.join(answers, asked, {"return_full_text": True})
    assert isinstance(whole, Text)
    assert whole.text == work.tokenizer.decode(prompt.ids) + " it"
    assert work.prompts("x", {})[0][1].temperature == 0
    assert work.prompts({"text": "x"}, {"num_beams": 3})[0][1].beams == 3
    for options, param in (
        ({"max_length": 0}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"num_beams": 0}, "beams"),
        ({"num_beams": 2, "temperature": 1.0}, "beams"),
        ({"num_beams": 2, "logit_bias": {7: 1.0}}, "beams"),
        ({"num_beams": 2, "presence_penalty": 0.5}, "beams"),
        ({"wrong": 1}, "wrong"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            check_sampling(work.prompts("x", options)[0][1], 1000)
        assert caught.value.param == param
    for bad in (3, None, ["x"]):
        with pytest.raises(InvalidRequest, match="the input is a text"):
            work.prompts(bad, {})


def test_tokens_that_a_checkpoint_never_writes_are_not_written_without_its_search_either(tmp_path: Path) -> None:
    """Marian's padding has a likelihood like any token's."""
    work = Translation(context("t5", tmp_path, "AutoModelForSeq2SeqLM"))
    work.settings.bad_words_ids = [[work.settings.pad_token_id], [5, 6]]
    never = {work.settings.pad_token_id: float("-inf")}
    assert work.prompts("x", {"num_beams": 1})[0][1].logit_bias == never
    assert work.prompts("x", {"num_beams": 1, "logit_bias": {7: 2.0}})[0][1].logit_bias == {**never, 7: 2.0}
    assert work.prompts("x", {"num_beams": 2})[0][1].logit_bias == {}  # the search knows by itself
    work.settings.num_beams = 4  # the checkpoint's own give way to what a call asks for
    assert work.prompts("x", {})[0][1].beams == 4
    assert work.prompts("x", {"logit_bias": {7: 2.0}})[0][1].beams == 1


def test_prefixes_of_summaries_and_translations(tmp_path: Path) -> None:
    params = {
        "summarization": {"prefix": "summarize: "},
        "translation_en_to_de": {"prefix": "translate English to German: "},
    }
    made = context("t5", tmp_path, "AutoModelForSeq2SeqLM", params)

    def read(work: Any, options: dict[str, Any]) -> str:
        prompt = work.prompts("it", options)[0][0]
        text: str = work.tokenizer.decode(prompt.features["input_ids"], skip_special_tokens=True)
        return text.strip()

    plain = Rewriting(made).tokenizer
    for work, options, text in (
        (Rewriting(made), {}, "summarize: it"),
        (Rewriting(made), {"prefix": "say: "}, "say: it"),
        (Translation(made), {}, "translate English to German: it"),
        (Translation(made), {"src_lang": "en", "tgt_lang": "de"}, "translate English to German: it"),
    ):
        wanted = plain.decode(plain(text)["input_ids"], skip_special_tokens=True).strip()
        assert read(work, options) == wanted
    with pytest.raises(InvalidRequest, match="translation_en_to_de") as caught:
        Translation(made).prompts("it", {"src_lang": "en", "tgt_lang": "fr"})
    assert caught.value.param == "tgt_lang"


class Loaded:
    """A network of a tiny model."""

    engine = "torch"
    model = property(lambda self: models.model("gpt2"))


@pytest.mark.parametrize("options", [{"rows": 0}, {"rows": "many"}, {"prefill": -1}, {"positions": True}])
def test_options_that_are_no_numbers(options: dict[str, Any], tmp_path: Path) -> None:
    source = Source("tiny", tmp_path, models.model("gpt2").config, "AutoModelForCausalLM")
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        make_generator(Loaded(), source, LoadPlan(options=options))  # type: ignore[arg-type]


def test_a_class_that_writes_in_a_way_of_its_own_is_refused(tmp_path: Path) -> None:
    class Diffusing:
        engine = "torch"
        model = SimpleNamespace(generate=print)

    source = Source("tiny", tmp_path, models.model("gpt2").config, "AutoModelForCausalLM")
    with pytest.raises(RuntimeUnavailable, match="'tiny' writes in a way of its own"):
        make_generator(Diffusing(), source, LoadPlan())  # type: ignore[arg-type]


def test_options_of_a_generator(tmp_path: Path) -> None:
    source = Source("tiny", tmp_path, models.model("gpt2").config, "AutoModelForCausalLM")
    made = make_generator(Loaded(), source, LoadPlan(options={"rows": 2, "prefill": 8}))  # type: ignore[arg-type]
    try:
        heard = models.Heard()
        assert isinstance(made, Batcher)
        made.submit(Prompt(ids=[100]), models.greedy("gpt2", 3), heard)
    finally:
        made.close()


def test_ids_that_the_tokenizer_does_not_have_are_no_text() -> None:
    class Brittle:
        """As SentencePiece's: one id too large fails the whole text."""

        all_special_ids: tuple[int, ...] = ()

        def decode(self, ids: list[int], **options: Any) -> str:
            if max(ids, default=0) > 25:
                raise IndexError("piece id is out of range")
            return "".join(chr(97 + each) for each in ids)

        def get_vocab(self) -> dict[str, int]:
            return {}

    decode = decoder(Brittle())
    assert decode([0, 1]) == "ab"
    assert decode([0, 99, 2]) == "ac"
    assert decode([99]) == ""


@pytest.mark.parametrize(
    ("template", "opening"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}{# [TOOL_CALLS] #}", "[TOOL_CALLS]"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}{# <|python_tag|> #}", ""),
    ],
)
def test_calls_in_the_formats_of_mistral_and_llama(template: str, opening: str, tmp_path: Path) -> None:
    from ipfs_accelerate_py.runtimes.engines.torch_engine import TorchEngine
    from ipfs_accelerate_py.runtimes.families.catalog import open_source
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny
    from ipfs_accelerate_py.runtimes.generation.chat import Talk

    from .test_chat import ASKED, TOOLS, ask, text

    write_tiny("llama", tmp_path, changes={"max_position_embeddings": 400})
    source, task = open_source("tiny", tmp_path, "text-generation")
    generator = make_generator(TorchEngine().load(source, task, LoadPlan()), source)
    try:
        tokenizer = load_tokenizer(source, LoadPlan())
        tokenizer.chat_template = template
        talk = Talk(generator, tokenizer, source)
        assert talk._calls().begin == opening
        found = ask(talk, ASKED, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, seed=2, max_tokens=300)
    finally:
        generator.close()
    calls = [call for chunk in found for call in chunk.tool_calls]
    assert found[-1].finish_reason == "tool_calls"
    assert calls[0].name in ("weather", "time")
    assert "city" in json.loads("".join(call.arguments for call in calls))
    assert text(found) == ""


def test_a_tasks_options_for_an_engine_that_only_completes() -> None:
    assert as_completion({}, 256) == {"temperature": 0.0, "max_tokens": 256}
    given = {"max_new_tokens": 3, "do_sample": True, "stop_strings": ["."], "num_beams": 1}
    assert as_completion(given, 256) == {"temperature": 1.0, "max_tokens": 3, "stop": ["."]}
    for name in ("num_beams", "return_full_text"):
        with pytest.raises(InvalidRequest):
            as_completion({name: 2}, 256)


def test_of_a_class_that_speaks_as_well_the_part_that_writes_is_asked(tmp_path: Path) -> None:
    class Speaking:
        engine = "torch"
        model = SimpleNamespace(generate=print, thinker=models.model("gpt2"))

    source = Source("tiny", tmp_path, models.model("gpt2").config, "AutoModelForMultimodalLM")
    make_generator(Speaking(), source, LoadPlan()).close()  # type: ignore[arg-type]
