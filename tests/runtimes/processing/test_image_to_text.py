"""Images and texts to prompts of vision-language models: compared with what Transformers' own processors and
`generate` make of the same."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import torch  # noqa: E402

from ipfs_accelerate_py.errors import InvalidRequest, RuntimeUnavailable, UnsupportedOperation  # noqa: E402
from ipfs_accelerate_py.results import Text  # noqa: E402
from ipfs_accelerate_py.runtimes.families.tiny import write_tiny  # noqa: E402
from ipfs_accelerate_py.runtimes.generation.base import Answer, Prompt  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.base import Context  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.image_to_text import ImageTextToText, ImageToText  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.sight import Sight  # noqa: E402

from .vision_models import SIZE, TEXT, VISION, image, lively, png, save, tokenizer  # noqa: E402

LANGUAGE = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 0,
}
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ' : ' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ ' MARK ' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}{{ ' . ' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant :' }}{% endif %}"
)


def words(mark: str, *more: str) -> Any:
    made = tokenizer([mark, *more])
    made.chat_template = TEMPLATE.replace("MARK", mark)
    return made


def context(folder: Path, model: Any, *parts: Any) -> tuple[Context, Any]:
    save(folder, lively(model), *parts)
    config = transformers.AutoConfig.from_pretrained(str(folder))
    return Context(folder, config, auto=type(model).__name__), model


def picture_processor(kind: str, **named: Any) -> Any:
    return getattr(transformers, f"{kind}ImageProcessorPil")(**named)


def llava(folder: Path) -> tuple[Context, Any]:
    made = words("<image>")
    config = transformers.LlavaConfig(
        text_config={"model_type": "llama", **LANGUAGE},
        vision_config={"model_type": "clip_vision_model", **VISION},
        image_token_id=made.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    parts = transformers.LlavaProcessor(
        picture_processor("CLIP", size={"shortest_edge": 32}, crop_size=SIZE), made,
        patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=made.chat_template,
    )  # fmt: skip
    return context(folder, transformers.LlavaForConditionalGeneration(config), parts)


def llava_next(folder: Path) -> tuple[Context, Any]:
    made = words("<image>")
    grid = [[32, 64], [64, 32], [64, 64]]
    config = transformers.LlavaNextConfig(
        text_config={"model_type": "llama", **LANGUAGE},
        vision_config={"model_type": "clip_vision_model", **VISION},
        image_token_id=made.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=grid,
    )
    parts = transformers.LlavaNextProcessor(
        picture_processor("LlavaNext", size={"shortest_edge": 32}, crop_size=SIZE, image_grid_pinpoints=grid), made,
        patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=made.chat_template,
    )  # fmt: skip
    return context(folder, transformers.LlavaNextForConditionalGeneration(config), parts)


def qwen2_vl(folder: Path) -> tuple[Context, Any]:
    marks = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    made = tokenizer(marks)
    made.chat_template = TEMPLATE.replace("MARK", "<|vision_start|><|image_pad|><|vision_end|>")
    image_id, video_id, start_id, end_id = made.convert_tokens_to_ids(marks)
    config = transformers.Qwen2VLConfig(
        text_config={**LANGUAGE, "rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1], "rope_type": "default"}},
        vision_config={"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "patch_size": 4, "mlp_ratio": 2},
        image_token_id=image_id, video_token_id=video_id, vision_start_token_id=start_id, vision_end_token_id=end_id,
    )  # fmt: skip
    images = picture_processor("Qwen2VL", patch_size=4, size={"shortest_edge": 256, "longest_edge": 1024})
    found = context(folder, transformers.Qwen2VLForConditionalGeneration(config), made, images)
    (folder / "chat_template.jinja").write_text(made.chat_template)
    return found


MAKERS = {"llava": llava, "llava_next": llava_next, "qwen2_vl": qwen2_vl}


@pytest.fixture(scope="module", params=list(MAKERS))
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, Any]:
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


def arrays(prompt: Prompt) -> dict[str, Any]:
    """A prompt as a batch of one."""
    made = {name: torch.as_tensor(value) for name, value in prompt.features.items()}
    return {name: value if name in prompt.flat else value[None] for name, value in made.items()}


def next_logits(model: Any, prompt: Prompt) -> Any:
    with torch.no_grad():
        return model(input_ids=torch.tensor([prompt.ids]), **arrays(prompt)).logits[0, -1]


def asked(*pictures: Any, text: str = "what is this") -> dict[str, Any]:
    return {
        "role": "user",
        "content": [*({"type": "image", "image": each} for each in pictures), {"type": "text", "text": text}],
    }


def url(picture: Any) -> str:
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode()


def test_a_chat_with_an_image_is_what_the_models_own_processor_makes(seen: tuple[Context, Any]) -> None:
    where, model = seen
    sight = Sight(where)
    picture = image(60, 40, 1)
    prompt = sight.prompt([asked(picture)], {})
    written = sight.tokenizer.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is this"}]}],
        tokenize=False, add_generation_prompt=True,
    )  # fmt: skip
    expected = sight.processor(text=[written], images=[picture], return_tensors="pt")
    assert prompt.ids == expected["input_ids"][0].tolist()
    assert sum(each == model.config.image_token_id for each in prompt.ids) > 1
    plain = {name: value for name, value in expected.items() if name != "attention_mask"}
    with torch.no_grad():
        assert torch.allclose(next_logits(model, prompt), model(**plain).logits[0, -1], atol=1e-5)


def test_the_answer_depends_on_the_image_and_on_the_order_of_two(seen: tuple[Context, Any]) -> None:
    where, model = seen
    sight = Sight(where)
    one, two = image(60, 40, 1), image(40, 60, 2)
    given = [[asked(one)], [asked(two)], [asked(one, two)], [asked(two, one)]]
    logits = [next_logits(model, sight.prompt(each, {})) for each in given]
    assert all(torch.isfinite(each).all() for each in logits)
    assert (logits[0] - logits[1]).abs().max() > 1e-4
    assert (logits[2] - logits[3]).abs().max() > 1e-4


def test_two_prompts_in_one_batch_are_as_each_alone(seen: tuple[Context, Any]) -> None:
    where, model = seen
    sight = Sight(where)
    prompts = [sight.prompt([asked(image(60, 40, seed))], {}) for seed in (1, 2)]
    alone = [next_logits(model, each) for each in prompts]
    both = {
        name: (torch.cat if name in prompts[0].flat else torch.stack)(
            [torch.as_tensor(each.features[name]) for each in prompts]
        )
        for name in prompts[0].features
    }
    with torch.no_grad():
        found = model(input_ids=torch.tensor([each.ids for each in prompts]), **both).logits[:, -1]
    assert torch.allclose(found, torch.stack(alone), atol=1e-4)


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Sight:
    return Sight(llava(tmp_path_factory.mktemp("chat"))[0])


def test_openai_and_responses_parts_make_the_same_prompt(chat: Sight) -> None:
    picture = image(32, 32, 5)
    forms: list[Any] = [
        {"type": "image_url", "image_url": {"url": url(picture), "detail": "low"}},
        {"type": "image_url", "image_url": url(picture)},
        {"type": "input_image", "image_url": url(picture)},
        {"type": "image", "image": png(picture)},
    ]
    prompts = []
    for form in forms:
        kind = "input_text" if form["type"] == "input_image" else "text"
        messages = [{"role": "user", "content": [form, {"type": kind, "text": "what is this"}]}]
        assert Sight.has_images(messages)
        prompts.append(chat.prompt(messages, {}))
    for each in prompts[1:]:
        assert each.ids == prompts[0].ids
        assert (each.features["pixel_values"] == prompts[0].features["pixel_values"]).all()


def test_messages_without_images_are_text_alone(chat: Sight) -> None:
    messages = [{"role": "system", "content": "a b c"}, {"role": "user", "content": "what is this"}]
    assert not Sight.has_images(messages)
    prompt = chat.prompt(messages, {})
    assert not prompt.features
    assert "what is this" in chat.tokenizer.decode(prompt.ids)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "address"),
        ({"type": "image_url"}, "no 'image_url'"),
        ({"type": "input_audio", "input_audio": {}}, "input_audio"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, "known format"),
        (7, "no mapping"),
    ],
)
def test_parts_that_cannot_be_used_are_named(chat: Sight, part: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        chat.prompt([{"role": "user", "content": [part]}], {})
    assert caught.value.param == "messages"


def test_a_template_of_texts_alone_still_shows_its_images(chat: Sight) -> None:
    plain = "{% for message in messages %}{{ message['role'] + ' : ' + message['content'] }}{% endfor %}"
    prompt = chat.prompt([asked(image(32, 32, 1))], {"chat_template": plain})
    assert prompt.ids.count(chat.config.image_token_id) == 16
    assert "pixel_values" in prompt.features


def test_the_task_takes_an_image_and_a_text_and_says_the_answer(tmp_path: Path) -> None:
    where, _ = llava(tmp_path)
    task = ImageTextToText(where)
    picture = image(32, 32, 5)
    ((prompt, sampling),) = task.prompts({"image": picture, "text": "what is this"}, {"max_tokens": 5, "stop": "."})
    assert prompt.ids == Sight(where).prompt([asked(picture)], {}).ids
    assert (sampling.temperature, sampling.max_tokens, sampling.stop) == (0.0, 5, ["."])
    ((same, _),) = task.prompts({"messages": [asked(picture)]}, {})
    assert same.ids == prompt.ids
    ((two, _),) = task.prompts({"images": [picture, picture], "text": "a b"}, {})
    assert two.ids.count(where.config.image_token_id) == 32
    assert task.join([Answer([5], " cat ", "length")], [(prompt, sampling)], {}) == Text("cat", "length")
    with pytest.raises(InvalidRequest, match="image"):
        ImageToText(where).prompts({"text": "a"}, {})
    with pytest.raises(InvalidRequest, match="max_tokens"):
        task.prompts({"image": picture, "text": "a"}, {"max_tokens": 0})
    with pytest.raises(InvalidRequest):
        task.prompts({"image": picture, "text": "a"}, {"temperature": "hot"})


def test_a_template_that_writes_the_marks_itself_is_used_where_the_processor_has_no_mark(tmp_path: Path) -> None:
    folder = write_tiny("pp_chart2table", tmp_path)
    config = transformers.AutoConfig.from_pretrained(str(folder))
    ((prompt, _),) = ImageTextToText(Context(folder, config)).prompts({"image": image(40, 30, 3), "text": "a"}, {})
    assert prompt.ids.count(config.image_token_id) == 4


def test_captions_begin_where_an_encoder_decoder_begins(tmp_path: Path) -> None:
    vision = transformers.ViTConfig(**VISION)
    decoder = transformers.GPT2Config(
        vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=32, add_cross_attention=True, is_decoder=True,
        bos_token_id=2, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, decoder)
    config.decoder_start_token_id, config.pad_token_id = 2, 0
    made = transformers.VisionEncoderDecoderModel(config)
    where, model = context(tmp_path, made, tokenizer(), picture_processor("ViT", size=SIZE))
    picture = image(40, 30, 3)
    ((prompt, _),) = ImageToText(where).prompts(picture, {})
    assert prompt.ids == [2]
    with torch.no_grad():
        found = model(decoder_input_ids=torch.tensor([prompt.ids]), **arrays(prompt)).logits[0, -1]
        pixels = picture_processor("ViT", size=SIZE)(picture, return_tensors="pt")["pixel_values"]
        expected = model.generate(
            pixels, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    assert torch.allclose(found, expected.logits[0][0], atol=1e-5)


def test_a_caption_begins_as_the_generation_settings_say_before_anything_else(tmp_path: Path) -> None:
    vision = transformers.ViTConfig(**VISION)
    decoder = transformers.GPT2Config(
        vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=32, add_cross_attention=True, is_decoder=True,
        bos_token_id=2, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, decoder)
    made = transformers.VisionEncoderDecoderModel(config)
    made.generation_config.decoder_start_token_id = 5
    where, _ = context(tmp_path, made, tokenizer(), picture_processor("ViT", size=SIZE))
    ((prompt, _),) = ImageToText(where).prompts(image(40, 30, 3), {})
    assert prompt.ids == [5]


def test_captions_of_a_decoder_that_sees_begin_with_its_first_token(tmp_path: Path) -> None:
    config = transformers.GitConfig(vision_config=VISION, **{**TEXT, "max_position_embeddings": 64})
    parts = transformers.GitProcessor(
        picture_processor("CLIP", size={"shortest_edge": 32}, crop_size=SIZE), tokenizer()
    )
    where, model = context(tmp_path, transformers.GitForCausalLM(config), parts)
    ((prompt, _),) = ImageToText(where).prompts(png(image(40, 30, 3)), {})
    assert prompt.ids == [2]
    assert torch.isfinite(next_logits(model, prompt)).all()
    ((longer, _),) = ImageToText(where).prompts({"image": image(40, 30, 3), "text": "a photo of"}, {})
    assert len(longer.ids) > 3


def test_pix2struct_keeps_the_mask_of_its_patches(tmp_path: Path) -> None:
    shared = {"hidden_size": 16, "num_attention_heads": 2, "d_kv": 8, "d_ff": 32}
    config = transformers.Pix2StructConfig(
        text_config={**shared, "vocab_size": 64, "num_heads": 2, "num_layers": 1},
        vision_config={**shared, "patch_embed_hidden_size": 768, "num_hidden_layers": 1, "seq_len": 64},
    )
    images = picture_processor("Pix2Struct", max_patches=8, patch_size={"height": 16, "width": 16}, is_vqa=False)
    parts = transformers.Pix2StructProcessor(images, tokenizer())
    where, model = context(tmp_path, transformers.Pix2StructForConditionalGeneration(config), parts)
    ((prompt, _),) = ImageToText(where).prompts(image(64, 48, 3), {})
    assert set(prompt.features) == {"flattened_patches", "attention_mask"}
    with torch.no_grad():
        found = model(decoder_input_ids=torch.tensor([prompt.ids]), **arrays(prompt)).logits
    assert torch.isfinite(found).all()


def test_a_model_without_a_chat_template_refuses_to_chat(tmp_path: Path) -> None:
    config = transformers.GitConfig(vision_config=VISION, **{**TEXT, "max_position_embeddings": 64})
    parts = transformers.GitProcessor(
        picture_processor("CLIP", size={"shortest_edge": 32}, crop_size=SIZE), tokenizer()
    )
    where, _ = context(tmp_path, transformers.GitForCausalLM(config), parts)
    with pytest.raises(UnsupportedOperation, match="image-text-to-text"):
        Sight(where).prompt([asked(image(32, 32, 1))], {})


def test_without_any_processor_the_reason_is_said(tmp_path: Path) -> None:
    config = transformers.GitConfig(vision_config=VISION, **TEXT)
    where, _ = context(tmp_path, transformers.GitForCausalLM(config))
    with pytest.raises(RuntimeUnavailable):
        Sight(where)


@pytest.mark.parametrize("model_type", ["idefics", "phi4_multimodal"])
def test_processors_that_make_tensors_alone_or_hear_as_well_are_asked_too(model_type: str, tmp_path: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(str(write_tiny(model_type, tmp_path)))
    sight = Sight(Context(tmp_path, config, auto="AutoModelForImageTextToText"))
    prompt = sight.ask(f"{sight.mark} a", [image(40, 30, 3)])
    assert len(prompt.ids) > 3
    assert all(hasattr(each, "shape") for each in prompt.features.values())
    assert any(name.endswith(("pixel_values", "pixel_embeds")) for name in prompt.features)
