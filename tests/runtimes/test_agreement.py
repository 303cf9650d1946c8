"""Our vectors beside sentence-transformers' own, on the real MiniLM and on tiny models of every kind we serve."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from . import tiny

np = pytest.importorskip("numpy")
pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

MIXED = [
    "",
    " ",
    "a",
    "Hello, world!",
    "Füße, naïve café, Ελληνικά, русский, العربية, עברית",
    "日本語のテキスト と 中文 한국어",
    "🎉🎊 emoji 👩‍👩‍👧 \u200b zero width",
    "[CLS] special [SEP] tokens [PAD] in the text [MASK]",
    "tabs\tand\nnewlines\r\nand \x00 control \x07 characters",
    "UPPER lower MiXeD",
    "word " * 20,
    "a somewhat longer sentence about nothing in particular, with punctuation; and numbers 3.14159 " * 3,
    "long " * 253 + "fits",
    "long " * 254 + "is cut here",
    "much too long " * 5000,
    "x" * 20000,
    "seventy-seven " * 77,
    " " * 20000 + "words after much white space",
]


def cosine(left: Any, right: Any) -> Any:
    left, right = left.astype("float64"), right.astype("float64")
    return (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def close(ours: Any, theirs: Any) -> None:
    """Equal up to the rounding of float32."""
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape
    scale = np.abs(theirs).max()
    assert np.abs(ours - theirs).max() <= 2e-5 * max(scale, 1e-3)


@pytest.mark.parametrize("limits", [{}, {"max_batch_items": 1}, {"max_batch_tokens": 64}, {"threads": 1}])
def test_minilm_in_batches_of_any_size(minilm: Path, load: Any, reference: Any, limits: dict[str, int]) -> None:
    ours = load(minilm, dtype="float32", **limits).embed_sync(MIXED)
    theirs = reference(minilm, MIXED)
    assert cosine(ours.vectors, theirs).min() > 0.9999
    close(ours.vectors, theirs)
    assert ours.vectors.flags.c_contiguous
    assert np.allclose(np.linalg.norm(ours.vectors, axis=1), 1.0, atol=1e-5)
    assert ours.tokens[:4] == [2, 2, 3, 6]
    assert ours.tokens[12:15] == [256, 256, 256]
    assert ours.total_tokens == sum(ours.tokens)


async def test_minilm_from_many_callers_at_once(minilm: Path, load: Any, reference: Any) -> None:
    runtime = load(minilm, dtype="float32")
    requests = [[MIXED[(caller + place) % 12] for place in range(caller % 4 + 1)] for caller in range(40)]
    answers = await asyncio.gather(*(runtime.embed(texts) for texts in requests))
    theirs = reference(minilm, [text for texts in requests for text in texts])
    close(np.concatenate([answer.vectors for answer in answers]), theirs)
    counts = runtime.snapshot()
    assert counts["items"] == sum(len(texts) for texts in requests)
    assert counts["batches"] < len(requests)
    assert 0 < counts["tokens"] <= counts["padded_tokens"]


def test_minilm_in_bfloat16(minilm: Path, load: Any, reference: Any) -> None:
    runtime = load(minilm, dtype="bfloat16")
    assert cosine(runtime.embed_sync(MIXED).vectors, reference(minilm, MIXED)).min() > 0.999


@pytest.mark.cuda
@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.9999), ("bfloat16", 0.999)])
def test_minilm_on_cuda(minilm: Path, load: Any, reference: Any, dtype: str, least: float) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here")
    runtime = load(minilm, device="cuda", dtype=dtype)
    texts = MIXED * 20
    assert cosine(runtime.embed_sync(texts).vectors, reference(minilm, texts)).min() > least


def test_shortened_and_raw_vectors(minilm: Path, load: Any, reference: Any) -> None:
    runtime = load(minilm, dtype="float32")
    texts = MIXED[:12]
    short = runtime.embed_sync(texts, dimensions=64).vectors
    close(short, reference(minilm, texts, truncate_dim=64, normalize_embeddings=True))
    raw = runtime.embed_sync(texts, normalize=False).vectors
    assert (np.linalg.norm(raw, axis=1) > 1.5).all()
    close(raw / np.linalg.norm(raw, axis=1, keepdims=True), reference(minilm, texts))
    cut = runtime.embed_sync(texts, normalize=False, dimensions=10).vectors
    close(cut, raw[:, :10])


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize(
    "mode",
    ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", ("cls", "mean", "lasttoken")],
    ids=str,
)
@pytest.mark.parametrize("kind", ["bert", "qwen2"])
def test_every_pooling_mode_padded_on_either_side_with_and_without_prompt(
    transformer_folder: Any, tmp_path: Path, load: Any, reference: Any, kind: str, mode: Any, include_prompt: bool
) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    pooling = Pooling(tiny.SIZE, pooling_mode=mode, include_prompt=include_prompt)
    prompts = {"query": "query : ", "default": "passage : "}
    folder = tiny.modern(transformer_folder(kind), tmp_path, pooling, prompts=prompts, default_prompt_name="default")
    runtime = load(folder, max_batch_items=4)
    assert runtime.dimensions == tiny.SIZE * (len(mode) if isinstance(mode, tuple) else 1)
    for prompt in (None, "query", "document"):
        close(
            runtime.embed_sync(tiny.TEXTS, prompt_name=prompt).vectors,
            reference(folder, tiny.TEXTS, prompt_name=prompt),
        )


@pytest.mark.parametrize("kind", ["distilbert", "roberta", "t5"])
@pytest.mark.parametrize("mode", ["mean", "cls"])
def test_other_families(
    transformer_folder: Any, tmp_path: Path, load: Any, reference: Any, kind: str, mode: str
) -> None:
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    folder = tiny.modern(transformer_folder(kind), tmp_path, Pooling(tiny.SIZE, mode), Normalize())
    # What is longer than RoBERTa's table of positions makes sentence-transformers itself fail: see below.
    texts = [text for text in tiny.TEXTS if kind != "roberta" or len(text.split()) < 20]
    close(load(folder).embed_sync(texts).vectors, reference(folder, texts))


def test_roberta_has_fewer_positions_than_its_config_says(
    transformer_folder: Any, tmp_path: Path, load: Any, reference: Any
) -> None:
    folder = tiny.legacy(transformer_folder("roberta"), tmp_path, pooling={})
    runtime = load(folder)
    assert runtime.max_tokens == 30
    long, fits = "fox " * 300, "fox " * 28
    answer = runtime.embed_sync([long, fits])
    assert answer.tokens == [30, 30]
    close(answer.vectors[:1], reference(folder, [fits]))


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_a_vector_does_not_depend_on_its_batch(
    transformer_folder: Any, tmp_path: Path, load: Any, reference: Any, kind: str
) -> None:
    # GPT-2 counts positions absolutely, and this one's tokenizer asks for padding on the left.
    folder = tiny.legacy(transformer_folder(kind), tmp_path, pooling={})
    texts = [text for text in tiny.TEXTS if text]
    together = load(folder).embed_sync(texts).vectors
    close(together, np.concatenate([reference(folder, [text]) for text in texts]))


def test_an_empty_text_without_any_token(transformer_folder: Any, tmp_path: Path, load: Any) -> None:
    folder = tiny.legacy(transformer_folder("gpt2"), tmp_path, pooling={"pooling_mode_mean_tokens": True})
    answer = load(folder).embed_sync(["", "the fox", ""])
    assert answer.tokens == [0, 2, 0]
    assert not answer.vectors[0].any()
    assert np.allclose(np.linalg.norm(answer.vectors[1]), 1.0, atol=1e-5)
    assert (load(folder).embed_sync([""]).vectors == 0).all()


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "pickle"])
@pytest.mark.parametrize("residual", [False, True])
def test_dense_layers(
    transformer_folder: Any, tmp_path: Path, load: Any, reference: Any, residual: bool, safe: bool
) -> None:
    import torch
    from safetensors.torch import load_file
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

    torch.manual_seed(3)
    chain = [
        Pooling(tiny.SIZE, "mean"),
        Dense(tiny.SIZE, 24, activation_function=torch.nn.Tanh(), use_residual=residual),
        Normalize(),
        Dense(24, 24, bias=False, activation_function=torch.nn.GELU(), use_residual=residual),
    ]
    folder = tiny.modern(transformer_folder("bert"), tmp_path, *chain)
    if not safe:
        for file in tmp_path.glob("*_Dense/model.safetensors"):
            torch.save(load_file(file), file.parent / "pytorch_model.bin")
            file.unlink()
    runtime = load(folder)
    assert runtime.dimensions == 24
    theirs = reference(folder, tiny.TEXTS)
    close(runtime.embed_sync(tiny.TEXTS).vectors, theirs)
    unit = runtime.embed_sync(tiny.TEXTS, normalize=True).vectors
    close(unit, reference(folder, tiny.TEXTS, normalize_embeddings=True))


@pytest.mark.parametrize("lower", [True, False])
def test_lower_casing_by_the_folder(
    transformer_folder: Any, tmp_path: Path, load: Any, reference: Any, lower: bool
) -> None:
    folder = tiny.legacy(
        transformer_folder("cased"), tmp_path, pooling={"pooling_mode_cls_token": True},
        sentence_bert_config={"max_seq_length": 12, "do_lower_case": lower},
    )  # fmt: skip
    texts = ["THE Quick BROWN fox", *tiny.TEXTS]
    runtime = load(folder)
    assert runtime.max_tokens == 12
    answer = runtime.embed_sync(texts)
    close(answer.vectors, reference(folder, texts))
    same = runtime.embed_sync(["the quick brown fox"]).vectors[0]
    assert bool(np.allclose(answer.vectors[0], same, atol=1e-5)) is lower


def test_a_tokenizer_that_is_plain_python(
    transformer_folder: Any, tmp_path: Path, load: Any, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    folder = tiny.legacy(transformer_folder("bert"), tmp_path, pooling={}, sentence_bert_config={"do_lower_case": True})
    texts = [*tiny.TEXTS, "THE Fox"]
    theirs = reference(folder, texts)
    # Few are left of these; that one is taken for another tests the same lines.
    monkeypatch.setattr(transformers.PreTrainedTokenizerFast, "is_fast", False)
    runtime: Any = load(folder)
    answer = runtime.embed_sync(texts)
    close(answer.vectors, theirs)
    assert answer.tokens[4] == runtime.max_tokens == 40
